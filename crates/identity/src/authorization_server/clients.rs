//! The programs that people log in with: configured, described by a document at their own address, or registered by themselves.

pub(super) mod document;
pub(super) mod metadata;
pub(super) mod registration;

use std::collections::BTreeMap;

use sallyport_policy::{Scopes, implies};
use sallyport_store::{Store, client};

use self::document::Documents;
use self::metadata::Metadata;
use super::problem::Problem;
use super::{redirect, unguessable};

/// One client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: String,
    /// What it calls itself.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) redirects: Vec<String>,
    pub(super) authentication: Authentication,
    /// The grants that it may use.
    pub(super) grants: Vec<String>,
    /// Beyond these it gets none.
    pub(super) scopes: Option<Scopes>,
}

/// Who says that it is who it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The configuration.
    Configured,
    /// Whoever holds the address that is its id.
    Document,
    /// Nobody but itself.
    Registered,
}

/// How it shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Authentication {
    /// Not at all: it is a program on its user's machine.
    None,
    /// By a secret with this digest.
    Secret([u8; 32]),
    /// By signing with one of these keys (RFC 7523): a set, or where it is.
    Keys(Keys),
}

/// A client's public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// The set itself (RFC 7517 §5), as JSON.
    Set(String),
    /// Where it is fetched from.
    At(String),
}

/// A client that the configuration names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfiguredClient {
    /// Its `client_id`.
    pub id: String,
    /// What people read on the consent page.
    pub name: String,
    /// The digest (SHA-256) of its secret.
    pub secret: Option<[u8; 32]>,
    /// Its public keys, in place of a secret: a JSON Web Key Set, or the address of one.
    pub keys: Option<String>,
    /// Where answers may be sent to.
    pub redirects: Vec<String>,
    /// The grants that it may use.
    pub grants: Vec<String>,
    /// Beyond these it gets none.
    pub scopes: Option<Scopes>,
}

impl From<ConfiguredClient> for Client {
    fn from(configured: ConfiguredClient) -> Self {
        let ConfiguredClient { id, name, secret, keys, redirects, grants, scopes } = configured;
        let authentication = match (secret, keys) {
            (Some(secret), _) => Authentication::Secret(secret),
            (None, Some(keys)) if keys.trim_start().starts_with('{') => Authentication::Keys(Keys::Set(keys)),
            (None, Some(keys)) => Authentication::Keys(Keys::At(keys)),
            (None, None) => Authentication::None,
        };
        Self { id, name, kind: Kind::Configured, redirects, authentication, grants, scopes }
    }
}

impl Client {
    /// Whether answers may be sent there.
    pub(super) fn may_redirect_to(&self, asked: &str) -> bool {
        self.redirects.iter().any(|registered| redirect::matches(registered, asked))
    }

    /// Whether it may use this grant.
    pub(super) fn may_use(&self, grant: &str) -> bool {
        self.grants.iter().any(|own| own == grant)
    }

    /// Who vouches for its name, for the consent page.
    pub(super) fn host(&self) -> Option<String> {
        (self.kind == Kind::Document).then(|| url::Url::parse(&self.id).ok()?.host_str().map(str::to_owned)).flatten()
    }

    /// Of these scopes those that it may have: with each also what it implies.
    pub(super) fn within(&self, scopes: Scopes) -> Scopes {
        let Some(own) = &self.scopes else { return scopes };
        let kept: Vec<&str> = scopes.iter().filter(|scope| own.iter().any(|held| implies(held, scope))).collect();
        Scopes::parse(&kept.join(" ")).unwrap_or_default()
    }
}

/// Everybody who may be a client.
#[derive(Debug)]
pub(super) struct Clients {
    configured: BTreeMap<String, Client>,
    documents: Documents,
}

impl Clients {
    pub(super) fn new(configured: Vec<ConfiguredClient>, documents: Documents) -> Self {
        Self { configured: configured.into_iter().map(|client| (client.id.clone(), client.into())).collect(), documents }
    }

    /// The client of that id.
    ///
    /// # Errors
    /// `invalid_client` where there is none, which tells registered ones that were forgotten to register again.
    pub(super) async fn find(&self, store: &Store, id: &str, now: i64) -> Result<Client, Problem> {
        if let Some(client) = self.configured.get(id) {
            return Ok(client.clone());
        }
        if id.starts_with("https://") {
            return self.documents.client(id, now).await;
        }
        let asked = id.to_owned();
        let found = store.read(move |tables| client::find(tables, &asked, now)).await?;
        let found = found.ok_or_else(|| Problem::invalid_client("the client is not known here: register it again"))?;
        let metadata: Metadata =
            serde_json::from_str(&found.document).map_err(|_| Problem::internal("a registered client cannot be read"))?;
        let mut client = metadata.client(found.id, Kind::Registered).map_err(|what| Problem::internal(&what))?;
        if let Some(secret) = found.secret {
            client.authentication = Authentication::Secret(secret);
        }
        Ok(client)
    }

    /// Says whether this is the client's secret.
    pub(super) fn is_secret(expected: &[u8; 32], shown: &str) -> bool {
        unguessable::equal(expected, &unguessable::digest(shown))
    }
}
