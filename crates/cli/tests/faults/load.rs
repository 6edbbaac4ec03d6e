//! Many calls and many clients: afterwards processes, descriptors and memory are back where they were.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::harness::processes::{descendants, descriptors, eventually, resident_bytes, zombies_of};
use crate::hostile;
use crate::session::Session;

const PATIENCE: Duration = Duration::from_secs(60);
/// Memory an allocator may keep after a burst: it gives pages back late and in pieces.
const SLACK: u64 = 24 << 20;

/// What a gateway holds of the machine.
#[derive(Debug)]
struct Holdings {
    processes: usize,
    descriptors: usize,
    resident: u64,
}

impl Holdings {
    fn of(gateway: &Gateway) -> Self {
        let id = gateway.id();
        Self { processes: descendants(id).len(), descriptors: descriptors(id), resident: resident_bytes(id) }
    }

    fn is_back_to(&self, before: &Self) -> bool {
        self.processes <= before.processes && self.descriptors <= before.descriptors && self.resident <= before.resident + SLACK
    }
}

/// Warms the gateway up, runs `load`, and waits until everything is back where it was.
fn measured(load: impl FnOnce(&Gateway)) {
    let project = hostile(&[("bad", "none")], "");
    let gateway = project.up();
    {
        let mut session = Session::open(gateway.port, "/mcp");
        for _ in 0..100 {
            assert_eq!(session.call("tame__ping", &json!({})).words(), "pong");
        }
    }
    thread::sleep(Duration::from_millis(500));
    let before = Holdings::of(&gateway);
    load(&gateway);
    eventually(&format!("back to {before:?}"), PATIENCE, || {
        let now = Holdings::of(&gateway);
        eprintln!("{now:?}");
        thread::sleep(Duration::from_millis(500));
        now.is_back_to(&before)
    });
    assert_eq!(zombies_of(gateway.id()), 0);
}

#[test]
fn ten_thousand_quick_calls() {
    measured(|gateway| {
        let mut session = Session::open(gateway.port, "/mcp");
        for _ in 0..10_000 {
            assert_eq!(session.call("tame__ping", &json!({})).words(), "pong");
        }
    });
}

#[test]
fn two_hundred_clients_at_once() {
    measured(|gateway| {
        let port = gateway.port;
        let clients: Vec<_> = (0..200).map(|_| thread::spawn(move || client(port))).collect();
        for client in clients {
            client.join().expect("no client fails");
        }
        let children = descendants(gateway.id()).len();
        assert!(children <= 12, "one child a server, not one a session: {children} processes");
    });
}

fn client(port: u16) {
    let mut session = Session::open(port, "/mcp");
    assert!(session.tools().iter().any(|tool| tool == "tame__ping"));
    for _ in 0..10 {
        assert_eq!(session.call("tame__ping", &json!({})).words(), "pong");
    }
}

#[test]
fn large_results_leave_nothing_behind() {
    measured(|gateway| {
        let mut session = Session::open(gateway.port, "/mcp");
        for _ in 0..50 {
            assert_eq!(session.call("tame__large", &json!({ "kilobytes": 1000 })).words().len(), 1_000_000);
        }
    });
}

#[test]
fn a_hundred_crashes_leave_nothing_behind() {
    measured(|gateway| {
        let mut session = Session::open(gateway.port, "/mcp");
        for _ in 0..100 {
            // The breaker may refuse some of them; what counts is that nothing piles up.
            let _told = session.call("bad__die", &json!({}));
        }
        eventually("bad answers again", PATIENCE, || session.call("bad__ping", &json!({})).words() == "pong");
    });
}
