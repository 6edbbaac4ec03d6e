//! Limits of a program as a whole: what holds them, what happens beyond them, what is told of it, and that no group is left.
//!
//! Root tests what this machine's control groups hold; an ordinary user, who has none here, what takes their place.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use sallyport_sandbox::{Exceeded, Exit, Host, Instance, Layer, Limits, Profile, Program, Running, Selection, State};
use support::{callers, eventually, launcher, lives, run, text};
use tokio::io::AsyncReadExt;

/// Five children that hold 40 MiB each, none of which is too large alone, and a parent that waits.
const HOARD: &str = "import os,sys,time\nfor child in range(5):\n  if os.fork() == 0:\n    held = bytearray(40 << 20)\n    time.sleep(600)\ntime.sleep(600)";

async fn start(script: &str, mark: &str, limits: Limits) -> Instance<Running> {
    start_with(script, &[mark], limits).await
}

async fn start_with(script: &str, args: &[&str], limits: Limits) -> Instance<Running> {
    start_as(script, args, Profile { limits, ..Profile::default() }).await
}

async fn start_as(script: &str, args: &[&str], profile: Profile) -> Instance<Running> {
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher"));
    let mut program = Program::new("test", "/usr/bin/python3");
    program.args = ["-c", script].iter().chain(args).map(|&word| word.to_owned()).collect();
    Selection::default().build(&host).unwrap().launch(&profile, &program).await.unwrap()
}

fn mark(test: &str) -> String {
    format!("mark-{test}-{}", std::process::id())
}

/// Every group of this process, in every hierarchy.
fn groups_of(process: u32) -> BTreeSet<PathBuf> {
    fn look(folder: &Path, found: &mut BTreeSet<PathBuf>, is_one: &impl Fn(&str) -> bool) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            if entry.file_name().to_str().is_some_and(is_one) {
                found.insert(entry.path());
            }
            look(&entry.path(), found, is_one);
        }
    }
    let mut found = BTreeSet::new();
    let mine = format!(".{process}.");
    look(Path::new("/sys/fs/cgroup"), &mut found, &|name| name.starts_with("sallyport.") && name.contains(&mine));
    found
}

/// What holds the limits, in words.
fn held(instance: &Instance<Running>) -> String {
    match instance.in_force().get(Layer::Limits) {
        Some(State::InForce(detail)) => detail.clone(),
        other => panic!("{other:?}"),
    }
}

fn told(output: &Output) -> String {
    format!("{} {}", output.status, text(&output.stderr))
}

#[test]
fn memory_of_all_processes_together_has_an_end() {
    for caller in callers() {
        let mark = mark("hoard");
        let output = run(*caller, &["--memory", "120"], &["/usr/bin/python3", "-c", HOARD, &mark]);
        assert!(told(&output).contains("it was ended because it used more than 120 MiB of memory"), "{caller:?}: {}", told(&output));
        eventually("all of it is gone", || !lives(&mark));
    }
}

/// Three files in memory of two processes, none of which is too large, written and mapped by nobody; all but one would be let be.
#[test]
fn files_in_memory_count() {
    let script = "import os,sys,time\ndef keep():\n  file = os.memfd_create('x')\n  os.posix_fallocate(file, 0, 40 << 20)\nfor each in range(int(sys.argv[1])): keep()\nif os.fork() == 0:\n  keep()\n  time.sleep(3)\n  os._exit(0)\ntime.sleep(3)\nprint('well', flush=True)";
    for caller in callers() {
        let mark = mark("memfd");
        let output = run(*caller, &["--memory", "120"], &["/usr/bin/python3", "-c", script, "3", &mark]);
        assert!(told(&output).contains("it was ended because it used more than 120 MiB of memory"), "{caller:?}: {}", told(&output));
        eventually("all of it is gone", || !lives(&mark));
        assert_eq!(support::succeeds(*caller, &["--memory", "120"], &["/usr/bin/python3", "-c", script, "1"]), "well\n");
    }
}

/// Hardly a page of its own, and a table for each two megabytes that it has read in; of a fifth as many it is let be.
#[test]
fn page_tables_count() {
    let script = "import mmap,sys,time\nheld = mmap.mmap(-1, int(sys.argv[1]) << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)\nfor at in range(0, len(held), 2 << 20): held[at]\ntime.sleep(int(sys.argv[2]))\nprint('well', flush=True)";
    for caller in callers() {
        let output = run(*caller, &["--memory", "120"], &["/usr/bin/python3", "-c", script, "80", "30"]);
        assert!(told(&output).contains("it was ended because it used more than 120 MiB of memory"), "{caller:?}: {}", told(&output));
        assert_eq!(support::succeeds(*caller, &["--memory", "120"], &["/usr/bin/python3", "-c", script, "16", "3"]), "well\n");
    }
}

/// A browser's way: written by one process, mapped by several.
#[test]
fn a_file_in_memory_that_is_mapped_counts_once() {
    let script = "import mmap,os,time\nfile = os.memfd_create('x')\nos.ftruncate(file, 60 << 20)\nheld = mmap.mmap(file, 60 << 20)\nheld.write(bytes(60 << 20))\nfor child in range(3):\n  if os.fork() == 0:\n    sum(held[0:60 << 20:4096])\n    time.sleep(2.5)\n    os._exit(0)\ntime.sleep(3)\nprint('well', flush=True)";
    for caller in callers() {
        assert_eq!(support::succeeds(*caller, &["--memory", "150"], &["/usr/bin/python3", "-c", script]), "well\n");
    }
}

/// Nobody has them attached any more. Without a memory limit that is met: what bounds them is their namespace.
#[test]
fn segments_of_system_v_have_an_end() {
    let script = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nmade = 0\nwhile libc.shmget(0, 16 << 20, 0o1600) >= 0 and made < 20: made += 1\nqueues = 0\nwhile libc.msgget(0, 0o1600) >= 0 and queues < 200: queues += 1\nsets = 0\nwhile libc.semget(0, 200, 0o1600) >= 0 and sets < 200: sets += 1\nprint(made, queues, sets)";
    for caller in callers() {
        let seen = support::succeeds(*caller, &[], &["/usr/bin/python3", "-c", script]);
        // A kernel before 6.9 does not let the launcher bound them.
        let is_bounded = kernel_is_at_least(6, 9);
        assert_eq!(seen == "4 64 128\n", is_bounded, "{caller:?}: {seen}");
    }
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let name = rustix::system::uname();
    let mut numbers = name.release().to_str().unwrap().split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (major, minor)
}

#[test]
fn what_stays_below_its_limits_is_let_be() {
    for caller in callers() {
        // Each shares 40 MiB with the others: together they have them once.
        let script = "import os,time\nheld = bytearray(40 << 20)\nfor child in range(4):\n  if os.fork() == 0:\n    time.sleep(2.5)\n    os._exit(0)\ntime.sleep(3)\nprint('well', flush=True)";
        let seen = support::succeeds(*caller, &["--memory", "120"], &["/usr/bin/python3", "-c", script]);
        assert_eq!(seen, "well\n");
    }
}

#[test]
fn a_flood_has_an_end() {
    for caller in callers() {
        for stream in ["stdout", "stderr"] {
            let mark = mark(stream);
            let script = format!("import sys\nwhile True: sys.{stream}.write('x' * 1000 + chr(10))");
            let command = ["/usr/bin/python3", "-c", script.as_str(), mark.as_str()];
            let begun = Instant::now();
            let output = launcher(*caller, &["--output", "20"], &command).stdout(Stdio::null()).output().unwrap();
            assert!(
                told(&output).contains("it was ended because it wrote more than 20 MiB within a minute"),
                "{stream}: {}",
                told(&output)
            );
            assert!(begun.elapsed() < Duration::from_secs(20), "it was not left to write for a minute");
            eventually("it is gone", || !lives(&mark));
        }
    }
}

#[tokio::test]
async fn a_refused_process_is_told_where_a_group_counts() {
    let script = "import subprocess,sys\nchildren = []\ntry:\n  while True: children.append(subprocess.Popen(['sleep', '600']))\nexcept OSError: sys.exit(3)";
    let limits = Limits { processes: 20, ..Limits::default() };
    let instance = start(script, &mark("fork"), limits).await;
    let exit = instance.wait().await;
    if held(&instance).contains("20 processes (control group") {
        assert_eq!(instance.exceeded(), Some(Exceeded::Processes(20)));
        let told = instance.exceeded().unwrap().explain(exit);
        assert_eq!(told, "exited with code 3 after it wanted more than 20 processes and threads");
    } else {
        assert!(held(&instance).contains("20 processes (resource limit)"), "{}", held(&instance));
    }
}

#[tokio::test]
async fn a_file_that_is_too_large_is_told() {
    // Python ignores the signal, as Node does; a program in C or Go does not.
    let script = "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\nwith open('/tmp/file', 'wb') as file:\n  while True: file.write(bytes(1 << 20))";
    let instance = start(script, &mark("file"), Limits { file_mb: 4, ..Limits::default() }).await;
    let exit = instance.wait().await;
    assert_eq!(instance.exceeded(), Some(Exceeded::FileSize(4)), "{exit}");
    assert_eq!(instance.exceeded().unwrap().explain(exit), "was ended because it wanted a file larger than 4 MiB");
}

#[tokio::test]
async fn a_folder_of_its_own_that_is_full_is_told_of_a_program_that_failed() {
    let fill = "import os,sys\ntry:\n  with open(sys.argv[2], 'wb') as file:\n    while True: file.write(bytes(1 << 16)); file.flush()\nexcept OSError: os._exit(int(sys.argv[3]))";
    let many = "import os,sys\ntry:\n  for number in range(1000): open(f'{sys.argv[2]}{number}', 'w').close()\nexcept OSError: os._exit(int(sys.argv[3]))";
    let limits = Limits { tmp_mb: 3, shm_mb: 2, tmp_files: 20, ..Limits::default() };
    for (script, place, exceeded, told) in [
        (fill, "/tmp/file", Exceeded::Tmp(3), "exited with code 3 after it filled the 3 MiB of its /tmp"),
        (fill, "/dev/shm/file", Exceeded::Shm(2), "exited with code 3 after it filled the 2 MiB of its /dev/shm"),
        (many, "/tmp/", Exceeded::TmpFiles(20), "exited with code 3 after it made as many files as /tmp or /dev/shm may have, 20"),
        (many, "/dev/shm/", Exceeded::TmpFiles(20), "exited with code 3 after it made as many files as /tmp or /dev/shm may have, 20"),
    ] {
        for code in [3, 0] {
            let instance = start_with(script, &[&mark("full"), place, &code.to_string()], limits.clone()).await;
            let exit = instance.wait().await;
            assert_eq!(exit, Exit::Code(code), "{place}: {:?}", instance.stderr_tail());
            assert_eq!(instance.exceeded(), (code != 0).then_some(exceeded), "{place}: one that goes well may fill it");
            assert!(code == 0 || exceeded.explain(exit) == told, "{}", exceeded.explain(exit));
        }
    }
}

/// In a mount namespace with a `/tmp` that is soon full, where this test runs itself again.
#[tokio::test]
async fn a_folder_of_the_host_that_is_full_is_not_told_as_one_of_its_own() {
    const AGAIN: &str = "FULL_FOLDER_OF_THE_HOST";
    if !rustix::process::geteuid().is_root() {
        return; // nobody else may mount one
    }
    if std::env::var_os(AGAIN).is_none() {
        let mut again = std::process::Command::new("unshare");
        again.args(["--mount", "sh", "-c", "mount -t tmpfs -o size=1m none /tmp && exec \"$0\" \"$@\""]);
        again.arg(std::env::current_exe().unwrap()).args(["--exact", "a_folder_of_the_host_that_is_full_is_not_told_as_one_of_its_own"]);
        let output = again.env(AGAIN, "").output().unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        return;
    }
    let fill = "import os,sys\ntry:\n  with open('/tmp/file', 'wb') as file:\n    while True: file.write(bytes(1 << 16)); file.flush()\nexcept OSError: os._exit(3)";
    let profile = Profile { write: vec!["/tmp".into()], ..Profile::default() };
    let instance = start_as(fill, &[&mark("host")], profile).await;
    assert_eq!(instance.wait().await, Exit::Code(3), "{:?}", instance.stderr_tail());
    assert_eq!(rustix::fs::statvfs("/tmp").unwrap().f_bfree, 0);
    assert_eq!(instance.exceeded(), None);
}

#[tokio::test]
async fn no_more_files_are_opened_than_it_may() {
    let script = "import sys\nfiles = []\ntry:\n  while True: files.append(open('/dev/null'))\nexcept OSError as error: sys.exit(error.errno if len(files) < 64 else 1)";
    let instance = start(script, &mark("open"), Limits { open_files: 64, ..Limits::default() }).await;
    assert_eq!(instance.wait().await, Exit::Code(24), "EMFILE: {:?}", instance.stderr_tail());
}

#[tokio::test]
async fn nothing_is_told_of_a_program_that_kept_to_its_limits() {
    let instance = start("import sys; sys.exit(4)", &mark("tame"), Limits::default()).await;
    instance.wait().await;
    assert_eq!(instance.exceeded(), None);
}

#[tokio::test]
async fn processor_time_can_be_rationed() {
    let half = Limits { cpus: Some(0.5.try_into().unwrap()), ..Limits::default() };
    let instance =
        start("import time\nend = time.time() + 2\nwhile time.time() < end: pass\nprint(time.process_time())", &mark("half"), half).await;
    let (_stdin, mut stdout) = instance.take_io().unwrap();
    let mut used = String::new();
    stdout.read_to_string(&mut used).await.unwrap();
    let used: f64 = used.trim().parse().unwrap();
    if held(&instance).contains("0.5 processors") {
        assert!(used < 1.4, "{used} of two seconds");
    } else {
        assert!(held(&instance).contains("processor not limited, though"), "{}", held(&instance));
    }
}

#[tokio::test]
async fn no_group_is_left_of_a_program_however_it_ends() {
    let own = std::process::id();
    let limits = Limits { memory_mb: 100, ..Limits::default() };
    let there = groups_of(own).len();
    for end in ["itself", "killed", "dropped", "too much memory"] {
        let script = if end == "itself" {
            "pass"
        } else if end == "too much memory" {
            HOARD
        } else {
            "import time; time.sleep(600)"
        };
        let instance = start(script, &mark("group"), limits.clone()).await;
        if held(&instance).contains("control group") && end == "killed" {
            assert!(!groups_of(own).is_empty(), "there is one while it runs");
        }
        if end == "killed" {
            instance.kill();
        }
        if end == "dropped" {
            drop(instance);
        } else {
            instance.wait().await;
        }
        for _ in 0..200 {
            if groups_of(own).len() <= there {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(groups_of(own).len(), there, "{end}");
    }
}

#[test]
fn what_a_killed_gateway_leaves_the_next_one_clears_away() {
    let mark = mark("leftover");
    let sleep = ["/usr/bin/python3", "-c", "import time; print('on', flush=True); time.sleep(600)", &mark];
    let mut gateway = launcher(support::Caller::Itself, &[], &sleep).stdin(Stdio::piped()).spawn().unwrap();
    let id = gateway.id();
    std::io::Read::read_exact(gateway.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
    let before = groups_of(id);
    let alive = launcher(support::Caller::Itself, &[], &sleep).stdin(Stdio::piped()).spawn().unwrap();
    let mut alive = Killed(alive);
    std::io::Read::read_exact(alive.0.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
    let another = groups_of(alive.0.id());
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    support::succeeds(support::Caller::Itself, &[], &["/bin/true"]);
    assert_eq!(groups_of(id), BTreeSet::new(), "of {before:?}");
    assert_eq!(groups_of(alive.0.id()), another, "a gateway that lives keeps its own");
}

/// Ends with the test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}
