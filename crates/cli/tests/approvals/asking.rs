//! An approved call whose server asks something in the middle.

use std::path::Path;

use serde_json::{Value, json};

use crate::agent::{Agent, handle_of, key};
use crate::{CONFIGURATION, approval, project};

/// The table of a server: the program of the crate `testkit`, which lies beside the gateway's.
pub(crate) fn fixture(name: &str, arguments: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_sallyport")).with_file_name("sallyport-fixture");
    assert!(program.is_file(), "no {}: run `cargo build -p sallyport-testkit`", program.display());
    format!("[servers.{name}]\ncommand = [{program:?}, \"stdio\", {arguments}]\n")
}

fn configuration() -> String {
    format!("{CONFIGURATION}{}ask = [\"test_elicitation\"]\n", fixture("asking", "\"--revision\", \"2025-11-25\""))
}

#[test]
fn the_answer_to_a_servers_question_goes_on_with_the_approved_call_and_nothing_else_does() {
    let project = project(&configuration());
    let token = key(&project, "agent");
    let gateway = project.up();
    let mut agent = Agent::new(gateway.port, &token);
    (agent.server, agent.capabilities) = ("asking", json!({ "elicitation": { "form": {} } }));
    let arguments = || json!({ "message": "who?" });
    let handle = handle_of(&agent.call("test_elicitation", arguments()));
    approval(&project, &["approve", &handle]).unwrap();

    let asked = agent.call("test_elicitation", arguments());
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    let question = result["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let says = json!({ question: { "action": "accept", "content": { "username": "me", "email": "me@example.com" } } });
    let state: &Value = &result["requestState"];
    let other = agent.call_again("test_elicitation", json!({ "message": "other" }), state, says.clone());
    assert_ne!(handle_of(&other), handle, "a state of one call is none of another");
    let done = agent.call_again("test_elicitation", arguments(), state, says.clone());
    assert!(done["result"]["content"][0]["text"].as_str().is_some_and(|text| text.contains("me@example.com")), "{done}");
    let again = agent.call_again("test_elicitation", arguments(), state, says);
    assert_ne!(handle_of(&again), handle, "it went on once");
}
