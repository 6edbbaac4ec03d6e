//! The pages: who may look, who may decide, and what nobody can make a browser do.

use serde_json::json;

use crate::agent::{Agent, handle_of, key};
use crate::browser::Browser;
use crate::{CONFIGURATION, project, write};

#[test]
fn an_approver_decides_in_a_browser_and_nobody_else() {
    let project = project(CONFIGURATION);
    let (token, boss, stranger) = (key(&project, "agent"), key(&project, "boss"), key(&project, "stranger"));
    let gateway = project.up();
    let agent = Agent::new(gateway.port, &token);
    let hostile = json!({ "path": "<script>alert(1)</script>\u{202e}.txt", "content": "\"><b>" });
    let handle = handle_of(&agent.call("write_file", hostile.clone()));
    let page = format!("/approvals/{handle}");

    let mut browser = Browser::new(gateway.port);
    let asked = browser.get(&page);
    assert!(asked.status == 200 && asked.text.contains("name=key") && !asked.text.contains("write_file"), "{}", asked.text);
    for wrong in [stranger.as_str(), "sp_no", ""] {
        assert_eq!(browser.post(&page, &[("key", wrong)]).status, 403);
        assert!(browser.cookie.is_none());
    }
    let signed_in = browser.post(&page, &[("key", &boss)]);
    assert_eq!((signed_in.status, signed_in.header("location")), (303, Some(page.as_str())));
    let cookie = signed_in.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");

    let shown = browser.get(&page);
    assert_eq!((shown.header("x-frame-options"), shown.header("cache-control")), (Some("DENY"), Some("no-store")));
    let policy = shown.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    for part in ["key:agent", "files", "write_file", "&lt;script&gt;alert(1)", "\\u{202e}", "servers.files.ask[0]"] {
        assert!(shown.text.contains(part), "{part} is missing: {}", shown.text);
    }
    assert!(!shown.text.contains("<script") && !shown.text.contains("<b>"), "{}", shown.text);

    let token_of_form = shown.form_token();
    let yes = |token: &str| vec![("form_token".to_owned(), token.to_owned()), ("decision".to_owned(), "approve".to_owned())];
    fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
    let elsewhere = browser.post_from(&page, &borrowed(&yes(&token_of_form)), "Origin: https://evil.example\r\n");
    assert_eq!(elsewhere.status, 403, "a page of another origin");
    assert_eq!(browser.post(&page, &borrowed(&yes("00"))).status, 403, "a form that was not shown");
    let mut without = Browser::new(gateway.port);
    assert_eq!(without.post(&page, &borrowed(&yes(&token_of_form))).status, 403, "nobody has signed in");
    let mut own = Browser::new(gateway.port);
    assert_eq!(own.post(&page, &[("key", &token)]).status, 303, "the agent's key is an approver's");
    assert_eq!(own.get(&page).status, 404, "but not of its own calls");
    assert!(handle_of(&agent.call("write_file", hostile.clone())) == handle, "nothing has been decided");

    assert_eq!(browser.post(&page, &borrowed(&yes(&token_of_form))).status, 303);
    assert!(browser.get(&page).text.contains("It is approved"));
    assert_eq!(browser.post(&page, &borrowed(&yes(&token_of_form))).status, 404, "it is decided");
    let done = agent.call("write_file", hostile);
    assert!(!done.to_string().contains("approval_needed"), "{done}");
}

#[test]
fn what_is_good_for_less_than_all_is_no_approvers() {
    let project = project(CONFIGURATION);
    let gateway = project.up();
    handle_of(&Agent::new(gateway.port, &key(&project, "agent")).call("write_file", write("a.txt")));
    let made = |name: &str, more: &[&str]| {
        let output = project.sallyport().args(["key", "add", name, "--group", "oncall", "--json"]).args(more).output().unwrap();
        let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        made["key"].as_str().unwrap().to_owned()
    };
    let mut browser = Browser::new(gateway.port);
    for scope in ["files", "files:read", "files:write_file"] {
        let bounded = made(&scope.replace(':', "-"), &["--scope", scope]);
        assert_eq!(browser.post("/approvals", &[("key", &bounded)]).status, 403, "{scope}");
        assert!(browser.cookie.is_none());
    }
    assert_eq!(browser.post("/approvals", &[("key", &made("whole", &[]))]).status, 303);
}

#[test]
fn a_key_that_was_revoked_decides_nothing_more() {
    let project = project(CONFIGURATION);
    let (token, boss) = (key(&project, "agent"), key(&project, "boss"));
    let gateway = project.up();
    handle_of(&Agent::new(gateway.port, &token).call("write_file", write("a.txt")));
    let mut browser = Browser::new(gateway.port);
    assert_eq!(browser.post("/approvals", &[("key", &boss)]).status, 303);
    assert!(browser.get("/approvals").text.contains("files/write_file"));
    let revoked = project.sallyport().args(["key", "revoke", "boss"]).output().unwrap();
    assert!(revoked.status.success());
    crate::harness::processes::eventually("the key is forgotten", std::time::Duration::from_secs(20), || {
        browser.get("/approvals").text.contains("name=key")
    });
}

#[test]
fn without_approvers_there_is_no_page() {
    let project = project(&CONFIGURATION.replace("approvers = [\"key:boss\", \"key:agent\", \"group:oncall\"]", ""));
    let gateway = project.up();
    assert_eq!(Browser::new(gateway.port).get("/approvals").status, 404);
}
