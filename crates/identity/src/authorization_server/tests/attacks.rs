//! What those do that do not mean well. Each test is one attack, in all its forms.

use super::*;

#[tokio::test]
async fn a_code_that_is_shown_twice_takes_back_what_came_of_it() {
    let bench = Bench::new().await;
    let (_, code) = bench.code(&[]).await;
    let (status, tokens) = bench.redeem(&code).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    // At another gateway over the same store.
    let (status, refused) = token_at(&bench.twin(), &redemption(&code)).await;
    assert_eq!((status, refused["error"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_grant")));
    assert_eq!(bench.refresh(&tokens["refresh_token"]).await.1["error"], "invalid_grant");
    assert!(!is_taken(&bench.server, &tokens["access_token"]).await);
}

#[tokio::test]
async fn a_code_shown_twice_at_once_at_two_gateways_is_good_once_at_most() {
    let bench = Bench::new().await;
    let twin = bench.twin();
    for _ in 0..5 {
        let (_, code) = bench.code(&[("prompt", "consent")]).await;
        let form = redemption(&code);
        let (one, other) = tokio::join!(token_at(&bench.server, &form), token_at(&twin, &form));
        assert!([one.0, other.0].iter().filter(|status| **status == StatusCode::OK).count() <= 1);
    }
}

#[tokio::test]
async fn a_code_ends_and_is_good_for_its_client_address_and_verifier_alone() {
    let bench = Bench::new().await;
    let (_, late) = bench.code(&[]).await;
    bench.wait(60);
    assert_eq!(bench.redeem(&late).await.1["error"], "invalid_grant");
    for (name, value) in [
        ("client_id", "other"),
        ("redirect_uri", "https://app.example.com/callback2"),
        ("code_verifier", "another-verifier-that-is-long-enough-for-the-rules"),
        ("code_verifier", "short"),
        ("code_verifier", ""),
    ] {
        let (_, code) = bench.code(&[("prompt", "consent")]).await;
        let mut form = redemption(&code);
        form.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, kept)| *kept = value);
        let (status, refused) = bench.token(&form).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name} {value} {refused}");
        assert_eq!(bench.redeem(&code).await.0, StatusCode::BAD_REQUEST, "it was used up");
    }
}

#[tokio::test]
async fn a_refresh_token_that_is_used_twice_ends_its_family() {
    let bench = Bench::new().await;
    let (_, code) = bench.code(&[]).await;
    let (_, first) = bench.redeem(&code).await;
    let (_, second) = bench.refresh(&first["refresh_token"]).await;
    bench.wait(31);
    assert_eq!(bench.refresh(&first["refresh_token"]).await.1["error"], "invalid_grant");
    assert_eq!(bench.refresh(&second["refresh_token"]).await.1["error"], "invalid_grant", "the thief's or the owner's: nobody knows");
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_bring_a_used_refresh_token_to_life() {
    let bench = Bench::new().await;
    let (_, code) = bench.code(&[]).await;
    let (_, first) = bench.redeem(&code).await;
    bench.wait(1_000);
    let (_, second) = bench.refresh(&first["refresh_token"]).await;
    bench.wait(-500);
    assert_eq!(bench.refresh(&first["refresh_token"]).await.1["error"], "invalid_grant");
    assert_eq!(bench.refresh(&second["refresh_token"]).await.1["error"], "invalid_grant", "its family has ended");
}

#[tokio::test]
async fn a_refresh_token_is_its_clients_and_cannot_be_made() {
    let bench = Bench::new().await;
    let (_, code) = bench.code(&[]).await;
    let (_, tokens) = bench.redeem(&code).await;
    let good = tokens["refresh_token"].as_str().unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let forged = [
        format!("{}.1.{}", parts[0], parts[2]),
        format!("{}.-1.{}", parts[0], parts[2]),
        format!("{}.0.{}", parts[0], "A".repeat(43)),
        format!("{good}.x"),
        parts[0].to_owned(),
        "..".to_owned(),
    ];
    for token in forged {
        assert_eq!(bench.refresh(&token.into()).await.1["error"], "invalid_grant");
    }
    let (_, others) = bench.token(&[("grant_type", "refresh_token"), ("client_id", "other"), ("refresh_token", good)]).await;
    assert_eq!(others["error"], "invalid_grant");
    let elsewhere =
        [("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", good), ("resource", "https://gate.example.com/mcp")];
    assert_eq!(bench.token(&elsewhere).await.1["error"], "invalid_target");
    assert_eq!(bench.refresh(&tokens["refresh_token"]).await.0, StatusCode::OK, "nothing of that did harm");
}

#[tokio::test]
async fn a_browser_is_sent_to_registered_addresses_alone() {
    let bench = Bench::new().await;
    let id = bench.register("{\"redirect_uris\":[\"http://localhost/callback\"]}").await;
    let tricks = [
        ("app", "https://app.example.com/callback/../evil"),
        ("app", "https://app.example.com/callback?x=1"),
        ("app", "https://app.example.com/callback#f"),
        ("app", "https://app.example.com.evil.com/callback"),
        ("app", "https://app.example.com@evil.com/callback"),
        ("app", "https://evil.com/callback"),
        ("app", "http://app.example.com/callback"),
        ("app", "https://app.example.com:8443/callback"),
        ("app", "//evil.com"),
        ("app", "javascript:alert(1)"),
        ("app", ""),
        (id.as_str(), "http://localhost:1@evil.com/callback"),
        (id.as_str(), "http://localhost.evil.com:1/callback"),
        (id.as_str(), "http://127.0.0.1:1/callback"),
        (id.as_str(), "http://localhost:1/callback#x"),
        (id.as_str(), ""),
        ("unknown", CALLBACK),
        ("https://127.0.0.1/client.json", CALLBACK),
        ("https://localhost/client.json", CALLBACK),
    ];
    for (client, redirect) in tricks {
        // With and without something else that is wrong: neither may lead there.
        for kind in ["code", "token"] {
            let page = bench.browser().get(&authorize(&[("client_id", client), ("redirect_uri", redirect), ("response_type", kind)])).await;
            let may_be_left_out = client == "app" && redirect.is_empty();
            if may_be_left_out {
                assert!(page.location.starts_with(ISSUER) || page.location.starts_with(CALLBACK), "{}", page.location);
            } else {
                assert_eq!((page.status, page.location.as_str()), (StatusCode::BAD_REQUEST, ""), "{client} {redirect}");
                assert!(!page.html.contains("evil.com") && !page.html.contains("javascript:"), "{}", page.html);
            }
        }
    }
}

#[tokio::test]
async fn without_a_challenge_of_s256_there_is_no_code() {
    let bench = Bench::new().await;
    for more in [
        &[("code_challenge", "")][..],
        &[("code_challenge_method", "")],
        &[("code_challenge_method", "plain")],
        &[("code_challenge", VERIFIER)],
        &[("response_type", "token")],
        &[("response_mode", "fragment")],
        &[("request", "x")],
        &[("request_uri", "https://evil.com/x")],
        &[("prompt", "none")],
        &[("resource", "https://evil.com/mcp")],
        &[("resource", "https://gate.example.com/servers/none/mcp")],
        &[("resource", "https://gate.example.com/servers/git/mcp#x")],
        &[("resource", "https://gate.example.com/servers/git/mcp?x")],
        &[("resource", "https://gate.example.com.evil.com/mcp")],
        &[("scope", "a\"b")],
    ] {
        let sent = bench.browser().get(&authorize(more)).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{more:?}");
        assert!(sent.location.starts_with("https://app.example.com/callback?error="), "{more:?} {}", sent.location);
        assert_eq!(parameter(&sent.location, "iss").as_deref(), Some(ISSUER), "{more:?}");
        assert_eq!(parameter(&sent.location, "state").as_deref(), Some("the state"), "{more:?}");
    }
    let twice = format!("{}&redirect_uri=https%3A%2F%2Fevil.com%2F", authorize(&[]));
    assert_eq!(bench.browser().get(&twice).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_client_that_registered_itself_sends_nobody_anywhere_before_they_agreed() {
    let bench = Bench::new().await;
    let id = bench.register("{\"redirect_uris\":[\"https://evil.example/cb\"],\"client_name\":\"Nice\"}").await;
    let of_it = [("client_id", id.as_str()), ("redirect_uri", "https://evil.example/cb")];
    for wrong in
        [("response_type", "token"), ("prompt", "none"), ("code_challenge", ""), ("resource", "https://evil.example/"), ("scope", "a\"b")]
    {
        let page = bench.browser().get(&authorize(&[of_it[0], of_it[1], wrong])).await;
        assert_eq!((page.status, page.location.as_str()), (StatusCode::BAD_REQUEST, ""), "{wrong:?}");
        assert!(page.html.contains("This did not work") && !page.html.contains("evil.example/cb"), "{wrong:?} {}", page.html);
    }
    let mut alice = bench.browser();
    let consent = alice.log_in(&authorize(&of_it)).await;
    let refused = alice.decide(&consent, "deny").await;
    assert!(refused.location.starts_with("https://evil.example/cb?error=access_denied"), "she said so herself: {}", refused.location);
}

#[tokio::test]
async fn a_login_leads_to_this_gateway_alone() {
    let bench = Bench::new().await;
    for purpose in ["connect.https://evil.example", "connect.//evil.example", "//evil.example", "connect.x", "connect/..", "device.x"] {
        let page = bench.browser().get(&format!("/oauth/login?{}", form(&[("request", purpose)]))).await;
        assert_eq!((page.status, page.location.as_str()), (StatusCode::BAD_REQUEST, ""), "{purpose}");
    }
    let link = "A".repeat(43);
    for (purpose, leads) in [("connect", format!("{ISSUER}/connect")), (&*format!("connect.{link}"), format!("{ISSUER}/connect/{link}"))] {
        let mut alice = bench.browser();
        let page = alice.get(&format!("/oauth/login?request={purpose}")).await;
        assert_eq!(alice.give(&page, "alice", PASSWORD).await.location, leads);
        let headers = http::HeaderMap::from_iter([(header::COOKIE, alice.cookie.clone().unwrap().parse().unwrap())]);
        let visitor = bench.server.visitor(&headers).await.unwrap();
        assert_eq!(visitor.principal().id(), format!("user:alice@{ISSUER}"), "as her tokens say");
        assert!(bench.server.vouches_for(visitor.principal().id()) && !bench.server.vouches_for("user:alice@https://evil.example"));
        assert!(!format!("{visitor:?}").contains(alice.cookie.as_deref().unwrap().split('=').nth(1).unwrap()), "{visitor:?}");
    }
    assert!(bench.server.visitor(&http::HeaderMap::new()).await.is_none());
}

#[tokio::test]
async fn nobody_agrees_for_another() {
    let bench = Bench::new().await;
    let mut alice = bench.browser();
    let consent = alice.log_in(&authorize(&[])).await;
    let (request, token) = (consent.field("request"), consent.field("form_token"));
    // Without the token, with another page's, with one that was changed.
    let other = bench.browser().log_in(&authorize(&[])).await;
    for wrong in ["", other.field("form_token").as_str(), &token.to_uppercase()] {
        let refused = alice.post("/oauth/consent", &[("request", &request), ("form_token", wrong), ("decision", "allow")]).await;
        assert_eq!((refused.status, refused.location.as_str()), (StatusCode::BAD_REQUEST, ""), "{}", refused.html);
    }
    // From another browser: with no cookie, with its own, with a changed one.
    let mut mallory = bench.browser();
    let good = [("request", request.as_str()), ("form_token", token.as_str()), ("decision", "allow")];
    for cookie in
        [None, other_cookie(&bench).await, alice.cookie.as_ref().map(|cookie| format!("{}A", cookie.trim_end_matches(|_: char| true)))]
    {
        mallory.cookie = cookie;
        assert_eq!(mallory.post("/oauth/consent", &good).await.location, "");
        assert_eq!(mallory.get(&format!("/oauth/consent?request={request}")).await.location, "");
    }
    // Not by GET, and not before logging in.
    let by_address = alice.get(&format!("/oauth/consent?{}", form(&good))).await;
    assert!(by_address.location.is_empty() && by_address.html.contains("Allow"));
    let mut nobody = bench.browser();
    let page = nobody.arrive(&authorize(&[])).await;
    let early = [("request", page.field("request")), ("form_token", page.field("form_token")), ("decision", "allow".to_owned())];
    let early: Vec<(&str, &str)> = early.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert!(nobody.post("/oauth/consent", &early).await.location.starts_with("https://gate.example.com/oauth/login?"));
    assert!(alice.post("/oauth/consent", &good).await.location.starts_with(CALLBACK), "alice herself still can");
}

async fn other_cookie(bench: &Bench) -> Option<String> {
    let mut other = bench.browser();
    other.log_in(&authorize(&[])).await;
    other.cookie
}

#[tokio::test]
async fn a_decision_is_taken_once_however_often_it_is_sent() {
    let bench = Bench::new().await;
    let mut alice = bench.browser();
    let consent = alice.log_in(&authorize(&[])).await;
    let mut twin = Person { server: bench.twin(), ..alice.clone() };
    let (one, other) = tokio::join!(alice.decide(&consent, "allow"), twin.decide(&consent, "allow"));
    let codes = [&one, &other].iter().filter(|page| page.location.contains("code=")).count();
    assert_eq!(codes, 1, "{one:?} {other:?}");
    assert_eq!(alice.decide(&consent, "deny").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_planted_cookie_is_worth_nothing_after_the_login() {
    let bench = Bench::new().await;
    let mut mallory = bench.browser();
    mallory.arrive(&authorize(&[])).await;
    let planted = mallory.cookie.clone();
    let mut alice = bench.browser();
    alice.cookie = planted.clone();
    let consent = alice.log_in(&authorize(&[])).await;
    assert_ne!(alice.cookie, planted);
    let request = consent.field("request");
    assert_eq!(mallory.get(&format!("/oauth/consent?request={request}")).await.location, "");
    let own = mallory.arrive(&authorize(&[])).await;
    assert!(own.html.contains("Password"), "mallory is not alice");
}

#[tokio::test]
async fn a_login_form_is_of_the_page_that_was_shown() {
    let bench = Bench::new().await;
    let mut mallory = bench.browser();
    let theirs = mallory.arrive(&authorize(&[])).await;
    let mut alice = bench.browser();
    let hers = alice.arrive(&authorize(&[])).await;
    for (request, token) in [
        (theirs.field("request"), theirs.field("form_token")),
        (theirs.field("request"), hers.field("form_token")),
        (hers.field("request"), theirs.field("form_token")),
    ] {
        let form = [("request", request.as_str()), ("form_token", &token), ("name", "alice"), ("password", PASSWORD)];
        let refused = alice.post("/oauth/login", &form).await;
        assert_eq!((refused.status, refused.location.as_str()), (StatusCode::BAD_REQUEST, ""), "{}", refused.html);
    }
}

#[tokio::test]
async fn pages_cannot_be_framed_cached_or_scripted_and_cookies_are_closed() {
    let bench = Bench::new().await;
    let mut browser = bench.browser();
    let sent = browser.get(&authorize(&[])).await;
    let cookie = sent.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-sallyport=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    let login = browser.get(&sent.location).await;
    let wrong = browser.give(&login, "alice", "wrong").await;
    let consent = browser.log_in(&authorize(&[])).await;
    let broken = browser.get("/oauth/authorize").await;
    for page in [login, wrong, consent, broken] {
        let header = |name: &str| page.headers[name].to_str().unwrap();
        for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
            assert!(header("content-security-policy").contains(directive), "{}", page.html);
        }
        assert_eq!((header("x-frame-options"), header("cache-control"), header("x-content-type-options")), ("DENY", "no-store", "nosniff"));
        assert!(!page.html.contains("<script") && !page.html.contains("javascript:") && !page.html.contains(" on"), "{}", page.html);
    }
}

#[tokio::test]
async fn what_a_client_calls_itself_is_text() {
    let bench = Bench::new().await;
    let document = "{\"client_name\":\"<script>alert(1)</script>\\\"'&\\u202e\",\"redirect_uris\":[\"https://a.example/cb\"]}";
    let id = bench.register(document).await;
    let page = bench.browser().log_in(&authorize(&[("client_id", &id), ("redirect_uri", "https://a.example/cb"), ("state", "<b>")])).await;
    assert!(
        page.html.contains("&lt;script&gt;alert(1)") && !page.html.contains("<script") && !page.html.contains('\u{202e}'),
        "{}",
        page.html
    );
    assert!(page.html.contains("nobody has checked this name"));
}

#[tokio::test]
async fn passwords_cannot_be_tried_out() {
    let bench = Bench::new().await;
    for name in ["alice", "nobody-at-all"] {
        let mut browser = bench.browser();
        let page = browser.arrive(&authorize(&[])).await;
        for _ in 0..5 {
            let wrong = browser.give(&page, name, "wrong password").await;
            assert!(wrong.html.contains("do not belong together"), "{}", wrong.html);
        }
        let stopped = browser.give(&page, name, PASSWORD).await;
        assert!(stopped.html.contains("too many tries"), "{name}: the same for whom there is and whom there is not: {}", stopped.html);
    }
    bench.wait(15 * 60);
    assert!(bench.browser().log_in(&authorize(&[])).await.html.contains("Allow"), "it is not for ever");
}

#[tokio::test]
async fn a_login_of_ones_own_pays_for_no_guess_of_other_names() {
    let bench = Bench::new().await;
    let mut browser = bench.browser();
    let page = browser.arrive(&authorize(&[])).await;
    let mut compared = 0;
    for guess in 0..33 {
        if guess % 8 == 7 && guess < 30 {
            bench.browser().log_in(&authorize(&[])).await;
        }
        let guessed = browser.give(&page, &format!("colleague{guess}"), "Password2026!").await;
        compared += usize::from(guessed.html.contains("do not belong together"));
    }
    assert_eq!(compared, 30, "the address has no more, however often its own account was logged in to");
    bench.wait(15 * 60);
    bench.browser().log_in(&authorize(&[])).await;
}

#[tokio::test]
async fn a_code_of_ones_own_pays_for_no_guess_of_others() {
    let bench = Bench::new().await;
    let (_, begun) = post_at(
        &bench.server,
        "/oauth/device_authorization",
        &[("client_id", "app"), ("resource", "https://gate.example.com/servers/git/mcp")],
    )
    .await;
    let own = begun["user_code"].as_str().unwrap();
    let mut browser = bench.browser();
    let typing = browser.log_in(begun["verification_uri"].as_str().unwrap()).await;
    let mut looked_up = 0;
    for _ in 0..8 {
        let token = typing.field("form_token");
        let guessed = browser.post("/oauth/device", &[("form_token", &token), ("user_code", "BBBB-BBBB")]).await;
        looked_up += usize::from(guessed.html.contains("No program waits"));
        browser.post("/oauth/device", &[("form_token", &token), ("user_code", own)]).await;
    }
    assert_eq!(looked_up, 5);
}

#[tokio::test]
async fn many_tries_at_once_are_no_more_than_many_one_after_the_other() {
    let bench = Bench::new().await;
    let mut browser = bench.browser();
    let page = browser.arrive(&authorize(&[])).await;
    let tries = (0..12).map(|_| {
        let mut browser = browser.clone();
        let (request, token) = (page.field("request"), page.field("form_token"));
        tokio::spawn(async move {
            browser.post("/oauth/login", &[("request", &request), ("form_token", &token), ("name", "alice"), ("password", "wrong")]).await
        })
    });
    let mut compared = 0;
    for tried in tries.collect::<Vec<_>>() {
        compared += usize::from(tried.await.unwrap().html.contains("do not belong together"));
    }
    assert_eq!(compared, 5);
}

#[tokio::test]
async fn an_unknown_name_takes_the_same_path_as_a_wrong_password() {
    let bench = Bench::new().await;
    let mut pages = Vec::new();
    for name in ["alice", "nobody-at-all", "", "ALICE ", "'; DROP TABLE user; --"] {
        let mut browser = bench.browser();
        let page = browser.arrive(&authorize(&[])).await;
        let refused = browser.give(&page, name, "wrong password").await;
        let html = refused.html.replace(&page.field("request"), "R").replace(&page.field("form_token"), "T");
        pages.push((refused.status, html));
    }
    assert!(pages.iter().all(|page| *page == pages[0]), "{pages:?}");
}

/// The device code of a program that alice has agreed to, and that has not asked yet.
async fn agreed_device(bench: &Bench) -> String {
    let asked = [("client_id", "app"), ("resource", "https://gate.example.com/servers/git/mcp")];
    let (_, begun) = post_at(&bench.server, "/oauth/device_authorization", &asked).await;
    let mut browser = bench.browser();
    browser.log_in(&authorize(&[("prompt", "consent")])).await;
    let typing = browser.get("/oauth/device").await;
    let typed = [("form_token", &*typing.field("form_token")), ("user_code", begun["user_code"].as_str().unwrap())];
    let page = browser.post("/oauth/device", &typed).await;
    let (token, code) = (page.field("form_token"), page.field("user_code"));
    let decided = browser.post("/oauth/device", &[("form_token", &token), ("user_code", &code), ("decision", "allow")]).await;
    assert!(decided.html.contains("logged in"), "{}", decided.html);
    begun["device_code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_is_disabled_or_has_another_password_is_out_at_once() {
    use sallyport_store::user::Standing;
    for change in [0, 1, 2, 3] {
        let bench = Bench::new().await;
        let (mut browser, code) = bench.code(&[]).await;
        let (_, tokens) = bench.redeem(&code).await;
        let (_, unused) = bench.code(&[("prompt", "consent")]).await;
        let device_code = agreed_device(&bench).await;
        match change {
            0 => accounts::set_standing(&bench.store, "alice", Standing::Disabled, 2_100_000_000).await.map(drop).unwrap(),
            1 => accounts::set_standing(&bench.store, "alice", Standing::Removed, 2_100_000_000).await.map(drop).unwrap(),
            2 => accounts::set_password(&bench.store, "alice", "another long password", 2_100_000_000).await.unwrap(),
            _ => accounts::end_tokens(&bench.store, "alice", 2_100_000_000).await.map(drop).unwrap(),
        }
        assert_eq!(bench.refresh(&tokens["refresh_token"]).await.1["error"], "invalid_grant");
        assert!(!is_taken(&bench.server, &tokens["access_token"]).await);
        if change < 3 {
            assert!(browser.arrive(&authorize(&[])).await.html.contains("Password"), "logged out");
        }
        assert_eq!(bench.redeem(&unused).await.1["error"], "invalid_grant", "a code that was agreed to before");
        let poll = [("grant_type", clients::metadata::DEVICE), ("client_id", "app"), ("device_code", device_code.as_str())];
        assert_eq!(bench.token(&poll).await.1["error"], "access_denied", "a device that was agreed to before");
        if change == 1 {
            assert!(accounts::add(&bench.store, "alice", PASSWORD, false, &[], 1).await.is_err(), "a name is given once");
        }
    }
}

#[tokio::test]
async fn a_client_proves_who_it_is() {
    let bench = Bench::new().await;
    let credentials = ("grant_type", "client_credentials");
    for form in [
        &[("client_id", "robot")][..],
        &[("client_id", "robot"), ("client_secret", "wrong")],
        &[("client_id", "app"), ("client_secret", "robot's secret")],
        &[("client_id", "nobody")],
        &[],
    ] {
        let (status, refused) = bench.token(&[form, &[credentials]].concat()).await;
        assert_eq!((status, refused["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("invalid_client")), "{form:?}");
    }
    let (_, refused) = bench.token(&[("client_id", "app"), credentials]).await;
    assert_eq!(refused["error"], "unauthorized_client");
    let basic = |pair: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    };
    for (pair, status) in
        [("robot:robot%27s+secret", StatusCode::OK), ("robot:", StatusCode::UNAUTHORIZED), ("app:x", StatusCode::UNAUTHORIZED)]
    {
        let request =
            Request::post("/oauth/token").header("content-type", "application/x-www-form-urlencoded").header("authorization", basic(pair));
        let response = bench.server.answer(request.body("grant_type=client_credentials".into()).unwrap(), None).await.unwrap();
        assert_eq!(response.status(), status, "{pair}");
        // RFC 6749 §5.2: who has used the header is told the scheme that is taken there.
        let scheme = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap());
        assert_eq!(scheme, (status == StatusCode::UNAUTHORIZED).then_some("Basic realm=\"oauth\""), "{pair}");
    }
}

#[tokio::test]
async fn registering_is_bounded_and_what_nobody_uses_is_forgotten() {
    let bench = Bench::new().await;
    for refused in [
        "{\"redirect_uris\":[\"javascript:alert(1)\"]}",
        "{\"redirect_uris\":[\"http://evil.com/\"]}",
        "{\"redirect_uris\":[]}",
        "{\"redirect_uris\":[\"https://a.example/#f\"]}",
        "{\"redirect_uris\":[\"http://localhost/cb\"],\"application_type\":\"web\"}",
        "{\"redirect_uris\":[\"https://a.example/\"],\"grant_types\":[\"client_credentials\"]}",
        "[]",
        "",
    ] {
        let request = Request::post("/oauth/register").body(Bytes::from_static(refused.as_bytes())).unwrap();
        assert_eq!(bench.server.answer(request, None).await.unwrap().status(), StatusCode::BAD_REQUEST, "{refused}");
    }
    let first = bench.register("{\"redirect_uris\":[\"https://a.example/\"]}").await;
    bench.wait(1);
    for _ in 0..1_000 {
        bench.register("{\"redirect_uris\":[\"https://a.example/\"]}").await;
    }
    assert_eq!(
        bench.browser().get(&authorize(&[("client_id", &first), ("redirect_uri", "https://a.example/")])).await.status,
        StatusCode::BAD_REQUEST
    );
    bench.wait(25 * 3600);
    bench.server.0.tend().await.unwrap();
    let left: i64 = bench.store.read(|tables| tables.query_row("SELECT count(*) FROM client", (), |row| row.get(0))).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn everything_that_has_an_end_is_swept() {
    let bench = Bench::new().await;
    let (mut browser, code) = bench.code(&[]).await;
    bench.redeem(&code).await;
    browser.arrive(&authorize(&[("prompt", "consent")])).await;
    let login = bench.browser().arrive(&authorize(&[])).await;
    bench.browser().give(&login, "x", "y").await;
    post_at(&bench.server, "/oauth/device_authorization", &[("client_id", "app")]).await;
    bench.wait(200 * 24 * 3600);
    bench.server.0.tend().await.unwrap();
    for table in [
        "login",
        "login_try",
        "client",
        "authorization_request",
        "authorization_code",
        "consent",
        "token_grant",
        "revoked",
        "used_once",
        "device",
    ] {
        let count = format!("SELECT count(*) FROM {table}");
        let left: i64 = bench.store.read(move |tables| tables.query_row(&count, (), |row| row.get(0))).await.unwrap();
        assert_eq!(left, 0, "{table}");
    }
}
