//! Servers that nobody calls: frozen, their memory given back, stopped; woken by the next call; never in the way of one.
//!
//! The gateway is the real program, the servers are real processes in the sandbox that every server gets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking and says why")]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../faults/session.rs"]
mod session;

mod busy;
mod death;
mod ladder;
mod memory;

use std::fs;
use std::time::Duration;

use harness::gateway::{Gateway, Project};
use harness::loopback;
use harness::processes::descendants;

const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration with servers of these names, each with `standby` as it is written.
fn project(names: &[String], standby: &str, argument: &str) -> Project {
    let table = |name: &String| {
        format!(
            "[servers.{name}]\ncommand = [\"python3\", \"idle_server.py\", \"{argument}\"]\nstandby = {standby}\ntimeouts = {{ connect = \"60s\" }}\n"
        )
    };
    let project = Project::new(&names.iter().map(table).collect::<String>());
    fs::write(project.path("idle_server.py"), include_str!("idle_server.py")).unwrap();
    project
}

fn one(standby: &str) -> Project {
    project(&["idle".to_owned()], standby, "spin")
}

/// The programs of the servers, without the launchers round them.
fn programs(gateway: &Gateway) -> Vec<u32> {
    let is_program = |id: &u32| fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| !line.starts_with(b"sallyport"));
    descendants(gateway.id()).into_iter().filter(is_program).collect()
}

/// The fields of `/proc/ID/stat` from the state on.
fn stat(id: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    text.rsplit_once(") ").map(|(_, rest)| rest.split(' ').map(str::to_owned).collect()).unwrap_or_default()
}

fn is_frozen(id: u32) -> bool {
    stat(id).first().is_some_and(|state| state == "T")
}

/// Whether everything of every server stands still.
fn all_frozen(gateway: &Gateway) -> bool {
    let programs = programs(gateway);
    !programs.is_empty() && programs.into_iter().all(is_frozen)
}

/// Ticks of CPU that these processes used.
fn cpu(ids: &[u32]) -> u64 {
    let of_one = |id: &u32| stat(*id).get(11..13).map_or(0, |ticks| ticks.iter().filter_map(|count| count.parse::<u64>().ok()).sum());
    ids.iter().map(of_one).sum()
}

/// The value of a line of `/metrics`.
fn metric(gateway: &Gateway, line: &str) -> f64 {
    let page = loopback::get(gateway.port, "/metrics").expect("the gateway answers");
    let value = page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {line} in:\n{page}"))
}
