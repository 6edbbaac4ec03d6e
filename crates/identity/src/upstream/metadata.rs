//! The documents in which servers describe themselves: RFC 9728, RFC 8414, OpenID Connect Discovery.

use serde::Deserialize;
use url::Url;

/// What a protected server says of itself (RFC 9728 section 2).
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ResourceMetadata {
    pub(crate) resource: String,
    #[serde(default)]
    pub(crate) authorization_servers: Vec<String>,
    pub(crate) scopes_supported: Option<Vec<String>>,
}

/// What an authorization server says of itself (RFC 8414 section 2).
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ServerMetadata {
    /// Its name, exactly as it stands in its metadata's address.
    pub(crate) issuer: String,
    /// Where people are sent. A server without people has none.
    pub(crate) authorization_endpoint: Option<Url>,
    /// Where tokens are asked for.
    pub(crate) token_endpoint: Url,
    pub(crate) registration_endpoint: Option<Url>,
    /// Where an identity provider tells more about somebody (OpenID Connect).
    pub(crate) userinfo_endpoint: Option<Url>,
    pub(crate) scopes_supported: Option<Vec<String>>,
    pub(crate) code_challenge_methods_supported: Option<Vec<String>>,
    pub(crate) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) client_id_metadata_document_supported: bool,
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

impl ServerMetadata {
    /// Whether the server knows this scope, as far as it says.
    pub(crate) fn lists_scope(&self, scope: &str) -> bool {
        self.scopes_supported.as_ref().is_some_and(|scopes| scopes.iter().any(|known| known == scope))
    }

    /// Whether a client may show who it is in this way. Who says nothing takes a secret by `Basic` (RFC 8414 section 2).
    pub(crate) fn takes(&self, method: &str) -> bool {
        match &self.token_endpoint_auth_methods_supported {
            Some(methods) => methods.iter().any(|known| known == method),
            None => method == "client_secret_basic",
        }
    }
}
