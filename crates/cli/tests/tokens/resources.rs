//! Tokens of a real server: for one endpoint alone, over its rotations and outages, and until it takes them back.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::caller::Caller;
use crate::harness::processes::eventually;
use crate::{parameter, resource, says, trusting};

const ENDPOINTS: [&str; 4] = ["/mcp", "/servers/files/mcp", "/servers/notes/mcp", "/toolsets/look/mcp"];

#[test]
fn a_token_is_good_at_its_own_endpoint_and_at_no_neighbour() {
    let (provider, project) = trusting();
    let gateway = project.up();
    for own in ENDPOINTS {
        let caller = Caller::new(gateway.port, &provider.token(&resource(own), "mcp"));
        for other in ENDPOINTS {
            assert_eq!(caller.knock(other), if own == other { 200 } else { 401 }, "a token for {own} at {other}\n{}", gateway.log());
        }
    }
}

#[test]
fn whoever_is_refused_is_told_where_tokens_are_had() {
    let (provider, project) = trusting();
    let gateway = project.up();
    let nobody = Caller { port: gateway.port, token: None };
    for (endpoint, scope) in ENDPOINTS.into_iter().zip(["mcp", "files", "notes", "mcp"]) {
        let refused = nobody.ask(endpoint, "tools/list", json!({}));
        let challenge = refused.header("www-authenticate").unwrap();
        assert_eq!((refused.status, parameter(challenge, "scope"), parameter(challenge, "error")), (401, Some(scope), None));
        let metadata = parameter(challenge, "resource_metadata").unwrap();
        let path = metadata.strip_prefix(crate::PUBLIC).expect("the address is the configured one");
        let document = crate::harness::loopback::get(gateway.port, path).unwrap();
        let (_, document) = document.split_once("\r\n\r\n").unwrap();
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        assert_eq!(document["resource"], resource(endpoint));
        assert_eq!(document["authorization_servers"], json!([provider.issuer()]));
    }
    let root = crate::harness::loopback::get(gateway.port, "/.well-known/oauth-protected-resource").unwrap();
    assert!(root.contains(&resource("/mcp")), "{root}");
    let none = crate::harness::loopback::get(gateway.port, "/.well-known/oauth-protected-resource/healthz").unwrap();
    assert!(none.starts_with("HTTP/1.1 404"), "{none}");
    let wrong = Caller::new(gateway.port, "nonsense").ask("/mcp", "tools/list", json!({}));
    assert_eq!(parameter(wrong.header("www-authenticate").unwrap(), "error"), Some("invalid_token"));
}

#[test]
fn nobody_is_told_to_ask_for_a_key_where_there_are_none() {
    let (provider, project) = trusting();
    let with_keys = std::fs::read_to_string(project.configuration()).unwrap();
    let told = |configuration: &str| {
        project.configure(configuration);
        let gateway = project.up();
        let told =
            |token: Option<&str>| Caller { port: gateway.port, token: token.map(str::to_owned) }.ask("/mcp", "tools/list", json!({}));
        [None, Some("nonsense"), Some("sp_nonsense")].map(|token| told(token).text())
    };
    let issuer = format!("[identity.issuers.op]\nissuer = \"{}\"\n", provider.issuer());
    for text in told(&format!("public_url = \"{}\"\n{issuer}", crate::PUBLIC)) {
        assert!(text.starts_with("401") && !text.contains("for a key") && !text.contains("bearer key is not known"), "{text}");
    }
    // With introspection its issuer has the word about what could be a token.
    for text in
        [told(&with_keys)[2].clone(), told(&format!("public_url = \"{}\"\nkeys = [\"file:key\"]\n{issuer}", crate::PUBLIC))[1].clone()]
    {
        assert!(text.contains("ask whoever runs the gateway for a key"), "{text}");
    }
}

#[test]
fn a_token_in_the_query_is_none() {
    let (provider, project) = trusting();
    let gateway = project.up();
    let token = provider.token(&resource("/mcp"), "mcp");
    let nobody = Caller { port: gateway.port, token: None };
    assert_eq!(nobody.knock(&format!("/mcp?access_token={token}")), 401);
}

#[test]
fn keys_that_are_rotated_are_known_at_once_and_an_outage_changes_nothing() {
    let (mut provider, project) = trusting();
    let gateway = project.up();
    let token = |provider: &crate::Provider| Caller::new(gateway.port, &provider.token(&resource("/mcp"), "mcp"));
    let (before, unseen) = (token(&provider), token(&provider));
    assert_eq!(before.knock("/mcp"), 200);

    provider.stop();
    assert_eq!(before.knock("/mcp"), 200, "it was verified a moment ago");
    assert_eq!(unseen.knock("/mcp"), 200, "the keys are known, though nobody answers");

    provider.rotate();
    let after = token(&provider);
    assert_eq!(after.knock("/mcp"), 200, "a key that nobody knew is looked for\n{}", gateway.log());

    provider.rotate();
    let again = token(&provider);
    assert_eq!(again.knock("/mcp"), 401, "a second look has to wait");
    assert_eq!(after.knock("/mcp"), 200);
    assert!(!says(&gateway, "panicked"));
}

#[test]
fn an_issuer_that_comes_late_is_found() {
    let (mut provider, project) = trusting();
    let token = provider.token(&resource("/mcp"), "mcp");
    provider.stop();
    let gateway = project.up();
    let caller = Caller::new(gateway.port, &token);
    assert_eq!(caller.knock("/mcp"), 401);
    assert_eq!(Caller::new(gateway.port, crate::KEY).knock("/mcp"), 200, "others are let in all the same");
    provider.begin();
    eventually("the issuer's keys are known", Duration::from_secs(20), || caller.knock("/mcp") == 200);
}

#[test]
fn an_opaque_token_is_asked_about_and_ends_when_it_is_taken_back() {
    let (mut provider, project) = trusting();
    let gateway = project.up();
    let caller = |token: &str| Caller::new(gateway.port, token);
    let (token, other) =
        (provider.token(&resource("/servers/notes/mcp"), "notes"), provider.token(&resource("/servers/notes/mcp"), "notes"));
    provider.revoke(&other);
    assert_eq!(caller(&other).knock("/servers/notes/mcp"), 401, "it was taken back before it was seen\n{}", gateway.log());
    assert_eq!(caller(&token).knock("/servers/notes/mcp"), 200);
    assert_eq!(caller(&token).knock("/servers/files/mcp"), 401, "it is for another endpoint");

    provider.stop();
    assert_eq!(caller(&token).knock("/servers/notes/mcp"), 200, "it was asked about a moment ago");
    assert_eq!(caller("made-up").knock("/servers/notes/mcp"), 503, "nobody can be asked");
    thread::sleep(Duration::from_millis(10));
    provider.begin();
    assert_eq!(caller("made-up").knock("/servers/notes/mcp"), 401);
}

#[test]
fn whoever_needs_a_further_scope_is_told_which_and_where_tokens_are_had() {
    let (provider, project) = trusting();
    let gateway = project.up();
    for (endpoint, tool) in [("/mcp", "files__write_file"), ("/servers/files/mcp", "write_file")] {
        let caller = Caller::new(gateway.port, &provider.token(&resource(endpoint), "files:read"));
        let refused = caller.ask(endpoint, "tools/call", json!({ "name": tool, "arguments": { "path": "b.txt", "content": "b" } }));
        let challenge = refused.header("www-authenticate").unwrap_or_else(|| panic!("{refused:?}"));
        let told = ["error", "scope", "resource_metadata"].map(|name| parameter(challenge, name));
        let metadata = resource(&format!("/.well-known/oauth-protected-resource{endpoint}"));
        assert_eq!((refused.status, told), (403, [Some("insufficient_scope"), Some("files:write_file"), Some(&*metadata)]), "{endpoint}");
        assert!(!project.path("files/b.txt").exists());
    }
}

#[test]
fn an_opaque_token_that_is_taken_back_while_it_is_in_use_is_soon_refused() {
    let (provider, project) = trusting();
    let gateway = project.up();
    let token = provider.token(&resource("/servers/notes/mcp"), "notes");
    let caller = Caller::new(gateway.port, &token);
    assert_eq!(caller.knock("/servers/notes/mcp"), 200, "{}", gateway.log());
    provider.revoke(&token);
    // The provider is asked anew after a minute, however often the token is used meanwhile.
    eventually("it is refused", Duration::from_secs(100), || caller.knock("/servers/notes/mcp") == 401);
}
