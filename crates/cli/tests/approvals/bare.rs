//! What of an approved call reaches its server.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::{Agent, handle_of, key};
use crate::asking::fixture;
use crate::harness::gateway::{Gateway, Project};
use crate::harness::processes::eventually;
use crate::{CONFIGURATION, approval, project};

/// Answers with what of `_meta` begins with `com.example/`.
const ECHOES: &str = "test_unknown_fields";
/// Asks for a name, and keeps nothing of the call.
const ASKS: &str = "test_input_required_result_elicitation";
/// Asks before it deletes, and may run as a task.
const ASKS_AS_TASK: &str = "confirm_delete";
/// Asks one thing after the other.
const ASKS_TWICE: &str = "test_input_required_result_multi_round";

/// A gateway before two servers, one of either era, whose tools are asked about.
fn bench() -> (Project, Gateway, String) {
    let asked = format!("ask = [{ECHOES:?}, {ASKS:?}, {ASKS_TWICE:?}, {ASKS_AS_TASK:?}]");
    let project = project(&format!(
        "{CONFIGURATION}{}{asked}\n{}{asked}\n{}",
        fixture("old", "\"--revision\", \"2025-11-25\""),
        fixture("new", "\"--era\", \"modern\""),
        fixture("free", "\"--era\", \"modern\""),
    ));
    let token = key(&project, "agent");
    let gateway = project.up();
    (project, gateway, token)
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn what_a_caller_adds_to_an_approved_call_reaches_no_server() {
    let (project, gateway, token) = bench();
    let mut agent = Agent::new(gateway.port, &token);
    agent.meta = json!({ "com.example/account": "mallory" });
    agent.server = "free";
    assert!(text(&agent.call(ECHOES, json!({}))).contains("mallory"), "a call that nobody is asked about keeps it");
    for server in ["old", "new"] {
        agent.server = server;
        agent.meta = json!({ "com.example/id": 1, "progressToken": 1 });
        let handle = handle_of(&agent.call(ECHOES, json!({})));
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        agent.meta = json!({ "com.example/id": 2, "progressToken": "two", "traceparent": trace, "com.example/account": "mallory" });
        assert_eq!(handle_of(&agent.call(ECHOES, json!({}))), handle, "{server}: it is the same call under other ids");
        approval(&project, &["approve", &handle]).unwrap();
        assert_eq!(text(&agent.call(ECHOES, json!({}))), "{}", "{server}");
    }
}

/// Two servers that answer with all that came to them, of which one is asked about, and an agent that says `mallory` wherever it can.
fn hostile() -> (Project, Gateway, Agent) {
    let server = |name: &str| format!("[servers.{name}]\ncommand = [\"python3\", \"echo_server.py\"]\n");
    let project = project(&format!("{CONFIGURATION}{}ask = [\"echo\"]\n{}", server("asked"), server("free")));
    fs::write(project.path("echo_server.py"), include_str!("echo_server.py")).unwrap();
    let token = key(&project, "agent");
    let gateway = project.up();
    let mut agent = Agent::new(gateway.port, &token);
    agent.capabilities = json!({
        "elicitation": { "form": { "to": "mallory" }, "mallory": {} }, "experimental": { "mallory": {} },
        "extensions": { "com.example/mallory": { "to": "mallory" } },
    });
    agent.meta = json!({
        "com.example/account": "mallory", "baggage": "to=mallory", "tracestate": "x=mallory", "traceparent": "mallory",
        "progressToken": "mallory", "io.modelcontextprotocol/clientInfo": { "name": "mallory", "version": "1" },
    });
    (project, gateway, agent)
}

/// The call that a person is asked about, with more in it.
fn echo(agent: &Agent) -> Value {
    let more = json!({ "name": "echo", "arguments": { "to": "alice" }, "as": "mallory", "task": { "ttl": 5, "note": "mallory" } });
    agent.ask("tools/call", more)
}

/// What came to a server, as it answered.
fn came(answer: &Value) -> Value {
    serde_json::from_str(text(answer)).unwrap_or_else(|_| panic!("{answer}"))
}

/// The names in it, and what it was told of its client.
fn parts(came: &Value) -> (BTreeSet<&str>, &Value) {
    (came.as_object().unwrap().keys().map(String::as_str).collect(), &came["_meta"]["io.modelcontextprotocol/clientCapabilities"])
}

#[test]
fn none_of_a_callers_own_words_reach_a_server_but_what_a_person_was_shown() {
    let (project, _gateway, mut agent) = hostile();
    agent.server = "free";
    let free = came(&echo(&agent));
    let said = free.to_string();
    assert!(free["as"] == "mallory" && said.contains("to=mallory") && said.contains("com.example/mallory"), "nobody is asked: {free}");

    agent.server = "asked";
    approval(&project, &["approve", &handle_of(&echo(&agent))]).unwrap();
    let bare = came(&echo(&agent));
    assert!(!bare.to_string().contains("mallory"), "{bare}");
    let can = json!({ "elicitation": { "form": {} }, "extensions": {} });
    assert_eq!(parts(&bare), (["_meta", "arguments", "name", "task"].into(), &can), "{bare}");
    assert_eq!((&bare["arguments"], &bare["task"]), (&json!({ "to": "alice" }), &json!({ "ttl": 5 })));
}

#[test]
fn nor_do_they_with_the_questions_for_its_task() {
    let (project, _gateway, mut agent) = hostile();
    agent.capabilities["extensions"]["io.modelcontextprotocol/tasks"] = json!({ "to": "mallory" });
    let about = |agent: &Agent, answer: &Value| {
        let task = answer["result"]["taskId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let answer = agent.ask("tasks/get", json!({ "taskId": task, "as": "mallory" }));
        came(&json!({ "result": answer["result"]["result"] }))
    };
    agent.server = "free";
    let free = about(&agent, &echo(&agent)).to_string();
    assert!(free.contains("to=mallory") && free.contains("com.example/mallory"), "nobody is asked: {free}");

    agent.server = "asked";
    approval(&project, &["approve", &handle_of(&echo(&agent))]).unwrap();
    let bare = about(&agent, &echo(&agent));
    assert!(!bare.to_string().contains("mallory"), "{bare}");
    let can = json!({ "elicitation": { "form": {} }, "extensions": { "io.modelcontextprotocol/tasks": {} } });
    assert_eq!(parts(&bare), (["_meta", "taskId"].into(), &can), "{bare}");
}

#[test]
fn an_approved_call_brings_no_answers_that_nobody_has_asked_for() {
    let (project, gateway, token) = bench();
    let mut agent = Agent::new(gateway.port, &token);
    agent.capabilities = json!({ "elicitation": { "form": {} } });
    let says = |name: &str| json!({ "action": "accept", "content": { "name": name } });
    agent.server = "free";
    let early = json!({ "user_name": says("mallory") });
    assert!(text(&agent.call_in_advance(ASKS, early.clone())).contains("mallory"), "a call that nobody is asked about may bring them");
    for server in ["old", "new"] {
        agent.server = server;
        approval(&project, &["approve", &handle_of(&agent.call_in_advance(ASKS, early.clone()))]).unwrap();
        let asked = agent.call_in_advance(ASKS, early.clone());
        assert!(asked["result"]["inputRequests"]["user_name"].is_object(), "{server}: {asked}");
        let state = asked["result"].get("requestState").cloned();
        let done = match &state {
            Some(state) => agent.call_again(ASKS, json!({}), state, json!({ "user_name": says("alice") })),
            None => agent.call_in_advance(ASKS, json!({ "user_name": says("alice") })),
        };
        assert_eq!(text(&done), "Hello, alice!", "{server}: {done}");
    }
}

#[test]
fn a_call_goes_on_with_answers_to_what_its_server_has_asked() {
    let (project, gateway, token) = bench();
    let mut agent = Agent::new(gateway.port, &token);
    (agent.server, agent.capabilities) = ("new", json!({ "elicitation": { "form": {} } }));
    approval(&project, &["approve", &handle_of(&agent.call(ASKS_TWICE, json!({})))]).unwrap();
    let first = agent.call(ASKS_TWICE, json!({}));
    assert!(first["result"]["inputRequests"]["step1"].is_object(), "{first}");
    let answer = |name: &str, value: &str| json!({ "action": "accept", "content": { name: value } });
    let both = json!({ "step1": answer("name", "alice"), "step2": answer("color", "red") });
    let second = agent.call_again(ASKS_TWICE, json!({}), &first["result"]["requestState"], both);
    assert!(second["result"]["inputRequests"]["step2"].is_object(), "the second has not been asked yet: {second}");
    let says = json!({ "step2": answer("color", "blue") });
    let done = agent.call_again(ASKS_TWICE, json!({}), &second["result"]["requestState"], says);
    assert!(text(&done).contains("alice") && text(&done).contains("blue") && !text(&done).contains("red"), "{done}");
}

#[test]
fn the_task_of_an_approved_call_gets_answers_to_what_its_server_has_asked() {
    let (project, gateway, token) = bench();
    let mut agent = Agent::new(gateway.port, &token);
    (agent.server, agent.capabilities) =
        ("new", json!({ "elicitation": { "form": {} }, "extensions": { "io.modelcontextprotocol/tasks": {} } }));
    let call = || agent.call(ASKS_AS_TASK, json!({ "filename": "a.txt" }));
    approval(&project, &["approve", &handle_of(&call())]).unwrap();
    let task = call()["result"]["taskId"].as_str().unwrap().to_owned();
    let confirm = json!({ "confirm": { "action": "accept", "content": { "confirm": true } } });
    let update = || agent.ask("tasks/update", json!({ "taskId": task, "inputResponses": confirm }));
    let until = |status: &str| {
        let mut seen = Value::Null;
        eventually(&format!("the task is {status}"), Duration::from_secs(20), || {
            seen = agent.ask("tasks/get", json!({ "taskId": task }))["result"].clone();
            seen["status"] == status
        });
        seen
    };
    assert!(update()["error"].is_null(), "nobody has been asked yet");
    assert!(until("input_required")["inputRequests"]["confirm"].is_object());
    assert!(update()["error"].is_null());
    assert!(until("completed").to_string().contains("Deleted a.txt"));
}
