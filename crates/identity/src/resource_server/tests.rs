#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use sallyport_policy::Scopes;

use super::key::{Algorithm, Jwk, VerifyingKey};
use super::key_source::KeySet;
use super::resource::{PublicUrl, Resources, endpoint_of, split_tenant};
use super::*;

fn public() -> PublicUrl {
    PublicUrl::parse("https://mcp.example.com").unwrap()
}

fn claims(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_public_address_is_one_that_callers_can_trust() {
    for (text, canonical) in [
        ("https://MCP.example.com/", "https://mcp.example.com"),
        ("https://a:443", "https://a"),
        ("http://127.0.0.1:7420", "http://127.0.0.1:7420"),
    ] {
        assert_eq!(PublicUrl::parse(text).unwrap().to_string(), canonical);
    }
    for text in ["mcp.example.com", "http://mcp.example.com", "https://a/b", "https://a?b", "https://a#b", "https://u@a", "ftp://a", ""] {
        assert!(PublicUrl::parse(text).is_err(), "{text}");
    }
}

#[test]
fn only_the_address_of_an_endpoint_names_it() {
    let named = |text: &str| public().endpoint(text).map(|endpoint| endpoint.to_string());
    for text in ["https://mcp.example.com/servers/files/mcp", "HTTPS://MCP.EXAMPLE.COM:443/servers/files/mcp/"] {
        assert_eq!(named(text).as_deref(), Some("/servers/files/mcp"), "{text}");
    }
    for text in [
        "https://mcp.example.com/servers/files/sse",
        "https://mcp.example.com/servers/a%2fb/mcp",
        "https://mcp.example.com/servers//mcp",
        "https://mcp.example.com:444/mcp",
        "https://mcp.example.com/mcp//",
        "https://mcp.example.com/",
        "/mcp",
    ] {
        assert_eq!(named(text), None, "{text}");
    }
    assert_eq!(endpoint_of("/toolsets/x/mcp").unwrap().to_string(), "/toolsets/x/mcp");
}

#[test]
fn a_tenants_endpoints_are_its_own() {
    let acme = public().of_tenant("acme");
    assert_eq!(acme.resource(&Endpoint::All), "https://mcp.example.com/t/acme/mcp");
    assert_eq!(acme.metadata_url(&Endpoint::All), "https://mcp.example.com/.well-known/oauth-protected-resource/t/acme/mcp");
    let named = |text: &str| acme.endpoint(text).map(|endpoint| endpoint.to_string());
    assert_eq!(named("https://mcp.example.com/t/acme/servers/files/mcp/").as_deref(), Some("/servers/files/mcp"));
    for text in [
        "https://mcp.example.com/servers/files/mcp",
        "https://mcp.example.com/t/acme2/mcp",
        "https://mcp.example.com/t/ACME/mcp",
        "https://mcp.example.com/t/other/mcp",
        "https://mcp.example.com/t/acme/t/acme/mcp",
    ] {
        assert_eq!(named(text), None, "{text}");
    }
    assert_eq!(public().endpoint("https://mcp.example.com/t/acme/mcp"), None, "nor are they the gateway's");
    assert_eq!(split_tenant("/t/acme/servers/files/mcp"), Some(("acme", "/servers/files/mcp")));
    for path in ["/t/acme", "/t//mcp", "/t/a%20b/mcp", "/mcp", "/servers/t/mcp"] {
        assert_eq!(split_tenant(path), None, "{path}");
    }
}

#[test]
fn a_tenant_takes_tokens_of_its_own_alone() {
    let base = r#""iss":"https://i","sub":"a","exp":1100,"aud":"https://mcp.example.com/t/acme/mcp""#;
    let read = |terms: &Terms, rest: &str| {
        let text = format!("{{{base}{rest}}}");
        let accepted = terms.accept(&claims(&text), &public().of_tenant("acme"), Duration::from_secs(1000));
        accepted.map(|accepted| accepted.principal.full_id().to_string())
    };
    let own = Terms { tenant: Some("acme".into()), ..Terms::new("https://i") };
    assert_eq!(read(&own, "").as_deref(), Ok("acme/user:a@https://i"), "whoever trusts the issuer says whose its tokens are");
    let shared = Terms { tenant_claim: Some("org".into()), ..own.clone() };
    assert_eq!(read(&shared, r#","org":"acme""#).as_deref(), Ok("acme/user:a@https://i"));
    assert_eq!(read(&shared, r#","org":"other""#), Err(TokenFault::OtherResource));
    assert_eq!(read(&shared, ""), Err(TokenFault::Claims));
    let nobodys = Terms { tenant: Some("".into()), ..shared };
    assert_eq!(read(&nobodys, r#","org":"acme""#), Err(TokenFault::OtherResource), "where there are tenants, each keeps to its own");
}

#[test]
fn a_set_gives_a_key_only_where_there_is_no_doubt() {
    let key = |id: &str, byte: u8| VerifyingKey::ed25519(id, [byte; 32]);
    let set = KeySet::new(vec![key("a", 1), key("b", 2), key("c", 3), key("c", 4)]);
    assert_eq!(set.find(Some("b"), Algorithm::EdDsa).unwrap().id(), Some("b"));
    assert!(set.find(Some("b"), Algorithm::Es256).is_none(), "the key says what it is for");
    assert!(set.find(None, Algorithm::EdDsa).is_none());
    assert!(set.find(Some("c"), Algorithm::EdDsa).is_none());
    assert!(KeySet::new(vec![key("a", 1)]).find(None, Algorithm::EdDsa).is_some());
}

#[test]
fn keys_that_are_for_something_else_are_none() {
    let read = |jwk: Value| serde_json::from_value::<Jwk>(jwk).ok().and_then(|jwk| VerifyingKey::from_jwk(&jwk));
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"; // RFC 8037 A.2
    let good = serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k", "use": "sig", "alg": "EdDSA" });
    assert_eq!(read(good.clone()).unwrap().algorithm(), Algorithm::EdDsa);
    for (member, value) in [("use", "enc"), ("alg", "ES256"), ("alg", "HS256"), ("kty", "oct"), ("crv", "X25519"), ("x", "AA"), ("x", "%")]
    {
        let mut other = good.clone();
        other[member] = value.into();
        assert!(read(other).is_none(), "{member} = {value}");
    }
    let secret = serde_json::json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "k" });
    assert!(read(secret).is_none());
}

#[test]
fn signatures_are_verified_with_the_keys_own_algorithm() {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref();
    let part = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
    let jwk = serde_json::json!({ "kty": "EC", "crv": "P-256", "x": part(&point[1..33]), "y": part(&point[33..]) });
    let key = VerifyingKey::from_jwk(&serde_json::from_value(jwk).unwrap()).unwrap();
    let signature = pair.sign(&random, b"message").unwrap();
    assert!(key.verifies(b"message", signature.as_ref()) && !key.verifies(b"massage", signature.as_ref()));
    let other = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap().sign(b"message");
    assert!(!key.verifies(b"message", other.as_ref()) && !key.verifies(b"message", b""));
}

#[test]
fn claims_become_a_principal() {
    let terms = Terms { tenant_claim: Some("org".into()), groups: None, ..Terms::new("https://i") };
    let base = r#""iss":"https://i","aud":"https://mcp.example.com/mcp","exp":1100"#;
    let accepted = |rest: &str| terms.accept(&claims(&format!("{{{base},{rest}}}")), &public(), Duration::from_secs(1000)).unwrap();
    let person = accepted(r#""sub":"alice","client_id":"app","scope":"b a","groups":["two","one"],"org":"t""#);
    assert_eq!(person.principal.id(), "user:alice@https://i");
    assert_eq!((person.principal.tenant(), person.principal.scopes().unwrap().to_string()), ("t", "a b".to_owned()));
    assert_eq!(person.principal.groups().iter().map(|group| &**group).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((person.left, person.resources), (Duration::from_secs(130), Resources::These(vec![Endpoint::All])));
    assert_eq!(accepted(r#""sub":"app","client_id":"app","org":"t""#).principal.id(), "client:app@https://i");
    for named in [r#""azp":"app""#, r#""appid":"app""#, r#""client_id":"app","azp":"b","appid":"c""#] {
        assert_eq!(accepted(&format!(r#"{named},"org":"t""#)).principal.id(), "client:app@https://i");
        assert_eq!(accepted(&format!(r#"{named},"sub":"app","org":"t""#)).principal.id(), "client:app@https://i");
        assert_eq!(accepted(&format!(r#"{named},"sub":"object","org":"t""#)).principal.id(), "user:object@https://i");
        assert_eq!(accepted(&format!(r#"{named},"sub":"object","idtyp":"app","org":"t""#)).principal.id(), "client:app@https://i");
        assert_eq!(accepted(&format!(r#"{named},"sub":"object","idtyp":"user","org":"t""#)).principal.id(), "user:object@https://i");
    }
    assert_eq!(accepted(r#""sub":"object","idtyp":"app","org":"t""#).principal.id(), "user:object@https://i", "no client is named");
    let refused = |rest: &str| terms.accept(&claims(&format!("{{{base},{rest}}}")), &public(), Duration::from_secs(1000)).unwrap_err();
    assert_eq!(refused(r#""sub":"alice""#), TokenFault::Claims, "without its tenant");
    assert_eq!(refused(r#""org":"t""#), TokenFault::Claims, "without a name");
    assert_eq!(refused(r#""sub":"a","org":"t","_claim_names":{"groups":"src1"}"#), TokenFault::Claims, "its groups were left out");
}

#[test]
fn what_two_issuers_call_the_same_is_not_the_same_group() {
    let groups = |terms: &Terms| {
        let text = format!(
            r#"{{"iss":"{}","sub":"a","exp":1100,"aud":"https://mcp.example.com/mcp","groups":["admin","oncall","eng"]}}"#,
            terms.issuer
        );
        let accepted = terms.accept(&claims(&text), &public(), Duration::from_secs(1000)).unwrap();
        accepted.principal.groups().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (own, partner) = (Terms::new("https://own"), Terms::new("https://partner"));
    assert!(groups(&partner).is_empty(), "its names mean nothing here");
    let ours = [("oncall", "oncall"), ("eng", "staff"), ("ops", "ops")].map(|(theirs, ours)| (theirs.to_owned(), ours.to_owned()));
    assert_eq!(groups(&Terms { groups: Some(ours.into()), ..own }), ["oncall", "staff"]);
}

#[test]
fn a_foreign_audience_is_for_the_endpoint_that_it_was_given() {
    let mut terms = Terms::new("https://i");
    terms.audiences.insert("api://sallyport".into(), Endpoint::Server("files".into()));
    let read = |audience: &str| {
        let text = format!(r#"{{"iss":"https://i","sub":"a","exp":2000,"aud":"{audience}"}}"#);
        terms.accept(&claims(&text), &public(), Duration::from_secs(1000)).map(|accepted| accepted.resources)
    };
    assert_eq!(read("api://sallyport").unwrap(), Resources::These(vec![Endpoint::Server("files".into())]));
    assert_eq!(read("api://SALLYPORT").unwrap_err(), TokenFault::OtherResource);
}

#[test]
fn what_was_verified_is_kept_in_bounds_and_forgotten_when_told() {
    let cache = Cache::default();
    let verified = Verified::new(Principal::key("a"), Resources::All, Duration::from_secs(60));
    for number in 0..25_000_u32 {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        cache.insert(digest, Arc::clone(&verified));
    }
    assert!(Arc::strong_count(&verified) <= 10_001);
    cache.insert([9; 32], Arc::clone(&verified));
    assert!(cache.get(&[9; 32]).is_some());
    cache.remove(&[9; 32]);
    assert!(cache.get(&[9; 32]).is_none());
    cache.insert([8; 32], Verified::new(Principal::key("a"), Resources::All, Duration::ZERO));
    assert!(cache.get(&[8; 32]).is_none(), "its time is over");
}

#[test]
fn who_is_looked_up_anew_and_is_the_same_stays_the_same_principal() {
    let cache = Cache::default();
    let looked_up = |digest: u8, principal: Principal| cache.insert([digest; 32], Verified::new(principal, Resources::All, Duration::ZERO));
    let is_one = |one: &Verified, other: &Verified| std::ptr::eq(one.principal.id(), other.principal.id());
    let dev = || Principal::key("ci").in_groups(vec!["dev".into()]);
    let first = looked_up(1, dev());
    let again = looked_up(1, dev());
    assert!(is_one(&first, &again) && is_one(&again, &looked_up(1, dev())));
    assert!(!is_one(&first, &looked_up(2, dev())), "another key is another's to take back");
    for other in [Principal::key("ci"), dev().limited_to(Scopes::parse("s").unwrap()), dev().of_tenant("acme"), Principal::key("cd")] {
        let now = looked_up(1, other.clone());
        assert!(!is_one(&first, &now) && now.principal.may_the_same(&other), "{other:?}");
    }
}

#[test]
fn a_challenge_cannot_be_broken_out_of() {
    let server = ResourceServer::new(
        Some(public()),
        vec![TrustedIssuer { terms: Terms::new("https://i"), keys: Arc::new(NoKeys), introspection: None }],
        None,
    );
    assert_eq!(
        server.challenge(None, &Endpoint::Server("a\", error=\"x\r\n".into()), None),
        "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/servers/a, error=x/mcp\", scope=\"a, error=x\""
    );
}

#[derive(Debug)]
struct NoKeys;

impl KeySource for NoKeys {
    fn find(&self, _: Option<&str>, _: Algorithm) -> Option<Arc<VerifyingKey>> {
        None
    }

    fn refresh(&self) -> sallyport_protocol::BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn a_token_that_is_bound_to_a_key_is_not_for_whoever_holds_it() {
    let read = |rest: &str| {
        let text = format!(r#"{{"iss":"https://i","sub":"a","exp":1100,"aud":"https://mcp.example.com/mcp"{rest}}}"#);
        Terms::new("https://i").accept(&claims(&text), &public(), Duration::from_secs(1000)).map(drop)
    };
    for bound in [r#""jkt":"x""#, r#""x5t#S256":"x""#] {
        assert_eq!(read(&format!(r#","cnf":{{{bound}}}"#)), Err(TokenFault::Type), "{bound}");
    }
    assert_eq!(read(r#","cnf":null"#), Ok(()));
    assert_eq!(read(""), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_hangs_holds_up_those_who_wait_for_one_look_alone() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().unwrap().with_root_certificates(rustls::RootCertStore::empty());
    let patience = Duration::from_millis(2_200); // longer than the pause between two looks
    let fetcher = crate::fetch::Fetcher::resolving(&tls.with_no_client_auth(), crate::fetch::PublicOnly, patience).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = remote_issuer::RemoteIssuer::new(format!("http://{}", listener.local_addr().unwrap()), fetcher);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut held = Vec::new(); // they are let in, and hear nothing
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let waiting: Vec<_> = (0..3).map(|_| issuer.clone()).map(|issuer| tokio::spawn(async move { issuer.refresh().await })).collect();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2, "one look at the two places that there are");
}
