//! What a gateway has behind it when it is killed.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::calls::Call;
use crate::harness::gateway::Project;
use crate::harness::peers;
use crate::image::{self, Holds};

/// Within these a program that is not called falls asleep and gives its memory back.
const STANDBY: &str = "standby = { freeze_after = \"100ms\", reclaim_after = \"200ms\" }";

/// Nobody listens there; what matters is that there is a way out.
const NETWORK: &str = "network = [\"upstream.test:443\"]";

/// An id that no distribution gives to anybody.
const USER: u32 = 64_113;

/// A project whose servers are all of one kind, but for one to compare with.
pub(super) struct Kind {
    pub(super) project: Project,
    pub(super) configuration: String,
    /// One of each server, in which it stays for a moment.
    pub(super) calls: Vec<Call>,
    /// The folder that servers may write.
    pub(super) files: PathBuf,
    /// Until all servers have answered, on a busy machine.
    pub(super) patience: Duration,
}

impl Kind {
    /// Programs in sandboxes of the operating system: one that sleeps, one with a folder to write, one with a way out.
    pub(super) fn rooms() -> Self {
        let (project, files) = project();
        let mark = project.mark();
        let server = |name: &str, keys: &str| format!("[servers.{name}]\n{}\nenv = {{ MARK = {mark:?} }}\n{keys}\n", hostile());
        let servers = [server("asleep", STANDBY), server("writes", &format!("{STANDBY}\nwrite = [{files:?}]")), server("wired", NETWORK)];
        let calls =
            vec![("asleep__sleep", json!({ "seconds": 0.2 })), ("writes__ping", json!({})), ("wired__sleep", json!({ "seconds": 0.2 }))];
        Self::of(project, &servers.concat(), calls, files, Duration::from_secs(60))
    }

    /// Programs out of an image, where `runc` starts them.
    pub(super) fn containers() -> Option<Self> {
        let (project, files) = project();
        project.configure("[servers.boxed]\ncommand = [\"entrypoint\"]\nsandbox = { oci = { image = \"image\", runtime = \"runc\" } }\n");
        if !project.has_container_runtime("runc") {
            return None;
        }
        // As such it runs: as root none does.
        for path in [files.clone(), files.join(".git"), files.join("kept.txt")] {
            chown(path, Some(USER), Some(USER)).expect("containers are started by root");
        }
        let fixture = peers::fixture();
        image::layout(&project.path("image"), Holds::Program(fixture.clone()));
        let server = |name: &str, keys: &str| {
            format!(
                "[servers.{name}]\ncommand = [{fixture:?}, \"stdio\", \"--revision\", \"2025-11-25\"]\n\
                 sandbox = {{ oci = {{ image = \"image\", runtime = \"runc\" }} }}\n{keys}\n"
            )
        };
        let servers = [server("boxed", &format!("{STANDBY}\nwrite = [{files:?}]")), server("wired", NETWORK)];
        let calls = vec![("boxed__slow", json!({ "seconds": 0.2 })), ("wired__echo", json!({ "message": "hello" }))];
        Some(Self::of(project, &servers.concat(), calls, files, Duration::from_secs(60)))
    }

    /// Programs in machines of their own.
    pub(super) fn machines() -> Self {
        let (project, files) = project();
        let (fixture, guest) = (peers::fixture(), peers::guest());
        let server = |name: &str, keys: &str| {
            format!(
                "[servers.{name}]\ncommand = [{fixture:?}, \"stdio\", \"--revision\", \"2025-11-25\"]\nread = [{:?}]\n\
                 sandbox = {{ microvm = {{ memory_mb = 128, guest = {guest:?} }} }}\ntimeouts = {{ connect = \"5m\", list = \"60s\" }}\n{keys}\n",
                fixture.parent().expect("a program lies in a folder")
            )
        };
        let servers = [server("small", &format!("{STANDBY}\nwrite = [{files:?}]")), server("wired", NETWORK)];
        let calls = vec![("small__slow", json!({ "seconds": 0.2 })), ("wired__echo", json!({ "message": "hello" }))];
        Self::of(project, &servers.concat(), calls, files, Duration::from_secs(240))
    }

    fn of(project: Project, servers: &str, calls: Vec<Call>, files: PathBuf, patience: Duration) -> Self {
        let configuration = format!("{servers}{}", tame());
        project.configure(&configuration);
        Self { project, configuration, calls, files, patience }
    }
}

/// A server that is there whatever else is.
pub(super) fn tame() -> String {
    format!("[servers.tame]\n{}\n", hostile())
}

fn hostile() -> String {
    let script = peers::repository().join("crates/cli/tests/faults/hostile_server.py");
    format!("command = [\"python3\", {script:?}, \"none\"]")
}

/// With a folder to write in which somebody works.
fn project() -> (Project, PathBuf) {
    let project = Project::new("");
    let files = project.path("files");
    fs::create_dir_all(files.join(".git")).expect("a new folder is writable");
    fs::write(files.join("kept.txt"), "kept").expect("a new folder is writable");
    (project, files)
}
