//! Logging as a process starts it: once, so that this is one test.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;

use sallyport_telemetry::log::{LogError, Options, Stderr, start};
use serde_json::Value;

#[test]
fn logs_are_json_lines_and_other_libraries_tell_only_what_went_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sallyport.log");
    let options = Options { stderr: Stderr::Off, file: Some(path.clone()), filter: Some("trace".into()) };

    let misspelt = Options { filter: Some("sallyport=loud".into()), ..options.clone() };
    assert!(matches!(start(&misspelt), Err(LogError::Filter(_))));
    let nowhere = Options { file: Some(folder.path().join("missing/sallyport.log")), ..options.clone() };
    assert!(matches!(start(&nowhere), Err(LogError::File(..))));

    start(&options).unwrap();
    assert!(matches!(start(&Options { file: None, ..options }), Err(LogError::Started(_))));

    tracing::debug!(target: "sallyport_gateway::pipeline", server = "files", "called");
    tracing::debug!(target: "hyper::proto", header = "Bearer hunter2", "sent");
    tracing::warn!(target: "hyper::proto", "gave up");
    tracing::info!(target: "sallyport_sandbox", said = "a\u{1b}[31m\n{\"level\":\"FORGED\"}", "child");

    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(&str, &str)> = lines.iter().map(|line| (line["level"].as_str().unwrap(), line["message"].as_str().unwrap())).collect();
    assert_eq!(told, [("DEBUG", "called"), ("WARN", "gave up"), ("INFO", "child")]);
    assert_eq!(lines[0]["server"], "files");
    assert!(!text.contains("hunter2") && !text.contains('\u{1b}'), "{text}");
}
