//! The back-end `oci`: images from disk, run by the runtime that is installed. As root, which it needs.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::image::Holds;
use support::{Caller, Folder, USER, eventually, image, is_root, launcher, lives, text};

const CANARY: &str = "canary-4f1c9d";

/// An image, and a gateway's folders of its own.
struct Trial {
    folder: Folder,
    image: PathBuf,
    digest: String,
}

impl Trial {
    /// `None` for an ordinary user and where there is no runc: then there is nothing to try.
    fn start(holds: Holds) -> Option<Self> {
        let folder = Folder::of(Caller::Itself);
        let image = folder.path("image");
        if !is_root() || !Path::new("/usr/sbin/runc").exists() {
            return None;
        }
        let digest = image::layout(&image, holds);
        Some(Self { folder, image, digest })
    }

    fn command(&self, sandbox: &Value, options: &[&str], command: &[&str]) -> Command {
        let sandbox = json!({ "oci": sandbox }).to_string();
        let mut launcher = launcher(Caller::Itself, &[&["--sandbox", &sandbox], options].concat(), command);
        launcher.env("XDG_STATE_HOME", self.folder.path("state")).env("XDG_CACHE_HOME", self.folder.path("cache"));
        launcher
    }

    fn runc(&self) -> Value {
        json!({ "image": self.image, "runtime": "runc" })
    }

    fn succeeds(&self, options: &[&str], command: &[&str]) -> String {
        let output = self.command(&self.runc(), options, command).output().unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
        stdout
    }

    fn fails(&self, sandbox: &Value, options: &[&str]) -> String {
        let output = self.command(sandbox, options, &["/bin/sh", "-c", "echo it runs"]).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Folders of containers, and control groups of them.
    fn left(&self) -> Vec<PathBuf> {
        let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
        let bundles: Vec<PathBuf> = list(&self.folder.path("state/sallyport/oci")).into_iter().filter(|path| path.is_dir()).collect();
        let names: Vec<_> = bundles.iter().filter_map(|bundle| Some(bundle.file_name()?.to_str()?.to_owned())).collect();
        let groups = list(Path::new("/sys/fs/cgroup")).into_iter().flat_map(|hierarchy| list(&hierarchy.join("sallyport-oci")));
        let ours = groups.filter(|group| names.iter().any(|name| group.ends_with(format!("sallyport-{name}"))));
        let ours: Vec<PathBuf> = ours.collect();
        [bundles, ours].concat()
    }
}

#[test]
fn a_program_of_an_image_runs_and_leaves_nothing() {
    let Some(trial) = Trial::start(Holds::Shell) else { return };
    assert_eq!(
        trial.succeeds(&[], &["/bin/sh", "-c", "echo $HOME; id -u > /tmp/id; cat /tmp/nothing /etc/hosts || true"]),
        "/tmp\n127.0.0.1 localhost mcp\n::1 localhost\n"
    );
    assert_eq!(trial.succeeds(&[], &["entrypoint"]), "from the image: hello\n");
    let archive = trial.folder.path("image.tar");
    image::archive(&trial.image, &archive);
    let output = trial.command(&json!({ "image": archive }), &[], &["entrypoint"]).output().unwrap();
    assert_eq!(text(&output.stdout), "from the image: hello\n", "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(trial.folder.path("cache/sallyport/images")).unwrap().count(), 1);
    eventually("bundles are gone", || trial.left().is_empty());
}

#[test]
fn stdin_reaches_the_program_and_its_end_is_told() {
    let Some(trial) = Trial::start(Holds::Shell) else { return };
    let mut running = trial.command(&trial.runc(), &[], &["/bin/sh", "-c", "cat; exit 7"]).stdin(Stdio::piped()).spawn().unwrap();
    running.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("hello\n", Some(7)), "{}", text(&output.stderr));
}

#[test]
fn what_an_image_is_not_is_refused() {
    let Some(trial) = Trial::start(Holds::Shell) else { return };
    let with = |changes: Value| {
        let mut sandbox = trial.runc();
        sandbox.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        sandbox
    };
    let output = trial.command(&with(json!({ "digest": trial.digest })), &[], &["entrypoint"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let other = format!("sha256:{}", "0".repeat(64));
    assert!(trial.fails(&with(json!({ "digest": other })), &[]).contains(&format!("is not {other}")));
    assert!(trial.fails(&with(json!({ "image": trial.folder.path("missing") })), &[]).contains("cannot be read"));
    assert!(trial.fails(&json!({ "image": "relative" }), &[]).contains("absolute path"));
    assert!(trial.fails(&trial.runc(), &["--network", "host"]).contains("does not give"));

    // A layer that was changed after its digest was written down.
    let blobs = fs::read_dir(trial.image.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let layer = blobs.max_by_key(|blob| fs::metadata(blob).unwrap().len()).unwrap();
    fs::OpenOptions::new().append(true).open(layer).unwrap().write_all(b"more").unwrap();
    fs::remove_dir_all(trial.folder.path("cache")).unwrap();
    let why = trial.fails(&trial.runc(), &[]);
    assert!(why.contains("does not unpack to the digest"), "{why}");
    assert!(!trial.folder.path("cache/sallyport/images").join(trial.digest.replace(':', "-")).join("complete").exists());
}

#[test]
fn only_what_is_named_is_reached() {
    let Some(trial) = Trial::start(Holds::Shell) else { return };
    let shown = trial.folder.folder("shown");
    let written = trial.folder.folder("written");
    chown(&written, Some(USER), Some(USER)).unwrap();
    fs::write(shown.join("file"), "text").unwrap();
    let options = ["--read", shown.to_str().unwrap(), "--write", written.to_str().unwrap()];
    let script = format!(
        "cat {0}/file; echo x > {0}/new || echo refused; echo x > {1}/new; ls {1}; id -u; echo x > /etc/new || echo refused",
        shown.display(),
        written.display()
    );
    let said = trial.succeeds(&options, &["/bin/sh", "-c", &script]);
    assert_eq!(said, format!("textrefused\nnew\n{USER}\nrefused\n"));
    assert!(!shown.join("new").exists());
    // Nothing that the runtime adds to the root stays in the unpacked image.
    let roots: Vec<_> = fs::read_dir(trial.folder.path("cache/sallyport/images")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!roots[0].join("root/var").exists());
    let root_owned = ["--write", shown.to_str().unwrap()];
    assert!(trial.fails(&trial.runc(), &root_owned).contains("belongs to root"));
}

#[test]
fn what_must_not_be_written_stays_as_it_is() {
    let Some(trial) = Trial::start(Holds::Shell) else { return };
    let project = trial.folder.folder("project");
    let git = trial.folder.folder("project/.git");
    fs::write(git.join("config"), "[core]").unwrap();
    for path in [&project, &git, &git.join("config")] {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    let options = ["--write", project.to_str().unwrap(), "--deny-write", ".git/config", "--deny-write", ".envrc"];
    let script =
        "echo x > .git/config || echo refused; echo x > .envrc || echo refused; rm -rf .git 2> /dev/null || echo kept; echo x > new; ls";
    let said = trial.succeeds(&options, &["/bin/sh", "-c", &format!("cd {}; {script}", project.display())]);
    assert_eq!(said, "refused\nrefused\nkept\nnew\n");
    eventually("what covered a name is gone", || !project.join(".envrc").exists());
    assert_eq!(fs::read_to_string(git.join("config")).unwrap(), "[core]");
}

#[test]
fn groups_of_calls_are_added_and_taken_away() {
    let Some(trial) = Trial::start(Holds::Python) else { return };
    let script = "import socket\ntry: socket.socket(socket.AF_UNIX); print('made')\nexcept OSError as error: print(error.errno)";
    let command = ["/usr/bin/python3", "-c", script];
    assert_eq!(trial.succeeds(&[], &command), "made\n");
    assert_eq!(trial.succeeds(&["--seccomp", "-sockets"], &command), "38\n");
}

#[test]
fn the_way_out_is_that_of_every_sandbox() {
    let Some(trial) = Trial::start(Holds::Python) else { return };
    let port = support::servers::http();
    let script = format!(
        "import urllib.request as r\nprint(r.urlopen('http://allowed.example:{port}/').read().decode(), end='')\n\
         for other in ('http://other.example:{port}/', 'http://127.0.0.1:{port}/', 'http://1.1.1.1:{port}/'):\n\
         \ttry:\n\t\tr.urlopen(other, timeout=5); print('OPEN', other)\n\texcept OSError: print('stopped')"
    );
    let (allowed, address) = (format!("allowed.example:{port}"), format!("127.0.0.1/32:{port}"));
    let options = ["--network", &allowed, "--network", &address, "--resolve", "allowed.example=127.0.0.1"];
    let said = trial.succeeds(&options[..], &["/usr/bin/python3", "-c", &script]);
    assert_eq!(said.lines().filter(|line| *line == "hello").count(), 1, "{said}");
    assert!(said.contains("stopped") && !said.contains("OPEN http://other") && !said.contains("OPEN http://1.1.1.1"), "{said}");
}

/// Where it gets at nothing but itself: it is the init of its container, its environment is the image's and the configuration's, and
/// it may listen in a namespace into which nobody comes.
const ITS_OWN: [&str; 8] = [
    "command line of init",
    "environ of init",
    "folder of init",
    "root of init",
    "kill init",
    "stop init",
    "inherited environment",
    "listen",
];

#[test]
fn a_hostile_program_gets_nowhere() {
    let Some(trial) = Trial::start(Holds::Python) else { return };
    let (readable, writable) = (trial.folder.folder("readable"), trial.folder.folder("writable"));
    chown(&writable, Some(USER), Some(USER)).unwrap();
    let script = readable.join("hostile.py");
    fs::write(&script, include_str!("hostile.py")).unwrap();
    trial.folder.folder("secret");
    let canary = trial.folder.file("secret/canary", CANARY);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let given = json!({
        "canary": canary, "readable": readable, "writable": writable, "gateway": std::process::id(),
        "port": tcp.local_addr().unwrap().port(), "abstract": "sallyport-nobody", "socket": trial.folder.path("secret/socket"),
    });
    let options = ["--read", readable.to_str().unwrap(), "--write", writable.to_str().unwrap(), "--env", "GIVEN=x"];
    let command = ["/usr/bin/python3", script.to_str().unwrap(), &given.to_string()];
    let output = trial.command(&trial.runc(), &options, &command).env("CANARY", CANARY).output().unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{} {stdout} {stderr}", output.status);
    let results: BTreeMap<String, String> = serde_json::from_str(&stdout).expect(&stdout);
    let open = results.iter().filter(|(attack, result)| result.starts_with("OPEN") && !ITS_OWN.contains(&attack.as_str()));
    assert_eq!(open.collect::<Vec<_>>(), Vec::<(&String, &String)>::new());
    assert_eq!(results["inherited environment"], "OPEN: ['GIVEN', 'GREETING', 'HOME', 'LANG', 'PATH']");
    assert!(results.len() > 100, "only {} attacks ran", results.len());
    assert!(!stdout.contains(CANARY) && !stderr.contains(CANARY));
    eventually("the daemon is gone", || !lives(script.to_str().unwrap()));
}

#[test]
fn nothing_survives_when_the_gateway_is_killed_and_the_next_start_cleans_up() {
    let Some(trial) = Trial::start(Holds::Shell) else { return };
    let mark = format!("mark-oci-{}", std::process::id());
    let script = "trap '' TERM; (sleep 600 &); echo ready; while true; do sleep 1; done";
    let mut gateway = trial.command(&trial.runc(), &[], &["/bin/sh", "-c", script, &mark]).stdin(Stdio::piped()).spawn().unwrap();
    gateway.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    assert!(lives(&mark));
    assert!(trial.left().len() > 1, "{:?}", trial.left());
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    eventually("all of it is gone", || !lives(&mark));
    let before = trial.left();
    assert!(!before.is_empty());
    assert_eq!(trial.succeeds(&[], &["entrypoint"]), "from the image: hello\n");
    eventually("what was left is removed", || before.iter().all(|path| !path.exists()));
}
