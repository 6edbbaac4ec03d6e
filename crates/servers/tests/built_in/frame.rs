//! What all built-in servers have in common.

use std::path::Path;
use std::time::{Duration, Instant};

use sallyport_protocol::{Cancel, FailureKind, Method, Revision};
use sallyport_servers::BuiltInConfig;
use serde_json::{Value, json};

use crate::caller::Caller;

fn config(value: Value) -> Result<BuiltInConfig, serde_json::Error> {
    serde_json::from_value(value)
}

#[test]
fn a_configuration_is_tagged_by_key_and_read_only_by_default() {
    let mut files = config(json!({ "filesystem": {} })).unwrap();
    assert!(!files.writes());
    assert_eq!(files.name(), "filesystem");
    assert_eq!(files.place(), Some(("root", Path::new("."))));
    files.anchor(Path::new("/"), Some("/project".into()));
    assert_eq!(files.place(), Some(("root", Path::new("/project"))));
    let absolute = config(json!({ "filesystem": { "root": "/srv", "write": true } })).unwrap();
    assert_eq!((absolute.place(), absolute.writes()), (Some(("root", Path::new("/srv"))), true));
    assert!(config(json!({ "filesystem": { "rooot": "." } })).unwrap_err().to_string().contains("rooot"));
    assert!(config(json!({ "files": {} })).unwrap_err().to_string().contains("`filesystem`"));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = config(json!({ "filesystem": { "root": "/nowhere/at/all" } })).unwrap().build().err().unwrap();
    assert_eq!(error.to_string(), "folder /nowhere/at/all: no such file or folder");
}

#[test]
fn the_list_says_the_truth_in_the_newest_revision() {
    let folder = tempfile::tempdir().unwrap();
    let caller = Caller::filesystem(folder.path(), true);
    let reply = caller.send(Method::ToolsList, json!({})).unwrap();
    assert_eq!(reply.revision, Revision::LATEST);
    let list: Value = reply.result.to_json().decode().unwrap();
    assert_eq!((&list["resultType"], &list["cacheScope"]), (&json!("complete"), &json!("public")));
    assert!(list["ttlMs"].as_u64().unwrap() > 0);
    for tool in &caller.tools {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{tool}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{tool}");
        assert_eq!(tool["annotations"]["openWorldHint"], false, "{tool}");
        let description = tool["description"].as_str().unwrap();
        assert!((20..=280).contains(&description.len()), "{description}");
    }
}

#[test]
fn a_server_that_may_not_write_offers_only_what_reads() {
    let folder = tempfile::tempdir().unwrap();
    let reading = Caller::filesystem(folder.path(), false);
    assert!(reading.tools.iter().all(|tool| tool["annotations"]["readOnlyHint"] == true));
    assert!(reading.server.discovery().instructions.as_ref().unwrap().contains("not written"));
    let writing = Caller::filesystem(folder.path(), true);
    assert!(writing.tools.len() > reading.tools.len());
    let failure = reading.send(Method::ToolsCall, json!({ "name": "write_file", "arguments": {} })).unwrap_err();
    assert!(matches!(failure.kind, FailureKind::NotFound));
}

#[test]
fn wrong_arguments_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let caller = Caller::filesystem(folder.path(), true);
    assert!(caller.err("read_file", json!({})).contains("missing field `path`"));
    assert!(caller.err("read_file", json!({ "path": "a", "offset": "x" })).starts_with("argument `offset`: invalid type"));
    assert!(caller.err("read_file", json!({ "path": "a", "lines": 3 })).contains("unknown field `lines`"));
    let edits = json!({ "path": "a", "edits": [{ "old_text": 1, "new_text": "" }] });
    assert!(caller.err("edit_file", edits).starts_with("argument `edits[0].old_text`"));
}

#[test]
fn what_is_no_call_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let caller = Caller::filesystem(folder.path(), false);
    let kind = |method, params| caller.send(method, params).unwrap_err().kind;
    assert!(matches!(kind(Method::ToolsCall, json!({ "name": "nothing" })), FailureKind::NotFound));
    assert!(matches!(kind(Method::ToolsCall, json!({})), FailureKind::InvalidParams));
    assert!(matches!(kind(Method::ToolsCall, json!({ "name": "read_file", "arguments": [] })), FailureKind::InvalidParams));
    assert!(matches!(kind(Method::ToolsList, json!({ "cursor": "" })), FailureKind::InvalidParams));
    assert!(matches!(kind(Method::PromptsList, json!({})), FailureKind::MethodNotFound));
}

#[test]
fn a_cancelled_call_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for at in 0..2000 {
        std::fs::write(folder.path().join(format!("{at}.txt")), "nothing to find\n".repeat(500)).unwrap();
    }
    let caller = Caller::filesystem(folder.path(), false);
    let cancel = Cancel::new();
    let canceller = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        canceller.cancel();
    });
    let began = Instant::now();
    let search = json!({ "name": "search_files", "arguments": { "content": "(n|o|t|h|i|g| )+never$", "regex": true } });
    let failure = caller.send_with(Method::ToolsCall, search, cancel).unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Cancelled));
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(caller); // waits for the thread that did the work: it must have stopped, too
    assert!(began.elapsed() < Duration::from_secs(5));
}
