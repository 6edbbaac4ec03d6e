//! What a person is asked about besides calls of tools.

use serde_json::{Value, json};

use crate::agent::{Agent, key};
use crate::asking::fixture;
use crate::{approval, project};

const RULES: &str = r#"
[identity]
api_keys = true
[policy]
engines = [{ cedar = { text = """
permit (principal, action, resource) unless { action == Action::"read" || action == Action::"get" };
@ask("a person reads it first")
permit (principal, action == Action::"read", resource);
@ask("a person reads it first")
permit (principal, action == Action::"get", resource);
""" } }]
"#;

/// The handle in the refusal of a read that waits.
fn handle_of(answer: &Value) -> String {
    let message = answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let (_, rest) = message.split_once("waits for a person's approval (").unwrap_or_else(|| panic!("{answer}"));
    rest.split(')').next().unwrap().to_owned()
}

#[test]
fn a_read_that_a_person_approved_goes_through_once_and_is_of_that_uri_alone() {
    let project = project(&format!("{RULES}{}", fixture("asking", "\"--revision\", \"2025-11-25\"")));
    let [token, others] = ["agent", "other"].map(|name| key(&project, name));
    let gateway = project.up();
    let read = |token: &str, uri: &str| {
        let mut agent = Agent::new(gateway.port, token);
        agent.server = "asking";
        agent.ask("resources/read", json!({ "uri": uri }))
    };
    let (text, image) = ("test://static-text", "test://static-binary");
    let handle = handle_of(&read(&token, text));
    assert_eq!(handle_of(&read(&token, text)), handle, "it is asked about once");
    let shown = approval(&project, &["show", &handle]).unwrap();
    assert_eq!(shown["target"], text, "{shown}");
    approval(&project, &["approve", &handle]).unwrap();

    assert_ne!(handle_of(&read(&token, image)), handle, "another resource");
    assert_ne!(handle_of(&read(&others, text)), handle, "another caller");
    let done = read(&token, text);
    assert!(done["result"]["contents"][0]["text"].is_string(), "{done}");
    assert_ne!(handle_of(&read(&token, text)), handle, "it was used");
}

#[test]
fn a_prompt_that_a_person_would_have_to_approve_is_denied() {
    let project = project(&format!("{RULES}{}", fixture("asking", "\"--revision\", \"2025-11-25\"")));
    let token = key(&project, "agent");
    let gateway = project.up();
    let mut agent = Agent::new(gateway.port, &token);
    agent.server = "asking";
    let told = agent.ask("prompts/get", json!({ "name": "test_simple_prompt" }));
    assert!(told["error"]["message"].as_str().is_some_and(|text| text.contains("calls of tools and reads of resources alone")), "{told}");
    assert_eq!(agent.ask("prompts/list", json!({}))["result"]["prompts"], json!([]), "nor does it stand in a list");
    assert_eq!(approval(&project, &["list"]).unwrap(), json!([]), "nobody is asked about it");
}
