//! Clients with scopes of their own: what these imply they may have, and what is taken away from them they have no more.

use super::*;

/// The usual server, whose client `app` may have these scopes alone.
fn bounded(scopes: &str) -> Settings {
    let mut settings = settings();
    for client in settings.clients.iter_mut().filter(|client| client.id == "app") {
        client.scopes = Scopes::parse(scopes);
    }
    settings
}

impl Bench {
    /// The same after the configuration was read again.
    fn reloaded(&self, settings: Settings) -> AuthorizationServer {
        server(settings, &self.store, &self.clock)
    }
}

fn refresh_of(token: &Value) -> [(&str, &str); 3] {
    [("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", token["refresh_token"].as_str().unwrap())]
}

#[tokio::test]
async fn who_may_have_a_server_may_have_a_tool_of_it() {
    let bench = Bench::with(bounded("git")).await;
    for (asked, given) in [("git:log", "git:log"), ("git:log files", "git:log"), ("git:read mcp", "git:read"), ("", "git")] {
        let (_, code) = bench.code(&[("scope", asked), ("prompt", "consent")]).await;
        assert_eq!(bench.redeem(&code).await.1["scope"], given, "{asked}");
    }
    let refused = bench.browser().get(&authorize(&[("scope", "mcp")])).await;
    assert_eq!(parameter(&refused.location, "error").as_deref(), Some("invalid_scope"), "nothing implies more than itself");
}

#[tokio::test]
async fn who_agreed_to_a_server_is_not_asked_about_a_tool_of_it() {
    let bench = Bench::new().await;
    let (mut browser, _) = bench.code(&[("scope", "git")]).await;
    let again = browser.arrive(&authorize(&[("scope", "git:log")])).await;
    let sent = browser.get(&again.location).await;
    assert!(sent.location.starts_with(CALLBACK), "{}", sent.html);
}

#[tokio::test]
async fn what_is_taken_away_from_a_client_is_refreshed_no_more() {
    let bench = Bench::with(bounded("git files")).await;
    let (_, code) = bench.code(&[("scope", "git files")]).await;
    let first = bench.redeem(&code).await.1;
    assert_eq!(first["scope"], "files git");
    let fewer = bench.reloaded(bounded("git"));
    let (status, second) = token_at(&fewer, &refresh_of(&first)).await;
    assert_eq!((status, second["scope"].as_str()), (StatusCode::OK, Some("git")), "{second}");
    assert_eq!(claims(&second["access_token"])["scope"], "git");
    let asking = [&refresh_of(&second)[..], &[("scope", "files")]].concat();
    assert_eq!(token_at(&fewer, &asking).await.1["error"], "invalid_scope");
    let none = bench.reloaded(bounded("mail"));
    assert_eq!(token_at(&none, &refresh_of(&second)).await.1["error"], "invalid_grant");
    let (_, again) = token_at(&bench.reloaded(bounded("git files")), &refresh_of(&second)).await;
    assert_eq!(again["scope"], "files git", "what was refused has used nothing up");
}

#[tokio::test]
async fn what_is_taken_away_from_a_client_is_not_given_for_a_code_either() {
    let bench = Bench::with(bounded("git files")).await;
    let code = async |scope| bench.code(&[("scope", scope), ("prompt", "consent")]).await.1;
    let codes = [code("git files").await, code("files").await];
    let fewer = bench.reloaded(bounded("git"));
    assert_eq!(token_at(&fewer, &redemption(&codes[0])).await.1["scope"], "git");
    assert_eq!(token_at(&fewer, &redemption(&codes[1])).await.1["error"], "invalid_grant");
}
