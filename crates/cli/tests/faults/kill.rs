//! The gateway is killed at any moment: while it starts, launches, serves, while what it launched sleeps. Nothing of it goes on, and the
//! next start clears away what a killed process cannot.
//!
//! `SALLYPORT_KILL_RUNS` says how often (`cargo xtask kill` sets it).

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::gateway::Project;
use crate::harness::loopback;
use crate::harness::processes::{control_groups, descendants, eventually, mentioning, runs};
use crate::hostile;
use crate::session::Session;

const PATIENCE: Duration = Duration::from_secs(20);
/// As many as find what happens in one of ten kills, in a minute.
const RUNS: u32 = 20;
/// Within this a gateway has started, launched everything and let it fall asleep.
const LATEST: u64 = 2500;

fn count() -> u32 {
    std::env::var("SALLYPORT_KILL_RUNS").ok().and_then(|count| count.parse().ok()).unwrap_or(RUNS)
}

/// A number below `bound` that nobody can tell beforehand.
fn random(bound: u64) -> u64 {
    RandomState::new().build_hasher().finish() % bound
}

#[test]
fn a_gateway_that_is_killed_at_any_moment_leaves_nothing() {
    let project = hostile(&[("one", "none"), ("two", "none")], "standby = { freeze_after = \"100ms\", reclaim_after = \"200ms\" }");
    let mounts = mounts();
    let mut killed = Vec::new();
    for run in 0..count() {
        let mut gateway = start(&project);
        let moment = Duration::from_millis(random(LATEST));
        thread::sleep(moment);
        let family = descendants(gateway.id());
        gateway.kill().expect("the child is ours");
        gateway.wait().expect("the child is ours");
        let when = format!("run {run}, killed after {moment:?}");
        eventually(&format!("{when}: every descendant is gone"), PATIENCE, || family.iter().all(|id| !runs(*id)));
        eventually(&format!("{when}: no orphan either"), PATIENCE, || mentioning(&project.mark()).is_empty());
        assert_eq!(self::mounts(), mounts, "{when}");
        killed.push(gateway.id());
    }
    let left: usize = killed.iter().map(|id| control_groups(*id).len()).sum();
    eprintln!("{} kills, {left} control groups left by them", killed.len());

    let mut gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    assert_eq!(session.call("tame__ping", &json!({})).words(), "pong");
    for id in killed {
        assert_eq!(control_groups(id).len(), 0, "the groups of gateway {id} were cleared away");
    }
    let notes = || fs::read_dir(project.state().join("sallyport/run")).map_or(0, Iterator::count);
    assert_eq!(notes(), 1, "of all gateways only the one that runs is noted");
    assert_eq!(sockets(&project.state()), 0);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0), "{}", gateway.log());
    assert_eq!((notes(), control_groups(gateway.id()).len()), (0, 0));
}

/// Starts it without waiting for anything.
fn start(project: &Project) -> Child {
    let address = format!("127.0.0.1:{}", loopback::free_port());
    let mut command = project.sallyport();
    command.args(["--listen", &address, "up"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the program starts")
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("there is a procfs")
}

/// Sockets in a folder and below.
fn sockets(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |kind: fs::FileType, path: &Path| if kind.is_dir() { sockets(path) } else { usize::from(kind.is_socket()) };
    entries.filter_map(|entry| Some(count(entry.file_type().ok()?, &entry.path()))).sum()
}
