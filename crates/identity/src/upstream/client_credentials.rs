//! Tokens in the gateway's own name (RFC 6749 section 4.4; MCP's extension "OAuth client credentials").

use std::path::Path;

use sallyport_protocol::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::client::RegisteredConfig;
use super::joined;
use super::minted::{Mint, Order};
use super::token::{Asking, TokenError, Tokens};

/// The client that the gateway is, and what it asks for.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The client, with a `secret` or a `key`.
    pub client: RegisteredConfig,
    /// The authorization server where it is registered: the only one that it shows itself to. Default: whichever the server names first.
    #[schemars(with = "Option<String>")]
    pub issuer: Option<Url>,
    /// The scopes to ask for. Default: those that the server asks for, else those that it lists.
    pub scopes: Option<Vec<String>>,
}

impl Config {
    pub(crate) fn within(self, folder: &Path) -> Self {
        Self { client: self.client.within(folder), ..self }
    }
}

impl Mint for Config {
    fn issuer(&self) -> Option<&Url> {
        self.issuer.as_ref()
    }

    fn scopes(&self) -> Option<&[String]> {
        self.scopes.as_deref()
    }

    fn mint<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Result<Tokens, TokenError>> {
        Box::pin(async move {
            let client = self.client.resolve()?;
            let mut form = vec![("grant_type", "client_credentials".to_owned()), ("resource", order.discovered.resource.clone())];
            if !order.scopes.is_empty() {
                form.push(("scope", joined(order.scopes)));
            }
            Asking::at(order, &order.discovered.server, &client).tokens(form).await
        })
    }
}
