//! The gateway is killed at any moment: while it starts, launches, serves, while what it launched is in a call or sleeps. Nothing of it goes
//! on, and the next start, whatever that starts, clears away what a killed process cannot.
//!
//! `SALLYPORT_KILL_RUNS` says how often, for each of the tests (`cargo xtask kill` sets it).

mod calls;
mod kind;
mod left;

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::gateway::Project;
use crate::harness::loopback;
use crate::harness::processes::{control_groups, eventually};
use crate::session::Session;
use calls::{Calls, random};
use kind::Kind;
use left::{Tree, adopt_orphans, mounts, orphans, reap, tree};

const PATIENCE: Duration = Duration::from_secs(20);
/// As many as find what happens in one of ten kills, in a minute.
const ROOMS: u32 = 20;
/// What is slow to start: the moments of a start, and those after it.
const OTHERS: u32 = 6;
/// Within this a gateway has started, launched everything and let it fall asleep; and what it launched was called and fell asleep again.
const LATEST: u64 = 2500;

#[test]
fn a_gateway_that_is_killed_at_any_moment_leaves_nothing() {
    leaves_nothing(&Kind::rooms(), ROOMS);
}

#[test]
fn a_gateway_that_is_killed_at_any_moment_leaves_nothing_of_containers() {
    if let Some(kind) = Kind::containers() {
        leaves_nothing(&kind, OTHERS);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
#[ignore = "needs QEMU and the peers that `cargo xtask peers` installs"]
fn a_gateway_that_is_killed_at_any_moment_leaves_nothing_of_machines() {
    leaves_nothing(&Kind::machines(), OTHERS);
}

fn leaves_nothing(kind: &Kind, usually: u32) {
    adopt_orphans();
    let project = &kind.project;
    let orderly = start_and_end(kind);
    // So that what is made once, and kept, is killed in the making, too.
    for folder in [project.state(), project.cache()] {
        let _none = fs::remove_dir_all(folder.join("sallyport"));
    }
    let (mounts, files) = (mounts(), tree(&kind.files));
    let runs = std::env::var("SALLYPORT_KILL_RUNS").ok().and_then(|count| count.parse().ok()).unwrap_or(usually);
    let mut killed = Vec::new();
    for run in 0..runs {
        // The last one while it starts: that leaves most.
        let (id, moment) = kill(kind, run % 2 == 1 && run + 1 < runs);
        let when = format!("run {run}, killed {moment}");
        eventually(&format!("{when}: every process is gone"), PATIENCE, || orphans().is_empty());
        reap();
        eventually(&format!("{when}: nothing is left in the folder to write"), PATIENCE, || tree(&kind.files) == files);
        assert_eq!(self::mounts(), mounts, "{when}");
        killed.push(id);
    }
    let left: usize = killed.iter().map(|id| control_groups(*id).len()).sum();
    eprintln!("{} kills, {left} control groups left by them", killed.len());

    let left: Vec<_> = start_of_another_kind(project, &killed).difference(&orderly).cloned().collect();
    assert!(left.is_empty(), "after the next start: {left:#?}");
    project.configure(&kind.configuration);
    assert_eq!(start_and_end(kind), orderly, "after one that starts the same");
}

/// Starts one and kills it: some time after its start, or after all its servers have answered. Gives its id, and when that was.
fn kill(kind: &Kind, has_answered: bool) -> (u32, String) {
    let (mut gateway, port) = start(&kind.project);
    let calls = Calls::begin(port, &kind.calls);
    if has_answered {
        wait_for_all(kind, &calls);
    }
    let moment = Duration::from_millis(random(LATEST));
    thread::sleep(moment);
    gateway.kill().expect("the child is ours");
    gateway.wait().expect("the child is ours");
    (gateway.id(), format!("{moment:?} after {}", if has_answered { "all have answered" } else { "its start" }))
}

fn wait_for_all(kind: &Kind, calls: &Calls) {
    let begun = Instant::now();
    while !calls.all_answered() {
        let log = fs::read_to_string(kind.project.path("gateway.log")).unwrap_or_default();
        assert!(begun.elapsed() < kind.patience, "not all servers have answered within {:?}:\n{log}", kind.patience);
        thread::sleep(Duration::from_millis(20));
    }
}

/// Starts it without waiting for anything; gives its port, too.
fn start(project: &Project) -> (Child, u16) {
    let port = loopback::free_port();
    let mut command = project.sallyport();
    let log = fs::File::create(project.path("gateway.log")).expect("the project is writable");
    command.args(["--listen", &format!("127.0.0.1:{port}"), "up"]).stdout(Stdio::null()).stderr(log);
    (command.spawn().expect("the program starts"), port)
}

/// Starts one that is not killed, and gives what there is of it after its end.
fn start_and_end(kind: &Kind) -> Tree {
    let mut gateway = kind.project.up();
    let calls = Calls::begin(gateway.port, &kind.calls);
    wait_for_all(kind, &calls);
    drop(calls);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0), "{}", gateway.log());
    tree(&kind.project.folder())
}

/// Starts one with nothing but a program in a sandbox of the usual kind: what there is of it and of all others after its end.
fn start_of_another_kind(project: &Project, killed: &[u32]) -> Tree {
    project.configure(&kind::tame());
    let mut gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    assert_eq!(session.call("tame__ping", &json!({})).words(), "pong");
    for id in killed {
        // The start does not wait for those in which something still ends.
        eventually(&format!("the groups of gateway {id} are cleared away"), PATIENCE, || control_groups(*id).is_empty());
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0), "{}", gateway.log());
    assert_eq!(control_groups(gateway.id()).len(), 0);
    tree(&project.folder())
}
