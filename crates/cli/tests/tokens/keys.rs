//! Keys of the gateway's own: given out, used, replaced, taken back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::gateway::Project;
use crate::harness::processes::eventually;

const CONFIGURATION: &str = r#"
[identity]
api_keys = true
[policy]
default = "allow"
[servers.files]
builtin = { filesystem = { root = ".", write = true } }
"#;

pub(crate) fn key(project: &Project, arguments: &[&str]) -> Result<Value, String> {
    let output = project.sallyport().arg("key").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if !output.status.success() {
        return Err(text(output.stderr));
    }
    Ok(serde_json::from_str(&text(output.stdout)).unwrap_or(Value::Null))
}

#[test]
fn a_key_opens_the_gateway_until_it_is_taken_back() {
    let project = Project::new(CONFIGURATION);
    let gateway = project.up();
    let knock = |key: &str| Caller::new(gateway.port, key).knock("/mcp");
    assert_eq!(Caller { port: gateway.port, token: None }.knock("/mcp"), 401, "it is closed, also to this machine");

    let made = key(&project, &["add", "ci", "--scope", "files:read", "--group", "build", "--json"]).unwrap();
    let first = made["key"].as_str().unwrap();
    assert!(first.starts_with("sp_") && first.len() == 46, "{first}");
    assert_eq!(knock(first), 200, "{}", gateway.log());
    let step_up = Caller::new(gateway.port, first).ask("/mcp", "tools/call", json!({ "name": "files__write_file", "arguments": {} }));
    assert_eq!(step_up.status, 403, "{}", step_up.body);
    assert_eq!(
        step_up.header("www-authenticate").unwrap(),
        "Bearer error=\"insufficient_scope\", scope=\"files:write_file\", error_description=\"the token is not good for this\""
    );

    let again = key(&project, &["add", "ci"]).unwrap_err();
    assert!(again.contains("there is, or was, a key `ci`"), "{again}");
    let second = key(&project, &["rotate", "ci", "--json"]).unwrap();
    let second = second["key"].as_str().unwrap();
    assert_eq!((knock(first), knock(second)), (200, 200), "both are taken for a while");

    let listed = key(&project, &["list", "--json"]).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains(first) && !listed.to_string().contains(second), "no key is kept");
    assert!(listed[0]["last_used"].is_string() && listed[0]["groups"] == json!(["build"]), "{listed}");
    let store = std::fs::read(project.state().join("sallyport/store.db")).unwrap();
    assert!(!store.windows(first.len()).any(|bytes| bytes == first.as_bytes()));

    key(&project, &["revoke", "ci"]).unwrap();
    eventually("both keys are refused", Duration::from_secs(10), || knock(first) == 401 && knock(second) == 401);
    let none = key(&project, &["revoke", "ci"]).unwrap_err();
    assert!(none.contains("there is no good key `ci`"), "{none}");
    let given_away = key(&project, &["add", "ci"]).unwrap_err();
    assert!(given_away.contains("there is, or was, a key `ci`"), "what was kept for its holder is nobody else's: {given_away}");
}

#[test]
fn what_cannot_be_a_key_is_told() {
    let project = Project::new(CONFIGURATION);
    for (arguments, told) in [
        (["add", "two words", "--json"].as_slice(), "this cannot be a key's name"),
        (&["add", ""], "this cannot be a key's name"),
        (&["add", "ci", "--scope", "a\"b"], "a scope has a character"),
        (&["add", "ci", "--group", "a\nb"], "a group has"),
        (&["add", "ci", "--days", "0"], "0 is not in 1..=3650"),
        (&["rotate", "ci"], "there is no good key `ci`"),
    ] {
        let error = key(&project, arguments).unwrap_err();
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
}
