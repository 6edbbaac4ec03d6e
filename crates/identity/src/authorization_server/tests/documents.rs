//! Clients that log people in by their document (draft-ietf-oauth-client-id-metadata-document), and documents that are no good.

use serde_json::json;

use super::elsewhere::Elsewhere;
use super::signer::Signer;
use super::*;

const PATH: &str = "/client.json";
const BACK: &str = "https://client.example.com/back";

/// A client's own host, and a server that has never heard of it.
struct Met {
    elsewhere: Elsewhere,
    bench: Bench,
    id: String,
}

impl Met {
    async fn new() -> Self {
        let elsewhere = Elsewhere::new().await;
        let (bench, id) = (elsewhere.bench(settings()).await, elsewhere.address(PATH));
        let met = Self { elsewhere, bench, id };
        met.elsewhere.put(PATH, &met.document());
        met
    }

    fn document(&self) -> Value {
        json!({ "client_id": self.id, "client_name": "Travelling client", "redirect_uris": [BACK] })
    }

    fn address(&self, redirect: &str) -> String {
        authorize(&[("client_id", &self.id), ("redirect_uri", redirect)])
    }

    /// What alice's browser, which is logged in nowhere, shows first.
    async fn opened(&self, redirect: &str) -> Page {
        self.bench.browser().get(&self.address(redirect)).await
    }

    /// The browser went nowhere, and its person reads why.
    async fn refuses(&self, redirect: &str, why: &str) {
        let page = self.opened(redirect).await;
        assert_eq!((page.status, page.location.as_str()), (StatusCode::BAD_REQUEST, ""), "{}", page.html);
        assert!(page.html.contains(why) && !page.html.contains("evil.example"), "{why}: {}", page.html);
    }

    async fn code(&self) -> String {
        let mut browser = self.bench.browser();
        let consent = browser.log_in(&self.address(BACK)).await;
        parameter(&browser.decide(&consent, "allow").await.location, "code").unwrap()
    }

    async fn redeem(&self, code: &str, more: &[(&str, &str)]) -> (StatusCode, Value) {
        let mut form: BTreeMap<&str, &str> = redemption(code).into();
        form.extend([("client_id", self.id.as_str()), ("redirect_uri", BACK)]);
        form.extend(more.iter().copied());
        self.bench.token(&form.into_iter().collect::<Vec<_>>()).await
    }

    async fn refresh(&self, token: &Value) -> (StatusCode, Value) {
        self.bench.token(&[("grant_type", "refresh_token"), ("client_id", &self.id), ("refresh_token", token.as_str().unwrap())]).await
    }
}

#[tokio::test]
async fn a_client_nobody_knew_logs_somebody_in_and_is_asked_for_its_document_once() {
    let met = Met::new().await;
    let mut browser = met.bench.browser();
    let consent = browser.log_in(&met.address(BACK)).await;
    for told in ["Travelling client", "described by client.example.com", "alice", "https://gate.example.com/servers/git/mcp"] {
        assert!(consent.html.contains(told), "{told} in {}", consent.html);
    }
    let sent = browser.decide(&consent, "allow").await;
    assert!(sent.location.starts_with(BACK), "{}", sent.location);
    assert_eq!(parameter(&sent.location, "iss").as_deref(), Some(ISSUER));
    let (status, tokens) = met.redeem(&parameter(&sent.location, "code").unwrap(), &[]).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    let claims = claims(&tokens["access_token"]);
    assert_eq!((claims["client_id"].as_str(), claims["sub"].as_str()), (Some(met.id.as_str()), Some("alice")));
    assert_eq!(met.refresh(&tokens["refresh_token"]).await.0, StatusCode::OK);
    assert_eq!(met.elsewhere.asked(PATH), 1, "authorization, code and refresh");
    met.bench.wait(600);
    met.opened(BACK).await;
    assert_eq!(met.elsewhere.asked(PATH), 2, "for as long as its headers say");
}

#[tokio::test]
async fn a_document_that_changed_is_heard_when_the_old_one_has_ended() {
    let met = Met::new().await;
    let tokens = met.redeem(&met.code().await, &[]).await.1;
    let moved = "https://client.example.com/moved";
    let mut document = met.document();
    document["redirect_uris"] = json!([moved]);
    met.elsewhere.put(PATH, &document);
    met.bench.wait(599);
    assert_eq!(met.opened(BACK).await.status, StatusCode::SEE_OTHER);
    met.refuses(moved, "none of its own").await;
    met.bench.wait(1);
    met.refuses(BACK, "none of its own").await;
    assert_eq!(met.opened(moved).await.status, StatusCode::SEE_OTHER);

    // Gone, so is the client: nobody is logged in and nothing is renewed until it is back.
    met.elsewhere.put_with(PATH, 404, "", Vec::new());
    met.bench.wait(600);
    met.refuses(moved, "its server answers 404").await;
    let (status, refused) = met.refresh(&tokens["refresh_token"]).await;
    assert_eq!((status, refused["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("invalid_client")));
    met.elsewhere.put(PATH, &document);
    assert_eq!(met.refresh(&tokens["refresh_token"]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_document_that_is_another_clients_or_no_document_is_not_believed_and_not_remembered() {
    let met = Met::new().await;
    let with = |name: &str, value: Value| {
        let mut document = met.document();
        document[name] = value;
        document.to_string().into_bytes()
    };
    let padded = with("policy_uri", "x".repeat(16 * 1024).into());
    let documents = [
        (200, "", with("client_id", "https://client.example.com/another.json".into()), "not its address"),
        (200, "", with("client_id", format!("{}/", met.id).into()), "not its address"),
        (200, "", with("client_id", Value::Null), "not its address"),
        (200, "", with("redirect_uris", json!([])), "no `redirect_uris`"),
        (200, "", with("redirect_uris", json!(["javascript:alert(1)"])), "cannot be used"),
        (200, "", with("client_secret", "x".into()), "has no secret"),
        (200, "", padded, "more than 16384 bytes"),
        (200, "", vec![b' '; 300 * 1024], "larger than"),
        (200, "", b"<html>".to_vec(), "no client"),
        (302, "location: https://evil.example/client.json\r\n", Vec::new(), "answers 302"),
        (500, "", Vec::new(), "answers 500"),
    ];
    let count = documents.len();
    for (status, headers, body, why) in documents {
        met.elsewhere.put_with(PATH, status, headers, body);
        met.refuses(BACK, why).await;
    }
    assert_eq!(met.elsewhere.asked(PATH), count, "each was asked for anew");
    met.elsewhere.put(PATH, &met.document());
    assert_eq!(met.opened(BACK).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_browser_is_sent_to_addresses_of_the_document_alone() {
    let met = Met::new().await;
    for redirect in [
        "https://evil.example/back",
        "https://client.example.com/back/../evil",
        "https://client.example.com/back?x=1",
        "https://client.example.com.evil.example/back",
        "https://client.example.com@evil.example/back",
        "http://client.example.com/back",
    ] {
        met.refuses(redirect, "none of its own").await;
    }
    // Nobody has agreed to anything yet, and whoever wrote the document has no say in where the browser goes.
    let page = met.bench.browser().get(&authorize(&[("client_id", &met.id), ("redirect_uri", BACK), ("scope", "a\"b")])).await;
    assert_eq!((page.status, page.location.as_str()), (StatusCode::BAD_REQUEST, ""), "{}", page.html);
}

#[tokio::test]
async fn a_host_without_its_certificate_describes_nobody() {
    let met = Met::new().await;
    let id = met.elsewhere.address_at("other.example.com", PATH);
    met.elsewhere.put(PATH, &json!({ "client_id": id, "redirect_uris": [BACK] }));
    let page = met.bench.browser().get(&authorize(&[("client_id", &id), ("redirect_uri", BACK)])).await;
    assert_eq!((page.status, met.elsewhere.asked(PATH)), (StatusCode::BAD_REQUEST, 0), "{}", page.html);
    assert!(page.html.contains("cannot be had"), "{}", page.html);
}

#[tokio::test]
async fn a_client_of_a_document_proves_by_its_keys_who_it_is() {
    let met = Met::new().await;
    let signer = Signer::new("k", 1);
    let mut document = met.document();
    document["token_endpoint_auth_method"] = "private_key_jwt".into();
    document["jwks_uri"] = met.elsewhere.address("/keys").into();
    met.elsewhere.put(PATH, &document);
    met.elsewhere.put("/keys", &signer.published());
    let assertion = |signer: &Signer| {
        let claims = json!({ "iss": met.id, "sub": met.id, "aud": ISSUER, "iat": 2_100_000_000, "exp": 2_100_000_060, "jti": "1" });
        signer.sign("JWT", &claims)
    };
    let assertion_type = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let code = met.code().await;
    for proof in [None, Some(assertion(&Signer::new("k", 2)))] {
        let proof: Vec<(&str, &str)> = proof.iter().flat_map(|proof| [assertion_type, ("client_assertion", proof.as_str())]).collect();
        let (status, refused) = met.redeem(&code, &proof).await;
        assert_eq!((status, refused["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("invalid_client")), "{refused}");
    }
    let (status, tokens) = met.redeem(&code, &[assertion_type, ("client_assertion", &assertion(&signer))]).await;
    assert_eq!(status, StatusCode::OK, "who could not prove it has used nothing up: {tokens}");
    assert_eq!(met.elsewhere.asked("/keys"), 1);
}

#[tokio::test]
async fn a_document_that_does_not_end_is_given_up_and_holds_up_no_more_than_its_turn() {
    let met = Met::new().await;
    met.elsewhere.put_endless(PATH);
    let deadline = Duration::from_secs(1);
    let server = met.bench.asking_twin(settings(), met.elsewhere.fetcher(deadline));
    let asking = (0..9).map(|_| {
        let mut browser = Person { server: server.clone(), cookie: None };
        let address = met.address(BACK);
        tokio::spawn(async move { browser.get(&address).await })
    });
    let mut pages = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        pages.push(asked.await.unwrap());
    }
    let told = |what: &str| pages.iter().filter(|page| page.status == StatusCode::BAD_REQUEST && page.html.contains(what)).count();
    assert_eq!((told("document cannot be had"), told("documents are being fetched")), (8, 1));
    met.elsewhere.put(PATH, &met.document());
    assert_eq!(Person { server, cookie: None }.get(&met.address(BACK)).await.status, StatusCode::SEE_OTHER, "the turns are free again");
}
