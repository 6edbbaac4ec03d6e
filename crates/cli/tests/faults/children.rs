//! One child misbehaves: its caller is told what happened, and the other servers are untouched.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::gateway::{Gateway, Project, send_signal};
use crate::harness::processes::{descendants, eventually, runs, zombies_of};
use crate::hostile;
use crate::session::{Called, Session};

/// Short limits, so that a test of a limit does not take a minute.
const SHORT: &str = "timeouts = { connect = \"5s\", list = \"2s\", call = \"3s\", call_max = \"6s\" }";
const PATIENCE: Duration = Duration::from_secs(20);

fn pong() -> Called {
    Called::Text { text: "pong".to_owned(), is_error: false }
}

/// A gateway in front of the hostile server `bad` and the tame one.
fn start(fault: &str) -> (Project, Gateway, Session) {
    let project = hostile(&[("bad", fault)], SHORT);
    let gateway = project.up();
    let session = Session::open(gateway.port, "/mcp");
    (project, gateway, session)
}

/// The caller gets an error that names the server, and everything works again afterwards.
fn assert_told_and_healed(tool: &str, words: &[&str]) {
    let (_project, gateway, mut session) = start("none");
    let begin = Instant::now();
    let told = session.call(&format!("bad__{tool}"), &json!({}));
    assert!(begin.elapsed() < PATIENCE, "{tool}: the caller waited {:?}", begin.elapsed());
    assert!(told.is_error(), "{tool}: {told:?}");
    for word in ["bad"].iter().chain(words) {
        assert!(told.words().contains(word), "{tool}: {word:?} is not in {:?}", told.words());
    }
    assert_eq!(session.call("tame__ping", &json!({})), pong(), "the other server is untouched");
    eventually(&format!("bad answers again after {tool}"), PATIENCE, || session.call("bad__ping", &json!({})) == pong());
    assert_eq!(zombies_of(gateway.id()), 0);
}

#[test]
fn a_child_killed_in_a_call() {
    assert_told_and_healed("die", &[]);
}

#[test]
fn a_stopped_child_runs_into_the_limit() {
    assert_told_and_healed("stop", &["3"]);
}

#[test]
fn a_child_that_closes_its_stdin() {
    assert_told_and_healed("close_stdin", &[]);
}

#[test]
fn a_child_killed_from_outside_is_started_again() {
    let (_project, gateway, mut session) = start("none");
    let before = descendants(gateway.id());
    assert!(!before.is_empty(), "the children run");
    for child in &before {
        send_signal(*child, "KILL");
    }
    eventually("both servers answer again", PATIENCE, || {
        ["bad__ping", "tame__ping"].iter().all(|tool| session.call(tool, &json!({})) == pong())
    });
    eventually("the killed processes are reaped", PATIENCE, || zombies_of(gateway.id()) == 0);
    assert!(before.iter().all(|child| !runs(*child)));
}

#[test]
fn babbling_on_stdout_disturbs_no_call() {
    let (_project, _gateway, mut session) = start("babbles");
    let babbled = session.call("bad__babble", &json!({}));
    assert_eq!(babbled, Called::Text { text: "babbled".to_owned(), is_error: false });
    assert_eq!(session.call("bad__ping", &json!({})), pong());
}

#[test]
fn a_line_of_100_megabytes_is_not_kept() {
    let (_project, gateway, mut session) = start("none");
    let before = crate::harness::processes::resident_bytes(gateway.id());
    let told = session.call("bad__flood", &json!({ "megabytes": 100 }));
    assert!(told.is_error(), "{told:?}");
    assert!(told.words().contains("bad"), "{told:?}");
    let grown = crate::harness::processes::resident_bytes(gateway.id()).saturating_sub(before);
    assert!(grown < 64 << 20, "the gateway grew by {} MiB", grown >> 20);
    eventually("bad answers again", PATIENCE, || session.call("bad__ping", &json!({})) == pong());
    assert_eq!(session.call("tame__ping", &json!({})), pong());
}

#[test]
fn malformed_results_become_errors_that_say_so() {
    let (_project, _gateway, mut session) = start("none");
    for tool in ["no_content", "wrong_content", "not_an_object"] {
        let told = session.call(&format!("bad__{tool}"), &json!({}));
        assert!(matches!(&told, Called::Text { is_error: true, .. }), "{tool}: {told:?}");
        assert!(told.words().contains("bad"), "{tool}: the server is not named in {:?}", told.words());
    }
    assert_eq!(session.call("bad__ping", &json!({})), pong());
}

#[test]
fn an_answer_to_nobody_and_half_a_message_run_into_the_limit() {
    let (_project, _gateway, mut session) = start("none");
    for tool in ["wrong_id", "not_json"] {
        let told = session.call(&format!("bad__{tool}"), &json!({}));
        assert!(told.is_error() && told.words().contains("bad"), "{tool}: {told:?}");
    }
    eventually("bad answers again", PATIENCE, || session.call("bad__ping", &json!({})) == pong());
}

#[test]
fn a_server_that_exits_at_once_loses_its_tools_and_is_not_started_for_ever() {
    let (_project, gateway, mut session) = start("exits");
    let tools = session.tools();
    assert!(tools.iter().any(|tool| tool == "tame__ping"), "{tools:?}");
    assert!(!tools.iter().any(|tool| tool.starts_with("bad__")), "{tools:?}");
    let told = session.call("bad__ping", &json!({}));
    assert!(told.is_error() && told.words().contains("bad"), "{told:?}");
    let instructions = session.request("tools/call", &json!({ "name": "tame__ping", "arguments": {} }));
    assert_eq!(instructions["result"]["content"][0]["text"], "pong");
    // With backoff a few seconds see a handful of starts; without, hundreds, and zombies with them.
    for _ in 0..20 {
        assert!(zombies_of(gateway.id()) <= 1, "exited children are reaped");
        assert!(descendants(gateway.id()).len() <= 12, "children pile up: {:?}", descendants(gateway.id()));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(session.call("tame__ping", &json!({})), pong());
}

#[test]
fn a_deaf_server_is_told_of() {
    let (_project, _gateway, mut session) = start("deaf");
    let told = session.call("bad__ping", &json!({}));
    assert!(told.is_error() && told.words().contains("bad"), "{told:?}");
    assert_eq!(session.call("tame__ping", &json!({})), pong());
}

#[test]
fn a_list_that_never_comes_is_no_empty_list_of_the_others() {
    let (_project, _gateway, mut session) = start("never_lists");
    let begin = Instant::now();
    let tools = session.tools();
    assert!(begin.elapsed() < PATIENCE);
    assert!(tools.iter().any(|tool| tool == "tame__ping"), "{tools:?}");
}

#[test]
fn a_slow_list_serves_the_last_good_one() {
    let (_project, gateway, mut session) = start("slow_list");
    assert!(session.tools().iter().any(|tool| tool == "bad__ping"));
    for _ in 0..3 {
        let mut later = Session::open(gateway.port, "/servers/bad/mcp");
        let begin = Instant::now();
        assert!(later.tools().iter().any(|tool| tool == "ping"), "the last good list is served");
        assert!(begin.elapsed() < Duration::from_secs(5), "from memory");
    }
}
