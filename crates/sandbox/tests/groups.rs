//! Control groups of version 2, delegated as systemd does it, on a kernel that has no others: machines on which these tests run often have
//! version 1, or delegate nothing. The gateways run in a machine (`support/kernel.rs`), started and looked at by `groups.py`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use sallyport_sandbox::{Host, Instance, Layer, Limits, Profile, Program, Running, Selection, State};
use serde_json::{Value, json};
use support::{USER, is_root, kernel};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Where the launcher is, inside.
const LAUNCHER: &str = "/run/launcher";

/// What `groups.py` found, by who ran the gateway and what was tried.
struct Found(BTreeMap<(String, String), Value>);

impl Found {
    fn inside() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/groups.py");
        let tests = std::env::current_exe().unwrap();
        let arguments = [env!("CARGO_BIN_EXE_sallyport-launcher"), tests.to_str().unwrap(), &USER.to_string()];
        let told = kernel::run(&script, &arguments, "");
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        Self(told.into_iter().map(|line| ((text(&line, "caller"), text(&line, "what")), line["found"].clone())).collect())
    }

    fn of(&self, caller: &str, what: &str) -> &Value {
        self.0.get(&(caller.to_owned(), what.to_owned())).unwrap_or_else(|| panic!("{caller} did not come to {what}: {:#?}", self.0))
    }

    fn text(&self, caller: &str, what: &str, key: &str) -> &str {
        let found = self.of(caller, what);
        found[key].as_str().unwrap_or_else(|| panic!("{caller}, {what}: {found:#}"))
    }
}

/// One boot for all of it, which takes as long as everything else.
#[test]
fn delegated_groups_hold_what_they_should_and_leave_nothing() {
    let found = Found::inside();
    for caller in ["root", "user"] {
        runs(&found, caller);
        goes_beyond(&found, caller);
        passes_inside(&found, caller, "given back");
        passes_inside(&found, caller, "weight");
        not_whole(&found, caller);
    }
    let first = found.text("root", "in the first group", "told");
    assert!(first.starts_with("2048 MiB together (control group v2), 128 processes (control group v2), processor weight 100"), "{first}");
    let foreign = found.text("user", "in somebody else's", "told");
    assert!(foreign.contains("MiB together (watchdog)"), "{foreign}");
}

/// The whole program is in a group with its limits, and is gone with its gateway.
fn runs(found: &Found, caller: &str) {
    let runs = found.of(caller, "runs");
    assert_eq!(runs["seen"], "0::/", "the group is the root of all that the program sees: {runs:#}");
    let whole = "120 MiB together (control group v2), 20 processes (control group v2), 1.5 processors, weight 100 (control group v2)";
    assert!(found.text(caller, "runs", "told").starts_with(whole), "{runs:#}");
    assert_eq!(runs["groups"], json!(["1", "gateway"]));
    assert_eq!(runs["in the group itself"], "");
    assert_eq!(runs["gateway is in its leaf"], true);
    let set = json!({
        "memory.max": "125829120", "memory.swap.max": "125829120", "memory.oom.group": "1",
        "pids.max": "22", "cpu.weight": "100", "cpu.max": "150000 100000",
    });
    assert_eq!(runs["set"], set);
    assert_eq!(runs["killed"], json!({ "inhabited": false, "left": ["1", "gateway"] }));
    let next = found.of(caller, "next");
    assert_eq!(next["stdout"], "ran", "{next:#}");
    assert_eq!(next["left"], json!(["gateway"]), "but for its own, in which it was");
}

fn goes_beyond(found: &Found, caller: &str) {
    let memory = found.text(caller, "memory", "stderr");
    assert!(memory.contains("it was ended because it used more than 120 MiB of memory"), "{caller}: {memory}");
    let processes = found.of(caller, "processes");
    assert_eq!(processes["code"], 3, "{processes:#}");
    let told = found.text(caller, "processes", "stderr");
    assert!(told.contains("exited with code 3 after it wanted more than 20 processes and threads"), "{caller}: {told}");
    let used: f64 = found.text(caller, "processor", "stdout").parse().unwrap();
    assert!(used < 0.75, "{caller}: {used} of one second");
    for what in ["memory", "processes", "processor"] {
        assert_eq!(found.of(caller, what)["left"], json!(["gateway"]), "{caller}: {what}");
    }
}

fn passes_inside(found: &Found, caller: &str, test: &str) {
    let tests = found.of(caller, test);
    assert!(tests["code"] == 0 && tests["stdout"].as_str().unwrap().contains("1 passed"), "{caller}: {tests:#}");
}

/// What is not delegated is held otherwise, and the program runs all the same.
fn not_whole(found: &Found, caller: &str) {
    let shared = found.of(caller, "beside another");
    assert!(shared["stdout"] == "ran" && shared["left"] == json!([]), "{caller}: {shared:#}");
    let told = found.text(caller, "beside another", "told");
    assert!(told.contains("MiB together (watchdog)") && told.contains("processor not limited"), "{caller}: {told}");
    let told = found.text(caller, "without the processor", "told");
    assert!(told.starts_with("2048 MiB together (control group v2), 128 processes (control group v2)"), "{caller}: {told}");
    assert!(told.contains("processor not limited"), "{caller}: {told}");
}

/// What holds the limits of a program, in words.
fn held<S>(instance: &Instance<S>) -> String {
    match instance.in_force().get(Layer::Limits) {
        Some(State::InForce(held)) => held.clone(),
        other => panic!("{other:?}"),
    }
}

async fn launch(script: &str, arguments: &[&str], limits: Limits) -> Instance<Running> {
    let launcher = if is_inside() { LAUNCHER } else { env!("CARGO_BIN_EXE_sallyport-launcher") };
    let mut program = Program::new("test", "/usr/bin/python3");
    program.args = ["-c", script].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    let profile = Profile { limits, ..Profile::default() };
    Selection::default().build(&Host::with_launcher(launcher)).unwrap().launch(&profile, &program).await.unwrap()
}

fn is_inside() -> bool {
    Path::new(LAUNCHER).exists()
}

/// Processor time of one process, which has no others.
fn used(instance: &Instance<Running>) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", instance.pid())).unwrap();
    let ticks: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Two programs that want all of one processor get of it what their weights say, as long as it takes until they have used two seconds. Run
/// here and by `groups.py`.
#[tokio::test]
async fn a_processor_is_shared_out_by_weight() {
    const BUSY: &str = "import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nprint('on', flush=True)\nwhile True: pass";
    let mut both = Vec::new();
    for cpu_weight in [100, 800] {
        let instance = launch(BUSY, &[], Limits { cpu_weight, ..Limits::default() }).await;
        let (stdin, stdout) = instance.take_io().unwrap();
        let mut said = BufReader::new(stdout).lines();
        assert_eq!(said.next_line().await.unwrap().as_deref(), Some("on"), "{:?}", instance.stderr_tail());
        both.push((instance, (stdin, said)));
    }
    let held = held(&both[1].0);
    if held.contains("processor not limited") && !is_inside() {
        eprintln!("not tried, since nothing holds it here, and the program is told so: {held}");
        return;
    }
    assert!(held.contains("processor weight 800 (control group"), "{held}");
    let before: Vec<Duration> = both.iter().map(|(instance, _)| used(instance)).collect();
    let (mut light, mut heavy) = (Duration::ZERO, Duration::ZERO);
    while light + heavy < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        [light, heavy] = [0, 1].map(|at| used(&both[at].0) - before[at]);
    }
    assert!(heavy >= 2 * light, "{heavy:?} beside {light:?}");
}

/// As root of any process; else only of a whole group. Run here, where others may have the same file mapped, and by `groups.py`.
#[tokio::test]
async fn memory_is_given_back_where_something_can() {
    /// Some megabytes that programs see and do not use.
    const FILE: &str = "/usr/bin/qemu-system-x86_64";
    const SUMS: &str = "import mmap,sys\nfile = open(sys.argv[1])\ntext = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\nfor line in sys.stdin:\n  print(sum(text[::4096]), flush=True)";
    let instance = launch(SUMS, &[FILE], Limits::default()).await;
    let (mut stdin, stdout) = instance.take_io().unwrap();
    let mut answers = BufReader::new(stdout).lines();
    stdin.write_all(b"\n").await.unwrap();
    let sum = answers.next_line().await.unwrap().unwrap();

    let held = held(&instance);
    let asleep = instance.standby().unwrap();
    let given_back = asleep.memory().give_back(|| true);
    if is_root() || held.contains("together (control group v2)") {
        let given_back = given_back.unwrap();
        let half = fs::metadata(FILE).unwrap().len() / 2;
        assert!(!is_inside() || given_back.before - given_back.after >= half, "{given_back:?}");
    } else {
        assert_eq!(given_back.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    let awake = asleep.wake();
    stdin.write_all(b"\n").await.unwrap();
    assert_eq!(answers.next_line().await.unwrap().unwrap(), sum);
    awake.kill();
    awake.wait().await;
}
