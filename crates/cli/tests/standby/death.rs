//! What sleeps dies: with its gateway, by it, and by itself. As root and as an ordinary user.

use std::time::Instant;

use serde_json::json;

use crate::harness::gateway::{Gateway, Project, send_signal};
use crate::harness::processes::{descendants, eventually, mentioning, runs};
use crate::session::Session;
use crate::{PATIENCE, all_frozen, metric, one, programs};

const STANDBY: &str = r#"{ freeze_after = "100ms", reclaim_after = "150ms" }"#;

/// The callers to try: root tests both.
fn frozen(test: impl Fn(&Project, Gateway, Session)) {
    let users: &[Option<u32>] = if rustix::process::geteuid().is_root() { &[None, Some(64_112)] } else { &[None] };
    for user in users {
        let project = user.iter().fold(one(STANDBY), |project, user| project.run_by(*user));
        let gateway = project.up();
        let mut session = Session::open(gateway.port, "/mcp");
        assert_eq!(session.call("idle__count", &json!({})).words(), "1");
        eventually("it is frozen", PATIENCE, || all_frozen(&gateway));
        test(&project, gateway, session);
    }
}

#[test]
fn a_gateway_that_is_killed_leaves_nothing() {
    frozen(|project, mut gateway, _| {
        let family = descendants(gateway.id());
        assert!(family.len() >= 4, "launcher, init, server and child: {family:?}");
        gateway.signal("KILL");
        gateway.wait();
        eventually("every descendant is gone", PATIENCE, || family.iter().all(|id| !runs(*id)));
        eventually("no orphan either", PATIENCE, || mentioning(&project.mark()).is_empty());
    });
}

#[test]
fn a_gateway_that_ends_in_order_wakes_and_ends_it() {
    frozen(|project, mut gateway, _| {
        let begun = Instant::now();
        gateway.signal("TERM");
        assert_eq!(gateway.wait(), Some(0), "{}", gateway.log());
        assert!(begun.elapsed() < PATIENCE);
        assert!(mentioning(&project.mark()).is_empty());
    });
}

#[test]
fn a_server_that_is_killed_in_its_sleep_is_started_anew() {
    frozen(|_, gateway, mut session| {
        programs(&gateway).into_iter().for_each(|id| send_signal(id, "KILL"));
        eventually("that is noticed", PATIENCE, || metric(&gateway, r#"sallyport_child_restarts_total{server="idle"}"#) == 1.0);
        assert_eq!(session.call("idle__count", &json!({})).words(), "1", "a new process answers");
    });
}
