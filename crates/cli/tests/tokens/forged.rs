//! Tokens that are not what they claim to be, most of them signed with the issuer's own key.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::provider::Provider;
use crate::{parameter, resource, trusting};

/// Signs as the issuer itself, with its Ed25519 key.
struct Forger {
    key: Ed25519KeyPair,
    id: String,
    issuer: String,
}

impl Forger {
    fn of(provider: &Provider) -> Self {
        let keys = provider.keys();
        let jwk = keys["keys"].as_array().unwrap().iter().find(|key| key["alg"] == "EdDSA").unwrap();
        let bytes = |member: &str| URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap()).unwrap();
        let key = Ed25519KeyPair::from_seed_and_public_key(&bytes("d"), &bytes("x")).unwrap();
        Self { key, id: jwk["kid"].as_str().unwrap().to_owned(), issuer: provider.issuer() }
    }

    fn claims(&self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({
            "iss": self.issuer, "sub": "alice", "client_id": "agent", "aud": resource("/mcp"), "scope": "mcp", "iat": now, "exp": now + 300,
        })
    }

    fn header(&self) -> Value {
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": self.id })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// `value` with one member another; `null` takes it out.
fn with(mut value: Value, member: &str, other: Value) -> Value {
    if other.is_null() {
        value.as_object_mut().unwrap().remove(member);
    } else {
        value[member] = other;
    }
    value
}

/// What the gateway says of a token at `/mcp`.
fn told(port: u16, token: &str) -> (u16, String) {
    let answer = Caller::new(port, token).ask("/mcp", "tools/list", json!({}));
    let description = answer.header("www-authenticate").and_then(|challenge| parameter(challenge, "error_description"));
    (answer.status, description.unwrap_or_default().to_owned())
}

#[test]
fn claims_have_to_be_so() {
    let (provider, project) = trusting();
    let (gateway, forger) = (project.up(), Forger::of(&provider));
    let now = forger.claims()["iat"].as_u64().unwrap();
    let refused = |member: &str, other: Value| told(gateway.port, &forger.sign(&forger.header(), &with(forger.claims(), member, other)));
    let issuer = provider.issuer();
    let claims = "a claim of the token is missing or cannot be so";
    let (expired, other) = ("the token has expired", "the token is for another resource");
    for (member, value, said) in [
        ("aud", json!(resource("/servers/files/mcp")), other),
        ("aud", json!("agent"), other),
        ("aud", json!("https://mcp.example.com.evil.example/mcp"), other),
        ("aud", json!("https://mcp.example.com/mcp/x"), other),
        ("aud", json!("https://mcp.example.com/MCP"), other),
        ("aud", json!("https://mcp.example.com/mcp?x"), other),
        ("aud", json!("http://mcp.example.com/mcp"), other),
        ("aud", json!([]), other),
        ("aud", Value::Null, claims),
        ("iss", json!(format!("{issuer}/")), "the token's issuer is not trusted here"),
        ("iss", json!("https://login.example.com"), "the token's issuer is not trusted here"),
        ("exp", json!(now - 60), expired),
        ("exp", json!(-1), claims),
        ("exp", json!("later"), claims),
        ("exp", Value::Null, claims),
        ("nbf", json!(now + 120), "the token is not valid yet"),
        ("nonce", json!("n"), "the token is no access token"),
        ("cnf", json!({ "jkt": "x" }), "the token is no access token"),
        ("scope", json!("a\"b"), claims),
        ("groups", json!([1]), claims),
        ("groups", json!((0..300).map(|number| number.to_string()).collect::<Vec<_>>()), claims),
        ("sub", json!("x".repeat(1000)), claims),
    ] {
        assert_eq!(refused(member, value.clone()), (401, said.to_owned()), "{member} = {value}");
    }
    for (member, value) in [
        ("aud", json!([resource("/servers/files/mcp"), resource("/mcp")])),
        ("aud", json!("HTTPS://MCP.Example.com:443/mcp/")),
        ("exp", json!(now - 10)),
        ("exp", json!(now as f64 + 60.5)),
        ("nbf", json!(now + 10)),
        ("scope", json!(["mcp"])),
    ] {
        assert_eq!(refused(member, value.clone()).0, 200, "{member} = {value}");
    }
}

#[test]
fn the_key_says_how_a_token_is_signed() {
    let (provider, project) = trusting();
    let (gateway, forger) = (project.up(), Forger::of(&provider));
    let refused = |token: &str| told(gateway.port, token);
    let signed_otherwise = (401, "the token is not signed as its issuer's tokens are".to_owned());
    // The public key taken for a shared secret, and no signature at all.
    let keys = provider.keys();
    let public = keys["keys"][0]["n"].as_str().unwrap().as_bytes();
    for alg in ["HS256", "HS512"] {
        let header = json!({ "alg": alg, "typ": "at+jwt", "kid": keys["keys"][0]["kid"] });
        let signed = unsigned(&header, &forger.claims());
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public), signed.as_bytes());
        assert_eq!(refused(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))), signed_otherwise);
    }
    for alg in ["none", "None", "nOnE", ""] {
        let signed = unsigned(&with(forger.header(), "alg", json!(alg)), &forger.claims());
        assert_eq!(refused(&format!("{signed}.")), signed_otherwise, "{alg}");
    }
    // Another algorithm than the key's own: no key of that name is for it.
    let other = forger.sign(&with(forger.header(), "alg", json!("RS256")), &forger.claims());
    assert_eq!(refused(&other).1, "the token is signed with a key that its issuer does not have");
    // An extension that has to be understood.
    assert_eq!(refused(&forger.sign(&with(forger.header(), "crit", json!(["exp"])), &forger.claims())), signed_otherwise);
    // A key that the token brings itself.
    let own = with(with(forger.header(), "kid", json!("mine")), "jwk", json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" }));
    assert_eq!(refused(&forger.sign(&own, &forger.claims())).1, "the token is signed with a key that its issuer does not have");
}

#[test]
fn what_is_no_token_is_refused() {
    let (provider, project) = trusting();
    let (gateway, forger) = (project.up(), Forger::of(&provider));
    let good = forger.sign(&forger.header(), &forger.claims());
    assert_eq!(told(gateway.port, &good), (200, String::new()));
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (_, signature) = forger
        .sign(&forger.header(), &with(forger.claims(), "sub", json!("bob")))
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(told(gateway.port, &format!("{signed}.{signature}")).1, "the token's signature is false");
    let id_token = forger.sign(&with(forger.header(), "typ", json!("JWT")), &forger.claims());
    assert_eq!(told(gateway.port, &id_token).1, "the token is no access token");
    let huge = forger.sign(&forger.header(), &with(forger.claims(), "note", json!("x".repeat(20_000))));
    assert_eq!(told(gateway.port, &huge), (401, "the bearer token is larger than 16 KiB".into()));
    for token in ["x".repeat(40_000), format!("{signed}.{}", "A".repeat(40_000))] {
        assert!((400..500).contains(&told(gateway.port, &token).0), "a head of that size is refused as such");
    }
    assert_eq!(told(gateway.port, "two words").0, 400);
    for token in ["..", "a.b.c", ".", "e30.e30.", "sp_nonsense", "%00", &"A.".repeat(5_000)] {
        assert_eq!(told(gateway.port, token).0, 401, "{token}");
    }
}

#[test]
fn an_audience_that_is_no_endpoint_is_told_to_the_operator_alone() {
    for (audience, hint) in
        [("agent", "that is the client that it was issued to"), ("api://elsewhere", "if the issuer calls an endpoint so")]
    {
        let (provider, project) = trusting();
        let (gateway, forger) = (project.up(), Forger::of(&provider));
        let token = forger.sign(&forger.header(), &with(forger.claims(), "aud", json!([audience])));
        let said = (401, "the token is for another resource".to_owned());
        assert_eq!([told(gateway.port, &token), told(gateway.port, &token)], [said.clone(), said]);
        let log = gateway.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("a token is for no endpoint of this gateway")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        for told in [audience, hint, "audiences = { ", &provider.issuer()] {
            assert!(lines[0].contains(told), "{told}: {log}");
        }
        assert!(!log.contains(&token), "{log}");
    }
}
