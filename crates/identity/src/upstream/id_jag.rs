//! An identity assertion of the caller's identity provider, shown to the server's own authorization server (draft "Identity Assertion
//! Authorization Grant"; MCP's extension "enterprise-managed authorization").

use std::path::Path;
use std::sync::Arc;

use sallyport_protocol::{BoxFuture, CallerToken};
use sallyport_secrets::SecretReference;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::client::RegisteredConfig;
use super::discovery::{Place, server_metadata};
use super::exchange::{GRANT, SubjectType, named};
use super::minted::{Mint, Order};
use super::token::{Asking, TokenError, Tokens};
use super::{Subject, joined};

const ASSERTION: &str = "urn:ietf:params:oauth:token-type:id-jag";
const BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The identity provider, and the client that the gateway is at the server's authorization server.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The identity provider that knows the callers. A caller's token goes to its token endpoint and nowhere else, and only where it gave
    /// that token.
    pub provider: ProviderConfig,
    /// The client that the gateway is at the server's own authorization server.
    pub client: RegisteredConfig,
    /// The server's own authorization server. Default: whichever the server names first.
    #[schemars(with = "Option<String>")]
    pub issuer: Option<Url>,
    /// The scopes to ask for. Default: those that the server asks for, else those that it lists.
    pub scopes: Option<Vec<String>>,
}

/// An identity provider that gives identity assertions.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its name.
    #[schemars(with = "String")]
    pub issuer: Url,
    /// The client that the gateway is there.
    pub client: RegisteredConfig,
    /// A token to show in place of the caller's, a reference: for one user's own gateway, whose callers show none. Default: none.
    pub subject: Option<SecretReference>,
    /// What kind of token is shown: `id_token`, `access_token` or `jwt`. Default: `id_token`, as the extension has it.
    #[serde(default = "id_token")]
    pub subject_type: SubjectType,
}

fn id_token() -> SubjectType {
    SubjectType::IdToken
}

impl Config {
    pub(crate) fn within(self, folder: &Path) -> Self {
        let provider = ProviderConfig {
            client: self.provider.client.within(folder),
            subject: self.provider.subject.map(|subject| subject.within(folder)),
            ..self.provider
        };
        Self { provider, client: self.client.within(folder), ..self }
    }
}

pub(crate) struct IdJag {
    pub(crate) config: Config,
    pub(crate) subject: Subject,
}

impl IdJag {
    /// The assertion, for the server's authorization server alone.
    async fn assertion(&self, order: Order<'_>) -> Result<String, TokenError> {
        let ProviderConfig { issuer, client, subject, subject_type } = &self.config.provider;
        let place = Place::new(issuer.clone(), Some(issuer.clone()));
        let provider = server_metadata(&order.around.fetcher, &place, &named(issuer)).await?;
        let (client, subject) = (client.resolve()?, self.subject.token(subject.as_ref(), &named(issuer), order.subject)?);
        let mut form = vec![
            ("grant_type", GRANT.to_owned()),
            ("requested_token_type", ASSERTION.to_owned()),
            ("audience", order.discovered.server.issuer.clone()),
            ("resource", order.discovered.resource.clone()),
            ("subject_token", subject.expose().to_owned()),
            ("subject_token_type", subject_type.urn().to_owned()),
        ];
        if !order.scopes.is_empty() {
            form.push(("scope", joined(order.scopes)));
        }
        Asking { place: &place, ..Asking::at(order, &provider, &client) }.exchanged(form, ASSERTION).await
    }
}

impl Mint for IdJag {
    fn issuer(&self) -> Option<&Url> {
        self.config.issuer.as_ref()
    }

    fn scopes(&self) -> Option<&[String]> {
        self.config.scopes.as_deref()
    }

    fn subject(&self, caller: Option<&Arc<CallerToken>>) -> Option<Arc<CallerToken>> {
        if self.config.provider.subject.is_some() { None } else { self.subject.of_request(caller) }
    }

    fn mint<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Result<Tokens, TokenError>> {
        Box::pin(async move {
            let assertion = self.assertion(order).await?;
            let client = self.config.client.resolve()?;
            let mut form = vec![("grant_type", BEARER.to_owned()), ("assertion", assertion)];
            if !order.scopes.is_empty() {
                form.push(("scope", joined(order.scopes)));
            }
            Asking::at(order, &order.discovered.server, &client).tokens(form).await
        })
    }
}
