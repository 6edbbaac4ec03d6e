//! Servers in machines of their own, behind the real gateway: a public one in Node and a small one. On an emulated processor where there is no
//! other, so one test shows everything.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking and says why")]

#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the sandbox's own tests use more of it")]
#[path = "../../../sandbox/tests/support/image.rs"]
mod image;
mod roots;
#[path = "../faults/session.rs"]
mod session;

use std::fs;
use std::time::{Duration, Instant};

use harness::gateway::{Gateway, Project};
use harness::processes::{descendants, eventually, runs};
use harness::{loopback, peers};
use serde_json::json;
use session::Session;

/// Booting two machines and Node in one of them, on two busy cores.
const PATIENCE: Duration = Duration::from_secs(280);

const FILESYSTEM: &str = "@modelcontextprotocol/server-filesystem/dist/index.js";

/// The monitors of all machines, with the letter of their state.
fn machines(gateway: &Gateway) -> Vec<(u32, char)> {
    let stat = |id: u32| fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let is_machine = |stat: &String| stat.contains("(qemu-system");
    let found = descendants(gateway.id()).into_iter().map(|id| (id, stat(id))).filter(|(_, stat)| is_machine(stat));
    found.map(|(id, stat)| (id, stat.rsplit_once(") ").map_or('?', |(_, rest)| rest.chars().next().unwrap_or('?')))).collect()
}

fn metric(gateway: &Gateway, line: &str) -> f64 {
    let page = loopback::get(gateway.port, "/metrics").expect("the gateway answers");
    page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0.0)
}

#[test]
#[ignore = "needs QEMU and the peers that `cargo xtask peers` installs"]
fn servers_run_sleep_wake_and_die_with_their_gateway() {
    let project = Project::new("[servers.here]\nbuiltin = { filesystem = { root = \".\" } }\n");
    let files = project.path("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("notes.txt"), "from the host\n").unwrap();
    let sandbox = format!("sandbox = {{ microvm = {{ memory_mb = 256, guest = {:?} }} }}", peers::guest());
    let rest = format!(
        "{sandbox}\nstandby = {{ freeze_after = \"1s\", reclaim_after = \"3s\" }}\ntimeouts = {{ connect = \"5m\", list = \"60s\" }}\n"
    );
    let fixture = peers::fixture();
    // A gateway with nothing else is ready when all its servers are, or not at all.
    let (mut gateway, begun) = (project.up(), Instant::now());
    project.configure(&format!(
        "[servers.files]\ncommand = [{:?}, {:?}, {files:?}]\nwrite = [{files:?}]\n{rest}\n[servers.small]\ncommand = [{fixture:?}, \"stdio\", \
         \"--revision\", \"2025-11-25\"]\nread = [{:?}]\n{rest}\n",
        peers::node(),
        peers::npm(FILESYSTEM),
        fixture.parent().unwrap(),
    ));
    let mut session = Session::open(gateway.port, "/mcp");
    for server in ["small__", "files__"] {
        eventually("it is there", PATIENCE, || session.tools().iter().any(|tool| tool.starts_with(server)));
        eprintln!("{server} has told its tools after {:?}", begun.elapsed());
    }
    let notes = json!({ "path": files.join("notes.txt") });
    let read = session.call("files__read_text_file", &notes);
    assert_eq!(read.words(), "from the host\n", "{}", gateway.log());
    assert!(session.call("files__read_text_file", &json!({ "path": "/root/.bashrc" })).is_error());
    let mut write = |name: &str| session.call("files__write_file", &json!({ "path": files.join(name), "content": "from the machine\n" }));
    let written = write("new.txt");
    assert!(!written.is_error(), "{}", written.words());
    assert_eq!(fs::read_to_string(files.join("new.txt")).unwrap(), "from the machine\n");
    assert!(write(".envrc").is_error() && write(".git/hooks/pre-commit").is_error());

    for rung in ["frozen", "reclaimed"] {
        let is_root = rustix::process::geteuid().is_root();
        if rung == "reclaimed" && is_root {
            let state = r#"sallyport_wake_seconds_count{server="files",from="reclaimed",backend="microvm"}"#;
            eventually("its memory was given back, and a call woke it", PATIENCE, || {
                std::thread::sleep(Duration::from_secs(6));
                assert!(!session.call("files__read_text_file", &notes).is_error());
                metric(&gateway, state) >= 1.0
            });
            continue;
        }
        eventually("both stand still", PATIENCE, || {
            let machines = machines(&gateway);
            machines.len() == 2 && machines.iter().all(|(_, state)| *state == 'T')
        });
        let begun = Instant::now();
        assert!(!session.call("files__read_text_file", &notes).is_error());
        eprintln!("from {rung}: answered after {:?}", begun.elapsed());
    }
    assert!(metric(&gateway, r#"sallyport_wake_seconds_count{server="files",from="frozen",backend="microvm"}"#) >= 1.0);

    let family = descendants(gateway.id());
    gateway.signal("KILL");
    gateway.wait();
    eventually("every descendant is gone", PATIENCE, || family.iter().all(|id| !runs(*id)));
}
