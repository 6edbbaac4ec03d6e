//! Limits, where one tool has several names.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fixture::Fixture;
use crate::harness::gateway::Project;
use crate::keys::key;

const LIMITS: &str = r#"
[toolsets.plain]
tools = ["work__*"]

[toolsets.other]
tools = ["work__test_simple_text", "work__greet", "work__slow_compute"]
rename = { work__test_simple_text = "say", work__greet = "hello", work__slow_compute = "compute" }

[[limits]]
tools = ["test_simple_text"]
rate = { calls = 4, seconds = 3600 }

[[limits]]
tools = ["greet"]
budget = { calls = 4, seconds = 3600 }

[[limits]]
tools = ["slow_compute"]
at_once = 1
"#;

/// The ways to one tool: endpoints, and what it is called there.
fn ways(tool: &str, other: &str) -> [(&'static str, String); 4] {
    let merged = format!("work__{tool}");
    [
        ("/mcp", merged.clone()),
        ("/servers/work/mcp", tool.to_owned()),
        ("/toolsets/plain/mcp", merged),
        ("/toolsets/other/mcp", other.to_owned()),
    ]
}

/// The result of a call of one who takes tasks.
fn call(caller: &Caller, (endpoint, name): &(&str, String), arguments: &Value) -> Value {
    let meta = json!({ "io.modelcontextprotocol/clientCapabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } } });
    let answer = caller.ask(endpoint, "tools/call", json!({ "name": name, "arguments": arguments, "_meta": meta }));
    let message: Value = answer.message().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| panic!("{answer:?}"));
    message["result"].clone()
}

/// The limit that has stopped a call.
fn limit(result: &Value) -> Option<&str> {
    result["_meta"]["dev.sallyport/failure"]["limit"].as_str()
}

#[test]
fn a_tool_is_limited_as_one_whatever_it_is_called() {
    let fixture = Fixture::start();
    let project = Project::new(&format!(
        "[identity]\napi_keys = true\n[policy]\ndefault = \"allow\"\n[servers.work]\nurl = \"http://127.0.0.1:{}/mcp\"\n{LIMITS}",
        fixture.port
    ));
    let [alice, bob] = ["alice", "bob"].map(|name| key(&project, &["add", name, "--json"]).unwrap()["key"].as_str().unwrap().to_owned());
    let gateway = project.up();
    let (alice, bob) = (Caller::new(gateway.port, &alice), Caller::new(gateway.port, &bob));

    for (ways, arguments, reached) in [
        (ways("test_simple_text", "say"), json!({}), "limits[0].rate"),
        (ways("greet", "hello"), json!({ "name": "x" }), "limits[1].budget.calls"),
    ] {
        for way in &ways {
            let result = call(&alice, way, &arguments);
            assert!(result["content"].is_array() && result["isError"] != true, "{way:?}: {result}");
        }
        for way in &ways {
            assert_eq!(limit(&call(&alice, way, &arguments)), Some(reached), "{way:?}");
        }
        assert_eq!(limit(&call(&bob, &ways[0], &arguments)), None, "each caller has its own");
    }

    let (ways, arguments) = (ways("slow_compute", "compute"), json!({ "seconds": 300, "label": "x" }));
    let begun = call(&alice, &ways[3], &arguments);
    assert!(begun["taskId"].is_string(), "{begun}");
    for way in &ways {
        assert_eq!(limit(&call(&alice, way, &arguments)), Some("limits[2].at_once"), "{way:?}: a task is under way by another name");
    }
    assert!(call(&bob, &ways[0], &arguments)["taskId"].is_string());
}
