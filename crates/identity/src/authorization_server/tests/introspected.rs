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

/// A resource server that asks the host `elsewhere` about tokens that cannot be read.
fn door(elsewhere: &Elsewhere, deadline: Duration) -> ResourceServer {
    let issuer = elsewhere.address_at("localhost", "");
    let metadata = json!({ "issuer": issuer, "introspection_endpoint": elsewhere.address_at("localhost", "/introspect") });
    elsewhere.put("/.well-known/openid-configuration", &metadata);
    let remote = RemoteIssuer::new(&*issuer, elsewhere.fetcher(deadline));
    let introspection = Introspection::new(remote.clone(), "gateway", &Secret::new("secret".to_owned()));
    let trusted = TrustedIssuer { terms: Terms::new(&*issuer), keys: Arc::new(remote), introspection };
    ResourceServer::new(PublicUrl::parse(ISSUER).ok(), vec![trusted], None)
}

async fn shown(door: &ResourceServer, token: &str) -> Result<(), TokenFault> {
    let token = CallerToken::new(token);
    let digest = token.digest();
    door.verify(&token, digest, &Endpoint::All).await.map(drop)
}

#[tokio::test]
async fn a_flood_of_unknown_tokens_is_none_at_their_issuer_and_lets_nobody_in() {
    const SLOTS: usize = 16;
    let elsewhere = Elsewhere::new().await;
    let door = Arc::new(door(&elsewhere, Duration::from_secs(30)));
    elsewhere.put_endless("/introspect");
    let mut flood = tokio::task::JoinSet::new();
    for number in 0..SLOTS + 4 {
        let door = door.clone();
        flood.spawn(async move { shown(&door, &format!("made-up-{number}")).await });
    }
    // The issuer has begun to answer so many, and goes on. The others are told that it cannot be asked now.
    for _ in 0..4 {
        assert_eq!(flood.join_next().await.unwrap().unwrap(), Err(TokenFault::Unavailable));
    }
    assert_eq!(elsewhere.asked("/introspect"), SLOTS);
    // Who goes gives up the slot.
    flood.shutdown().await;
    elsewhere.put("/introspect", &json!({ "active": true, "sub": "alice", "aud": format!("{ISSUER}/mcp"), "scope": "mcp" }));
    assert_eq!(shown(&door, "a-good-one").await, Ok(()));
    elsewhere.put("/introspect", &json!({ "active": false }));
    for number in 0..SLOTS + 4 {
        assert_eq!(shown(&door, &format!("made-up-{number}")).await, Err(TokenFault::Inactive), "nothing was kept of it");
    }
}

#[tokio::test]
async fn a_token_that_is_active_and_no_access_token_is_not_taken() {
    let elsewhere = Elsewhere::new().await;
    let door = door(&elsewhere, Duration::from_secs(10));
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
        assert_eq!(shown(&door, &format!("opaque-{number}")).await, outcome, "{said}");
    }
}
