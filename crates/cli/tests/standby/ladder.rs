//! Down and up again.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::processes::eventually;
use crate::session::Session;
use crate::{PATIENCE, all_frozen, cpu, is_frozen, metric, one, programs};

#[test]
fn an_idle_server_is_frozen_and_the_next_call_wakes_it() {
    let project = one(r#"{ freeze_after = "100ms" }"#);
    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    for round in 1..=10 {
        assert_eq!(session.call("idle__count", &json!({})).words(), round.to_string(), "one process, from the first call on");
        eventually("it is frozen, its child too", PATIENCE, || all_frozen(&gateway));
    }
    let programs = programs(&gateway);
    assert_eq!(programs.len(), 2);
    let before = cpu(&programs);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(cpu(&programs), before, "what is frozen uses no CPU");
    assert_eq!(metric(&gateway, r#"sallyport_standby{server="idle",state="frozen"}"#), 1.0);
    session.call("idle__count", &json!({}));
    assert!(metric(&gateway, r#"sallyport_wake_seconds_count{server="idle",from="frozen",backend="os"}"#) >= 10.0);
    assert_eq!(metric(&gateway, r#"sallyport_child_restarts_total{server="idle"}"#), 0.0);
}

#[test]
fn timers_stand_still_and_go_on() {
    let project = one(r#"{ freeze_after = "100ms" }"#);
    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    let mut ticks = || session.call("idle__ticks", &json!({})).words().parse::<u32>().unwrap();
    let before = ticks();
    eventually("it is frozen", PATIENCE, || all_frozen(&gateway));
    thread::sleep(Duration::from_secs(2));
    let after = ticks();
    assert!(after - before < 15, "it stood still for two seconds of twenty ticks: {before}, {after}");
    eventually("its timer goes on", PATIENCE, || ticks() > after);
}

#[test]
fn a_server_that_works_is_not_frozen() {
    let project = one(r#"{ freeze_after = "50ms" }"#);
    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/servers/idle/mcp");
    assert!(!session.call("sleep", &json!({ "seconds": 1 })).is_error(), "a call under way keeps it awake");
    let subscribed = json!({ "uri": "idle:news" });
    session.request("resources/subscribe", &subscribed);
    thread::sleep(Duration::from_millis(500));
    assert!(!all_frozen(&gateway), "somebody listens to it");
    session.request("resources/unsubscribe", &subscribed);
    eventually("it is frozen", PATIENCE, || all_frozen(&gateway));
    let with_task = json!({ "name": "task", "arguments": {}, "task": { "ttl": 60000 } });
    let answer = session.request("tools/call", &with_task);
    assert_eq!(answer["result"]["task"]["status"], "working", "{answer}");
    thread::sleep(Duration::from_millis(500));
    assert!(!all_frozen(&gateway), "it works on a task");
}

#[test]
fn a_server_that_nobody_calls_is_stopped_and_started_anew() {
    let project = one(r#"{ freeze_after = "100ms", reclaim_after = "200ms", stop_after = "400ms" }"#);
    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    for round in 1..=3 {
        assert_eq!(session.call("idle__count", &json!({})).words(), "1", "a new process");
        eventually("it is gone", PATIENCE, || programs(&gateway).is_empty());
        assert!(session.tools().contains(&"idle__count".to_owned()), "its tools stay in the list");
        assert_eq!(metric(&gateway, r#"sallyport_standby{server="idle",state="stopped"}"#), 1.0);
        assert_eq!(metric(&gateway, r#"sallyport_wake_seconds_count{server="idle",from="stopped",backend="os"}"#), f64::from(round - 1));
    }
    assert_eq!(metric(&gateway, r#"sallyport_child_restarts_total{server="idle"}"#), 0.0, "that is no failure");
}

#[test]
fn a_server_without_a_sandbox_is_not_frozen_but_stopped_and_its_wakes_are_counted() {
    let project = one("{ stop_after = \"1s\" }\nsandbox = \"none\"");
    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    for round in 1..=3 {
        assert_eq!(session.call("idle__count", &json!({})).words(), "1", "a new process");
        eventually("it is gone", PATIENCE, || {
            assert!(!programs(&gateway).into_iter().any(is_frozen), "nothing can freeze it");
            programs(&gateway).is_empty()
        });
        assert_eq!(metric(&gateway, r#"sallyport_wake_seconds_count{server="idle",from="stopped",backend="none"}"#), f64::from(round - 1));
    }
}

#[test]
fn it_can_be_switched_off() {
    let project = one("false");
    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    session.call("idle__count", &json!({}));
    thread::sleep(Duration::from_millis(500));
    assert!(!all_frozen(&gateway));
}
