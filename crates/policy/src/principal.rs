//! Who calls. Made by the identity crate, consumed here.

use std::fmt;
use std::sync::Arc;

use crate::Scopes;

/// Whoever a request was authenticated as. Cloning is cheap.
///
/// Two are equal where they are the same caller: the next token of one may be good for other scopes, and what the caller has begun
/// stays its own. What is kept for what somebody may do has to ask [`may_the_same`](Self::may_the_same) too.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Facts>);

#[derive(Clone, Debug)]
struct Facts {
    id: Arc<str>,
    kind: PrincipalKind,
    tenant: Arc<str>,
    groups: Vec<Arc<str>>,
    scopes: Option<Scopes>,
}

/// How the principal was established.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// The one person at this machine: reached over stdio or loopback, without credentials.
    LocalUser,
    /// The holder of the bearer key of this name.
    Key(Arc<str>),
    /// A person, or a program in a person's name, whom an authorization server vouches for.
    User {
        /// The server that vouches (`iss`).
        issuer: Arc<str>,
        /// Whom it means (`sub`); unique at that issuer alone.
        subject: Arc<str>,
    },
    /// A program in its own name, by an authorization server (`client_credentials`) or a certificate.
    Client {
        /// Who vouches.
        issuer: Arc<str>,
        /// Whom it means; unique at that issuer alone.
        client: Arc<str>,
    },
}

impl Principal {
    /// The one person at this machine.
    #[must_use]
    pub fn local_user() -> Self {
        Self::new("local".into(), PrincipalKind::LocalUser)
    }

    /// The holder of the key called `name`.
    #[must_use]
    pub fn key(name: &str) -> Self {
        Self::new(format!("key:{name}"), PrincipalKind::Key(name.into()))
    }

    /// Whom `issuer` calls `subject`.
    #[must_use]
    pub fn user(issuer: &str, subject: &str) -> Self {
        let kind = PrincipalKind::User { issuer: issuer.into(), subject: subject.into() };
        Self::new(format!("user:{subject}@{issuer}"), kind)
    }

    /// The program that `issuer` calls `client`.
    #[must_use]
    pub fn client(issuer: &str, client: &str) -> Self {
        let kind = PrincipalKind::Client { issuer: issuer.into(), client: client.into() };
        Self::new(format!("client:{client}@{issuer}"), kind)
    }

    fn new(id: String, kind: PrincipalKind) -> Self {
        Self(Arc::new(Facts { id: id.into(), kind, tenant: "".into(), groups: Vec::new(), scopes: None }))
    }

    /// The same, as one of `tenant`'s.
    #[must_use]
    pub fn of_tenant(mut self, tenant: &str) -> Self {
        Arc::make_mut(&mut self.0).tenant = tenant.into();
        self
    }

    /// The same, as a member of these groups.
    #[must_use]
    pub fn in_groups(mut self, mut groups: Vec<Arc<str>>) -> Self {
        groups.sort_unstable();
        groups.dedup();
        Arc::make_mut(&mut self.0).groups = groups;
        self
    }

    /// The same, with a token that is good for these scopes alone.
    #[must_use]
    pub fn limited_to(mut self, scopes: Scopes) -> Self {
        Arc::make_mut(&mut self.0).scopes = Some(scopes);
        self
    }

    /// Unique among principals of a tenant and stable over restarts: `local`, `key:NAME`, `user:SUBJECT@ISSUER`, `client:NAME@ISSUER`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Unique among the principals of all tenants.
    #[must_use]
    pub fn full_id(&self) -> Arc<str> {
        match self.tenant() {
            "" => Arc::clone(&self.0.id),
            tenant => format!("{tenant}/{}", self.id()).into(),
        }
    }

    /// How the principal was established.
    #[must_use]
    pub fn kind(&self) -> &PrincipalKind {
        &self.0.kind
    }

    /// Who vouches for it, where that is somebody else than the gateway.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        match self.kind() {
            PrincipalKind::User { issuer, .. } | PrincipalKind::Client { issuer, .. } => Some(issuer),
            PrincipalKind::LocalUser | PrincipalKind::Key(_) => None,
        }
    }

    /// Whose it is; empty where there are no tenants.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.0.tenant
    }

    /// The groups that its authorization server or the configuration puts it in, sorted.
    #[must_use]
    pub fn groups(&self) -> &[Arc<str>] {
        &self.0.groups
    }

    /// What its token is good for; `None` where what it showed has no such bounds.
    #[must_use]
    pub fn scopes(&self) -> Option<&Scopes> {
        self.0.scopes.as_ref()
    }

    /// Whether both are the same caller with the same groups and scopes, so that the same is decided of both.
    #[must_use]
    pub fn may_the_same(&self, other: &Self) -> bool {
        self == other && self.0.kind == other.0.kind && self.0.groups == other.0.groups && self.0.scopes == other.0.scopes
    }

    /// Tells it from all others that are there at the same time; clones share it.
    #[cfg(feature = "cedar")]
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Whether this is the one person at this machine.
    #[must_use]
    pub fn is_local_user(&self) -> bool {
        self.0.kind == PrincipalKind::LocalUser
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.0.tenant == other.0.tenant && self.0.id == other.0.id
    }
}

impl Eq for Principal {}

impl std::hash::Hash for Principal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.0.tenant, &self.0.id).hash(state);
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.id())
    }
}
