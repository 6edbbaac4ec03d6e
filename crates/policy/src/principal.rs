//! Who calls. Made by the identity crate, consumed here.

use std::fmt;
use std::sync::Arc;

/// Whoever a request was authenticated as. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    id: Arc<str>,
    kind: PrincipalKind,
}

/// How the principal was established.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// The one person at this machine: reached over stdio or loopback, without credentials.
    LocalUser,
    /// The holder of the configured bearer key of this name.
    Key(Arc<str>),
}

impl Principal {
    /// The one person at this machine.
    #[must_use]
    pub fn local_user() -> Self {
        Self { id: "local".into(), kind: PrincipalKind::LocalUser }
    }

    /// The holder of the key called `name`.
    #[must_use]
    pub fn key(name: &str) -> Self {
        Self { id: format!("key:{name}").into(), kind: PrincipalKind::Key(name.into()) }
    }

    /// Unique among principals and stable over restarts: `local` or `key:NAME`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How the principal was established.
    #[must_use]
    pub fn kind(&self) -> &PrincipalKind {
        &self.kind
    }

    /// Whether this is the one person at this machine.
    #[must_use]
    pub fn is_local_user(&self) -> bool {
        self.kind == PrincipalKind::LocalUser
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.id)
    }
}
