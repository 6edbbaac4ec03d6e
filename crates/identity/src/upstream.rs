//! The way out: credentials towards upstream servers.
//!
//! | file | its subject |
//! | --- | --- |
//! | `challenge` | what a server says when it refuses |
//! | `metadata`, `discovery` | from a refusal to the authorization server, past whoever would lead elsewhere |
//! | `client`, `assertion`, `registration` | who the gateway is there, and how it shows that |
//! | `token` | what is asked at a token endpoint |
//! | `minted` | tokens that need no person: one at a time, kept until they end |
//! | `client_credentials`, `exchange`, `id_jag` | the three ways to such tokens |
//! | `per_user`, `login`, `vault` | a user's own grant: had once through a browser, kept sealed, renewed by one process at a time |
//!
//! A caller's own token goes nowhere but to the token endpoint that `exchange` and `id_jag` name in the configuration (`Subject`).

mod assertion;
mod challenge;
mod client;
mod client_credentials;
mod discovery;
mod exchange;
mod id_jag;
mod login;
mod metadata;
mod minted;
mod per_user;
mod registration;
mod subject;
mod token;
mod vault;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use sallyport_protocol::{BoxFuture, CallerToken};
use schemars::JsonSchema;
use serde::Deserialize;

pub use challenge::Challenge;
pub(crate) use client::Client;
pub use client::RegisteredConfig;
pub(crate) use discovery::server_metadata;
pub use discovery::{DiscoveryError, Place};
pub use login::{Begun, LoginError, Logins, Wanted};
pub(crate) use metadata::ServerMetadata;
pub use minted::{Around, Minted};
pub use per_user::{Config as PerUserConfig, Owner, PerUser};
pub use subject::Subject;
pub use token::TokenError;
pub(crate) use token::{Asking, legible};
pub use vault::{Vault, VaultError};

/// Seconds since 1970, from a clock that tests can set.
pub type Clock = fn() -> u64;

/// The clock of the machine.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How the gateway gets the token that a server wants.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CredentialConfig {
    /// In its own name: OAuth's client credentials, at the authorization server that the server names. All callers share the token.
    ClientCredentials(client_credentials::Config),
    /// In each user's name: everybody grants the gateway access once, in a browser. What was granted is kept sealed.
    PerUser(per_user::Config),
    /// In the caller's name, without a browser: the caller's own token is exchanged for one for the server (RFC 8693).
    Exchange(exchange::Config),
    /// In the caller's name, across two organisations' servers: an identity assertion of the caller's identity provider is shown to the
    /// server's authorization server (ID-JAG, MCP's enterprise-managed authorization).
    IdJag(id_jag::Config),
}

impl CredentialConfig {
    /// The same, relative paths of its references understood from `folder`.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        match self {
            Self::ClientCredentials(config) => Self::ClientCredentials(config.within(folder)),
            Self::PerUser(config) => Self::PerUser(config.within(folder)),
            Self::Exchange(config) => Self::Exchange(config.within(folder)),
            Self::IdJag(config) => Self::IdJag(config.within(folder)),
        }
    }

    /// Whether it depends on the token that a caller showed what a request goes with: two of one principal may be good for less and more.
    #[must_use]
    pub fn begins_with_callers_token(&self) -> bool {
        match self {
            Self::Exchange(config) => config.subject.is_none(),
            Self::IdJag(config) => config.provider.subject.is_none(),
            Self::ClientCredentials(_) | Self::PerUser(_) => false,
        }
    }

    /// Whether each principal has a token of its own, and so a connection of its own.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        !matches!(self, Self::ClientCredentials(_))
    }
}

/// Where the tokens for one server, in one name, come from.
pub trait TokenSource: Send + Sync {
    /// The token for the next request; `None` where there is none yet and the server is to be asked what it wants. `caller` is what was
    /// shown with that request, and nothing where nobody asked for it.
    fn token<'a>(&'a self, caller: Option<&'a Arc<CallerToken>>) -> BoxFuture<'a, Result<Option<Token>, Unavailable>>;

    /// Takes note that the server refused a request of `caller` that went with `sent`, and gets what it wants.
    ///
    /// # Errors
    /// Where another try would not help.
    fn refused<'a>(
        &'a self,
        challenge: Challenge,
        sent: Option<Token>,
        caller: Option<&'a Arc<CallerToken>>,
    ) -> BoxFuture<'a, Result<(), Unavailable>>;
}

/// An access token on its way into a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    pub(crate) fn new(token: &str) -> Self {
        Self(token.into())
    }

    pub(crate) fn is(&self, token: &str) -> bool {
        *self.0 == *token
    }

    /// The token in the header that it went in.
    #[must_use]
    pub fn of_header(value: &HeaderValue) -> Option<Self> {
        Some(Self::new(value.to_str().ok()?.strip_prefix("Bearer ")?))
    }

    /// The header that it goes into; it is not shown in logs.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Token")
    }
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub enum Unavailable {
    /// It could not be had.
    Failed(TokenError),
    /// A person has to grant it: the id of a login that waits for them.
    Consent(String),
}

impl From<TokenError> for Unavailable {
    fn from(error: TokenError) -> Self {
        Self::Failed(error)
    }
}

/// Scopes as they stand in a request.
pub(crate) fn joined(scopes: &[String]) -> String {
    scopes.join(" ")
}

/// The scopes of both, each once.
pub(crate) fn union(one: &[String], other: &[String]) -> Vec<String> {
    let mut all = one.to_vec();
    all.extend(other.iter().filter(|scope| !one.contains(scope)).cloned());
    all
}
