//! A hostile Python program tries to get out, inside the `os` back-end, as root and as an ordinary user.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use support::{Caller, Folder, callers, eventually, launcher, lives, text};

const CANARY: &str = "canary-4f1c9d";

fn attack_as(caller: Caller) {
    let folder = Folder::of(caller);
    let script = folder.file("hostile.py", include_str!("hostile.py"));
    let (readable, writable) = (folder.folder("readable"), folder.folder("writable"));
    folder.file("readable/file", "text");
    folder.folder("secret");
    let canary = folder.file("secret/canary", CANARY);
    let host_socket = folder.path("secret/socket");
    let _socket = UnixListener::bind(&host_socket).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let abstract_name = format!("sallyport-test-{}", std::process::id());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap();
    let given = serde_json::json!({
        "canary": canary, "readable": readable, "writable": writable, "gateway": std::process::id(),
        "port": tcp.local_addr().unwrap().port(), "abstract": abstract_name, "socket": host_socket,
    });

    let options = ["--read", readable.to_str().unwrap(), "--write", writable.to_str().unwrap(), "--env", "GIVEN=x"];
    let command = ["/usr/bin/python3", script.to_str().unwrap(), &given.to_string()];
    let output = launcher(caller, &options, &command).env("CANARY", CANARY).output().unwrap();

    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{caller:?}: {} {stderr}", output.status);
    let results: BTreeMap<String, String> = serde_json::from_str(&stdout).expect(&stdout);
    let open: Vec<_> = results.iter().filter(|(_, result)| result.starts_with("OPEN")).collect();
    assert!(open.is_empty(), "{caller:?}: {open:#?}");
    assert!(results.len() > 100, "only {} attacks ran", results.len());
    assert!(!stdout.contains(CANARY) && !stderr.contains(CANARY));
    for (attack, expected) in EXPECTED {
        assert_eq!(results[*attack], *expected, "{caller:?}: {attack}");
    }
    assert_eq!(fs::read_dir(&readable).unwrap().count(), 1);
    eventually("the daemon is gone", || !lives(script.to_str().unwrap()));
}

/// How some of them must be stopped: by the layer that is meant to, not by accident.
const EXPECTED: &[(&str, &str)] = &[
    ("canary file", "ENOENT"),
    ("etc shadow", "ENOENT"),
    ("private keys", "ENOENT"),
    ("environ of init", "ENOENT"),
    ("command line of init", "ENOENT"),
    ("kill the gateway", "ESRCH"),
    ("kill init", "EPERM"),
    ("host's loopback", "EACCES"),
    ("metadata address", "EACCES"),
    ("udp", "ENETUNREACH"),
    ("vsock", "EPERM"),
    ("raw socket", "EPERM"),
    ("netfilter netlink", "EPERM"),
    ("fill /tmp", "ENOSPC"),
    ("inodes of /tmp", "ENOSPC"),
    ("huge file", "EFBIG"),
    ("clone3", "ENOSYS"),
    ("unshare 0x10000000", "EPERM"),
    ("clone 0x10000000", "EPERM"),
    ("io_uring_setup", "EPERM"),
    ("keyctl", "EPERM"),
    ("mount", "EPERM"),
    ("bpf", "EPERM"),
    ("personality", "EPERM"),
    ("unknown", "ENOSYS"),
    ("TIOCSTI with high bits", "EPERM"),
    ("mknod in the root", "EPERM"),
    ("set-uid bit", "EPERM"),
    ("write into the system", "EROFS"),
    ("inherited descriptors", "only 0 to 2"),
];

#[test]
fn a_hostile_program_gets_nothing() {
    for caller in callers() {
        attack_as(*caller);
    }
}

#[test]
fn two_hostile_programs_never_meet() {
    let folder = Folder::of(Caller::Itself);
    let script = "import os,sys,time\nopen('/tmp/mine','w').write('x')\nopen('/dev/shm/mine','w').write('x')\nprint('ready',flush=True)\nsys.stdin.read()";
    let mut first = launcher(Caller::Itself, &[], &["/usr/bin/python3", "-c", script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 5];
    std::io::Read::read_exact(first.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let seen = support::succeeds(
        Caller::Itself,
        &[],
        &[
            "/usr/bin/python3",
            "-c",
            "import os;print(os.listdir('/tmp'),os.listdir('/dev/shm'),[p for p in os.listdir('/proc') if p.isdigit()])",
        ],
    );
    assert_eq!(seen.trim(), "[] [] ['2']");
    drop(first.stdin.take());
    assert!(first.wait().unwrap().success());
    drop(folder);
}

#[test]
fn a_fork_bomb_stops_at_its_limit() {
    let bomb = "import os,time,errno\nn=0\ntry:\n  while n<500:\n    if os.fork()==0: time.sleep(600)\n    n+=1\nexcept OSError as e: print(errno.errorcode[e.errno], n<40)";
    for caller in callers() {
        let seen = support::succeeds(*caller, &["--processes", "40"], &["/usr/bin/python3", "-c", bomb, "fork-bomb-mark"]);
        assert_eq!(seen.trim(), "EAGAIN True");
        eventually("every child is gone", || !lives("fork-bomb-mark"));
    }
}

#[test]
fn a_memory_bomb_ends_itself() {
    let bomb = "try:\n  b=bytearray(700<<20)\n  print('got it')\nexcept MemoryError: print('MemoryError')";
    for caller in callers() {
        let output = support::run(*caller, &["--memory", "256"], &["/usr/bin/python3", "-c", bomb]);
        let (seen, told) = (support::text(&output.stdout), support::text(&output.stderr));
        // Refused the memory by its resource limit, or ended by its control group.
        assert!(seen.trim() == "MemoryError" || told.contains("used more than 256 MiB"), "{caller:?}: {seen} {told}");
        assert!(!seen.contains("got it"));
    }
}
