//! A server out of a container image, in a machine behind the real gateway.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::gateway::{Gateway, Project, send_signal};
use super::harness::processes::eventually;
use super::harness::{loopback, peers};
use super::image::{self, Holds};
use super::machines;
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

/// A server with one tool, in Python: what it gets from the port that it is told, and whether it gets anything from the next.
const REACHES: &str = r#"
import json, socket, sys
def get(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 60) as stream:
            stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return stream.makefile().read().split()[-1]
    except OSError:
        return "nothing"
def answer(message):
    match message["method"]:
        case "initialize":
            return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "made", "version": "1"}}
        case "tools/list":
            return {"tools": [{"name": "get", "inputSchema": {"type": "object"}}]}
        case "tools/call":
            port = int(sys.argv[1])
            return {"content": [{"type": "text", "text": f"VERSION got {get(port)} and {get(port ^ 1)}"}]}
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = answer(message)
        told = {"result": result} if result else {"error": {"code": -32601, "message": "no"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"]} | told), flush=True)
"#;

/// Puts another version of it in the place of the one before.
fn publish(project: &Project, version: &str) {
    let layout = project.path(version);
    let start = json!({ "Entrypoint": ["/usr/bin/python3", "/app/server.py"] });
    image::layout_of(&layout, Holds::Python, &start, &[("app/server.py", &REACHES.replace("VERSION", version))]);
    image::archive(&layout, &project.path("new.tar"));
    fs::rename(project.path("new.tar"), project.path("image.tar")).unwrap();
}

/// The machine that runs, once another one waits beside it.
fn with_one_that_waits(gateway: &Gateway) -> (u32, u32) {
    let of_state = |machines: &[(u32, char)], stands: bool| {
        let found: Vec<u32> = machines.iter().filter(|(_, state)| (*state == 'T') == stands).map(|(id, _)| *id).collect();
        if let [one] = found[..] { Some(one) } else { None }
    };
    let mut found = None;
    eventually("one runs, and one waits", PATIENCE, || {
        let machines = machines(gateway);
        found = of_state(&machines, false).zip(of_state(&machines, true)).filter(|_| machines.len() == 2);
        found.is_some()
    });
    found.unwrap()
}

#[test]
#[ignore = "needs QEMU and the peers that `cargo xtask peers` installs"]
fn an_image_has_its_way_out_and_machines_that_wait_until_another_takes_its_place() {
    let project = Project::new("[servers.here]\nbuiltin = { filesystem = { root = \".\" } }\n");
    publish(&project, "first");
    // Folders that are kept from a program from its second start on would make that another program's.
    fs::create_dir_all(project.cache().join("sallyport")).unwrap();
    let (gateway, page) = (project.up(), loopback::serve_page("page"));
    let machine = format!("microvm = {{ memory_mb = 192, guest = {:?}, image = \"image.tar\", pool = 1 }}", peers::guest());
    project.configure(&format!(
        "[servers.made]\ncommand = [\"entrypoint\", \"{page}\"]\nnetwork = [\"127.0.0.1:{page}\"]\nsandbox = {{ {machine} }}\n\
         timeouts = {{ connect = \"5m\" }}\nstandby = false\n"
    ));
    let mut session = Session::open(gateway.port, "/mcp");
    let mut serves = |what: &str, said: &str| {
        eventually(what, PATIENCE, || {
            let called = session.call("made__get", &json!({}));
            assert!(called.is_error() || called.words() == said, "{what}: {}\n{}", called.words(), gateway.log());
            !called.is_error()
        });
    };
    serves("it is there", "first got page and nothing");
    let (running, waiting) = with_one_that_waits(&gateway);
    send_signal(running, "KILL");
    serves("it is there again", "first got page and nothing");
    let (running, another) = with_one_that_waits(&gateway);
    assert_eq!(running, waiting, "{}", gateway.log());

    publish(&project, "second");
    send_signal(running, "KILL");
    serves("the other image is there", "second got page and nothing");
    let (running, _) = with_one_that_waits(&gateway);
    assert_ne!(running, another);
}
