//! The attack suite itself: what `os` stops, and that it sees what is not stopped.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat2};
use sallyport_sandbox::attack::{self, Gateway, Heard, Outcome, ROWS, Verdict};
use sallyport_sandbox::{Host, Pending, Selection, Stdout};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// Reads as the gateway's file code does: nothing but what is really below the root.
struct Careful;

impl Gateway for Careful {
    fn read<'a>(&'a self, root: &'a Path, path: &'a Path) -> Pending<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let root = open(root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map_err(|error| error.to_string())?;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let file = openat2(&root, path, OFlags::RDONLY, Mode::empty(), resolve).map_err(|error| error.to_string())?;
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut text).map_err(|error| error.to_string())?;
            Ok(text)
        })
    }

    fn listen<'a>(&'a self, stdout: Stdout, longest: usize) -> Pending<'a, Heard> {
        Box::pin(async move {
            let (mut stdout, mut heard, mut length) = (BufReader::new(stdout), Heard::default(), 0);
            while let Some(chunk) = stdout.fill_buf().await.ok().filter(|chunk| !chunk.is_empty()) {
                for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
                    heard.refused += usize::from(length <= longest && length + piece.len() > longest);
                    length += piece.len();
                    if piece.ends_with(b"\n") {
                        heard.lines += usize::from(length <= longest);
                        length = 0;
                    }
                }
                let taken = chunk.len();
                stdout.consume(taken);
            }
            heard
        })
    }
}

/// Looks first, and reads afterwards; keeps what is written, however much it is.
struct Careless;

impl Gateway for Careless {
    fn read<'a>(&'a self, root: &'a Path, path: &'a Path) -> Pending<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let path = root.join(path);
            let is_below = path.canonicalize().is_ok_and(|path| path.starts_with(root));
            let file = openat2(CWD, &path, OFlags::RDONLY, Mode::empty(), ResolveFlags::empty());
            let file = file.ok().filter(|_| is_below).ok_or("not below")?;
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut text).map_err(|error| error.to_string())?;
            Ok(text)
        })
    }

    fn listen<'a>(&'a self, mut stdout: Stdout, _longest: usize) -> Pending<'a, Heard> {
        Box::pin(async move {
            let mut all = Vec::new();
            stdout.read_to_end(&mut all).await.unwrap();
            Heard { lines: 1, longest: all.len(), refused: 0 }
        })
    }
}

/// Shorter than `sallyport sandbox attack` does it: who looks first and reads afterwards has lost after less.
const RACE: Duration = Duration::from_secs(3);

async fn attacked(backend: &str, gateway: &dyn Gateway) -> BTreeMap<u8, Verdict> {
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher"));
    attacked_on(&host, serde_json::from_value(backend.into()).unwrap(), gateway).await
}

async fn attacked_on(host: &Host, selection: Selection, gateway: &dyn Gateway) -> BTreeMap<u8, Verdict> {
    let verdicts = attack::run(host, &selection, gateway, RACE, &mut |_| {}).await.unwrap();
    verdicts.into_iter().map(|verdict| (verdict.row, verdict)).collect()
}

#[tokio::test]
async fn every_attack_ends_as_it_should_by_the_layer_that_is_meant_to() {
    let verdicts = attacked("os", &Careful).await;
    hold(&verdicts, "os", &[]);
    for (row, how) in HOW {
        let Verdict { outcome, detail, .. } = &verdicts[row];
        // Of an attack that got something, that alone is told.
        assert!(*outcome == Outcome::Open || detail.contains(how), "{row}: {how}: {detail}");
    }
    let attempts: usize =
        verdicts.values().filter(|verdict| verdict.outcome == Outcome::Stopped).map(|verdict| verdict.detail.split("; ").count()).sum();
    assert!(attempts > 250, "only {attempts} attempts");
}

/// How some attempts must be stopped: by the layer that is meant to, not by accident.
const HOW: &[(u8, &str)] = &[
    (1, "canary file: ENOENT"),
    (2, "/etc/shadow: ENOENT"),
    (3, "environment of init: ENOENT"),
    (5, "variables that were not named: only what was named"),
    (7, "CONT to init: EPERM"),
    (7, "CONT to the gateway: ESRCH"),
    (8, "127.0.0.1: EACCES"),
    (8, "udp to the internet: ENETUNREACH"),
    (10, "TXT question for another name: no such name"),
    (11, "an allowed name that resolves to the host: "),
    (15, "shown socket readable/socket: EPERM"),
    (15, "shown socket writable/letters, by one of a pair: EPERM"),
    (16, "vsock: EPERM"),
    (16, "raw: EPERM"),
    (17, "more than 40 processes: EAGAIN"),
    (17, "half of another server's answers took "),
    (19, "half of another server's answers took "),
    (21, "stdout: it was ended because it wrote more than 8 MiB within a minute"),
    (21, "a line without end: it was ended because it wrote more than 8 MiB within a minute"),
    (18, "three times the memory: "),
    (20, "bytes of /tmp: ENOSPC"),
    (20, "inodes of /tmp: ENOSPC"),
    (20, "an endless file: EFBIG"),
    (22, "io_uring_setup: EPERM"),
    (24, "clone3: ENOSYS"),
    (24, "unshare user: EPERM"),
    (24, "clone user: EPERM"),
    (25, "mount: EPERM"),
    (27, "TIOCSTI with high bits: EPERM"),
    (28, "a number that nobody knows: ENOSYS"),
    (29, "bpf: EPERM"),
    (29, "personality: EPERM"),
    (29, "huge pages: EPERM"),
    (29, "huge pages in a file: EPERM"),
    (30, "run a file in the writable folder: EACCES"),
    (30, "a new file in /usr: EROFS"),
    (30, "hard link out of the readable folder: EXDEV"),
    (30, "capabilities and filters: none, and filtered"),
    (35, "open descriptors: only 0 to 2"),
    (39, "/etc/ssl/private: ENOENT"),
    (40, "a program in a memfd: it ran"),
    (41, "its file in /tmp: ENOENT"),
];

/// The same by the layers of other back-ends; those that are not here start nothing.
async fn ends_as_it_should(backend: &str, how: &[(u8, &str)]) {
    hold(&attacked(backend, &Careful).await, backend, how);
}

/// What is open must be so for the reason that the row gives: full sockets, say, only where no control group holds the memory.
fn hold(verdicts: &BTreeMap<u8, Verdict>, backend: &str, how: &[(u8, &str)]) {
    for row in ROWS {
        let (verdict, (outcome, reason)) = (&verdicts[&row.number], row.expected(backend));
        assert!(row.expects(backend, verdict.outcome), "{backend}: {}: {:?}: {}", row.name, verdict.outcome, verdict.detail);
        let reason = reason.filter(|_| verdict.outcome == outcome);
        assert!(verdict.detail.ends_with(reason.unwrap_or_default()), "{backend}: {}: {}", row.name, verdict.detail);
    }
    for (row, how) in how {
        assert!(verdicts[row].detail.contains(how), "{backend}: {row}: {how}: {}", verdicts[row].detail);
    }
}

#[tokio::test]
async fn landlock_refuses_what_it_does_not_hide() {
    let how = [
        (1, "size of the canary file: "),
        (7, "KILL to another server: EPERM"),
        (7, "a signal to anybody: nobody"),
        (8, "127.0.0.1: EPERM"),
        (17, "more than 40 processes: EAGAIN"),
        (30, "a new file in the readable folder: EACCES"),
        (32, "read-only inside a folder to write: Operation not supported"),
        (35, "open descriptors: only 0 to 2"),
    ];
    ends_as_it_should("landlock", &how).await;
}

#[tokio::test]
async fn a_container_holds_as_the_default_does() {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/sbin/runc").exists() {
        return; // nobody else may start one
    }
    let how = [
        (1, "canary file: ENOENT"),
        (7, "CONT to the gateway: ESRCH"),
        (10, "TXT question for another name: no such name"),
        (17, "more than 40 processes: EAGAIN"),
        (24, "clone3: ENOSYS"),
        (28, "a call of 32-bit x86: "),
        (29, "huge pages: ENOSYS"),
        (29, "huge pages in a file: ENOSYS"),
        (30, "run a file in the writable folder: EACCES"),
        (32, "write .git/config: EROFS"),
        (32, "move the folder above away: EBUSY"),
    ];
    ends_as_it_should("oci", &how).await;
}

/// A machine takes its time without KVM, so that this is one of the tests that are asked for.
#[cfg(target_arch = "x86_64")]
#[tokio::test]
#[ignore = "needs QEMU and the peers that `cargo xtask peers` installs"]
async fn a_machine_holds_what_the_default_does_and_no_two_are_alike() {
    let machines = tempfile::tempdir_in("/var/tmp").unwrap();
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher")).with_machines(machines.path());
    let sandbox = serde_json::json!({ "microvm": { "guest": support::kernel::prepared(), "accel": "emulation" } });
    let how = [
        (10, "TXT question for another name: no such name"),
        (11, "an allowed name that resolves to the host: "),
        (12, "two lines in one: refused"),
        (13, "TLS for another name: "),
        (20, "an endless file: EFBIG"),
        (32, "write .git/config: EROFS"),
        (32, "move the folder above away: EBUSY"),
        (37, "of them its boundary's"),
        (37, "in the monitor's place: memory of another machine: ENOENT"),
        (37, "in the monitor's place: another kernel for all machines: EROFS"),
        (37, "in the monitor's place: canary file: ENOENT"),
        (38, "one: linux "),
        (38, ", copied, "),
        (38, "getrandom: another one"),
        (38, "/proc/sys/kernel/random/boot_id: another one"),
    ];
    hold(&attacked_on(&host, serde_json::from_value(sandbox).unwrap(), &Careful).await, "microvm", &how);
}

#[cfg(feature = "wasm")]
#[tokio::test]
async fn webassembly_has_no_word_for_most() {
    let how = [
        (1, "canary file: "),
        (4, "/proc/self/fd/0: "),
        (5, "variables that were not named: EBADF"),
        (18, "three times the memory: ENOMEM"),
        (19, "a program that never ends: "),
        (22, "io_uring_setup: no such call"),
        (32, "which sandbox wasm cannot keep it from"),
        (35, "other descriptors: EBADF"),
    ];
    ends_as_it_should("wasm", &how).await;
}

/// Without a boundary nearly everything is open, and the suite says so; nothing of the machine is harmed by that.
#[tokio::test]
async fn it_sees_what_is_not_stopped() {
    let verdicts = attacked("none", &Careless).await;
    let open = |row: u8| assert_eq!(verdicts[&row].outcome, Outcome::Open, "{}: {}", verdicts[&row].name, verdicts[&row].detail);
    for row in [1, 2, 3, 7, 8, 14, 15, 17, 18, 20, 21, 22, 24, 28, 30, 31, 32, 40, 41] {
        open(row);
    }
    assert!(verdicts[&1].detail.contains("the canary was seen"));
    assert!(verdicts[&8].detail.contains("connections reached the host"));
    assert!(verdicts[&21].detail.contains("bytes of a line were kept"));
    assert!(verdicts[&31].detail.contains("read the canary"));
    assert!(verdicts[&32].detail.contains(".git/hooks"));
}
