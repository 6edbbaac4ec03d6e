//! Life and death: nothing survives its gateway, an end is told as it was, and stopping keeps its order.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sallyport_sandbox::{Exit, Host, Instance, Layer, Profile, Program, Running, Selection, State};
use support::{callers, eventually, launcher, lives};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Ignores SIGTERM, leaves a daemon behind, says so, and waits. The mark is in each command line.
const STUBBORN: &str = "import os,signal,sys,time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    os.close(0); os.close(1); os.close(2)\n    time.sleep(600)\n  os._exit(0)\nos.wait()\nprint('ready', flush=True)\ntime.sleep(600)";

/// One at a time: these tests count this process's children and descriptors.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn selection(name: &str) -> Selection {
    serde_json::from_value(name.into()).unwrap()
}

async fn start(sandbox: &str, command: &[&str]) -> Instance<Running> {
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher"));
    let backend = selection(sandbox).build(&host).unwrap();
    let mut program = Program::new("test", command[0]);
    program.args = command[1..].iter().map(|word| (*word).to_owned()).collect();
    backend.launch(&Profile::default(), &program).await.unwrap()
}

async fn start_python(sandbox: &str, script: &str, mark: &str) -> Instance<Running> {
    start(sandbox, &["/usr/bin/python3", "-c", script, mark]).await
}

fn mark(test: &str) -> String {
    format!("mark-{test}-{}", std::process::id())
}

fn children() -> Vec<rustix::process::Pid> {
    let lists = fs::read_dir("/proc/self/task").unwrap().flatten();
    let texts: Vec<String> = lists.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default()).collect();
    let pids = texts.iter().flat_map(|text| text.split_ascii_whitespace());
    pids.map(|pid| rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap()).collect()
}

/// Of the children of this process none is left, not even a zombie, but the zygote, which is there from the first launch on.
fn only_the_zygote() -> bool {
    let stat = |pid: &rustix::process::Pid| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    matches!(children().as_slice(), [zygote] if stat(zygote).contains(") S "))
}

#[test]
fn nothing_survives_when_the_gateway_is_killed() {
    let _alone = ALONE.blocking_lock();
    for caller in callers() {
        for sandbox in ["os", "landlock", "none"] {
            let mark = mark("killed");
            let mut gateway = launcher(*caller, &["--sandbox", sandbox], &["/usr/bin/python3", "-c", STUBBORN, &mark])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            gateway.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
            assert!(lives(&mark));
            // `setpriv` executes the launcher in its own place, so this is the gateway's pid.
            gateway.kill().unwrap();
            gateway.wait().unwrap();
            eventually(&format!("{caller:?}, {sandbox}: all are gone"), || !lives(&mark));
        }
    }
}

#[tokio::test]
async fn an_end_is_told_as_it_was() {
    let _alone = ALONE.lock().await;
    for sandbox in ["os", "landlock", "none"] {
        let exit = start(sandbox, &["/bin/sh", "-c", "exit 7"]).await.wait().await;
        assert_eq!((exit, exit.to_string().as_str()), (Exit::Code(7), "exited with code 7"));
        let exit = start(sandbox, &["/bin/sh", "-c", "kill -SEGV $$"]).await.wait().await;
        assert_eq!((exit, exit.to_string().as_str()), (Exit::Signal(11), "was killed by signal 11 (SIGSEGV)"));
        // Not the signal 9 that a shell would make of it.
        assert_eq!(start(sandbox, &["/bin/sh", "-c", "exit 137"]).await.wait().await, Exit::Code(137));
    }
    assert!(only_the_zygote());
}

#[tokio::test]
async fn stdio_is_the_programs_own() {
    let _alone = ALONE.lock().await;
    for sandbox in ["os", "landlock", "none"] {
        let instance = start(sandbox, &["/bin/cat"]).await;
        let (mut stdin, mut stdout) = instance.take_io().unwrap();
        assert!(instance.take_io().is_none());
        // More than a pipe holds, both ways at once.
        let sent = vec![b'x'; 300_000];
        let expected = sent.clone();
        let write = async move {
            stdin.write_all(&sent).await.unwrap();
            drop(stdin);
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(write, stdout.read_to_end(&mut received));
        read.unwrap();
        assert_eq!(received, expected);
        assert!(instance.wait().await.is_success());
    }
}

#[tokio::test]
async fn stopping_closes_stdin_first_then_asks_then_kills() {
    let _alone = ALONE.lock().await;
    let grace = Duration::from_secs(2);
    for sandbox in ["os", "landlock", "none"] {
        let instance = start(sandbox, &["/bin/cat"]).await;
        let started = Instant::now();
        assert_eq!(instance.stop(grace).await, Exit::Code(0));
        assert!(started.elapsed() < grace / 2);

        let ignores_the_end_of_stdin =
            "import signal,sys,time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\nprint('ready', flush=True)\ntime.sleep(600)";
        let instance = start_python(sandbox, ignores_the_end_of_stdin, &mark("asked")).await;
        let (_stdin, mut stdout) = instance.take_io().unwrap();
        stdout.read_exact(&mut [0; 6]).await.unwrap();
        assert_eq!(instance.stop(grace).await, Exit::Code(5));

        let mark = mark("stubborn");
        let instance = start_python(sandbox, STUBBORN, &mark).await;
        let (_stdin, mut stdout) = instance.take_io().unwrap();
        stdout.read_exact(&mut [0; 6]).await.unwrap();
        let started = Instant::now();
        let exit = instance.stop(Duration::from_millis(400)).await;
        assert!(matches!(exit, Exit::Signal(9) | Exit::Code(125)), "{sandbox}: {exit}");
        assert!(started.elapsed() < Duration::from_millis(1400));
        assert!(!lives(&mark), "{sandbox}");
    }
    assert!(only_the_zygote());
}

#[tokio::test]
async fn a_stopped_program_can_be_killed() {
    let _alone = ALONE.lock().await;
    let instance = start("os", &["/bin/sleep", "600"]).await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(instance.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    instance.kill();
    assert_eq!(tokio::time::timeout(Duration::from_secs(1), instance.wait()).await, Ok(Exit::Signal(9)));
}

#[tokio::test]
async fn a_program_takes_its_daemons_along_when_it_ends() {
    let _alone = ALONE.lock().await;
    for sandbox in ["os", "landlock", "none"] {
        let mark = mark("daemon");
        let script = STUBBORN.replace("print('ready', flush=True)\ntime.sleep(600)", "sys.exit(0)");
        assert_eq!(start_python(sandbox, &script, &mark).await.wait().await, Exit::Code(0));
        assert!(!lives(&mark), "{sandbox}");
    }
}

#[tokio::test]
async fn dropping_an_instance_ends_it_and_leaves_no_zombie() {
    let _alone = ALONE.lock().await;
    start("os", &["/bin/true"]).await.wait().await;
    let before = fs::read_dir("/proc/self/fd").unwrap().count();
    for sandbox in ["os", "landlock", "none"] {
        let mark = mark("dropped");
        let instance = start(sandbox, &["/usr/bin/python3", "-c", "import time; time.sleep(600)", &mark]).await;
        assert!(lives(&mark));
        drop(instance);
        for _ in 0..500 {
            if !lives(&mark) && only_the_zygote() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!lives(&mark) && only_the_zygote(), "{sandbox}");
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(fs::read_dir("/proc/self/fd").unwrap().count() <= before);
}

#[tokio::test]
async fn a_hundred_launches_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    let instance = start("os", &["/bin/true"]).await;
    instance.wait().await;
    drop(instance);
    let before = fs::read_dir("/proc/self/fd").unwrap().count();
    for _ in 0..100 {
        assert!(start("os", &["/bin/true"]).await.wait().await.is_success());
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(only_the_zygote());
    assert!(fs::read_dir("/proc/self/fd").unwrap().count() <= before);
}

#[tokio::test]
async fn a_zygote_that_is_killed_is_made_anew_and_takes_no_program_along() {
    let _alone = ALONE.lock().await;
    // A launcher has a child, the init; what is launched from has none.
    let has_none = |pid: &rustix::process::Pid| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap().is_empty();
    let running = start("os", &["/bin/sleep", "600"]).await;
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::SEGV] {
        rustix::process::kill_process(children().into_iter().find(has_none).unwrap(), signal).unwrap();
        for sandbox in ["os", "landlock", "none"] {
            assert!(start(sandbox, &["/bin/true"]).await.wait().await.is_success());
        }
    }
    assert_eq!(running.has_exited(), None);
    running.kill();
    running.wait().await;
    assert!(only_the_zygote());
}

/// Without a pid namespace nothing but its control group tells who belongs to a program.
#[tokio::test]
async fn what_a_killed_launcher_leaves_is_ended_by_its_group() {
    let _alone = ALONE.lock().await;
    let mark = mark("orphan");
    let orphan = "import os, time\nif os.fork() == 0: time.sleep(600)\nprint('ready', flush=True); time.sleep(600)";
    let instance = start("landlock", &["/usr/bin/python3", "-c", orphan, &mark]).await;
    let (_stdin, mut stdout) = instance.take_io().unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut [0; 6]).await.unwrap();
    let of_server = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", instance.pid())).unwrap();
    if !of_server("cgroup").contains("sallyport.") {
        return; // none can be made here
    }
    let stat = of_server("stat");
    let launcher: i32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(launcher).unwrap(), rustix::process::Signal::KILL).unwrap();
    instance.wait().await;
    eventually("the orphan is gone", || !lives(&mark));
}

#[test]
fn a_runtime_that_ends_takes_its_programs_along() {
    let _alone = ALONE.blocking_lock();
    let mark = mark("runtime");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let instance = runtime.block_on(start("os", &["/usr/bin/python3", "-c", "import time; time.sleep(600)", &mark]));
    assert!(lives(&mark));
    drop(runtime);
    eventually("the program is gone", || !lives(&mark) && only_the_zygote());
    drop(instance);
}

#[tokio::test]
async fn stderr_goes_to_a_bounded_file_and_its_last_lines_are_told() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("test.log");
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher"));
    let mut program = Program::new("test", "/usr/bin/python3");
    let script = "import sys\nfor n in range(60000): sys.stderr.write('line %d of a talkative server, again and again\\n' % n)";
    program.args = vec!["-c".to_owned(), script.to_owned()];
    program.log = Some(log.clone());
    let backend = Selection::default().build(&host).unwrap();
    let instance = backend.launch(&Profile::default(), &program).await.unwrap();
    assert!(instance.wait().await.is_success());
    let tail = instance.stderr_tail();
    assert_eq!(tail.last().unwrap(), "line 59999 of a talkative server, again and again");
    assert_eq!(tail.len(), 20);
    let size = |path: &std::path::Path| fs::metadata(path).unwrap().len();
    assert!(size(&log) <= 1024 * 1024 && size(&folder.path().join("test.log.1")) <= 1024 * 1024);
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&log).unwrap()) & 0o777, 0o600);
}

#[tokio::test]
async fn a_probe_is_a_real_start_and_tells_of_every_layer() {
    let _alone = ALONE.lock().await;
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher"));
    let report = Selection::default().build(&host).unwrap().probe().await;
    assert!(report.works, "{report:#?}");
    for subject in ["kernel", "user namespace", "landlock", "seccomp", "trial program", "control groups", "memory of idle servers"] {
        assert!(report.findings.iter().any(|finding| finding.subject == subject), "{subject}");
    }
    let none = selection("none").build(&host).unwrap().probe().await;
    assert!(none.findings.iter().all(|finding| !finding.in_force && finding.cure.is_some()));
}

#[tokio::test]
async fn what_holds_is_told() {
    let _alone = ALONE.lock().await;
    let instance = start("os", &["/bin/true"]).await;
    assert_eq!(instance.in_force().boundary(), "os");
    assert_eq!(instance.in_force().to_string(), "os");
    assert!(instance.in_force().get(Layer::Seccomp).is_some());
    assert_eq!(start("none", &["/bin/true"]).await.in_force().boundary(), "none");
    let landlock = start("landlock", &["/bin/true"]).await;
    assert_eq!(landlock.in_force().boundary(), "landlock");
    assert!(matches!(landlock.in_force().get(Layer::UserNamespace), Some(State::Absent(_))));
    assert!(landlock.standby().is_err(), "there is no init that could stop all of it");
}
