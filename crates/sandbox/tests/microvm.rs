//! A machine of its own for a program: real kernels are booted, on an emulated processor where there is no other, so there are few of these
//! tests and each shows several things. As root and as an ordinary user.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, and says how long it took"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use sallyport_sandbox::{EnvText, Exceeded, Exit, Host, Instance, Layer, Limits, Profile, Program, Running, Selection, State, microvm};
use support::image::{Holds, layout};
use support::kernel::prepared as guest;
use support::servers::{http, swallows};
use support::{Caller, Folder, callers, is_root, launcher, text};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};

fn descendants(ancestor: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{ancestor}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = lists.flat_map(|list| list.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>()).collect();
    children.iter().copied().chain(children.iter().flat_map(|child| descendants(*child))).collect()
}

fn command_line(id: u32) -> String {
    fs::read(format!("/proc/{id}/cmdline")).map(|line| text(&line)).unwrap_or_default()
}

fn cpu(id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// What the program of the first test finds out and prints.
const LOOKS: &str = r#"
read line; echo "read $line"; read line || echo "no more"
uname -r; id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status
cat "$ROOT/visible"; cat "$CANARY" 2>&1; touch "$ROOT/new" 2>&1; ls /home /root /sys 2>&1; echo $((0$(ls /dev | wc -l)))
touch /tmp/scratch && echo scratch; cat /proc/1/environ 2>&1; python3 -c 'import json, sys; print("python", sys.version_info.major)'
head -c 300000 /dev/zero | tr '\0' x; echo; echo to stderr >&2; exit 7
"#;

#[test]
fn a_program_has_a_machine_of_its_own_and_sees_what_the_other_sandbox_would_show() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let (root, cache) = (folder.folder("root"), folder.folder("cache"));
        folder.file("root/visible", "the visible file\n");
        let canary = folder.file("canary", "the canary");
        let sandbox = serde_json::json!({ "microvm": { "memory_mb": 192, "guest": folder.guest() } }).to_string();
        let (root, layers) = (root.to_str().unwrap(), folder.file("layers", ""));
        let canary = format!("CANARY={}", canary.display());
        let environment = format!("ROOT={root}");
        let options =
            ["--sandbox", &sandbox, "--read", root, "--env", &environment, "--env", &canary, "--layers", layers.to_str().unwrap()];
        let mut gateway =
            launcher(*caller, &options, &["/bin/sh", "-c", LOOKS]).env("XDG_CACHE_HOME", &cache).stdin(Stdio::piped()).spawn().unwrap();
        gateway.stdin.take().unwrap().write_all(b"first\n").unwrap();
        let output = gateway.wait_with_output().unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(7), "{caller:?}: {stdout}\n{stderr}");
        assert!(stderr.contains("to stderr"), "{stderr}");
        let lines: Vec<&str> = stdout.lines().collect();
        let kernel = microvm::prepared(&guest()).unwrap().kernel;
        let expected = ["read first", "no more", &kernel, "1000", "CapBnd:\t0000000000000000"];
        assert!(expected.iter().all(|line| lines.contains(line)), "{caller:?}: {stdout}");
        for seen in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "the visible file", "scratch", "python 3"] {
            assert!(lines.contains(&seen), "{caller:?}: {seen}: {stdout}");
        }
        assert!(!stdout.contains("the canary") && stdout.contains("No such file or directory"), "{stdout}");
        assert!(stdout.contains("Read-only file system"), "{stdout}");
        assert!(lines.iter().any(|line| line.len() == 300_000), "all of stdout came");
        let layers: serde_json::Value = serde_json::from_str(&fs::read_to_string(layers).unwrap()).unwrap();
        assert_eq!(layers["boundary"], "microvm");
        assert!(layers["layers"]["machine"]["in_force"].as_str().unwrap().starts_with("linux "), "{layers}");
        assert!(layers["layers"]["seccomp"]["in_force"].is_string(), "round the monitor: {layers}");
        assert_eq!(fs::read_dir(cache.join("sallyport/microvm/run")).unwrap().count(), 0, "nothing is left");
    }
}

/// Whatever this host has: a machine that says that it has KVM has booted with it, and one where that fails says so and is not emulated unasked.
#[test]
fn kvm_is_believed_when_a_kernel_has_booted_with_it_and_asked_for_it_is_not_replaced() {
    let folder = Folder::of(callers()[0]);
    let (cache, guest) = (folder.folder("cache"), folder.guest());
    let run = |accel: &str, layers: &Path| {
        let sandbox = serde_json::json!({ "microvm": { "memory_mb": 192, "guest": guest, "accel": accel } }).to_string();
        let options = ["--sandbox", &sandbox, "--layers", layers.to_str().unwrap()];
        launcher(callers()[0], &options, &["/bin/true"]).env("XDG_CACHE_HOME", &cache).stdin(Stdio::null()).output().unwrap()
    };
    let layers = folder.file("layers", "");
    let automatic = run("auto", &layers);
    assert!(automatic.status.success(), "{}", text(&automatic.stderr));
    let told = fs::read_to_string(&layers).unwrap();
    let asked_for = run("kvm", &folder.file("none", ""));
    if told.contains("emulated processor: ") {
        assert!(!asked_for.status.success(), "it is not emulated where kvm was asked for");
        assert!(text(&asked_for.stderr).contains("kvm does not work here: "), "{}", text(&asked_for.stderr));
    } else {
        assert!(told.contains("kvm") && asked_for.status.success(), "{told} {}", text(&asked_for.stderr));
    }
    // Where there is a device the verdict was kept: a machine that hangs with it is waited for once.
    assert_eq!(cache.join("sallyport/microvm/kvm.json").is_file(), Path::new("/dev/kvm").exists());
}

#[test]
fn a_gateway_that_is_killed_leaves_no_machine_and_no_file() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let cache = folder.folder("cache");
        let sandbox = serde_json::json!({ "microvm": { "memory_mb": 192, "guest": folder.guest() } }).to_string();
        for moment in ["while it boots", "while it runs"] {
            let mut gateway = launcher(*caller, &["--sandbox", &sandbox], &["/bin/sh", "-c", "echo ready; sleep 600"])
                .env("XDG_CACHE_HOME", &cache)
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let patience = Instant::now() + Duration::from_secs(120);
            while !descendants(gateway.id()).into_iter().any(|id| command_line(id).contains("qemu-system")) {
                assert!(Instant::now() < patience && gateway.try_wait().unwrap().is_none(), "it starts");
                std::thread::sleep(Duration::from_millis(5));
            }
            if moment == "while it runs" {
                gateway.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
            }
            let family = descendants(gateway.id());
            gateway.kill().unwrap();
            gateway.wait().unwrap();
            support::eventually(&format!("{caller:?}, {moment}: all are gone"), || family.iter().all(|id| command_line(*id).is_empty()));
            if moment == "while it runs" {
                assert!(fs::read_dir(cache.join("sallyport/microvm/run")).unwrap().count() <= 1, "at most that of the first kill");
            }
        }
    }
}

/// What a program in a machine reaches, as lines of JSON.
const REACHES: &str = r#"
import json, socket, sys, threading, urllib.request
port, swallowing, closed = map(int, sys.argv[1:4])
def attempt(what, of):
    try: found = of()
    except Exception as error: found = type(error).__name__ + " " + str(error)
    print(json.dumps({what: found}), flush=True)
def get(host, to=port): return urllib.request.urlopen(f"http://{host}:{to}/", timeout=60).read().decode().strip()
def send(count):
    with socket.create_connection(("log.test", swallowing), 60) as stream:
        stream.sendall(b"x" * count); stream.shutdown(socket.SHUT_WR)
        return stream.recv(99).decode()
def at_once():
    found = []
    threads = [threading.Thread(target=lambda: found.append(get("api.test"))) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return found
attempt("allowed", lambda: get("api.test"))
attempt("much", lambda: send(1000000))
attempt("at once", at_once)
attempt("unknown name", lambda: get("evil.test"))
attempt("private", lambda: get("inner.test"))
attempt("other port", lambda: get("api.test", closed))
attempt("loopback", lambda: get("127.0.0.2"))
attempt("metadata", lambda: get("169.254.169.254", 80))
attempt("interfaces", lambda: sorted(name for _, name in socket.if_nameindex()))
"#;

#[test]
fn a_machine_reaches_what_is_allowed_through_the_gateway_and_nothing_else() {
    let (port, swallowing) = (http(), swallows());
    let allowed = ["api.test", "127.0.0.1"].map(|host| format!("{host}:{port}"));
    let log = format!("log.test:{swallowing}");
    let also = format!("127.0.0.1:{swallowing}");
    let inner = format!("inner.test:{port}");
    for caller in callers() {
        let folder = Folder::of(*caller);
        let (cache, image) = (folder.folder("cache"), folder.path("image"));
        layout(&image, Holds::Python);
        // This machine's own files are the root, and an image.
        let machine = serde_json::json!({ "memory_mb": 192, "guest": folder.guest() });
        let mut of_image = machine.clone();
        of_image["image"] = serde_json::json!(image);
        for machine in [machine, of_image] {
            let (sandbox, lines) = (serde_json::json!({ "microvm": machine }).to_string(), folder.file("connections", ""));
            let mut options = vec!["--sandbox", &sandbox, "--connections", lines.to_str().unwrap()];
            for destination in [&allowed[0], &allowed[1], &log, &also, &inner] {
                options.extend(["--network", destination]);
            }
            for name in ["api.test=127.0.0.1", "log.test=127.0.0.1", "inner.test=10.1.2.3"] {
                options.extend(["--resolve", name]);
            }
            let [first, second, third] = [port, swallowing, port ^ 1].map(|port| port.to_string());
            let output = launcher(*caller, &options, &["/usr/bin/python3", "-c", REACHES, &first, &second, &third])
                .env("XDG_CACHE_HOME", &cache)
                .output()
                .unwrap();
            let (found, lines) = (text(&output.stdout), fs::read_to_string(&lines).unwrap());
            assert!(output.status.success(), "{caller:?} {sandbox}: {found}\n{}", text(&output.stderr));
            let found: serde_json::Map<String, serde_json::Value> =
                found.lines().flat_map(|line| serde_json::from_str::<serde_json::Map<_, _>>(line).unwrap()).collect();
            assert_eq!(found["allowed"], "hello", "{found:#?}\n{lines}");
            assert_eq!(found["much"], "1000000", "{found:#?}\n{lines}");
            assert_eq!(found["at once"], serde_json::json!(vec!["hello"; 8]), "{found:#?}");
            assert_eq!(found["interfaces"], serde_json::json!(["lo"]));
            for refused in ["unknown name", "private", "other port", "loopback", "metadata"] {
                assert!(found[refused].as_str().unwrap().contains("Error"), "{refused}: {found:#?}");
            }
            assert!(lines.contains(&format!("{} Direct", allowed[0])) && lines.contains("sent=1000000"), "{lines}");
            assert!(lines.contains("name evil.test refused") && lines.contains(&format!("{inner} Direct refused")), "{lines}");
        }
    }
}

/// What the program of the next test does in two folders that it may write.
const WRITES: &str = r##"
import mmap, os, sqlite3, subprocess, sys
root, other = sys.argv[1], sys.argv[2]
def attempt(what, of):
    try: found = of()
    except OSError as error: found = error.strerror
    print(f"{what}: {found}", flush=True)
def write(path, text="from inside\n"):
    with open(path, "w") as file: file.write(text)
    return open(path).read().strip()
def mapped():
    with open(f"{root}/mapped", "w+b") as file:
        file.truncate(4096)
        with mmap.mmap(file.fileno(), 4096) as map: map[:6] = b"mapped"
def database():
    with sqlite3.connect(f"{root}/data.db") as base:
        base.execute("PRAGMA journal_mode=WAL"); base.execute("CREATE TABLE t(x)"); base.execute("INSERT INTO t VALUES (7)")
    return base.execute("SELECT x FROM t").fetchone()[0]
def run():
    write(f"{root}/program", "#!/bin/sh\n"); os.chmod(f"{root}/program", 0o755)
    subprocess.run([f"{root}/program"], check=True)
attempt("there", lambda: open(f"{root}/visible").read().strip())
attempt("new", lambda: write(f"{root}/sub/new"))
attempt("other", lambda: write(f"{other}/new"))
attempt("moved", lambda: os.rename(f"{root}/sub/new", f"{root}/moved"))
attempt("mapped", mapped)
attempt("database", database)
attempt("run", run)
attempt("hook", lambda: write(f"{root}/.git/hooks/pre-commit"))
attempt("settings", lambda: write(f"{root}/.envrc"))
attempt("kept", lambda: write(f"{root}/kept/file"))
attempt("above", lambda: write(f"{root}/../outside"))
attempt("outside by a link", lambda: write(f"{root}/link/file"))
attempt("owner", lambda: os.stat(f"{root}/moved").st_uid)
input()
attempt("changed meanwhile", lambda: open(f"{root}/visible").read().strip())
"##;

#[test]
fn a_program_in_a_machine_writes_the_folders_that_it_may_and_nothing_else_in_them() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let cache = folder.folder("cache");
        for name in ["root", "root/sub", "root/.git", "root/.git/hooks", "root/kept", "other, with a comma", "hidden"] {
            folder.folder(name);
        }
        let [root, other, kept] = ["root", "other, with a comma", "root/kept"].map(|name| folder.path(name).display().to_string());
        folder.file("root/visible", "as it was\n");
        std::os::unix::fs::symlink(folder.path("hidden"), folder.path("root/link")).unwrap();
        let sandbox = serde_json::json!({ "microvm": { "memory_mb": 192, "guest": folder.guest() } }).to_string();
        let options = [
            "--sandbox",
            &sandbox,
            "--write",
            &root,
            "--write",
            &other,
            "--read",
            &kept,
            "--deny-write",
            ".git/hooks",
            "--deny-write",
            ".envrc",
        ];
        let command = ["/usr/bin/python3", "-c", WRITES, &root, &other];
        let mut gateway = launcher(*caller, &options, &command).env("XDG_CACHE_HOME", &cache).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdout = std::io::BufReader::new(gateway.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("owner: ") && std::io::BufRead::read_line(&mut stdout, &mut said).unwrap() > 0 {}
        fs::write(folder.path("root/visible"), "as it is now\n").unwrap();
        gateway.stdin.take().unwrap().write_all(b"\n").unwrap();
        stdout.read_to_string(&mut said).unwrap();
        let stderr = text(&gateway.wait_with_output().unwrap().stderr);
        let lines: Vec<&str> = said.lines().collect();
        let expected = [
            "there: as it was",
            "new: from inside",
            "other: from inside",
            "moved: None",
            "mapped: None",
            "database: 7",
            "run: Permission denied",
            "hook: Read-only file system",
            "settings: Is a directory", // what covers the name
            "kept: Read-only file system",
            "above: Read-only file system",
            "outside by a link: No such file or directory",
            "owner: 1000",
            "changed meanwhile: as it is now",
        ];
        assert_eq!(lines, expected, "{caller:?}: {stderr}");
        let read = |name: &str| fs::read(folder.path(name)).unwrap();
        assert_eq!((read("root/moved"), read("other, with a comma/new")), (b"from inside\n".to_vec(), b"from inside\n".to_vec()));
        assert!(read("root/mapped").starts_with(b"mapped") && read("root/data.db").starts_with(b"SQLite format 3"));
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(folder.path("root/moved")).unwrap()), folder.owner());
        for planted in ["root/.envrc", "root/.git/hooks/pre-commit", "root/kept/file", "outside", "hidden/file"] {
            assert!(!folder.path(planted).exists(), "{planted}");
        }
    }
}

async fn start(command: &[&str]) -> (Instance<Running>, u32) {
    start_with(&Profile::default(), command).await
}

async fn start_with(profile: &Profile, command: &[&str]) -> (Instance<Running>, u32) {
    let selection: Selection = serde_json::from_value(serde_json::json!({ "microvm": { "memory_mb": 192, "guest": guest() } })).unwrap();
    let machines = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("machines");
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher")).with_machines(machines);
    let mut program = Program::new("test", command[0]);
    program.args = command[1..].iter().map(|word| (*word).to_owned()).collect();
    let begun = Instant::now();
    let instance = selection.build(&host).unwrap().launch(profile, &program).await.unwrap_or_else(|error| panic!("{error}"));
    let monitor = instance.pid();
    eprintln!("started after {:?}, {} ticks of CPU", begun.elapsed(), cpu(monitor));
    (instance, monitor)
}

fn user(id: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    status.lines().find(|line| line.starts_with("Uid:")).unwrap().to_owned()
}

/// What is one server to a configuration, and others' to each of them.
#[tokio::test]
async fn monitors_of_two_scopes_are_two_users() {
    if !is_root() {
        return; // all are the caller
    }
    let folder = Folder::of(Caller::Itself);
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher")).with_machines(folder.folder("machines"));
    let sandbox = serde_json::json!({ "microvm": { "memory_mb": 192, "guest": guest(), "accel": "emulation" } });
    let backend = serde_json::from_value::<Selection>(sandbox).unwrap().build(&host).unwrap();
    let mut users = Vec::new();
    for scope in ["acme", "beta", "acme"] {
        let mut program = Program::new("test", "/bin/cat");
        program.scope = scope.to_owned();
        let instance = backend.launch(&Profile::default(), &program).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(command_line(instance.pid()).contains("qemu-system"), "it is the monitor");
        users.push(user(instance.pid()));
    }
    assert!(users[0] != users[1] && users[0] == users[2], "{users:?}");
}

/// Whether a file of a template holds these bytes.
fn holds(template: &Path, bytes: &str) -> bool {
    let found = Command::new("grep").args(["-r", "-q", "-a", "-F", "--", bytes]).arg(template).status().unwrap();
    found.success()
}

#[tokio::test]
async fn copies_of_a_machine_draw_their_own_numbers_and_a_template_holds_no_secret() {
    let folder = Folder::of(Caller::Itself);
    let machines = folder.folder("machines");
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher")).with_machines(&machines);
    let sandbox = serde_json::json!({ "microvm": { "memory_mb": 192, "guest": guest(), "accel": "emulation" } });
    let selection: Selection = serde_json::from_value(sandbox).unwrap();
    let draws = "head -c 32 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; date +%s; echo $SECRET $0";
    let mut drawn = Vec::new();
    for secret in ["first-of-the-canaries", "second-of-the-canaries"] {
        let mut program = Program::new("test", "/bin/sh");
        program.args = ["-c", draws, &format!("argument-{secret}")].map(str::to_owned).to_vec();
        program.env.insert("SECRET".to_owned(), EnvText::from(secret));
        let begun = Instant::now();
        let instance =
            selection.build(&host).unwrap().launch(&Profile::default(), &program).await.unwrap_or_else(|error| panic!("{error}"));
        eprintln!("started after {:?}", begun.elapsed());
        let State::InForce(machine) = instance.in_force().get(Layer::Machine).unwrap().clone() else { panic!("no machine") };
        assert!(machine.contains(", copied, "), "{machine}");
        let (stdin, mut stdout) = instance.take_io().unwrap();
        let mut said = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut said).await.unwrap();
        drop(stdin);
        assert_eq!(instance.wait().await, Exit::Code(0), "{said}");
        let lines: Vec<String> = said.lines().map(str::to_owned).collect();
        let [.., time, told] = &lines[..] else { panic!("{said}") };
        assert!((now() - time.parse::<f64>().unwrap()).abs() < 10.0, "{said}");
        assert_eq!(*told, format!("{secret} argument-{secret}"));
        drawn.push(lines);
    }
    let numbers = drawn[0].len() - 2;
    assert!(numbers >= 4, "{drawn:?}");
    for (one, other) in drawn[0].iter().zip(&drawn[1]).take(numbers) {
        assert_ne!(one, other);
    }
    let templates = machines.join("templates");
    assert_eq!(fs::read_dir(&templates).unwrap().count(), 1);
    assert!(holds(&templates, sallyport_guest::CONTROL_PORT), "its memory is there");
    assert!(!holds(&templates, "of-the-canaries"), "and nothing of a program");
    assert_eq!(fs::read_dir(machines.join("run")).unwrap().count(), 0, "nothing else is left");
}

fn is_stopped(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.contains("(qemu-system") && stat.contains(") T ")
}

#[tokio::test]
async fn a_machine_that_waits_takes_the_place_of_another_of_the_same_program_only() {
    let folder = Folder::of(Caller::Itself);
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher")).with_machines(folder.folder("machines"));
    let sandbox = serde_json::json!({ "microvm": { "memory_mb": 192, "guest": guest(), "pool": 1 } });
    let selection: Selection = serde_json::from_value(sandbox).unwrap();
    let mut program = Program::new("test", "/bin/sh");
    program.args = ["-c", "while read line; do echo $SECRET; cat /proc/sys/kernel/random/uuid; done"].map(str::to_owned).to_vec();
    program.env.insert("SECRET".to_owned(), EnvText::from("one"));
    let backend = selection.build(&host).unwrap();

    let first = backend.launch(&Profile::default(), &program).await.unwrap();
    let patience = Instant::now() + Duration::from_secs(120);
    let waiting = loop {
        match descendants(std::process::id()).into_iter().find(|id| is_stopped(*id)) {
            Some(waiting) => break waiting,
            None => assert!(Instant::now() < patience, "one waits"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    program.env.insert("SECRET".to_owned(), EnvText::from("other"));
    let other = backend.launch(&Profile::default(), &program).await.unwrap();
    assert_ne!(other.pid(), waiting, "another environment is another program");
    assert!(is_stopped(waiting));

    program.env.insert("SECRET".to_owned(), EnvText::from("one"));
    let mut numbers = Vec::new();
    let begun = Instant::now();
    let second = backend.launch(&Profile::default(), &program).await.unwrap();
    assert_eq!(second.pid(), waiting);
    for (instance, secret) in [(&second, "one"), (&first, "one"), (&other, "other")] {
        let (mut stdin, stdout) = instance.take_io().unwrap();
        let mut answers = BufReader::new(stdout).lines();
        stdin.write_all(b"\n").await.unwrap();
        assert_eq!(answer(&mut answers).await, secret);
        eprintln!("answered {:?} after the launch of the one that waited", begun.elapsed());
        numbers.push(answer(&mut answers).await);
    }
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 3, "{numbers:?}");
}

async fn answer(answers: &mut Lines<impl tokio::io::AsyncBufRead + Unpin>) -> String {
    tokio::time::timeout(Duration::from_secs(60), answers.next_line()).await.expect("it answers").unwrap().unwrap()
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[tokio::test]
async fn a_machine_stands_still_gives_its_memory_back_and_goes_on() {
    let (instance, monitor) = start(&["/bin/sh", "-c", "while read line; do date +%s.%N; done"]).await;
    let State::InForce(machine) = instance.in_force().get(Layer::Machine).unwrap().clone() else { panic!("no machine") };
    eprintln!("{machine}");
    let (mut stdin, stdout) = instance.take_io().unwrap();
    let mut answers = BufReader::new(stdout).lines();
    stdin.write_all(b"\n").await.unwrap();
    answer(&mut answers).await;

    let asleep = instance.standby().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = cpu(monitor);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(cpu(monitor) - before <= 2, "it uses no CPU");
    stdin.write_all(b"\n").await.unwrap();
    let asked = now();
    let mut instance = asleep.wake();
    let inside: f64 = answer(&mut answers).await.parse().unwrap();
    assert!((asked - 0.1..now() + 0.1).contains(&inside), "its clock is the host's: {asked} {inside} {}", now());

    for _ in 0..5 {
        let asleep = instance.standby().unwrap();
        let given_back = asleep.memory().give_back(|| true);
        if is_root() {
            let given_back = given_back.unwrap();
            eprintln!("{given_back:?}");
            assert!(given_back.after < given_back.before / 2 || given_back.before < 100 << 20, "{given_back:?}");
        } else {
            assert_eq!(given_back.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        }
        instance = asleep.wake();
        let begun = Instant::now();
        stdin.write_all(b"\n").await.unwrap();
        answer(&mut answers).await;
        eprintln!("woken and answered after {:?}", begun.elapsed());
    }
    let asleep = instance.standby().unwrap();
    let ended = asleep.wait();
    drop(asleep);
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), ended).await, Ok(Exit::Signal(9)), "what sleeps dies");
}

#[tokio::test]
async fn a_program_that_floods_everything_is_bounded_and_ends_when_it_is_asked_to() {
    let flood = "trap 'exit 3' TERM; yes to stderr >&2 & yes to stdout & wait";
    let (instance, _) = start(&["/bin/sh", "-c", flood]).await;
    let (stdin, mut stdout) = instance.take_io().unwrap();
    let mut taken = vec![0; 1 << 20];
    tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut taken).await.unwrap();
    let lines = instance.stderr_tail();
    assert!(lines.len() <= 21 && lines.iter().all(|line| line.len() <= 1024), "{}", lines.len());
    drop((stdin, stdout));
    let begun = Instant::now();
    instance.stop(Duration::from_secs(20)).await;
    assert!(begun.elapsed() < Duration::from_secs(25));
}

#[tokio::test]
async fn what_a_machine_writes_is_counted_on_both_streams() {
    let profile = Profile { limits: Limits { output_mb: 1, ..Limits::default() }, ..Profile::default() };
    for stream in ["1", "2"] {
        let (instance, _) = start_with(&profile, &["/bin/sh", "-c", &format!("exec yes >&{stream}")]).await;
        let (_stdin, mut stdout) = instance.take_io().unwrap();
        let mut nowhere = tokio::io::sink();
        let all = tokio::io::copy(&mut stdout, &mut nowhere);
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("it is ended").unwrap();
        instance.wait().await;
        assert_eq!(instance.exceeded(), Some(Exceeded::Output(1)), "{stream}");
    }
}

#[tokio::test]
async fn limits_that_a_program_has_met_in_its_machine_are_told_when_it_fails() {
    let hoard = "held = []\nwhile True: held.append(b'x' * (1 << 20))";
    let many = "import os\ntry:\n  for number in range(1000): open(f'/tmp/{number}', 'w').close()\nexcept OSError: os._exit(3)";
    let fill = "head -c 9000000 /dev/zero > /dev/shm/file; exit 3";
    let large = "trap - XFSZ; exec head -c 9000000 /dev/zero > /tmp/file";
    let limits = Limits { shm_mb: 2, tmp_files: 20, file_mb: 8, ..Limits::default() };
    let profile = Profile { limits, ..Profile::default() };
    for (command, exceeded) in [
        (["/usr/bin/python3", "-c", hoard], Some(Exceeded::Machine(192))),
        (["/usr/bin/python3", "-c", many], Some(Exceeded::TmpFiles(20))),
        (["/bin/sh", "-c", fill], Some(Exceeded::Shm(2))),
        (["/bin/sh", "-c", large], Some(Exceeded::FileSize(8))),
        (["/bin/sh", "-c", "exit 3"], None),
    ] {
        let (instance, _) = start_with(&profile, &command).await;
        let exit = instance.wait().await;
        assert_eq!(instance.exceeded(), exceeded, "{exit}: {:?}", instance.stderr_tail());
    }
}

#[test]
fn what_a_machine_cannot_give_is_refused() {
    let folder = Folder::of(Caller::Itself);
    let root = folder.folder("root");
    let refused = |options: &[&str]| {
        let output = launcher(Caller::Itself, options, &["/bin/true"]).env("XDG_CACHE_HOME", folder.path("cache")).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        text(&output.stderr)
    };
    assert!(refused(&["--sandbox", "microvm"]).contains("hint: run `sallyport microvm prepare`"));
    let file = folder.file("file", "");
    assert!(refused(&["--sandbox", "microvm", "--write", file.to_str().unwrap()]).contains("is a file, and `write` gives folders there"));
    // A kernel that was prepared before there was a way to write, or has none.
    let old = folder.folder("old");
    let record = fs::read_to_string(guest().join("guest.json")).unwrap().replace("\"writes\": true", "\"writes\": false");
    fs::write(old.join("guest.json"), record).unwrap();
    let sandbox = serde_json::json!({ "microvm": { "guest": old } }).to_string();
    let why = refused(&["--sandbox", &sandbox, "--write", root.to_str().unwrap()]);
    assert!(why.contains("it has no 9p") && why.contains("hint: run `sallyport microvm prepare` again"), "{why}");
    assert!(refused(&["--sandbox", "microvm", "--network", "host"]).contains("never has the host's network"));
    assert!(refused(&["--sandbox", r#"{"microvm": {"memory_mb": 1}}"#]).contains("out of bounds"));
    assert!(refused(&["--sandbox", r#"{"microvm": {"pool": 9}}"#]).contains("out of bounds"));
    assert!(refused(&["--sandbox", r#"{"microvm": {"guest": "relative"}}"#]).contains("not an absolute path"));
}

#[test]
fn nothing_is_prepared_from_what_is_no_kernel() {
    let folder = Folder::of(Caller::Itself);
    let kernel = folder.file("kernel", "no kernel");
    let into = folder.path("into");
    let source = microvm::Source::Files { kernel, modules: folder.path("") };
    assert!(microvm::prepare(&source, &into, &|_| {}).unwrap_err().to_string().contains("neither an ELF file nor a bzImage"));
    assert!(!into.exists() && fs::read_dir(folder.path("")).unwrap().count() == 1, "nothing is left");
    assert!(Command::new("sh").args(["-c", "command -v qemu-system-x86_64"]).stdout(Stdio::null()).status().unwrap().success());
}
