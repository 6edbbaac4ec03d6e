//! The back-end `oci`: images from disk, run by every runtime that is installed. As root, which it needs.
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
use std::time::Duration;

use sallyport_sandbox::{Exceeded, Host, Instance, Limits, Profile, Program, Running, Selection};
use serde_json::{Value, json};
use support::image::Holds;
use support::{Caller, Folder, USER, eventually, image, is_root, launcher, lives, text};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

const CANARY: &str = "canary-4f1c9d";

/// An image, a runtime, and a gateway's folders of its own.
struct Trial {
    folder: Folder,
    image: PathBuf,
    digest: String,
    runtime: &'static str,
}

/// A trial by each runtime that is there; none for an ordinary user, who can start no container.
fn trials(holds: Holds) -> impl Iterator<Item = Trial> {
    ["runc", "crun", "runsc"].into_iter().filter_map(move |runtime| Trial::by(runtime, holds.clone()))
}

impl Trial {
    fn by(runtime: &'static str, holds: Holds) -> Option<Self> {
        let is_installed = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].iter().any(|folder| Path::new(folder).join(runtime).exists());
        // crun refuses control groups of both versions beside each other.
        let is_refused = runtime == "crun" && !Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        if !is_root() || !is_installed || is_refused {
            return None;
        }
        let folder = Folder::of(Caller::Itself);
        let image = folder.path("image");
        let digest = image::layout(&image, holds);
        Some(Self { folder, image, digest, runtime })
    }

    fn command(&self, sandbox: &Value, options: &[&str], command: &[&str]) -> Command {
        let sandbox = json!({ "oci": sandbox }).to_string();
        let mut launcher = launcher(Caller::Itself, &[&["--sandbox", &sandbox], options].concat(), command);
        launcher.env("XDG_STATE_HOME", self.folder.path("state")).env("XDG_CACHE_HOME", self.folder.path("cache"));
        launcher
    }

    fn is_gvisor(&self) -> bool {
        self.runtime == "runsc"
    }

    fn sandbox(&self) -> Value {
        json!({ "image": self.image, "runtime": self.runtime })
    }

    /// A Python script, by a gateway in this process.
    async fn instance(&self, script: &str, limits: Limits) -> Instance<Running> {
        let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher"));
        let selection: Selection = serde_json::from_value(json!({ "oci": self.sandbox() })).unwrap();
        let mut program = Program::new("test", "/usr/bin/python3");
        program.args = ["-c", script].map(str::to_owned).to_vec();
        selection.build(&host).unwrap().launch(&Profile { limits, ..Profile::default() }, &program).await.unwrap()
    }

    fn succeeds(&self, options: &[&str], command: &[&str]) -> String {
        let output = self.command(&self.sandbox(), options, command).output().unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
        stdout
    }

    fn fails(&self, sandbox: &Value, options: &[&str]) -> String {
        let output = self.command(sandbox, options, &["/bin/sh", "-c", "echo it runs"]).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", text(&output.stdout));
        text(&output.stderr)
    }

    fn bundles(&self) -> Vec<PathBuf> {
        list(&self.folder.path("state/sallyport/oci")).into_iter().filter(|path| path.is_dir()).collect()
    }

    /// The names of its containers.
    fn containers(&self) -> Vec<String> {
        let bundles = self.bundles();
        bundles.iter().filter_map(|bundle| Some(format!("sallyport-{}", bundle.file_name()?.to_str()?))).collect()
    }

    /// Folders of containers, and control groups of them.
    fn left(&self) -> Vec<PathBuf> {
        let names = self.containers();
        let groups = list(Path::new("/sys/fs/cgroup")).into_iter().flat_map(|hierarchy| list(&hierarchy.join("sallyport-oci")));
        let ours: Vec<PathBuf> = groups.filter(|group| names.iter().any(|name| group.ends_with(name))).collect();
        [self.bundles(), ours].concat()
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[test]
fn a_program_of_an_image_runs_and_leaves_nothing() {
    for trial in trials(Holds::Shell) {
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
}

#[test]
fn stdin_reaches_the_program_and_its_end_is_told() {
    for trial in trials(Holds::Shell) {
        let mut running = trial.command(&trial.sandbox(), &[], &["/bin/sh", "-c", "cat; exit 7"]).stdin(Stdio::piped()).spawn().unwrap();
        running.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        let output = running.wait_with_output().unwrap();
        assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("hello\n", Some(7)), "{}", text(&output.stderr));
    }
}

#[test]
fn what_an_image_is_not_is_refused() {
    for trial in trials(Holds::Shell) {
        let with = |changes: Value| {
            let mut sandbox = trial.sandbox();
            sandbox.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            sandbox
        };
        let output = trial.command(&with(json!({ "digest": trial.digest })), &[], &["entrypoint"]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let other = format!("sha256:{}", "0".repeat(64));
        assert!(trial.fails(&with(json!({ "digest": other })), &[]).contains(&format!("is not {other}")));
        assert!(trial.fails(&with(json!({ "image": trial.folder.path("missing") })), &[]).contains("cannot be read"));
        assert!(trial.fails(&json!({ "image": "relative" }), &[]).contains("absolute path"));
        assert!(trial.fails(&trial.sandbox(), &["--network", "host"]).contains("does not give"));

        // A layer that was changed after its digest was written down.
        let blobs = fs::read_dir(trial.image.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
        let layer = blobs.max_by_key(|blob| fs::metadata(blob).unwrap().len()).unwrap();
        fs::OpenOptions::new().append(true).open(layer).unwrap().write_all(b"more").unwrap();
        fs::remove_dir_all(trial.folder.path("cache")).unwrap();
        let why = trial.fails(&trial.sandbox(), &[]);
        assert!(why.contains("does not unpack to the digest"), "{why}");
        assert!(!trial.folder.path("cache/sallyport/images").join(trial.digest.replace(':', "-")).join("complete").exists());
    }
}

#[test]
fn only_what_is_named_is_reached() {
    for trial in trials(Holds::Shell) {
        let shown = trial.folder.folder("shown");
        let written = trial.folder.folder("written");
        chown(&written, Some(USER), Some(USER)).unwrap();
        fs::write(shown.join("file"), "text").unwrap();
        let options = ["--read", shown.to_str().unwrap(), "--write", written.to_str().unwrap()];
        let script = format!(
            "cat {0}/file; echo x > {0}/new || echo refused; echo x > {1}/new; cd {1}; echo *; id -u; echo x > /etc/new || echo refused",
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
        assert!(trial.fails(&trial.sandbox(), &root_owned).contains("belongs to root"));
    }
}

#[test]
fn what_must_not_be_written_stays_as_it_is() {
    for trial in trials(Holds::Shell) {
        let project = trial.folder.folder("project");
        let git = trial.folder.folder("project/.git");
        fs::write(git.join("config"), "[core]").unwrap();
        for path in [&project, &git, &git.join("config")] {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
        let options = ["--write", project.to_str().unwrap(), "--deny-write", ".git/config", "--deny-write", ".envrc"];
        let script = "echo x > .git/config || echo refused; echo x > .envrc || echo refused; rm -rf .git 2> /dev/null || echo kept; echo x > new; ls";
        let said = trial.succeeds(&options, &["/bin/sh", "-c", &format!("cd {}; {script}", project.display())]);
        assert_eq!(said, "refused\nrefused\nkept\nnew\n");
        eventually("what covered a name is gone", || !project.join(".envrc").exists());
        assert_eq!(fs::read_to_string(git.join("config")).unwrap(), "[core]");
    }
}

#[test]
fn groups_of_calls_are_added_and_taken_away() {
    for trial in trials(Holds::Python) {
        let script = "import socket\ntry: socket.socket(socket.AF_UNIX); print('made')\nexcept OSError as error: print(error.errno)";
        let command = ["/usr/bin/python3", "-c", script];
        if trial.is_gvisor() {
            assert_eq!(trial.succeeds(&[], &command), "made\n", "nothing of the host is behind it");
            assert!(trial.fails(&trial.sandbox(), &["--seccomp", "-sockets"]).contains("which runsc answers all by itself"));
            continue;
        }
        for (calls, said) in [("+debugging", "38\n"), ("+local-sockets", "made\n"), ("-sockets", "38\n")] {
            assert_eq!(trial.succeeds(&["--seccomp", calls], &command), said, "{calls}");
        }
    }
}

#[test]
fn the_way_out_is_that_of_every_sandbox() {
    for trial in trials(Holds::Python) {
        if trial.is_gvisor() {
            for network in ["a.example", "host"] {
                let why = trial.fails(&trial.sandbox(), &["--network", network]);
                assert!(why.contains("names a network that sandbox oci with runsc does not give") && why.contains("hint: "), "{why}");
            }
            continue;
        }
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
    // gVisor lets init end itself, and with it all of this; `sallyport sandbox attack` tries that boundary.
    for trial in trials(Holds::Python).filter(|trial| !trial.is_gvisor()) {
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
        let output = trial.command(&trial.sandbox(), &options, &command).env("CANARY", CANARY).output().unwrap();
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
}

#[test]
fn nothing_survives_when_the_gateway_is_killed_and_the_next_start_cleans_up() {
    for trial in trials(Holds::Shell) {
        let mark = format!("mark-oci-{}", std::process::id());
        let script = "trap '' TERM; (sleep 600 &); echo ready; while true; do sleep 1; done";
        let mut gateway = trial.command(&trial.sandbox(), &[], &["/bin/sh", "-c", script, &mark]).stdin(Stdio::piped()).spawn().unwrap();
        gateway.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        // gVisor's processes are not the host's: those that are carry the container's name.
        let is_there = || lives(&mark) || trial.containers().iter().any(|name| lives(name));
        assert!(is_there());
        // gVisor makes no groups of its own.
        assert!(trial.left().len() > usize::from(!trial.is_gvisor()), "{:?}", trial.left());
        gateway.kill().unwrap();
        gateway.wait().unwrap();
        eventually("all of it is gone", || !is_there());
        let before = trial.left();
        assert!(!before.is_empty());
        assert_eq!(trial.succeeds(&[], &["entrypoint"]), "from the image: hello\n");
        eventually("what was left is removed", || before.iter().all(|path| !path.exists()));
    }
}

/// Answers each line; a child of it never stops counting.
const BUSY: &str = "import os,sys\nif os.fork() == 0:\n  while True: pass\nfor line in sys.stdin:\n  print(line, end='', flush=True)";

#[tokio::test]
async fn a_container_stands_still_and_goes_on() {
    for trial in trials(Holds::Python).filter(|trial| !trial.is_gvisor()) {
        let mut instance = trial.instance(BUSY, Limits::default()).await;
        let (mut stdin, stdout) = instance.take_io().unwrap();
        let mut answers = BufReader::new(stdout).lines();
        for round in 0..20 {
            stdin.write_all(format!("{round}\n").as_bytes()).await.unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(20), answers.next_line()).await.expect("it was woken").unwrap();
            assert_eq!(answer.as_deref(), Some(round.to_string().as_str()), "{}: {:?}", trial.runtime, instance.stderr_tail());
            let asleep = instance.standby().unwrap();
            if round == 0 {
                eventually("its processes are stopped", || processes_of(&asleep.pid().to_string()).all(|state| "TtZ".contains(&state)));
            }
            instance = asleep.wake();
        }
        instance.kill();
        instance.wait().await;
    }
}

/// gVisor traces the program, and ended with one stop in a hundred.
#[tokio::test]
async fn gvisor_is_not_frozen() {
    let Some(trial) = Trial::by("runsc", Holds::Python) else { return };
    let instance = trial.instance(BUSY, Limits::default()).await;
    let Err(awake) = instance.standby() else { panic!("it was frozen") };
    let (mut stdin, stdout) = awake.take_io().unwrap();
    stdin.write_all(b"still here\n").await.unwrap();
    assert_eq!(BufReader::new(stdout).lines().next_line().await.unwrap().as_deref(), Some("still here"));
    awake.kill();
    awake.wait().await;
}

/// The states of a process and of what descends from it.
fn processes_of(pid: &str) -> impl Iterator<Item = String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').next()).map(str::to_owned);
    let threads = list(Path::new(&format!("/proc/{pid}/task")));
    let children = threads.into_iter().filter_map(|thread| fs::read_to_string(thread.join("children")).ok());
    let children: Vec<String> = children.flat_map(|list| list.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let below: Vec<String> = children.iter().flat_map(|child| processes_of(child).collect::<Vec<_>>()).collect();
    state.into_iter().chain(below)
}

#[tokio::test]
async fn gvisor_is_held_to_limits_and_they_are_told() {
    let Some(trial) = Trial::by("runsc", Holds::Python) else { return };
    let hoard = "held = []\nwhile True: held.append(b'x' * (1 << 20))";
    let fork = "import os,time\nwhile True:\n  if os.fork() == 0: time.sleep(600)";
    for (script, limits, exceeded) in [
        (hoard, Limits { memory_mb: 120, ..Limits::default() }, Exceeded::Memory(120)),
        (fork, Limits { processes: 10, ..Limits::default() }, Exceeded::Processes(10)),
    ] {
        let instance = trial.instance(script, limits).await;
        let told = serde_json::to_string(instance.in_force()).unwrap();
        if !told.contains("(control group") {
            continue; // the watchdog looks once a second, and processes are not limited: as it says
        }
        let exit = tokio::time::timeout(Duration::from_secs(60), instance.wait()).await.expect("it is ended");
        assert_eq!(instance.exceeded(), Some(exceeded), "{exit} {:?}", instance.stderr_tail());
    }
}
