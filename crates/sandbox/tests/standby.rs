//! Standby: everything inside stands still and goes on where it was, its memory can be given back, and it dies as easily.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use sallyport_sandbox::{Exit, Host, Instance, Profile, Program, Rehearsal, Running, Selection};
use support::{Caller, Folder, callers, eventually, is_root, launcher, lives};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Answers each line; a child of it, in a session of its own, never stops counting.
const BUSY: &str =
    "import os,sys\nif os.fork() == 0:\n  os.setsid()\n  while True: pass\nfor line in sys.stdin:\n  print(line, end='', flush=True)";

async fn start(sandbox: &str, script: &str, mark: &str) -> Instance<Running> {
    start_as(sandbox, script, &[mark], &Profile::default()).await
}

async fn start_as(sandbox: &str, script: &str, arguments: &[&str], profile: &Profile) -> Instance<Running> {
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher"));
    let selection: Selection = serde_json::from_value(sandbox.into()).unwrap();
    let mut program = Program::new("test", "/usr/bin/python3");
    program.args = ["-c", script].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    selection.build(&host).unwrap().launch(profile, &program).await.unwrap()
}

fn mark(test: &str) -> String {
    format!("mark-{test}-{}", std::process::id())
}

/// The processes with this mark in their command line, but for this test and the gateway of it.
fn marked(mark: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_python = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("python3"));
    let has_mark = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark));
    pids.filter(is_python).filter(has_mark).collect()
}

/// The fields of `/proc/PID/stat` from the state on.
fn stat(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(") ").map(|(_, rest)| rest.split(' ').map(str::to_owned).collect()).unwrap_or_default()
}

fn is_stopped(pid: u32) -> bool {
    stat(pid).first().is_some_and(|state| state == "T")
}

/// Ticks of CPU in user and kernel mode.
fn cpu(pid: u32) -> u64 {
    stat(pid)[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn everything_inside_stands_still_and_goes_on() {
    let mark = mark("still");
    let mut instance = start("os", BUSY, &mark).await;
    let (mut stdin, stdout) = instance.take_io().unwrap();
    let mut answers = BufReader::new(stdout).lines();
    stdin.write_all(b"first\n").await.unwrap();
    assert_eq!(answers.next_line().await.unwrap().unwrap(), "first");
    let inside = marked(&mark);
    assert_eq!(inside.len(), 2, "the program and its child");
    for round in 0..50 {
        let asleep = instance.standby().unwrap();
        eventually("both are stopped", || inside.iter().all(|pid| is_stopped(*pid)));
        if round == 0 {
            let before: Vec<u64> = inside.iter().map(|pid| cpu(*pid)).collect();
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(inside.iter().map(|pid| cpu(*pid)).collect::<Vec<_>>(), before, "no CPU is used");
        }
        // What is written meanwhile waits.
        stdin.write_all(format!("{round}\n").as_bytes()).await.unwrap();
        instance = asleep.wake();
        assert_eq!(answers.next_line().await.unwrap().unwrap(), round.to_string());
    }
    drop(stdin);
    assert_eq!(instance.stop(Duration::from_secs(4)).await, Exit::Code(0));
    assert!(!lives(&mark));
}

#[tokio::test]
async fn woken_at_once_it_never_stays_stopped() {
    let mark = mark("raced");
    let mut instance = start("os", BUSY, &mark).await;
    let (mut stdin, stdout) = instance.take_io().unwrap();
    let mut answers = BufReader::new(stdout).lines();
    for round in 0..2000 {
        instance = instance.standby().unwrap().wake();
        stdin.write_all(format!("{round}\n").as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(5), answers.next_line()).await;
        assert_eq!(answer.expect("it was woken").unwrap().unwrap(), round.to_string());
    }
}

/// On kernels before 6.12 a program may send them to its init, as this test may on every kernel.
#[tokio::test]
async fn no_signal_wakes_what_sleeps() {
    let mark = mark("signalled");
    let instance = start("os", BUSY, &mark).await;
    eventually("its child is there", || marked(&mark).len() == 2);
    let inside = marked(&mark);
    let parents = inside.iter().map(|pid| stat(*pid)[1].parse::<u32>().unwrap());
    let init = parents.into_iter().find(|parent| !inside.contains(parent)).unwrap().to_string();
    let asleep = instance.standby().unwrap();
    eventually("both are stopped", || inside.iter().all(|pid| is_stopped(*pid)));
    for signal in ["-USR2", "-CONT", "-CHLD", "-USR1"] {
        assert!(Command::new("kill").args([signal, &init]).status().unwrap().success());
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(inside.iter().all(|pid| is_stopped(*pid)), "{signal}");
    }
    let instance = asleep.wake();
    eventually("it goes on", || inside.iter().all(|pid| !is_stopped(*pid)));
    instance.kill();
    assert_eq!(instance.wait().await, Exit::Signal(9));
}

#[tokio::test]
async fn what_sleeps_dies_as_easily() {
    for how in ["killed", "dropped"] {
        let mark = mark(how);
        let asleep = start("os", BUSY, &mark).await.standby().unwrap();
        let ended = asleep.wait();
        if how == "killed" {
            asleep.kill();
            assert_eq!(tokio::time::timeout(Duration::from_secs(1), ended).await, Ok(Exit::Signal(9)));
        } else {
            drop(asleep);
        }
        eventually(how, || !lives(&mark));
    }
}

#[test]
fn what_sleeps_dies_with_its_gateway() {
    for caller in callers() {
        let mark = mark("orphan");
        let script = format!("print('ready', flush=True)\n{BUSY}");
        let mut gateway = launcher(*caller, &[], &["/usr/bin/python3", "-c", &script, &mark]).stdin(Stdio::piped()).spawn().unwrap();
        gateway.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        eventually("its child is there", || marked(&mark).len() == 2);
        // As its init would, were the gateway not another process here.
        for pid in marked(&mark) {
            assert!(Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap().success());
        }
        eventually("both are stopped", || marked(&mark).into_iter().all(is_stopped));
        gateway.kill().unwrap();
        gateway.wait().unwrap();
        eventually(&format!("{caller:?}: all are gone"), || !lives(&mark));
    }
}

#[tokio::test]
async fn without_a_boundary_nothing_is_stopped() {
    let mark = mark("open");
    let instance = start("none", BUSY, &mark).await.standby().unwrap_err();
    let (mut stdin, stdout) = instance.take_io().unwrap();
    stdin.write_all(b"on\n").await.unwrap();
    assert_eq!(BufReader::new(stdout).lines().next_line().await.unwrap().unwrap(), "on");
    drop(stdin);
    instance.stop(Duration::from_secs(2)).await;
    assert!(!lives(&mark));
}

/// Bytes that nobody else has mapped: what others use too stays.
const OWN: usize = 16 << 20;

/// Adds up a byte of each page of a file of its own for each line that it reads.
const SUMS: &str = "import mmap,sys\nfile = open(sys.argv[2])\ntext = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\nfor line in sys.stdin:\n  print(sum(text[::4096]), flush=True)";

/// The same of 256 pages, each of which is read by itself.
const SPARSE_SUMS: &str = "import mmap,sys\nfile = open(sys.argv[2])\ntext = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\ntext.madvise(mmap.MADV_RANDOM)\nfor line in sys.stdin:\n  print(sum(text[::65536]), flush=True)";

async fn start_adder(script: &str, folder: &Folder, mark: &str) -> Instance<Running> {
    let file = folder.path("own");
    fs::write(&file, vec![1; OWN]).unwrap();
    fs::File::open(&file).unwrap().sync_all().unwrap();
    let profile = Profile { read: vec![folder.path("")], ..Profile::default() };
    start_as("os", script, &[mark, file.to_str().unwrap()], &profile).await
}

#[tokio::test]
async fn what_has_rehearsed_hardly_waits_for_its_memory() {
    if !is_root() {
        return; // its memory stays
    }
    let folder = Folder::of(Caller::Itself);
    let instance = start_adder(SPARSE_SUMS, &folder, &mark("rehearsed")).await;
    let (mut stdin, stdout) = instance.take_io().unwrap();
    let mut answers = BufReader::new(stdout).lines();
    stdin.write_all(b"\n").await.unwrap();
    answers.next_line().await.unwrap().unwrap();
    // What this process has written is in the kernel's cache, and stays there: only what a program has mapped goes.
    let mut asleep = instance.standby().unwrap();
    let memory = asleep.memory();
    memory.give_back(|| true).unwrap();
    for _ in 0..3 {
        let (mut rehearsal, mut waited) = (Rehearsal::after(memory.give_back(|| true).unwrap()), Vec::new());
        while rehearsal.wants_another(&memory, || true).unwrap() {
            let (awake, before) = (asleep.wake(), memory.fetched());
            stdin.write_all(b"\n").await.unwrap();
            answers.next_line().await.unwrap().unwrap();
            asleep = awake.standby().unwrap();
            waited.push(memory.fetched() - before);
        }
        assert!(waited.len() >= 2 && waited[0] > 16, "the first one reads the file from the disk: {waited:?}");
        assert!(waited.last().unwrap() <= &16, "and the last one does not: {waited:?}");
    }
}

#[tokio::test]
async fn memory_is_given_back_and_nothing_is_lost() {
    let folder = Folder::of(Caller::Itself);
    let instance = start_adder(SUMS, &folder, &mark("memory")).await;
    let (mut stdin, stdout) = instance.take_io().unwrap();
    let mut answers = BufReader::new(stdout).lines();
    stdin.write_all(b"\n").await.unwrap();
    let sum = answers.next_line().await.unwrap().unwrap();

    let asleep = instance.standby().unwrap();
    let untouched = asleep.memory().give_back(|| false).unwrap();
    assert_eq!(untouched.before, untouched.after, "it was told to stop at once");
    let given_back = asleep.memory().give_back(|| true);
    if is_root() {
        let given_back = given_back.unwrap();
        assert!(given_back.before - given_back.after >= OWN as u64 / 2, "{given_back:?}");
    } else {
        assert_eq!(given_back.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    }
    // A rehearsal, which fetches it all again.
    let awake = asleep.wake();
    stdin.write_all(b"\n").await.unwrap();
    assert_eq!(answers.next_line().await.unwrap().unwrap(), sum);

    let asleep = awake.standby().unwrap();
    assert_eq!(asleep.memory().give_rehearsed_back(u64::MAX, || true).unwrap(), None, "there is not too much of it");
    if is_root() {
        let given_back = asleep.memory().give_rehearsed_back(0, || true).unwrap().unwrap();
        assert!(given_back.before - given_back.after >= OWN as u64 / 2, "{given_back:?}");
    }
    let awake = asleep.wake();
    stdin.write_all(b"\n").await.unwrap();
    assert_eq!(answers.next_line().await.unwrap().unwrap(), sum);
    // It ends while its pages are being fetched.
    let asleep = awake.standby().unwrap();
    let _noted = asleep.memory().give_rehearsed_back(0, || true);
    let awake = asleep.wake();
    awake.kill();
    awake.wait().await;
}
