//! The boundary without namespaces: what it stops, what it refuses to promise, and when `auto` steps down to it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Stdio;

use support::{Caller, Folder, callers, eventually, is_root, launcher, lives, run, servers, succeeds, text};

const CANARY: &str = "canary-7b20aa";

/// In this boundary, before anything else that is given.
fn landlock<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["--sandbox", "landlock"], more].concat()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A gateway run by root gives up its uid, and here nothing maps the owner of a folder.
fn for_everybody(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn a_hostile_program_gets_nothing_either() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        for_everybody(&folder.path(""));
        let script = folder.file("hostile.py", include_str!("hostile.py"));
        fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
        let (readable, writable) = (folder.folder("readable"), folder.folder("writable"));
        for_everybody(&writable);
        folder.file("readable/file", "text");
        folder.folder("secret");
        let canary = folder.file("secret/canary", CANARY);
        for_everybody(&canary);
        let host_socket = folder.path("secret/socket");
        let _socket = UnixListener::bind(&host_socket).unwrap();
        for_everybody(&host_socket);
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let abstract_name = format!("sallyport-landlock-{}", std::process::id());
        let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap();
        let given = serde_json::json!({
            "canary": canary, "readable": readable, "writable": writable, "gateway": std::process::id(),
            "port": tcp.local_addr().unwrap().port(), "abstract": abstract_name, "socket": host_socket,
        });

        let options = landlock(&["--read", path(&readable), "--write", path(&writable), "--env", "GIVEN=x"]);
        let output = launcher(*caller, &options, &["/usr/bin/python3", path(&script), &given.to_string()]).env("CANARY", CANARY).output();
        let output = output.unwrap();

        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{caller:?}: {} {stderr}", output.status);
        let results: BTreeMap<String, String> = serde_json::from_str(&stdout).expect(&stdout);
        let open: Vec<_> = results.iter().filter(|(_, result)| result.starts_with("OPEN")).collect();
        assert!(open.is_empty(), "{caller:?}: {open:#?}");
        assert!(results.len() > 100 && !stdout.contains(CANARY) && !stderr.contains(CANARY));
        for (attack, expected) in EXPECTED {
            assert_eq!(results[*attack], *expected, "{caller:?}: {attack}");
        }
        eventually("the daemon is gone", || !lives(path(&script)));
    }
}

/// How some must be stopped where nothing is out of sight.
const EXPECTED: &[(&str, &str)] = &[
    ("canary file", "EACCES"),
    ("etc shadow", "EACCES"),
    ("users of the host", "EACCES"),
    ("environ of init", "EACCES"),
    ("unix socket of the host", "EPERM"),
    ("kill the gateway", "EPERM"),
    ("host's loopback", "EPERM"),
    ("udp", "EPERM"),
    ("set-uid bit", "EPERM"),
    ("write into the system", "EACCES"),
];

/// Calls that Landlock does not watch over, on what belongs to the same user. Prints what is possible.
const BESIDE_LANDLOCK: &str = r"
import ctypes, os, resource, socket, sys
libc, gateway, own = ctypes.CDLL(None, use_errno=True), int(sys.argv[1]), sys.argv[2]
def libc_call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0: raise OSError(ctypes.get_errno(), name)
def on_descriptor(function):
    with open(own) as file: function(file.fileno())
tries = {
    'mode by path': lambda: os.chmod(own, 0o600), 'mode': lambda: on_descriptor(lambda file: os.fchmod(file, 0o600)),
    'owner': lambda: os.chown(own, os.getuid(), os.getgid()), 'times': lambda: os.utime(own),
    'attribute': lambda: os.setxattr(own, 'user.x', b'y'), 'truncate': lambda: os.truncate(own, 0),
    'limits': lambda: resource.prlimit(gateway, resource.RLIMIT_NOFILE, (3, 3)),
    'priority': lambda: os.setpriority(os.PRIO_PROCESS, gateway, 19), 'priority of all': lambda: os.setpriority(os.PRIO_USER, 0, 19),
    'affinity': lambda: os.sched_setaffinity(gateway, {0}), 'scheduler': lambda: os.sched_setscheduler(gateway, os.SCHED_BATCH, os.sched_param(0)),
    'shared memory': lambda: libc_call('shmget', 4711, 4096, 0o1600), 'queue': lambda: libc_call('mq_open', b'/x', os.O_CREAT | os.O_RDWR, 0o600, None),
    'news of a folder': lambda: libc_call('inotify_add_watch', libc.inotify_init(), b'/var/tmp', 0xfff),
    'local socket': lambda: socket.socket(socket.AF_UNIX), 'datagram pair': lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    'raw pair': lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW), 'interfaces': lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
}
for name, attempt in tries.items():
    try: attempt()
    except OSError: pass
    else: print(name)
socket.socketpair()
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
";

#[test]
fn what_landlock_does_not_watch_over_the_filter_refuses() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let own = folder.file("own", "text");
        fs::set_permissions(&own, fs::Permissions::from_mode(0o644)).unwrap();
        let gateway = std::process::id().to_string();
        let options = landlock(&["--read", path(&own)]);
        let seen = succeeds(*caller, &options, &["/usr/bin/python3", "-c", BESIDE_LANDLOCK, &gateway, path(&own)]);
        assert_eq!(seen, "", "{caller:?}");
        assert_eq!(fs::read_to_string(&own).unwrap(), "text");
    }
}

#[test]
fn interpreters_run_and_work_on_a_folder() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let root = folder.folder("root");
        for_everybody(&folder.path(""));
        for_everybody(&root);
        let options = landlock(&["--write", path(&root)]);
        let python = "import subprocess, sqlite3, threading; t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()
sqlite3.connect('data.sqlite').execute('create table t (x)'); print(subprocess.run(['/bin/ls'], capture_output=True, text=True).stdout)";
        let seen = succeeds(*caller, &options, &["/usr/bin/python3", "-c", python]);
        assert_eq!(seen, "thread\ndata.sqlite\n\n", "{caller:?}");
        let node = "require('fs').writeFileSync('x', 'y'); console.log(require('child_process').execFileSync(process.execPath, ['-p', '1+1']).toString())";
        assert_eq!(succeeds(*caller, &options, &["node", "-e", node]), "2\n\n", "{caller:?}");
        assert_eq!(fs::read_to_string(root.join("x")).unwrap(), "y");
    }
}

#[test]
fn its_number_of_processes_is_counted_beside_others_of_the_user() {
    let bomb = "import os,time,errno\nn=0\ntry:\n  while n<5000:\n    if os.fork()==0: time.sleep(600)\n    n+=1\nexcept OSError as e: print(errno.errorcode[e.errno], 20 < n)";
    for caller in callers() {
        let options = landlock(&["--processes", "40"]);
        let seen = succeeds(*caller, &options, &["/usr/bin/python3", "-c", bomb, "landlock-bomb-mark"]);
        assert_eq!(seen.trim(), "EAGAIN True");
        eventually("every child is gone", || !lives("landlock-bomb-mark"));
    }
}

#[test]
fn what_it_cannot_hold_is_refused() {
    let refused = |options: &[&str], why: &str| {
        let output = run(Caller::Itself, &landlock(options), &["/bin/echo", "ran"]);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(125), ""), "{stderr}");
        assert!(stderr.contains(why) && stderr.contains("hint: "), "{stderr}");
    };
    let folder = Folder::of(Caller::Itself);
    let (outer, inner) = (folder.folder("outer"), folder.folder("outer/inner"));
    refused(&["--network", "api.example.com:443"], "nobody can be let to some hosts only");
    for_everybody(&outer);
    refused(&["--write", path(&outer), "--read", path(&inner)], "read-only inside a folder to write");
    if is_root() {
        refused(&["--write", path(&folder.folder("of-root"))], "layer id-mapped roots is not in force");
    }
}

#[test]
fn the_hosts_network_is_there_when_it_is_named() {
    let port = servers::http();
    let fetch = format!("import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}/').read().decode(), end='')");
    for caller in callers() {
        assert_eq!(succeeds(*caller, &landlock(&["--network", "host"]), &["/usr/bin/python3", "-c", &fetch]), "hello\n");
        assert!(!run(*caller, &landlock(&[]), &["/usr/bin/python3", "-c", &fetch]).status.success());
    }
}

/// Without user namespaces, as in many containers: runs the launcher with these options.
fn without_user_namespaces(options: &str) -> std::process::Output {
    let command = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && exec {} --layers /dev/stderr {options} -- /bin/echo ran",
        env!("CARGO_BIN_EXE_sallyport-launcher")
    );
    std::process::Command::new("unshare").args(["--user", "--map-root-user", "/bin/sh", "-c", &command]).output().unwrap()
}

#[test]
fn auto_steps_down_only_as_far_as_it_may() {
    let output = without_user_namespaces("--sandbox auto");
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(125), ""), "{stderr}");
    assert!(stderr.contains("layer user namespace is not in force"), "{stderr}");

    let output = without_user_namespaces("--sandbox auto --min-isolation landlock");
    let stderr = text(&output.stderr);
    assert_eq!(text(&output.stdout), "ran\n", "{stderr}");
    assert!(stderr.contains(r#"{"boundary":"landlock""#), "{stderr}");

    let output = without_user_namespaces("--sandbox auto --min-isolation landlock --network a.example");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr.contains("some hosts only") && stderr.contains("layer user namespace is not in force"), "{stderr}");
    assert!(stderr.contains("hint: raise user.max_user_namespaces"), "{stderr}");
}

#[test]
fn auto_is_os_where_that_works() {
    let report = tempfile::NamedTempFile::new().unwrap();
    let options = ["--sandbox", "auto", "--min-isolation", "landlock", "--layers", path(report.path())];
    succeeds(Caller::Itself, &options, &["/bin/true"]);
    assert!(fs::read_to_string(report.path()).unwrap().starts_with(r#"{"boundary":"os""#));
}

#[test]
fn a_program_that_forks_without_pause_ends_with_the_gateway() {
    let chains = "import os, sys
for chain in range(4):
    if os.fork() == 0:
        while True:
            try:
                if os.fork(): os._exit(0)
            except OSError: pass
print('ready', flush=True); sys.stdin.read()";
    for caller in callers() {
        let mark = format!("landlock-chain-{caller:?}-{}", std::process::id());
        let command = ["/usr/bin/python3", "-c", chains, &mark];
        let mut gateway = launcher(*caller, &landlock(&["--processes", "40"]), &command).stdin(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        gateway.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        assert!(lives(&mark));
        gateway.kill().unwrap();
        gateway.wait().unwrap();
        eventually("every chain is at its end", || !lives(&mark));
    }
}
