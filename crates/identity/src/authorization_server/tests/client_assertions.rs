//! Clients that show who they are by signing (`private_key_jwt`, RFC 7523 §2.2), and who pretends to be one.

use serde_json::json;

use super::elsewhere::Elsewhere;
use super::signer::{Signer, with};
use super::*;

const NOW: i64 = 2_100_000_000;

fn with_machine(keys: String) -> Settings {
    let machine = ConfiguredClient {
        id: "machine".to_owned(),
        name: "The machine".to_owned(),
        keys: Some(keys),
        grants: vec![grants::CLIENT_CREDENTIALS.to_owned()],
        ..ConfiguredClient::default()
    };
    let mut settings = settings();
    settings.clients.push(machine);
    settings
}

fn good(jti: &str) -> Value {
    json!({ "iss": "machine", "sub": "machine", "aud": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": jti })
}

fn form(assertion: &str) -> [(&str, &str); 3] {
    [
        ("grant_type", grants::CLIENT_CREDENTIALS),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ]
}

/// Says that it was refused, and why.
fn refused(answer: &(StatusCode, Value), why: &str) {
    assert_eq!((answer.0, answer.1["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("invalid_client")), "{why}: {}", answer.1);
    assert!(answer.1["error_description"].as_str().unwrap().contains(why), "{why}: {}", answer.1);
}

#[tokio::test]
async fn an_assertion_is_good_once_at_whichever_gateway_it_is_shown() {
    let signer = Signer::new("k", 1);
    let settings = || with_machine(signer.published().to_string());
    let bench = Bench::with(settings()).await;
    let twin = bench.asking_twin(settings(), fetcher());
    let first = signer.sign("JWT", &good("1"));
    let (status, tokens) = bench.token(&form(&first)).await;
    assert_eq!((status, claims(&tokens["access_token"])["sub"].as_str()), (StatusCode::OK, Some("machine")), "{tokens}");
    refused(&bench.token(&form(&first)).await, "used before");
    refused(&token_at(&twin, &form(&first)).await, "used before");
    refused(&bench.token(&form(&signer.sign("JWT", &with(&good("1"), &[("exp", (NOW + 90).into())])))).await, "used before");
    let second = signer.sign("JWT", &good("2"));
    let both = form(&second);
    let (one, other) = tokio::join!(token_at(&bench.server, &both), token_at(&twin, &both));
    assert_eq!([&one, &other].iter().filter(|answer| answer.0 == StatusCode::OK).count(), 1, "{one:?} {other:?}");
    let longest = signer.sign("JWT", &with(&good("3"), &[("exp", (NOW + 3_600).into())]));
    assert_eq!(bench.token(&form(&longest)).await.0, StatusCode::OK);
    bench.wait(3_599);
    bench.server.0.tend().await.unwrap();
    refused(&bench.token(&form(&longest)).await, "used before");
    bench.wait(1);
    refused(&bench.token(&form(&longest)).await, "it has ended");
}

#[tokio::test]
async fn an_assertion_is_for_this_server_for_now_and_of_its_client() {
    let signer = Signer::new("k", 1);
    let bench = Bench::with(with_machine(signer.published().to_string())).await;
    let aud = |aud: Value| ("aud", aud);
    for (changed, why) in [
        (aud("https://other.example".into()), "its `aud`"),
        (aud(json!([ISSUER, "https://other.example"])), "its `aud`"),
        (aud(json!([])), "its `aud`"),
        (aud("https://gate.example.com/servers/git/mcp".into()), "its `aud`"),
        (aud(format!("{ISSUER}/").into()), "its `aud`"),
        (aud(Value::Null), "its `aud`"),
        (("exp", NOW.into()), "it has ended"),
        (("exp", Value::Null), "no `exp`"),
        (("exp", "tomorrow".into()), "no `exp`"),
        (("exp", (NOW + 3_601).into()), "longer than an hour"),
        (("exp", i64::MAX.into()), "longer than an hour"),
        (("iat", (NOW + 61).into()), "not good yet"),
        (("nbf", (NOW + 61).into()), "not good yet"),
        (("sub", "robot".into()), "its `sub`"),
        (("sub", Value::Null), "its `sub`"),
        (("iss", "robot".into()), "no keys here"),
        (("iss", "nobody".into()), "not known here"),
        (("iss", Value::Null), "no `iss`"),
        (("jti", Value::Null), "no `jti`"),
        (("jti", "".into()), "no `jti`"),
    ] {
        refused(&bench.token(&form(&signer.sign("JWT", &with(&good("1"), &[changed])))).await, why);
    }
    for (signer, why) in [(Signer::new("k", 2), "no key"), (Signer::new("other", 1), "no key")] {
        refused(&bench.token(&form(&signer.sign("JWT", &good("1")))).await, why);
    }
    let first = signer.sign("JWT", &good("1"));
    let unsigned = format!("{}.", first.rsplit_once('.').unwrap().0);
    for broken in [unsigned.as_str(), "a.b.c", "x"] {
        assert_eq!(bench.token(&form(broken)).await.0, StatusCode::UNAUTHORIZED, "{broken}");
    }
    refused(&bench.token(&[&form(&first)[..], &[("client_id", "robot")]].concat()).await, "`client_id`");
    let (_, twice) = bench.token(&[&form(&first)[..], &[("client_secret", "x")]].concat()).await;
    assert_eq!(twice["error"], "invalid_request", "one way at a time");
    let mut other_type = form(&first);
    other_type[1].1 = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    refused(&bench.token(&other_type).await, "`client_assertion_type`");

    assert_eq!(bench.token(&form(&first)).await.0, StatusCode::OK, "nothing of that has used it up");
    let at_the_endpoint = with(&good("2"), &[aud(json!([format!("{ISSUER}/oauth/token")]))]);
    assert_eq!(bench.token(&form(&signer.sign("JWT", &at_the_endpoint))).await.0, StatusCode::OK);
}

#[tokio::test]
async fn keys_at_an_address_are_fetched_once_and_again_for_one_that_is_new() {
    let elsewhere = Elsewhere::new().await;
    let (old, new) = (Signer::new("old", 1), Signer::new("new", 2));
    elsewhere.put("/keys", &old.published());
    let bench = elsewhere.bench(with_machine(elsewhere.address_at("localhost", "/keys"))).await;
    let ask = |signer: &Signer, jti: &str| {
        let now = bench.clock.load(Ordering::SeqCst);
        let assertion = signer.sign("JWT", &with(&good(jti), &[("iat", now.into()), ("exp", (now + 60).into())]));
        let server = bench.server.clone();
        async move { token_at(&server, &form(&assertion)).await }
    };
    for jti in ["1", "2", "3"] {
        assert_eq!(ask(&old, jti).await.0, StatusCode::OK);
    }
    assert_eq!(elsewhere.asked("/keys"), 1);

    elsewhere.put("/keys", &new.published());
    for jti in ["4", "5", "6"] {
        refused(&ask(&new, jti).await, "no key of the client");
    }
    assert_eq!(elsewhere.asked("/keys"), 1, "who makes up names of keys does not have us ask");
    bench.wait(30);
    assert_eq!(ask(&new, "7").await.0, StatusCode::OK);
    assert_eq!(elsewhere.asked("/keys"), 2);
    refused(&ask(&old, "8").await, "no key of the client");

    // A key that was withdrawn is good for no longer than keys are kept.
    elsewhere.put("/keys", &json!({ "keys": [] }));
    bench.wait(599);
    assert_eq!(ask(&new, "9").await.0, StatusCode::OK);
    bench.wait(1);
    refused(&ask(&new, "10").await, "no key of the client");
}

#[tokio::test]
async fn keys_that_are_known_serve_while_their_address_gives_none() {
    let elsewhere = Elsewhere::new().await;
    let signer = Signer::new("k", 1);
    let bench = elsewhere.bench(with_machine(elsewhere.address_at("localhost", "/keys"))).await;
    let jti = std::cell::Cell::new(0);
    let ask = || {
        jti.set(jti.get() + 1);
        let now = bench.clock.load(Ordering::SeqCst);
        let claims = with(&good(&jti.get().to_string()), &[("iat", now.into()), ("exp", (now + 60).into())]);
        let assertion = signer.sign("JWT", &claims);
        let server = bench.server.clone();
        async move { token_at(&server, &form(&assertion)).await }
    };
    let broken = [(200, b"<html>".to_vec()), (200, vec![b' '; 300 * 1024]), (500, br#"{"keys":[]}"#.to_vec())];
    for ((status, body), why) in broken.iter().zip(["no JSON Web Key Set", "larger than", "answers 500"]) {
        elsewhere.put_with("/keys", *status, "", body.clone());
        refused(&ask().await, why);
        let asked = elsewhere.asked("/keys");
        refused(&ask().await, "a moment ago");
        assert_eq!(elsewhere.asked("/keys"), asked, "what is broken is not asked at every request");
        bench.wait(5);
    }
    elsewhere.put("/keys", &signer.published());
    assert_eq!(ask().await.0, StatusCode::OK);
    for (status, body) in broken {
        elsewhere.put_with("/keys", status, "", body);
        bench.wait(600);
        let asked = elsewhere.asked("/keys");
        for _ in 0..3 {
            assert_eq!(ask().await.0, StatusCode::OK);
        }
        assert_eq!(elsewhere.asked("/keys"), asked + 1);
    }
    elsewhere.put("/keys", &json!({ "keys": [] }));
    bench.wait(5);
    refused(&ask().await, "no key of the client"); // it says so again, and that they are withdrawn

    elsewhere.put("/keys", &signer.published());
    bench.wait(600);
    assert_eq!(ask().await.0, StatusCode::OK);
    elsewhere.put_with("/keys", 404, "", Vec::new());
    bench.wait(3_599);
    assert_eq!(ask().await.0, StatusCode::OK);
    bench.wait(1);
    refused(&ask().await, "a moment ago");
    bench.wait(4);
    refused(&ask().await, "answers 404"); // they were taken away
}

#[tokio::test]
async fn strangers_take_no_turns_of_a_client_that_is_configured() {
    let elsewhere = Elsewhere::new().await;
    let (machine, stranger) = (Signer::new("k", 1), Signer::new("k", 2));
    let id = elsewhere.address("/client.json");
    let document = json!({
        "client_id": id, "client_name": "Mallory", "redirect_uris": ["https://client.example.com/back"],
        "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": elsewhere.address("/slow"),
    });
    elsewhere.put("/client.json", &document);
    elsewhere.put_endless("/slow");
    elsewhere.put("/keys", &machine.published());
    let bench = elsewhere.bench(with_machine(elsewhere.address_at("localhost", "/keys"))).await;
    let strangers = with(&good("1"), &[("iss", id.clone().into()), ("sub", id.into())]);
    let assertion = stranger.sign("JWT", &strangers);
    let ask = || {
        let (server, assertion) = (bench.server.clone(), assertion.clone());
        async move { token_at(&server, &form(&assertion)).await }
    };
    let waiting: Vec<_> = (0..8).map(|_| tokio::spawn(ask())).collect();
    ask_ahead(&elsewhere, 8).await;
    assert_eq!(ask().await.1["error"], "temporarily_unavailable");
    assert_eq!(bench.token(&form(&machine.sign("JWT", &good("2")))).await.0, StatusCode::OK);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Waits until so many have asked for keys that come slowly.
async fn ask_ahead(elsewhere: &Elsewhere, many: usize) {
    while elsewhere.asked("/slow") < many {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
