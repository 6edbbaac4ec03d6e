//! What goes on behind a first answer, once its caller may not use the tool any more.

use std::time::Duration;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fixture::Fixture;
use crate::harness::gateway::Project;
use crate::harness::processes::eventually;
use crate::keys::key;

fn configuration(ports: [u16; 2], forbidden: &str) -> String {
    let [modern, legacy] = ports.map(|port| format!("url = \"http://127.0.0.1:{port}/mcp\"\n"));
    format!(
        "[identity]\napi_keys = true\n[policy]\n\
         engines = [{{ cedar = {{ text = 'permit(principal, action, resource); {forbidden}' }} }}]\n\
         [servers.modern]\n{modern}[servers.legacy]\n{legacy}"
    )
}

/// One who calls, and can do all that a client can.
struct Able(Caller);

impl Able {
    /// The result, or the error's text.
    fn ask(&self, method: &str, mut params: Value) -> Result<Value, String> {
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
            json!({ "elicitation": {}, "extensions": { "io.modelcontextprotocol/tasks": {} } });
        let answer = self.0.ask("/mcp", method, params);
        let text = answer.message().unwrap_or_else(|| panic!("{answer:?}"));
        let message: Value = serde_json::from_str(text).unwrap();
        match &message["result"] {
            result if result.is_object() && result["isError"] != json!(true) => Ok(result.clone()),
            _ => Err(text.to_owned()),
        }
    }

    fn call(&self, server: &str, tool: &str, arguments: &Value) -> Result<Value, String> {
        self.ask("tools/call", json!({ "name": format!("{server}__{tool}"), "arguments": arguments }))
    }
}

#[test]
fn a_task_and_a_question_are_nobodys_who_may_not_use_their_tool_any_more() {
    let (modern, legacy) = (Fixture::start(), Fixture::speaking("2025-11-25"));
    let ports = [modern.port, legacy.port];
    let project = Project::new(&configuration(ports, ""));
    let shown = key(&project, &["add", "alice", "--json"]).unwrap()["key"].as_str().unwrap().to_owned();
    let gateway = project.up();
    let alice = Able(Caller::new(gateway.port, &shown));
    let begun = ["modern", "legacy"].map(|server| {
        let task = alice.call(server, "slow_compute", &json!({ "seconds": 300, "label": "x" })).unwrap();
        let asked = alice.call(server, "test_input_required_result_elicitation", &json!({})).unwrap();
        assert!(task["taskId"].is_string() && asked["resultType"] == "input_required", "{server}: {task} {asked}");
        (server, task["taskId"].clone(), asked)
    });
    let look = |task: &Value| alice.ask("tasks/get", json!({ "taskId": task }));
    let answer = |server: &str, asked: &Value| {
        let answers: serde_json::Map<_, _> = asked["inputRequests"]
            .as_object()
            .unwrap()
            .keys()
            .map(|key| (key.clone(), json!({ "action": "accept", "content": { "name": "Ada" } })))
            .collect();
        let name = format!("{server}__test_input_required_result_elicitation");
        let mut params = json!({ "name": name, "arguments": {}, "inputResponses": answers });
        if asked["requestState"].is_string() {
            params["requestState"] = asked["requestState"].clone();
        }
        alice.ask("tools/call", params)
    };
    for (server, task, _) in &begun {
        assert_eq!(look(task).unwrap()["status"], "working", "{server}");
    }

    project.configure(&configuration(ports, r#"forbid(principal == User::"key:alice", action in Action::"call", resource);"#));
    let is_in_force = || alice.call("modern", "greet", &json!({ "name": "x" })).is_err_and(|told| told.contains("denied"));
    eventually("the policy is in force", Duration::from_secs(30), is_in_force);
    for (server, task, asked) in &begun {
        let about = |method: &str, more: Value| {
            let mut params = json!({ "taskId": task });
            params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            alice.ask(method, params)
        };
        for told in [
            about("tasks/get", json!({})),
            about("tasks/update", json!({ "inputResponses": {} })),
            about("tasks/cancel", json!({})),
            answer(server, asked),
        ] {
            assert!(told.as_ref().is_err_and(|told| told.contains("denied")), "{server}: {told:?}");
        }
    }

    project.configure(&configuration(ports, ""));
    eventually("the policy is in force", Duration::from_secs(30), || !is_in_force());
    for (server, task, asked) in &begun {
        assert_eq!(look(task).unwrap()["status"], "working", "{server}: nothing has reached it meanwhile");
        assert!(answer(server, asked).unwrap()["content"].is_array(), "{server}");
    }
}
