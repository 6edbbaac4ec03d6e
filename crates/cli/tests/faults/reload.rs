//! What is saved while the gateway runs, and reaches it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::harness::gateway::Project;
use crate::harness::peers;
use crate::harness::processes::eventually;
use crate::session::Session;

const PATIENCE: Duration = Duration::from_secs(60);

/// Shorter than a reload waits for it, and longer than starting a program takes.
const SLOW_CALL_SECONDS: u32 = 12;

fn script() -> PathBuf {
    peers::repository().join("crates/cli/tests/faults/hostile_server.py")
}

#[test]
fn a_policy_that_is_saved_while_a_reload_waits_for_a_call_is_put_in_force() {
    let project = Project::new("");
    fs::write(project.path("main.cedar"), "permit (principal, action, resource);").unwrap();
    let configure = |run: &str| {
        let server = |name: &str, run: &str| {
            format!("[servers.{name}]\ncommand = [\"python3\", {:?}, \"none\"]\nenv = {{ RUN = {run:?} }}\n", script())
        };
        let policy = "[policy]\nengines = [{ cedar = { files = [\"main.cedar\"] } }]\n";
        project.configure(&format!("{policy}{}{}", server("slow", run), server("tame", "1")));
    };
    configure("1");
    let gateway = project.up();
    let (mut slow, mut tame) = (Session::open(gateway.port, "/mcp"), Session::open(gateway.port, "/mcp"));
    assert_eq!(slow.call("slow__ping", &json!({})).words(), "pong");
    let launched = || gateway.log().matches("launched").count();
    let before = launched();
    let slow = std::thread::spawn(move || slow.call("slow__sleep", &json!({ "seconds": SLOW_CALL_SECONDS })));
    std::thread::sleep(Duration::from_millis(500)); // until the call is under way
    configure("2");
    eventually("the other is launched, and the one before it is waited for", PATIENCE, || launched() > before);
    fs::write(project.path("main.cedar"), "forbid (principal, action, resource);").unwrap();
    assert!(!slow.join().unwrap().is_error(), "the reload has waited");
    eventually("what was saved then is in force", PATIENCE, || tame.call("tame__ping", &json!({})).is_error());
}
