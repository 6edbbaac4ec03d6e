//! The caller's own token for one that a server takes (RFC 8693).

use std::path::Path;
use std::sync::Arc;

use sallyport_protocol::{BoxFuture, CallerToken};
use sallyport_secrets::SecretReference;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::challenge::Challenge;
use super::client::RegisteredConfig;
use super::discovery::{Discovered, Place, server_metadata};
use super::minted::{Around, Mint, Order};
use super::token::{Asking, TokenError, Tokens};
use super::{Subject, joined};

/// The grant, as a token endpoint calls it.
pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Where callers' tokens are exchanged.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The authorization server that exchanges. A caller's token goes to its token endpoint and nowhere else, and only where it gave
    /// that token; no other server can name another one.
    #[schemars(with = "String")]
    pub issuer: Url,
    /// The client that the gateway is there.
    pub client: RegisteredConfig,
    /// The scopes to ask for. Default: those that the server asks for, else what the issuer thinks right.
    pub scopes: Option<Vec<String>>,
    /// What the new token is for (`resource`). Default: the server's `url`.
    pub resource: Option<String>,
    /// A token to exchange in place of the caller's, a reference: for one user's own gateway, whose callers show none. Default: none.
    pub subject: Option<SecretReference>,
    /// What kind of token is exchanged: `access_token`, `id_token` or `jwt`. Default: `access_token`, which is what callers show.
    #[serde(default)]
    pub subject_type: SubjectType,
}

/// What kind of token an exchange begins with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectType {
    /// A token for the gateway.
    #[default]
    AccessToken,
    /// A statement about who logged in.
    IdToken,
    /// Another JWT.
    Jwt,
}

impl SubjectType {
    /// Its name in an exchange (RFC 8693 section 3).
    pub(crate) fn urn(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
        }
    }
}

impl Config {
    pub(crate) fn within(self, folder: &Path) -> Self {
        Self { client: self.client.within(folder), subject: self.subject.map(|subject| subject.within(folder)), ..self }
    }
}

pub(crate) struct Exchange {
    pub(crate) config: Config,
    pub(crate) subject: Subject,
}

impl Mint for Exchange {
    fn issuer(&self) -> Option<&Url> {
        Some(&self.config.issuer)
    }

    /// The server is not asked whom to exchange with: a caller's token would go wherever it says.
    fn discover<'a>(
        &'a self,
        around: &'a Around,
        place: &'a Place,
        challenge: &'a Challenge,
    ) -> BoxFuture<'a, Result<Discovered, TokenError>> {
        Box::pin(async move {
            let server = server_metadata(&around.fetcher, place, &named(&self.config.issuer)).await?;
            let resource = self.config.resource.clone().unwrap_or_else(|| place.url().as_str().to_owned());
            Ok(Discovered { resource, server, scopes: challenge.scopes.clone() })
        })
    }

    fn scopes(&self) -> Option<&[String]> {
        self.config.scopes.as_deref()
    }

    fn subject(&self, caller: Option<&Arc<CallerToken>>) -> Option<Arc<CallerToken>> {
        if self.config.subject.is_some() { None } else { self.subject.of_request(caller) }
    }

    fn mint<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Result<Tokens, TokenError>> {
        Box::pin(async move {
            let client = self.config.client.resolve()?;
            let subject = self.subject.token(self.config.subject.as_ref(), &named(&self.config.issuer), order.subject)?;
            let mut form = vec![
                ("grant_type", GRANT.to_owned()),
                ("subject_token", subject.expose().to_owned()),
                ("subject_token_type", self.config.subject_type.urn().to_owned()),
                ("requested_token_type", SubjectType::AccessToken.urn().to_owned()),
                ("resource", order.discovered.resource.clone()),
            ];
            if !order.scopes.is_empty() {
                form.push(("scope", joined(order.scopes)));
            }
            Asking::at(order, &order.discovered.server, &client).tokens(form).await
        })
    }
}

/// An issuer as its own metadata has to name it: without the slash that parsing puts behind a bare origin.
pub(crate) fn named(issuer: &Url) -> String {
    let text = issuer.as_str();
    if issuer.path() == "/" { text.trim_end_matches('/').to_owned() } else { text.to_owned() }
}
