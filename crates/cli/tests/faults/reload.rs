//! What is saved while the gateway runs, and reaches it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
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
    std::thread::sleep(Duration::from_secs(2)); // until the call is under way
    configure("2");
    eventually("the other is launched, and the one before it is waited for", PATIENCE, || launched() > before);
    fs::write(project.path("main.cedar"), "forbid (principal, action, resource);").unwrap();
    assert!(!slow.join().unwrap().is_error(), "the reload has waited");
    eventually("what was saved then is in force", PATIENCE, || tame.call("tame__ping", &json!({})).is_error());
}

fn save(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_secret_that_is_another_reaches_the_program_that_uses_it_wherever_it_lies_and_however_it_is_saved() {
    let project = Project::new("");
    let places = [("near", project.path("token")), ("far", project.folder().join("config/sallyport/secrets/token"))];
    let out = project.path("out");
    let server = |name: &str, settings: &str| {
        let start = format!("echo \"$TOKEN\" > {}/{name}; exec python3 {} none", out.display(), script().display());
        format!("[servers.{name}]\ncommand = [\"sh\", \"-c\", {start:?}]\nread = [{:?}]\nwrite = [\"out\"]\n{settings}\n", script())
    };
    fs::create_dir(&out).unwrap();
    let using = places.each_ref().map(|(name, file)| {
        save(file, "first");
        server(name, &format!("env = {{ TOKEN = \"file:{}\" }}", file.display()))
    });
    project.configure(&format!("{}{}", using.concat(), server("other", "")));
    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    let mut count = |name: &str| session.call(&format!("{name}__count"), &json!({})).words();
    let told = |name: &str| fs::read_to_string(out.join(name)).unwrap_or_default();
    assert_eq!((told("near").as_str(), told("far").as_str()), ("first\n", "first\n"));
    let mut calls = 0;
    for (way, text) in [("in place", "the second"), ("by another file", "the third one")] {
        for (name, file) in &places {
            if way == "in place" {
                save(file, text);
            } else {
                save(&file.with_extension("new"), text);
                fs::rename(file.with_extension("new"), file).unwrap();
            }
            eventually(&format!("{name} has what was saved {way}"), PATIENCE, || told(name) == format!("{text}\n"));
            calls += 1;
            assert_eq!(count("other"), calls.to_string(), "it uses none");
        }
    }
    assert_eq!(count("near"), "1");
}
