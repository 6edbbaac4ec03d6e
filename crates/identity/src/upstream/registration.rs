//! How the gateway becomes a client of an authorization server that it meets for the first time, in the order of the specification:
//! registered beforehand, by a metadata document (CIMD), by registration (RFC 7591).

use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::client::KeptClient;
use super::discovery::Place;
use super::metadata::ServerMetadata;
use super::token::TokenError;
use crate::fetch::{Fetcher, is_loopback};

/// Bytes of an id or a secret at most: both go with every request for a token.
const LONGEST: usize = 4 * 1024;

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    client_secret: Option<String>,
    token_endpoint_auth_method: Option<String>,
}

/// Registers the gateway, with `redirect` as the address where people come back to.
pub(crate) async fn register(fetcher: &Fetcher, place: &Place, server: &ServerMetadata, redirect: &Url) -> Result<KeptClient, TokenError> {
    let Some(endpoint) = &server.registration_endpoint else {
        let text = format!("the authorization server {:?} wants clients to be registered beforehand", server.issuer);
        return Err(TokenError::Unusable(text));
    };
    let method = ["client_secret_basic", "client_secret_post"].into_iter().find(|method| server.takes(method)).unwrap_or("none");
    let wanted = json!({
        "client_name": "Sallyport",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": if is_loopback(redirect) { "native" } else { "web" },
    });
    let answer = fetcher.post_json(endpoint, place.reach(endpoint), HeaderMap::new(), wanted.to_string().into_bytes()).await;
    let answer = answer.map_err(TokenError::NotHad)?;
    if !answer.status.is_success() {
        return Err(TokenError::Refused(format!("to register a client (HTTP {})", answer.status.as_u16())));
    }
    let registered: Registered =
        serde_json::from_slice(&answer.body).map_err(|_| TokenError::Nonsense("an answer to a registration that names no client"))?;
    let fits = |text: &str| (1..=LONGEST).contains(&text.len());
    if !fits(&registered.client_id) || !registered.client_secret.as_deref().is_none_or(fits) {
        return Err(TokenError::Nonsense("an id or a secret that cannot be used"));
    }
    let method = registered.token_endpoint_auth_method.or_else(|| Some(method.to_owned()));
    Ok(KeptClient { id: registered.client_id, secret: registered.client_secret, method })
}
