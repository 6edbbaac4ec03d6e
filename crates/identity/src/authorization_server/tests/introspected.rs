//! What an issuer says of tokens that only it can read: not all that is active is an access token.

use sallyport_protocol::{CallerToken, Endpoint};
use sallyport_secrets::Secret;
use serde_json::json;

use super::elsewhere::Elsewhere;
use super::*;
use crate::resource_server::introspection::Introspection;
use crate::resource_server::remote_issuer::RemoteIssuer;
use crate::resource_server::resource::PublicUrl;
use crate::resource_server::{ResourceServer, Terms, TokenFault, TrustedIssuer};

#[tokio::test]
async fn a_token_that_is_active_and_no_access_token_is_not_taken() {
    let elsewhere = Elsewhere::new().await;
    let issuer = elsewhere.address_at("localhost", "");
    let metadata = json!({ "issuer": issuer, "introspection_endpoint": elsewhere.address_at("localhost", "/introspect") });
    elsewhere.put("/.well-known/openid-configuration", &metadata);
    let remote = RemoteIssuer::new(&*issuer, elsewhere.fetcher(Duration::from_secs(10)));
    let introspection = Introspection::new(remote.clone(), "gateway", &Secret::new("secret".to_owned()));
    let trusted = TrustedIssuer { terms: Terms::new(&*issuer), keys: Arc::new(remote), introspection };
    let door = ResourceServer::new(PublicUrl::parse(ISSUER).ok(), vec![trusted], None);
    for (number, (said, outcome)) in [
        (json!({}), Ok(())),
        (json!({ "token_type": "Bearer", "token_use": "access_token" }), Ok(())), // Hydra
        (json!({ "token_type": "bearer", "typ": "Bearer" }), Ok(())),             // Keycloak
        (json!({ "token_use": "access", "token_type": null }), Ok(())),
        (json!({ "token_use": "refresh_token", "token_type": "Bearer" }), Err(TokenFault::Type)),
        (json!({ "typ": "Refresh" }), Err(TokenFault::Type)),
        (json!({ "typ": "Offline" }), Err(TokenFault::Type)),
        (json!({ "typ": "ID" }), Err(TokenFault::Type)),
        (json!({ "token_type": "DPoP" }), Err(TokenFault::Type)),
        (json!({ "token_use": ["access"] }), Err(TokenFault::Type)),
        (json!({ "token_type": "Bearer", "cnf": { "x5t#S256": "x" } }), Err(TokenFault::Type)), // RFC 8705
    ]
    .into_iter()
    .enumerate()
    {
        let mut answer = json!({ "active": true, "sub": "alice", "aud": format!("{ISSUER}/mcp"), "scope": "mcp" });
        answer.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        elsewhere.put("/introspect", &answer);
        let token = CallerToken::new(format!("opaque-{number}"));
        let digest = token.digest();
        assert_eq!(door.verify(&token, digest, &Endpoint::All).await.map(drop), outcome, "{said}");
    }
}
