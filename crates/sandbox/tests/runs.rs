//! Real interpreters run inside: Node, Python with threads, subprocesses and SQLite, a virtual environment, git; and the
//! network is there only when it is named.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::net::TcpListener;
use std::process::Command;

use support::{Caller, Folder, callers, run, succeeds, text};

#[test]
fn python_with_threads_subprocesses_and_a_database() {
    let script = r#"
import asyncio, json, multiprocessing, os, sqlite3, subprocess, sys, tempfile, threading
thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
assert subprocess.run(["/bin/echo", "child"], capture_output=True).stdout == b"child\n"
async def shell():
    process = await asyncio.create_subprocess_exec("/bin/cat", stdin=-1, stdout=-1)
    return (await process.communicate(b"through cat"))[0]
assert asyncio.run(shell()) == b"through cat"
database = sqlite3.connect("data.sqlite"); database.execute("pragma journal_mode = wal")
database.execute("create table t (x)"); database.commit()
with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]
with tempfile.NamedTemporaryFile() as file: file.write(b"x")
print(json.dumps({"cwd": os.getcwd(), "files": sorted(os.listdir("."))}))
"#;
    for caller in callers() {
        let folder = Folder::of(*caller);
        let root = folder.folder("root");
        let seen = succeeds(*caller, &["--write", root.to_str().unwrap()], &["/usr/bin/python3", "-c", script]);
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(seen["cwd"], root.to_str().unwrap());
        assert_eq!(seen["files"][0], "data.sqlite");
    }
}

#[test]
fn node_with_workers_children_and_its_own_package_tree() {
    let script = r#"
const { Worker, isMainThread, parentPort } = require("node:worker_threads");
const { execFileSync } = require("node:child_process");
const fs = require("node:fs"), os = require("node:os");
if (!isMainThread) { parentPort.postMessage("worker"); return; }
const worker = new Worker(__filename);
worker.on("message", (from) => {
  const child = execFileSync(process.execPath, ["-p", "'child'"]).toString().trim();
  fs.writeFileSync("/tmp/x", "y");
  new WebAssembly.Memory({ initial: 16 });
  console.log(JSON.stringify({ from, child, dependency: require("dependency"), cpus: os.cpus().length > 0 }));
});
"#;
    for caller in callers() {
        let folder = Folder::of(*caller);
        folder.folder("package/node_modules/dependency");
        folder.file("package/package.json", "{}");
        folder.file("package/node_modules/dependency/index.js", "module.exports = 'found'");
        let main = folder.file("package/main.js", script);
        let seen = succeeds(*caller, &[], &["node", main.to_str().unwrap()]);
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(seen, serde_json::json!({"from": "worker", "child": "child", "dependency": "found", "cpus": true}));
    }
}

#[test]
fn a_script_of_a_virtual_environment_finds_its_packages() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let venv = folder.path("venv");
        let made = Command::new("/usr/bin/python3").args(["-m", "venv", "--without-pip"]).arg(&venv).status().unwrap();
        assert!(made.success());
        let packages = std::fs::read_dir(venv.join("lib")).unwrap().next().unwrap().unwrap().path().join("site-packages");
        std::fs::write(packages.join("my_server.py"), "import sys\ndef main(): print('served from', sys.prefix)\n").unwrap();
        let script = venv.join("bin/my-server");
        std::fs::write(&script, format!("#!{}/bin/python\nimport my_server\nmy_server.main()\n", venv.display())).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(folder.path("")).status().unwrap().success());
        let seen = succeeds(*caller, &[], &[script.to_str().unwrap()]);
        assert_eq!(seen, format!("served from {}\n", venv.display()));
    }
}

#[test]
fn git_works_on_a_root() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let root = folder.folder("root");
        let script =
            "git init -q . && echo x > x && git add x && git -c user.name=n -c user.email=e commit -qm first && git log --format=%s";
        let seen = succeeds(*caller, &["--write", root.to_str().unwrap()], &["/bin/sh", "-c", script]);
        assert_eq!(seen, "first\n");
    }
}

#[test]
fn the_network_is_there_only_when_it_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("import socket\nprint(socket.create_connection(('localhost', {port}), 2).getpeername()[1])");
    for caller in callers() {
        let none = run(*caller, &[], &["/usr/bin/python3", "-c", &script]);
        assert_eq!(none.status.code(), Some(1));
        assert_eq!(text(&none.stdout), "");
        let layers = Folder::of(*caller);
        let report = layers.file("layers", "");
        let options = ["--network", "host", "--layers", report.to_str().unwrap()];
        let host = succeeds(*caller, &options, &["/usr/bin/python3", "-c", &script]);
        assert_eq!(host.trim(), port.to_string());
        let layers: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
        assert_eq!(layers["layers"]["network"]["absent"], "the profile names the host's network");
    }
}

#[test]
fn without_a_boundary_the_program_sees_the_host_but_still_only_the_environment_that_was_built() {
    let mut run = support::launcher(
        Caller::Itself,
        &["--sandbox", "none", "--env", "NAMED=1"],
        &["/usr/bin/python3", "-c", "import os; print(os.path.exists('/etc/hostname') or os.path.exists('/root'), sorted(os.environ))"],
    );
    let output = run.env("SECRET", "x").output().unwrap();
    assert_eq!(text(&output.stdout).trim(), "True ['HOME', 'LANG', 'NAMED', 'PATH']");
}
