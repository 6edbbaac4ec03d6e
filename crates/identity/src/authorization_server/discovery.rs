//! What the server says of itself (RFC 8414, OpenID Connect Discovery 1.0).

use bytes::Bytes;
use http::Response;
use serde_json::json;

use super::clients::metadata::{CODE, DEVICE, REFRESH};
use super::grants::{CLIENT_CREDENTIALS, ID_JAG_PROFILE, JWT_BEARER, TOKEN_EXCHANGE};
use super::{Server, answer, keys};

/// How clients may sign their assertions.
pub(super) const ASSERTION_ALGORITHMS: [&str; 3] = ["EdDSA", "ES256", "RS256"];

impl Server {
    /// One document for both: programs read what they know.
    pub(super) fn metadata(&self) -> Response<Bytes> {
        let mut document = json!({
            "issuer": self.issuer(),
            "authorization_endpoint": self.url("authorize"),
            "token_endpoint": self.url("token"),
            "revocation_endpoint": self.url("revoke"),
            "device_authorization_endpoint": self.url("device_authorization"),
            "jwks_uri": self.url("jwks"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": [CODE, REFRESH, CLIENT_CREDENTIALS, DEVICE, TOKEN_EXCHANGE, JWT_BEARER],
            "authorization_grant_profiles_supported": [ID_JAG_PROFILE],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
            "token_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
            "revocation_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
            "resource_indicators_supported": true,
            // What readers of OpenID's document insist on; there are no ID tokens.
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.settings.algorithm.as_str()],
        });
        if self.settings.registration {
            document["registration_endpoint"] = self.url("register").into();
        }
        answer::document(&document, keys::CACHED)
    }
}
