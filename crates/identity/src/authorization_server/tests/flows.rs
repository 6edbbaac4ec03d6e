//! What clients and people do that mean well.

use super::*;

#[tokio::test]
async fn a_person_logs_in_agrees_and_the_client_gets_a_token_for_that_endpoint() {
    let bench = Bench::new().await;
    let mut browser = bench.browser();
    let consent = browser.log_in(&authorize(&[("scope", "git:log offline_access")])).await;
    for told in ["The app", "app.example.com", "https://gate.example.com/servers/git/mcp", "the tool log of the server git", "alice"] {
        assert!(consent.html.contains(told), "{told} in {}", consent.html);
    }
    assert!(!consent.html.contains("<script") && !consent.html.contains("style="));
    let sent = browser.decide(&consent, "allow").await;
    assert!(sent.location.starts_with("https://app.example.com/callback?code="));
    assert_eq!(parameter(&sent.location, "state").as_deref(), Some("the state"));
    assert_eq!(parameter(&sent.location, "iss").as_deref(), Some(ISSUER));
    let (status, tokens) = bench.redeem(&parameter(&sent.location, "code").unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    let claims = claims(&tokens["access_token"]);
    assert_eq!((&claims["aud"], &claims["sub"]), (&"https://gate.example.com/servers/git/mcp".into(), &"alice".into()));
    assert_eq!((claims["scope"].as_str(), claims["groups"][0].as_str()), (Some("git:log"), Some("staff")));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
    assert!(bench.server.0.own_claims(tokens["access_token"].as_str().unwrap(), 2_100_000_000).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_asked_for_in_another_form_is_the_same_endpoint_and_nothing_is_the_whole_gateway() {
    let bench = Bench::new().await;
    for (resource, audience, scope, life) in [
        ("HTTPS://GATE.example.com/servers/git/mcp/", "https://gate.example.com/servers/git/mcp", "git", 900),
        ("https://gate.example.com:443/servers/files/mcp", "https://gate.example.com/servers/files/mcp", "files", 60),
        ("", "https://gate.example.com/mcp", "mcp", 900),
    ] {
        let (_, code) = bench.code(&[("resource", resource)]).await;
        let (_, tokens) = bench.redeem(&code).await;
        let claims = claims(&tokens["access_token"]);
        assert_eq!((claims["aud"].as_str(), claims["scope"].as_str()), (Some(audience), Some(scope)));
        assert_eq!(tokens["expires_in"].as_i64(), Some(life));
    }
}

#[tokio::test]
async fn who_agreed_before_is_not_asked_again_unless_there_is_more_or_it_is_on_their_machine() {
    let bench = Bench::new().await;
    let (mut browser, _) = bench.code(&[("scope", "git:log git:diff")]).await;
    let again = browser.arrive(&authorize(&[("scope", "git:log")])).await;
    let sent = browser.get(&again.location).await;
    assert!(sent.location.starts_with(CALLBACK), "{}", sent.html);
    for more in [
        &[("scope", "git:log git:push")][..],
        &[("resource", "https://gate.example.com/mcp")],
        &[("client_id", "other")],
        &[("prompt", "consent")],
    ] {
        let again = browser.arrive(&authorize(&[&[("scope", "git:log")], more].concat())).await;
        assert!(browser.get(&again.location).await.html.contains("Allow"), "{more:?}");
    }
    let id = bench.register("{\"redirect_uris\":[\"http://127.0.0.1/cb\"]}").await;
    for _ in 0..2 {
        let local = browser.arrive(&authorize(&[("client_id", &id), ("redirect_uri", "http://127.0.0.1:4711/cb")])).await;
        let page = browser.get(&local.location).await;
        assert!(page.html.contains("on the machine where this browser runs") && page.html.contains("127.0.0.1:4711"), "{}", page.html);
        assert!(browser.decide(&page, "allow").await.location.starts_with("http://127.0.0.1:4711/cb?code="));
    }
}

#[tokio::test]
async fn who_refuses_sends_the_client_away_with_the_issuer() {
    let bench = Bench::new().await;
    let mut browser = bench.browser();
    let consent = browser.log_in(&authorize(&[])).await;
    let sent = browser.decide(&consent, "deny").await;
    let told = |name| parameter(&sent.location, name);
    assert_eq!((told("error").as_deref(), told("iss").as_deref(), told("code")), (Some("access_denied"), Some(ISSUER), None));
}

#[tokio::test]
async fn a_refresh_token_is_used_once_and_an_answer_that_was_lost_is_given_again() {
    let bench = Bench::new().await;
    let (_, code) = bench.code(&[]).await;
    let (_, first) = bench.redeem(&code).await;
    bench.wait(1_000);
    let (status, second) = bench.refresh(&first["refresh_token"]).await;
    assert_eq!(status, StatusCode::OK, "{second}");
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    bench.wait(29);
    let (status, again) = token_at(
        &bench.twin(),
        &[("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", first["refresh_token"].as_str().unwrap())],
    )
    .await;
    assert_eq!((status, &again["refresh_token"]), (StatusCode::OK, &second["refresh_token"]), "the same, so that no second branch lives");
    assert_eq!(bench.refresh(&second["refresh_token"]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_came_first_and_is_served_second_is_no_replay() {
    let bench = Bench::new().await;
    let (_, code) = bench.code(&[]).await;
    let (_, first) = bench.redeem(&code).await;
    bench.wait(1_000);
    let (_, second) = bench.refresh(&first["refresh_token"]).await;
    // It came in the second before, and waited until the other was done.
    let (clock, has_come) = (Arc::clone(&bench.clock), std::sync::atomic::AtomicBool::new(false));
    let clock = move || clock.load(Ordering::SeqCst) - i64::from(!has_come.swap(true, Ordering::SeqCst));
    let slow = AuthorizationServer::with_clock(settings(), bench.store.clone(), fetcher(), Arc::new(clock)).unwrap();
    let form = [("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", first["refresh_token"].as_str().unwrap())];
    let (status, again) = token_at(&slow, &form).await;
    assert_eq!((status, &again["refresh_token"]), (StatusCode::OK, &second["refresh_token"]));
}

#[tokio::test]
async fn refreshing_may_narrow_and_never_widen() {
    let bench = Bench::new().await;
    let (_, code) = bench.code(&[("scope", "git")]).await;
    let (_, first) = bench.redeem(&code).await;
    let with = |scope: &'static str, token: &Value| {
        let token = token["refresh_token"].as_str().unwrap().to_owned();
        let server = bench.server.clone();
        async move {
            token_at(&server, &[("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", &token), ("scope", scope)]).await
        }
    };
    let (_, second) = with("git:log", &first).await;
    assert_eq!(claims(&second["access_token"])["scope"], "git:log");
    for idle in ["mcp:*", "mcp"] {
        assert_eq!(with(idle, &second).await.1["error"], "invalid_scope");
    }
    let (status, refused) = with("git files", &second).await;
    assert_eq!((status, refused["error"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_scope")));
}

#[tokio::test]
async fn a_client_gets_a_token_in_its_own_name_and_exchanges_one_in_anothers() {
    let bench = Bench::new().await;
    let robot = [("client_id", "robot"), ("client_secret", "robot's secret")];
    let (status, own) = bench.token(&[&robot[..], &[("grant_type", "client_credentials"), ("scope", "git:log")]].concat()).await;
    assert_eq!((status, claims(&own["access_token"])["sub"].as_str()), (StatusCode::OK, Some("robot")), "{own}");
    assert!(own.get("refresh_token").is_none());
    let (_, code) = bench.code(&[("scope", "git")]).await;
    let (_, alices) = bench.redeem(&code).await;
    bench.wait(600);
    let exchange = |scope: &'static str| {
        [
            &robot[..],
            &[
                ("grant_type", grants::TOKEN_EXCHANGE),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("subject_token", alices["access_token"].as_str().unwrap()),
                ("resource", "https://gate.example.com/mcp"),
                ("scope", scope),
            ],
        ]
        .concat()
    };
    let (status, exchanged) = bench.token(&exchange("git:log")).await;
    assert_eq!(status, StatusCode::OK, "{exchanged}");
    let claims = claims(&exchanged["access_token"]);
    assert_eq!(
        (claims["sub"].as_str(), claims["act"]["sub"].as_str(), claims["scope"].as_str()),
        (Some("alice"), Some("robot"), Some("git:log"))
    );
    assert_eq!(
        (claims["aud"].as_str(), exchanged["expires_in"].as_i64()),
        (Some("https://gate.example.com/mcp"), Some(300)),
        "no longer than the first"
    );
    assert_eq!(bench.token(&exchange("files")).await.1["error"], "invalid_scope");
    let revoked = [("client_id", "app"), ("token", alices["refresh_token"].as_str().unwrap())];
    assert_eq!(post_at(&bench.server, "/oauth/revoke", &revoked).await.0, StatusCode::OK);
    assert_eq!(bench.token(&exchange("git:log")).await.0, StatusCode::BAD_REQUEST, "what it came of was revoked");
    assert_eq!(bench.refresh(&alices["refresh_token"]).await.1["error"], "invalid_grant");
}

#[tokio::test]
async fn a_program_without_a_browser_gets_its_token_once_its_code_was_typed() {
    let bench = Bench::new().await;
    let (status, begun) = post_at(
        &bench.server,
        "/oauth/device_authorization",
        &[("client_id", "app"), ("resource", "https://gate.example.com/servers/git/mcp")],
    )
    .await;
    assert_eq!(status, StatusCode::OK, "{begun}");
    let poll = [("grant_type", clients::metadata::DEVICE), ("client_id", "app"), ("device_code", begun["device_code"].as_str().unwrap())];
    assert_eq!(bench.token(&poll).await.1["error"], "authorization_pending");
    assert_eq!(bench.token(&poll).await.1["error"], "slow_down");
    let mut browser = bench.browser();
    let typing = browser.log_in(begun["verification_uri"].as_str().unwrap()).await;
    let typed = begun["user_code"].as_str().unwrap().to_lowercase();
    let wrong = browser.post("/oauth/device", &[("form_token", &typing.field("form_token")), ("user_code", "BBBB-BBBB")]).await;
    assert!(wrong.html.contains("No program waits"), "{}", wrong.html);
    let page = browser.post("/oauth/device", &[("form_token", &typing.field("form_token")), ("user_code", &typed)]).await;
    assert!(page.html.contains("The app") && page.html.contains(begun["user_code"].as_str().unwrap()), "{}", page.html);
    let decision = [("user_code", page.field("user_code")), ("form_token", page.field("form_token")), ("decision", "allow".to_owned())];
    let decision: Vec<(&str, &str)> = decision.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert!(browser.post("/oauth/device", &decision).await.html.contains("logged in"));
    assert!(browser.post("/oauth/device", &decision).await.html.contains("already"));
    bench.wait(5);
    let (status, tokens) = bench.token(&poll).await;
    assert_eq!((status, claims(&tokens["access_token"])["sub"].as_str()), (StatusCode::OK, Some("alice")));
    assert_eq!(bench.token(&poll).await.1["error"], "expired_token", "nobody gets it twice");
}

#[tokio::test]
async fn metadata_is_where_each_reader_looks() {
    let bench = Bench::with(Settings { issuer: "https://gate.example.com/base".to_owned(), ..settings() }).await;
    let mut browser = bench.browser();
    for path in
        ["/.well-known/oauth-authorization-server/base", "/.well-known/openid-configuration/base", "/base/.well-known/openid-configuration"]
    {
        let document: Value = serde_json::from_str(&browser.get(path).await.html).unwrap();
        assert_eq!(document["issuer"], "https://gate.example.com/base", "{path}");
        assert_eq!(document["code_challenge_methods_supported"], serde_json::json!(["S256"]));
        assert_eq!(document["authorization_response_iss_parameter_supported"], true);
        assert_eq!(document["token_endpoint"], "https://gate.example.com/base/oauth/token");
        assert!(document["grant_types_supported"].as_array().unwrap().contains(&"refresh_token".into()));
        assert_eq!(document["revocation_endpoint"], "https://gate.example.com/base/oauth/revoke");
        assert_eq!(document["authorization_grant_profiles_supported"], serde_json::json!(["urn:ietf:params:oauth:grant-profile:id-jag"]));
        assert_eq!(document["client_id_metadata_document_supported"], true);
        for endpoint in ["token", "revocation"] {
            let algorithms = &document[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")];
            assert_eq!(*algorithms, serde_json::json!(["EdDSA", "ES256", "RS256"]), "{endpoint}");
            let methods = document[format!("{endpoint}_endpoint_auth_methods_supported")].as_array().unwrap();
            assert!(methods.contains(&"private_key_jwt".into()), "{endpoint}");
        }
    }
    assert_eq!(browser.get("/base/oauth/jwks").await.status, StatusCode::OK);
    assert!(bench.server.answer(Request::get("/.well-known/oauth-authorization-server").body(Bytes::new()).unwrap(), None).await.is_none());
    assert!(bench.server.answer(Request::get("/healthz").body(Bytes::new()).unwrap(), None).await.is_none());
}

impl Bench {
    /// Registers a client and gives its id.
    pub(super) async fn register(&self, document: &'static str) -> String {
        let request = Request::post("/oauth/register").header("content-type", "application/json").body(document.into()).unwrap();
        let response = self.server.answer(request, None).await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED, "{:?}", response.body());
        let told: Value = serde_json::from_slice(response.body()).unwrap();
        told["client_id"].as_str().unwrap().to_owned()
    }
}
