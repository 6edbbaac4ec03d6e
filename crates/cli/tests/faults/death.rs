//! The gateway ends, by SIGTERM and by SIGKILL: nothing of it is left.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::processes::{descendants, eventually, mentioning, runs};
use crate::hostile;
use crate::session::Session;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn sigkill_leaves_no_process() {
    let project = hostile(&[("one", "none"), ("two", "none")], "");
    let mark = project.mark();
    let mut gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    for server in ["one", "two", "tame"] {
        assert!(!session.call(&format!("{server}__fork"), &json!({})).is_error(), "a grandchild is there too");
    }
    let family = descendants(gateway.id());
    assert!(family.len() >= 6, "three children with a grandchild each: {family:?}");
    gateway.signal("KILL");
    gateway.wait();
    eventually("every descendant is gone", PATIENCE, || family.iter().all(|id| !runs(*id)));
    eventually("no orphan either", PATIENCE, || mentioning(&mark).is_empty());
}

#[test]
fn sigterm_lets_calls_finish_and_ends_the_children() {
    let project = hostile(&[], "");
    let mark = project.mark();
    let mut gateway = project.up();
    let port = gateway.port;
    let mut session = Session::open(port, "/mcp");
    assert!(!session.call("tame__fork", &json!({})).is_error());
    let family = descendants(gateway.id());
    let call = thread::spawn(move || session.call("tame__sleep", &json!({ "seconds": 2 })));
    thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    gateway.signal("TERM");
    let slept = call.join().expect("the caller does not panic");
    assert_eq!(slept.words(), "slept", "the call in flight was answered");
    assert_eq!(gateway.wait(), Some(0), "a wanted end is no failure:\n{}", gateway.log());
    assert!(begin.elapsed() < PATIENCE, "took {:?}", begin.elapsed());
    eventually("every descendant is gone", PATIENCE, || family.iter().all(|id| !runs(*id)));
    eventually("no orphan either", PATIENCE, || mentioning(&mark).is_empty());
}

#[test]
fn a_stdio_gateway_ends_with_its_client() {
    use std::io::Write as _;
    use std::process::Stdio;

    let project = hostile(&[], "");
    let mark = project.mark();
    let mut child = project.sallyport().arg("stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let mut input = child.stdin.take().expect("stdin is piped");
    writeln!(input, "{initialize}").expect("the gateway reads");
    eventually("its child runs", PATIENCE, || !descendants(child.id()).is_empty());
    let family = descendants(child.id());
    drop(input);
    eventually("it ends with its stdin", PATIENCE, || child.try_wait().expect("the child is ours").is_some());
    eventually("every descendant is gone", PATIENCE, || family.iter().all(|id| !runs(*id)));
    eventually("no orphan either", PATIENCE, || mentioning(&mark).is_empty());
}
