//! Servers in containers and in WebAssembly behind the real gateway: a call, a restart, a kill of the server and of the gateway.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking and says why")]

#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the sandbox's own tests use more of it")]
#[path = "../../../sandbox/tests/support/image.rs"]
mod image;
#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../faults/session.rs"]
mod session;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::gateway::{Gateway, Project, send_signal};
use harness::peers::fixture;
use harness::processes::{descendants, eventually, runs};
use image::Holds;
use serde_json::json;
use session::Session;

/// Starting a container on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The processes of the fixture, wherever below the gateway they are; on gVisor's kernel that kernel, which is a process of the host.
fn servers(gateway: &Gateway) -> Vec<u32> {
    let of = |id: u32, file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    let is_server = |id: &u32| of(*id, "comm").starts_with("sallyport-fixtu") || of(*id, "cmdline").starts_with("runsc-sandbox");
    descendants(gateway.id()).into_iter().filter(is_server).collect()
}

/// Calls until the server is there again.
fn says_again(gateway: &Gateway, session: &mut Session, tool: &str, arguments: &serde_json::Value, words: &str) {
    let begun = Instant::now();
    loop {
        let called = session.call(tool, arguments);
        if !called.is_error() && called.words().contains(words) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{called:?}\n{}", gateway.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a program is started here by that container runtime.
fn works(runtime: &str) -> bool {
    let project = Project::new(&format!(
        "[servers.boxed]\ncommand = [\"entrypoint\"]\nsandbox = {{ oci = {{ image = \"image\", runtime = \"{runtime}\" }} }}\n"
    ));
    project.has_container_runtime(runtime)
}

#[test]
fn a_server_out_of_an_image_answers_comes_back_and_ends_with_its_gateway_by_runc() {
    comes_back_and_ends_with_its_gateway("runc");
}

#[test]
fn a_server_out_of_an_image_answers_comes_back_and_ends_with_its_gateway_by_crun() {
    comes_back_and_ends_with_its_gateway("crun");
}

#[test]
fn a_server_out_of_an_image_answers_comes_back_and_ends_with_its_gateway_by_gvisor() {
    comes_back_and_ends_with_its_gateway("runsc");
}

fn comes_back_and_ends_with_its_gateway(runtime: &str) {
    if !works(runtime) {
        return;
    }
    let project = Project::new("");
    let fixture = fixture();
    image::layout(&project.path("image"), Holds::Program(fixture.clone()));
    // The image lies beside the configuration, which names it so.
    project.configure(&format!(
        "[servers.boxed]\ncommand = [{fixture:?}, \"stdio\", \"--revision\", \"2025-11-25\"]\nsandbox = {{ oci = {{ image = \"image\", runtime = \"{runtime}\" }} }}\n"
    ));
    let hello = json!({ "message": "hello" });
    let mut gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    says_again(&gateway, &mut session, "boxed__echo", &hello, "hello");

    let before = servers(&gateway);
    assert!(!before.is_empty(), "{}", gateway.log());
    before.iter().for_each(|server| send_signal(*server, "KILL"));
    eventually("the server is gone", PATIENCE, || before.iter().all(|server| !runs(*server)));
    says_again(&gateway, &mut session, "boxed__echo", &hello, "hello");
    let after = servers(&gateway);
    assert!(!after.is_empty() && after.iter().all(|server| !before.contains(server)));

    let family = descendants(gateway.id());
    gateway.signal("KILL");
    gateway.wait();
    eventually("every descendant is gone", PATIENCE, || family.iter().all(|id| !runs(*id)));
    let bundles = project.state().join("sallyport/oci");
    let folders = || fs::read_dir(&bundles).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    assert!(folders() > 0, "the gateway had no time to take it away");

    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    says_again(&gateway, &mut session, "boxed__echo", &hello, "hello");
    assert_eq!(folders(), 1, "what the first one left is gone");
}

#[test]
fn what_a_boundary_cannot_keep_is_told_before_anything_starts() {
    let project = Project::new("");
    let told = |settings: &str| {
        project.configure(&format!("[servers.a]\ncommand = [\"tools.wasm\"]\nwrite = [\".\"]\n{settings}\n"));
        let output = project.sallyport().arg("check").output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
    };
    let said = told("sandbox = \"wasm\"");
    assert!(said.contains("the boundary `wasm` keeps nothing read-only inside a folder to write"), "{said}");
    let said = told("sandbox = \"oci\"");
    assert!(said.contains("sandbox oci has no image"), "{said}");
}

#[cfg(feature = "wasm")]
#[test]
fn a_component_answers_comes_back_and_ends_with_its_gateway() {
    let project = Project::new("");
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sandbox/tests/wasm/tools.wat");
    fs::write(project.path("tools.wasm"), wat::parse_file(text).unwrap()).unwrap();
    let configuration = |limits: &str| format!("[servers.tools]\ncommand = [\"./tools.wasm\"]\nsandbox = \"wasm\"\n{limits}");
    project.configure(&configuration(""));
    let numbers = json!({ "a": 2, "b": 3 });
    let mut gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    says_again(&gateway, &mut session, "tools__add", &numbers, "5");
    // A trap ends its own call alone, and a changed configuration starts the server anew.
    assert!(session.call("tools__overflow", &json!({})).is_error());
    says_again(&gateway, &mut session, "tools__add", &numbers, "5");
    project.configure(&configuration("limits = { memory_mb = 64 }\n"));
    says_again(&gateway, &mut session, "tools__add", &numbers, "5");

    gateway.signal("KILL");
    gateway.wait();
    let gateway = project.up();
    says_again(&gateway, &mut Session::open(gateway.port, "/mcp"), "tools__add", &numbers, "5");
}
