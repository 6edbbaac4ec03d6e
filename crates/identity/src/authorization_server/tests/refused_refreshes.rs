//! Refreshes that are refused for what they ask: the token that was shown is not used up by them.

use super::*;

impl Bench {
    /// Refreshes with something more in the form.
    async fn refresh_with(&self, token: &Value, more: (&str, &str)) -> (StatusCode, Value) {
        let token = token.as_str().unwrap();
        self.token(&[("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", token), more]).await
    }
}

#[tokio::test]
async fn a_refresh_that_is_refused_leaves_the_token_as_it_was_however_late_it_is_tried_again() {
    let bench = Bench::new().await;
    let (_, code) = bench.code(&[("scope", "git:log")]).await;
    let mut token = bench.redeem(&code).await.1["refresh_token"].clone();
    for (more, error) in [
        (("resource", "https://gate.example.com/mcp"), "invalid_target"),
        (("resource", "https://gate.example.com/servers/none/mcp"), "invalid_target"),
        (("scope", "git:log git:push"), "invalid_scope"),
        (("scope", "a\"b"), "invalid_scope"),
    ] {
        let (status, refused) = bench.refresh_with(&token, more).await;
        assert_eq!((status, refused["error"].as_str()), (StatusCode::BAD_REQUEST, Some(error)), "{more:?}");
        assert!(refused.get("refresh_token").is_none() && refused.get("access_token").is_none(), "{refused}");
        bench.wait(24 * 3600); // long after an answer that was lost would have been given again
        let (status, tokens) = bench.refresh(&token).await;
        assert_eq!(status, StatusCode::OK, "{more:?} {tokens}");
        assert_ne!(tokens["refresh_token"], token);
        token = tokens["refresh_token"].clone();
    }
}

#[tokio::test]
async fn a_refresh_that_is_refused_keeps_nothing_alive() {
    let bench = Bench::new().await;
    let (_, code) = bench.code(&[]).await;
    let token = bench.redeem(&code).await.1["refresh_token"].clone();
    for _ in 0..3 {
        bench.wait(10 * 24 * 3600 - 1);
        assert_eq!(bench.refresh_with(&token, ("scope", "files")).await.1["error"], "invalid_scope");
    }
    bench.wait(3);
    assert_eq!(bench.refresh(&token).await.1["error"], "invalid_grant", "nobody has used it for thirty days");
}

#[tokio::test]
async fn a_token_that_was_used_before_ends_its_family_whatever_else_is_wrong_with_the_request() {
    let bench = Bench::new().await;
    let (_, code) = bench.code(&[]).await;
    let first = bench.redeem(&code).await.1["refresh_token"].clone();
    let second = bench.refresh(&first).await.1["refresh_token"].clone();
    bench.wait(31);
    assert_eq!(bench.refresh_with(&first, ("scope", "files")).await.1["error"], "invalid_grant");
    assert_eq!(bench.refresh(&second).await.1["error"], "invalid_grant");
}
