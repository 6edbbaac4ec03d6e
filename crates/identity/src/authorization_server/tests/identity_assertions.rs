//! Assertions of an identity provider (ID-JAG), and everything that is none.
//!
//! draft-ietf-oauth-identity-assertion-authz-grant. The provider's keys are fetched from where it publishes them.

use serde_json::json;

use super::elsewhere::Elsewhere;
use super::signer::{Signer, with};
use super::*;
use crate::resource_server::key::Algorithm;
use crate::resource_server::remote_issuer::RemoteIssuer;

const NOW: i64 = 2_100_000_000;
const KIND: &str = "oauth-id-jag+jwt";

/// An identity provider, and a server that takes its word.
struct Trust {
    bench: Bench,
    elsewhere: Elsewhere,
    issuer: String,
    signer: Signer,
}

impl Trust {
    async fn new() -> Self {
        let (elsewhere, signer) = (Elsewhere::new().await, Signer::new("idp", 1));
        let issuer = elsewhere.address_at("localhost", "");
        let metadata = json!({ "issuer": issuer, "jwks_uri": elsewhere.address_at("localhost", "/keys") });
        elsewhere.put("/.well-known/openid-configuration", &metadata);
        elsewhere.put("/keys", &signer.published());
        let bench = elsewhere.bench(Self::settings(&elsewhere, &issuer)).await;
        Self { bench, elsewhere, issuer, signer }
    }

    fn settings(elsewhere: &Elsewhere, issuer: &str) -> Settings {
        let keys: Arc<dyn KeySource> = Arc::new(RemoteIssuer::new(issuer, elsewhere.fetcher(Duration::from_secs(10))));
        let mut settings = settings();
        let robot = settings.clients.iter().find(|client| client.id == "robot").unwrap().clone();
        let scopes = Scopes::parse("git:log");
        settings.clients.push(ConfiguredClient { id: "narrow".to_owned(), scopes, ..robot.clone() });
        settings.clients.push(ConfiguredClient { id: "bounded".to_owned(), scopes: Scopes::parse("git files:read"), ..robot });
        Settings { providers: [(issuer.to_owned(), keys)].into(), ..settings }
    }

    fn good(&self, jti: &str) -> Value {
        json!({
            "iss": self.issuer, "sub": "carol", "aud": ISSUER, "client_id": "robot", "jti": jti, "iat": NOW, "exp": NOW + 300,
            "resource": "https://gate.example.com/servers/git/mcp", "scope": "git:log git:diff",
        })
    }

    fn signed(&self, jti: &str, changed: &[(&str, Value)]) -> String {
        self.signer.sign(KIND, &with(&self.good(jti), changed))
    }

    async fn show(&self, assertion: &str, more: &[(&str, &str)]) -> (StatusCode, Value) {
        self.bench.token(&[&form(assertion)[..], more].concat()).await
    }
}

#[tokio::test]
async fn keys_that_an_issuer_has_withdrawn_are_good_no_more_and_those_of_one_in_trouble_are() {
    let trust = Trust::new().await;
    let issuer = || RemoteIssuer::new(&*trust.issuer, trust.elsewhere.fetcher(Duration::from_secs(10)));
    let (in_trouble, withdrawing) = (issuer(), issuer());
    let known = |issuer: &RemoteIssuer| issuer.find(None, Algorithm::EdDsa).is_some();
    for (issuer, answer, is_known) in [(&in_trouble, json!("out of order"), true), (&withdrawing, json!({ "keys": [] }), false)] {
        trust.elsewhere.put("/keys", &trust.signer.published());
        issuer.refresh().await;
        assert!(known(issuer));
        trust.elsewhere.put("/keys", &answer);
        issuer.refresh().await;
        assert_eq!(known(issuer), is_known, "{answer}");
    }
}

fn form(assertion: &str) -> [(&str, &str); 4] {
    [("grant_type", grants::JWT_BEARER), ("client_id", "robot"), ("client_secret", "robot's secret"), ("assertion", assertion)]
}

/// Says that it was refused, how, and why.
fn refused(answer: &(StatusCode, Value), error: &str, why: &str) {
    assert_eq!((answer.0, answer.1["error"].as_str()), (StatusCode::BAD_REQUEST, Some(error)), "{why}: {}", answer.1);
    assert!(answer.1["error_description"].as_str().unwrap().contains(why), "{why}: {}", answer.1);
}

#[tokio::test]
async fn an_assertion_becomes_a_token_once() {
    let trust = Trust::new().await;
    let assertion = trust.signed("1", &[]);
    let (status, tokens) = trust.show(&assertion, &[]).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    let claims = claims(&tokens["access_token"]);
    assert_eq!(claims["sub"], format!("carol|{}", trust.issuer), "nobody of ours is called so");
    assert_eq!((claims["client_id"].as_str(), claims["scope"].as_str()), (Some("robot"), Some("git:diff git:log")));
    assert_eq!(claims["aud"], "https://gate.example.com/servers/git/mcp");
    assert!(tokens.get("refresh_token").is_none(), "the provider is asked again");
    refused(&trust.show(&assertion, &[]).await, "invalid_grant", "used before");
    let again = trust.signed("1", &[("sub", "dave".into())]);
    refused(&trust.show(&again, &[]).await, "invalid_grant", "used before");
    let twin = trust.bench.asking_twin(Trust::settings(&trust.elsewhere, &trust.issuer), trust.elsewhere.fetcher(Duration::from_secs(10)));
    refused(&token_at(&twin, &form(&assertion)).await, "invalid_grant", "used before");
    assert_eq!(token_at(&twin, &form(&trust.signed("2", &[]))).await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_assertion_is_of_a_trusted_provider_for_this_server_this_client_and_now() {
    let trust = Trust::new().await;
    for kind in ["JWT", "at+jwt", "ID-JAG", ""] {
        let token = trust.signer.sign(kind, &trust.good("1"));
        refused(&trust.show(&token, &[]).await, "invalid_grant", "its `typ` is another");
    }
    for (changed, why) in [
        (("iss", json!("https://idp.evil.example")), "none that is trusted"),
        (("iss", json!(format!("{}/", trust.issuer))), "none that is trusted"),
        (("iss", json!(ISSUER)), "none that is trusted"),
        (("iss", Value::Null), "no `iss`"),
        (("aud", json!("https://other.example")), "its `aud`"),
        (("aud", json!([ISSUER, "https://other.example"])), "its `aud`"),
        (("aud", json!("https://gate.example.com/oauth/token")), "its `aud`"),
        (("aud", json!("https://gate.example.com/servers/git/mcp")), "its `aud`"),
        (("aud", Value::Null), "its `aud`"),
        (("client_id", json!("app")), "another client"),
        (("client_id", json!(["robot"])), "another client"),
        (("client_id", Value::Null), "another client"),
        (("exp", json!(NOW)), "it has ended"),
        (("exp", json!(NOW + 3_601)), "longer than an hour"),
        (("exp", Value::Null), "no `exp`"),
        (("iat", json!(NOW + 61)), "not good yet"),
        (("sub", json!("")), "no `sub`"),
        (("sub", Value::Null), "no `sub`"),
        (("jti", Value::Null), "no `jti`"),
        (("jti", json!("")), "no `jti`"),
    ] {
        refused(&trust.show(&trust.signed("1", &[changed]), &[]).await, "invalid_grant", why);
    }
    for other in [Signer::new("idp", 2), Signer::new("another", 1)] {
        refused(&trust.show(&other.sign(KIND, &trust.good("1")), &[]).await, "invalid_grant", "no key of its issuer");
    }
    let own = trust.bench.token(&[("grant_type", grants::CLIENT_CREDENTIALS), form("")[1], form("")[2]]).await.1;
    refused(&trust.show(own["access_token"].as_str().unwrap(), &[]).await, "invalid_grant", "none that is trusted");
    assert_eq!(trust.show(&trust.signed("1", &[]), &[]).await.0, StatusCode::OK, "nothing of that has used it up");
}

#[tokio::test]
async fn an_assertion_is_for_the_endpoint_that_it_names() {
    let trust = Trust::new().await;
    for elsewhere in [json!("https://evil.example/mcp"), json!("https://gate.example.com/servers/none/mcp"), json!(""), Value::Null] {
        let assertion = trust.signed("1", &[("resource", elsewhere)]);
        refused(&trust.show(&assertion, &[]).await, "invalid_target", "none of this gateway's endpoints");
    }
    let assertion = trust.signed("1", &[]);
    for other in ["https://gate.example.com/mcp", "https://gate.example.com/servers/files/mcp"] {
        refused(&trust.show(&assertion, &[("resource", other)]).await, "invalid_target", "another endpoint");
    }
    let same = [("resource", "HTTPS://GATE.example.com/servers/git/mcp/")];
    assert_eq!(trust.show(&assertion, &same).await.0, StatusCode::OK, "nothing of that has used it up");
}

#[tokio::test]
async fn scopes_are_what_the_provider_granted_the_client_asks_for_and_may_have() {
    let trust = Trust::new().await;
    let mut number = 0;
    for (granted, asked, client, outcome) in [
        ("git:log git:diff", "git:log files", "robot", Some("git:log")),
        ("git", "git:log", "robot", Some("git:log")),
        ("mcp", "files git:log", "robot", Some("files git:log")),
        ("git:log git:diff", "", "robot", Some("git:diff git:log")),
        ("", "", "robot", Some("git")), // the endpoint's own
        ("git", "", "narrow", None),
        ("git:log git:diff", "", "narrow", Some("git:log")),
        ("git:log", "git", "robot", None),
        ("git:log", "files", "robot", None),
        ("git:diff", "git:diff", "narrow", None),
        ("git:log git:diff", "git:log", "bounded", Some("git:log")), // whoever may have all of a server may have one tool of it
        ("git:read files", "git:read files:read", "bounded", Some("files:read git:read")),
        ("files", "", "bounded", None),
        ("git:\"log", "", "robot", None),
    ] {
        number += 1;
        let granted = if granted.is_empty() { Value::Null } else { granted.into() };
        let assertion = trust.signed(&number.to_string(), &[("scope", granted), ("client_id", client.into())]);
        let mut form = form(&assertion).to_vec();
        form[1].1 = client;
        form.extend(Some(("scope", asked)).filter(|(_, asked)| !asked.is_empty()));
        let answer = trust.bench.token(&form).await;
        match outcome {
            Some(scope) => assert_eq!((answer.0, answer.1["scope"].as_str()), (StatusCode::OK, Some(scope)), "{number} {}", answer.1),
            None => assert_eq!(answer.1["error"], "invalid_scope", "{number} {}", answer.1),
        }
    }
}
