//! A server out of a container image, in a machine behind the real gateway.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::gateway::Project;
use super::harness::peers;
use super::harness::processes::eventually;
use super::image::{self, Holds};
use super::session::Session;

/// A server with one tool, in the shell.
const PROGRAM: &str = include_str!("../images/server.sh");

/// Booting a machine, on two busy cores.
const PATIENCE: Duration = Duration::from_secs(280);

#[test]
#[ignore = "needs QEMU and the peers that `cargo xtask peers` installs"]
fn a_server_out_of_an_image_is_served_and_its_root_is_told() {
    let project = Project::new("[servers.here]\nbuiltin = { filesystem = { root = \".\" } }\n");
    let start = json!({ "Entrypoint": ["/bin/sh", "server.sh"], "Cmd": ["--usual"], "Env": ["GREETING=hello"], "WorkingDir": "/app" });
    image::layout_of(&project.path("image"), Holds::Shell, &start, &[("app/server.sh", &PROGRAM.replace("DESCRIPTION", "greets"))]);
    image::archive(&project.path("image"), &project.path("image.tar"));
    fs::remove_dir_all(project.path("image")).unwrap();
    let gateway = project.up();
    let machine = format!("microvm = {{ memory_mb = 192, guest = {:?}, image = \"image.tar\" }}", peers::guest());
    project.configure(&format!(
        "[servers.made]\ncommand = [\"entrypoint\"]\nsandbox = {{ {machine} }}\nmin_isolation = \"microvm\"\ntimeouts = {{ connect = \"5m\" }}\n"
    ));
    let mut session = Session::open(gateway.port, "/mcp");
    eventually("it is there", PATIENCE, || session.tools().iter().any(|tool| tool == "made__greet"));
    let called = session.call("made__greet", &json!({}));
    assert!(!called.is_error() && called.words().trim() == "greets hello /app --usual", "{}\n{}", called.words(), gateway.log());

    let output = project.sallyport().args(["sandbox", "inspect", "made", "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let root = told["layers"]["layers"]["machine"]["in_force"].as_str().unwrap().rsplit_once(", root ").unwrap().1.to_owned();
    assert!(root.contains("/sallyport/images/sha256-") && fs::read_dir(&root).unwrap().count() > 2, "{root}");
    assert_eq!((&told["backend"], &told["profile"]["command"]), (&"microvm".into(), &"entrypoint".into()));
}
