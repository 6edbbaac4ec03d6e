//! Memory that nobody needs is given back. A gateway of an ordinary user may not, and says so.

use std::fs;

use serde_json::json;

use crate::harness::gateway::Project;
use crate::harness::peers;
use crate::harness::processes::{eventually, resident_bytes};
use crate::session::Session;
use crate::{PATIENCE, all_frozen, metric, one, programs};

#[test]
fn a_node_servers_memory_is_given_back_and_its_calls_are_answered() {
    if !rustix::process::geteuid().is_root() {
        return; // the test below
    }
    let server = peers::npm("@modelcontextprotocol/server-filesystem/dist/index.js");
    let project = Project::new("");
    // Its own: the pages of a program that others run too stay in memory.
    let node = project.path("node");
    fs::copy(peers::node(), &node).unwrap();
    fs::File::open(&node).unwrap().sync_all().unwrap();
    let standby = r#"{ freeze_after = "200ms", reclaim_after = "500ms" }"#;
    project.configure(&format!(
        "[servers.files]\ncommand = [{node:?}, {server:?}, \".\"]\nread = [\".\", {:?}]\nstandby = {standby}\n",
        peers::folder().join("npm")
    ));
    let gateway = project.up();
    fs::write(project.path("note"), "still here").unwrap();
    let mut session = Session::open(gateway.port, "/mcp");
    let mut read = || session.call("files__read_text_file", &json!({ "path": project.path("note") })).words();
    assert_eq!(read(), "still here");
    let resident = || programs(&gateway).into_iter().map(resident_bytes).sum::<u64>();
    let awake = resident();
    for _ in 0..3 {
        eventually("its memory is given back", PATIENCE, || {
            metric(&gateway, r#"sallyport_standby{server="files",state="reclaimed"}"#) == 1.0
        });
        let asleep = resident();
        eprintln!("{} MiB resident, then {} MiB", awake >> 20, asleep >> 20);
        assert!(asleep * 10 < awake * 8, "{awake}, {asleep}");
        assert_eq!(read(), "still here");
    }
    assert_eq!(metric(&gateway, r#"sallyport_wake_seconds_count{server="files",from="reclaimed",backend="os"}"#), 3.0);
}

#[test]
fn where_it_may_not_be_given_back_the_server_stays_frozen() {
    let project = one(r#"{ freeze_after = "100ms", reclaim_after = "150ms" }"#);
    let project = if rustix::process::geteuid().is_root() { project.run_by(64_113) } else { project };
    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    for round in 1..=3 {
        assert_eq!(session.call("idle__count", &json!({})).words(), round.to_string());
        eventually("it is frozen", PATIENCE, || all_frozen(&gateway));
    }
    eventually("that is told", PATIENCE, || gateway.log().contains("cannot be given back"));
    assert_eq!(metric(&gateway, r#"sallyport_standby{server="idle",state="frozen"}"#), 1.0);
}
