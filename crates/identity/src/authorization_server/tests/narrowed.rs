//! Clients with scopes of their own: what these imply they may have.

use super::*;

/// The usual server, whose client `app` may have these scopes alone.
fn bounded(scopes: &str) -> Settings {
    let mut settings = settings();
    for client in settings.clients.iter_mut().filter(|client| client.id == "app") {
        client.scopes = Scopes::parse(scopes);
    }
    settings
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
