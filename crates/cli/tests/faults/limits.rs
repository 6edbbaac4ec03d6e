//! A server goes beyond one of its limits: it is ended alone, the call under way says which limit, and the next one is answered.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::processes::eventually;
use crate::hostile;
use crate::session::Session;

const PATIENCE: Duration = Duration::from_secs(30);

/// Calls a tool of a server that goes beyond `limit` in it; gives the whole result.
fn gone_beyond(limits: &str, tool: &str, arguments: &Value) -> Value {
    let project = hostile(&[("bad", "none")], &format!("limits = {limits}"));
    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    let answer = session.request("tools/call", &json!({ "name": format!("bad__{tool}"), "arguments": arguments }));
    assert_eq!(session.call("tame__ping", &json!({})).words(), "pong", "another server is not concerned");
    eventually("it answers again", PATIENCE, || session.call("bad__ping", &json!({})).words() == "pong");
    answer["result"].clone()
}

fn words(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

fn failure(result: &Value) -> &Value {
    &result["_meta"]["dev.sallyport/failure"]
}

#[test]
fn too_much_memory_is_told_to_the_call_under_way() {
    let result = gone_beyond("{ memory_mb = 100 }", "hoard", &json!({}));
    assert!(words(&result).contains("it was ended because it used more than 100 MiB of memory"), "{result}");
    assert!(words(&result).contains("hint: `servers.bad.limits.memory_mb` sets the limit"), "{result}");
    assert_eq!(failure(&result)["kind"], "limit_exceeded", "{result}");
    assert_eq!(failure(&result)["limit"], "memory_mb", "{result}");
    assert_eq!(failure(&result)["retry"], "unsafe", "{result}");
}

#[test]
fn a_flood_is_told_to_the_call_under_way() {
    let result = gone_beyond("{ output_mb = 5 }", "torrent", &json!({}));
    assert!(words(&result).contains("it was ended because it wrote more than 5 MiB within a minute"), "{result}");
    assert_eq!(failure(&result)["limit"], "output_mb", "{result}");
}

#[test]
fn a_call_that_fails_with_all_files_open_is_told_so_beside_what_its_server_says() {
    let project = hostile(&[("bad", "none")], "limits = { open_files = 64 }");
    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    let mut open = |arguments: &Value| session.request("tools/call", &json!({ "name": "bad__open", "arguments": arguments }));
    let told = "server `bad` has as many files open as a process of it may, 64; hint: `servers.bad.limits.open_files` sets the limit";

    let released = open(&json!({}));
    assert_eq!(released["result"]["content"].as_array().unwrap().len(), 1, "it may have failed by anything: {released}");
    assert_eq!(failure(&released["result"]), &Value::Null, "{released}");
    assert!(!gateway.log().contains("a call failed"));

    let kept = open(&json!({ "keeps": true }));
    let content = &kept["result"]["content"];
    assert_eq!((&content[0]["text"], &content[1]["text"]), (&json!("Too many open files"), &json!(told)), "{kept}");
    assert_eq!(failure(&kept["result"])["kind"], "limit_exceeded", "{kept}");
    assert_eq!(failure(&kept["result"])["limit"], "open_files", "{kept}");
    assert!(gateway.log().contains("a call failed, and it has as many files open as a process of it may, 64"), "{}", gateway.log());

    let error = open(&json!({ "keeps": true, "error": true }));
    assert_eq!(error["error"]["message"], "Too many open files", "{error}");
    assert_eq!(error["error"]["data"]["dev.sallyport/failure"]["limit"], "open_files", "{error}");
    let answer = session.request("tools/call", &json!({ "name": "bad__ping", "arguments": {} }));
    assert_eq!((words(&answer["result"]), failure(&answer["result"])), ("pong", &Value::Null), "what goes well is not looked at");
}

#[test]
fn a_message_that_is_too_long_is_told_with_its_limit() {
    let result = gone_beyond("{ line_mb = 1 }", "large", &json!({ "kilobytes": 2000 }));
    assert!(words(&result).contains("hint: `servers.bad.limits.line_mb` sets how long a message may be"), "{result}");
    assert_eq!(failure(&result)["kind"], "too_large", "{result}");
}
