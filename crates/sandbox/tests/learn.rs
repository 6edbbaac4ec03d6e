//! Trials: what programs touch and are refused is recorded, nothing is granted, and nothing that they do harms who looks.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use support::{Caller, Folder, callers, eventually, launcher, lives, text};

/// A trial of a Python script.
struct Trial {
    folder: Folder,
    caller: Caller,
    script: PathBuf,
}

/// What came of it.
struct Learnt {
    stdout: String,
    lines: Vec<String>,
}

impl Trial {
    fn of(caller: Caller, script: &str) -> Self {
        let folder = Folder::of(caller);
        folder.folder("out");
        folder.folder("root");
        let script = folder.file("root/script.py", script);
        Self { folder, caller, script }
    }

    fn run(&self, options: &[&str], arguments: &[&str]) -> Learnt {
        let (learnt, root) = (self.folder.path("out/learnt"), self.folder.path("root"));
        let options = [&["--learn", learnt.to_str().unwrap(), "--read", root.to_str().unwrap()], options].concat();
        let command = [&["/usr/bin/python3", self.script.to_str().unwrap()], arguments].concat();
        let output = launcher(self.caller, &options, &command).output().unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let learnt = fs::read_to_string(learnt).unwrap_or_else(|error| panic!("{:?} {error}: {stdout} {stderr}", self.caller));
        Learnt { stdout, lines: learnt.lines().map(str::to_owned).collect() }
    }
}

impl Learnt {
    fn says(&self, line: &str) -> bool {
        self.lines.iter().any(|said| said == line)
    }

    #[track_caller]
    fn says_all(&self, lines: &[String]) {
        for line in lines {
            assert!(self.says(line), "missing: {line}\n{}\n{}", self.lines.join("\n"), self.stdout);
        }
    }
}

const WANTS: &str = r#"
import ctypes, errno, os, socket, subprocess, sys, threading
outside, root = os.environ["OUTSIDE"], os.environ["ROOT"]
libc = ctypes.CDLL(None, use_errno=True)
def attempt(wish):
    try: print(wish())
    except OSError as error: print(errno.errorcode[error.errno])
def call(number):
    libc.syscall(number, 0, 0, 0, 0, 0)
    return errno.errorcode[ctypes.get_errno()]
def descriptor():
    folder = os.open(root, os.O_RDONLY)
    return os.open("../outside/by-descriptor", os.O_RDONLY, dir_fd=folder)
thread = threading.Thread(target=lambda: attempt(lambda: open(outside + "/by-thread")))
attempt(lambda: open(outside + "/file"))
attempt(lambda: os.mkdir(root + "/made"))
attempt(lambda: open(root + "/script.py", "a"))
attempt(lambda: os.stat(outside + "/looked"))
attempt(lambda: os.rename(outside + "/looked", outside + "/renamed"))
attempt(lambda: open(root + "/leads-out"))
attempt(descriptor)
thread.start(); thread.join()
print(subprocess.run(["/bin/cat", outside + "/by-child"], stderr=subprocess.DEVNULL).returncode)
attempt(lambda: socket.create_connection(("10.1.2.3", 5432), 3))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("10.1.2.3", 999)))
attempt(lambda: socket.socket(socket.AF_UNIX).connect(outside + "/socket"))
attempt(lambda: socket.socket().bind(("127.0.0.1", 8000)))
attempt(lambda: call(250))  # keyctl
attempt(lambda: call(425))  # io_uring_setup
attempt(lambda: call(4242))
attempt(lambda: socket.socket(40, socket.SOCK_STREAM))  # vsock
"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn what_a_program_wants_is_recorded_and_refused_as_ever() {
    for caller in callers() {
        let trial = Trial::of(*caller, WANTS);
        let (outside, root) = (trial.folder.folder("outside"), trial.folder.path("root"));
        for name in ["file", "looked", "linked", "by-descriptor", "by-thread", "by-child"] {
            trial.folder.file(&format!("outside/{name}"), "text");
        }
        std::os::unix::fs::symlink(outside.join("linked"), root.join("leads-out")).unwrap();
        let learnt = trial.run(&["--env", &format!("OUTSIDE={}", outside.display()), "--env", &format!("ROOT={}", root.display())], &[]);
        let expected = "ENOENT EROFS EROFS ENOENT ENOENT ENOENT ENOENT ENOENT 1 EACCES ENETUNREACH EPERM EACCES EPERM EPERM ENOSYS EPERM";
        assert_eq!(learnt.stdout.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{caller:?}");
        let (outside, root) = (outside.display(), root.display());
        learnt.says_all(&[
            format!("refused {outside}/file Read"),
            format!("refused {outside}/looked Write"),
            format!("refused {outside} Entries"),
            format!("refused {outside}/linked Read"),
            format!("refused {outside}/by-descriptor Read"),
            format!("refused {outside}/by-thread Read"),
            format!("refused {outside}/by-child Read"),
            format!("refused {root} Entries"),
            format!("refused {root}/script.py Write"),
            "local sockets 1".to_owned(),
            "host 10.1.2.3 5432 false".to_owned(),
            "packet 10.1.2.3:999".to_owned(),
            "listen 8000".to_owned(),
            "call keyctl".to_owned(),
            "call io_uring_setup".to_owned(),
            "call call 4242".to_owned(),
            "call socket".to_owned(),
            "unread 0 dropped 0".to_owned(),
        ]);
    }
}

#[test]
fn a_name_is_learnt_with_its_port_and_not_connected_to() {
    let script = "import socket,sys\nfor port in (8443, 443):\n  try: socket.create_connection(('api.example', port), 3); print('OPEN')\n  except OSError as error: print(error.errno)";
    for caller in callers() {
        let learnt = Trial::of(*caller, script).run(&[], &[]);
        assert_eq!(learnt.stdout.trim(), "13\n13", "{caller:?}");
        learnt.says_all(&["host api.example 8443 false".to_owned(), "host api.example 443 false".to_owned()]);
    }
    // Where the port is one that is listened at, because another host is allowed there.
    let learnt = Trial::of(Caller::Itself, script).run(&["--network", "other.example:443"], &[]);
    learnt.says_all(&["host api.example 8443 false".to_owned(), "host api.example 443 false".to_owned()]);
}

#[test]
fn what_a_program_may_do_it_may_in_a_trial() {
    let script = "import os,sys,subprocess\nopen(sys.argv[1]+'/new','w').write('x')\nos.rename(sys.argv[1]+'/new', sys.argv[1]+'/old')\nopen('/tmp/t','w')\nprint(open(sys.argv[1]+'/old').read(), subprocess.run(['/bin/true']).returncode)";
    for caller in callers() {
        let trial = Trial::of(*caller, script);
        let written = trial.folder.folder("written");
        let learnt = trial.run(&["--write", written.to_str().unwrap()], &[written.to_str().unwrap()]);
        assert_eq!(learnt.stdout.trim(), "x 0");
        assert!(!learnt.lines.iter().any(|line| line.starts_with("refused") && line.contains("sallyport-test")), "{:?}", learnt.lines);
        assert!(learnt.lines.iter().any(|line| line.starts_with(&format!("used {} ", written.display()))));
    }
}

#[test]
fn a_link_that_the_program_makes_is_named_by_where_it_leads() {
    let script = "import os,socket\nroot,outside=os.environ['ROOT'],os.environ['OUTSIDE']\nfor name,to in (('a',outside+'/file'),('b','/proc/self/environ'),('c',outside)): os.symlink(to, root+'/'+name)\nfor path in ('/a','/b','/c/file','/c/new'):\n  for mode in 'rw':\n    try: open(root+path, mode); print('OPEN')\n    except OSError: pass\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect_ex(('10.9.9.9', 80))";
    for caller in callers() {
        let trial = Trial::of(*caller, script);
        let (outside, root) = (trial.folder.folder("outside"), trial.folder.folder("written"));
        trial.folder.file("outside/file", "text");
        let variables = [format!("OUTSIDE={}", outside.display()), format!("ROOT={}", root.display())];
        let learnt = trial.run(&["--write", root.to_str().unwrap(), "--env", &variables[0], "--env", &variables[1]], &[]);
        assert_eq!(learnt.stdout, "OPEN\n", "{caller:?}: its own environment, and nothing else");
        let refused: Vec<_> = learnt.lines.iter().filter(|line| line.starts_with("refused") && line.contains("sallyport-test")).collect();
        let outside = outside.display();
        assert_eq!(refused, [&format!("refused {outside} Entries"), &format!("refused {outside}/file Write")], "{caller:?}");
        assert!(!learnt.lines.iter().any(|line| line.contains("environ")), "{:?}", learnt.lines);
        learnt.says_all(&["packet 10.9.9.9:80".to_owned()]);
    }
}

const HOSTILE_CALLS: &str = r#"
import ctypes, mmap, os
libc = ctypes.CDLL(None, use_errno=True)
# pointers that lead nowhere, to the kernel, to the last page
for address in (0, 1, 4095, 2**47 - 1, 2**63, 2**64 - 1, 2**64 - 4096):
    for number in (2, 4, 21, 59, 257, 262, 332, 437, 42, 49, 82, 439):
        libc.syscall(number, ctypes.c_ulong(address), ctypes.c_ulong(address), ctypes.c_ulong(address), ctypes.c_ulong(address),
                     ctypes.c_ulong(address), ctypes.c_ulong(address))
# a path without an end, one just too long, one that ends where memory does
endless = ctypes.create_string_buffer(b"/" + b"a" * (8 << 20))
long = ctypes.create_string_buffer(b"/" + b"a" * 4096)
last = mmap.mmap(-1, 8192)
last[:] = b"/" * 8192
base = ctypes.addressof(ctypes.c_char.from_buffer(last))
libc.mprotect(ctypes.c_void_p(base + 4096), 4096, 0)
for address in (ctypes.addressof(endless), ctypes.addressof(long), base + 4090):
    libc.open(ctypes.c_void_p(address), 0)
# descriptors that are none, flags that mean nothing, control characters
libc.openat(12345, b"x", -1); libc.openat(-7, b"../x", 0)
for path in (b"\x1b[31mred", b"/\xff\xfe", b"/" + b"../" * 1000, b"", b"/proc/1/root/../../etc/shadow"):
    libc.open(path, 0)
print("lives")
"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn nonsense_harms_nobody() {
    for caller in callers() {
        let learnt = Trial::of(*caller, HOSTILE_CALLS).run(&[], &[]);
        assert_eq!(learnt.stdout.trim(), "lives", "{caller:?}: {:?}", learnt.lines);
        assert!(!learnt.lines.iter().any(|line| line.contains("aaaa")));
    }
}

#[test]
fn a_flood_is_bounded() {
    let script = "import os,sys,threading\ndef flood(start):\n  for number in range(start, start+2000):\n    try: open(f'{os.environ[\"OUTSIDE\"]}/{number}')\n    except OSError: pass\n    try: os.stat(f'/no/{number}')\n    except OSError: pass\nthreads=[threading.Thread(target=flood, args=(n*2000,)) for n in range(4)]\n[t.start() for t in threads]; [t.join() for t in threads]\nprint('done')";
    let trial = Trial::of(Caller::Itself, script);
    let outside = trial.folder.folder("outside");
    (0..1500).for_each(|number| drop(trial.folder.file(&format!("outside/{number}"), "")));
    let learnt = trial.run(&["--env", &format!("OUTSIDE={}", outside.display())], &[]);
    assert_eq!(learnt.stdout.trim(), "done");
    let kept = learnt.lines.iter().filter(|line| line.starts_with("refused")).count();
    assert_eq!(kept, 1000, "what is there and refused is kept up to a bound");
    assert!(learnt.lines.iter().any(|line| line.starts_with("unread 0 dropped 5")), "{:?}", learnt.lines.last());
}

#[test]
fn a_program_that_ends_at_once_or_is_killed_while_it_asks_ends_its_trial() {
    for caller in callers() {
        let learnt = Trial::of(*caller, "import os; os._exit(3)").run(&[], &[]);
        assert!(learnt.lines.iter().any(|line| line.starts_with("used")), "{caller:?}");
        // Threads that ask without end, and an end in the middle of it.
        let script = "import os,threading,time\ndef ask():\n  while True:\n    try: os.stat('/nowhere')\n    except OSError: pass\n[threading.Thread(target=ask, daemon=True).start() for _ in range(8)]\ntime.sleep(0.3)\nos.kill(os.getpid(), 9)";
        let learnt = Trial::of(*caller, script).run(&[], &[]);
        assert!(!learnt.lines.is_empty());
    }
}

#[test]
fn who_looks_may_die_and_takes_the_program_along() {
    for caller in callers() {
        let trial = Trial::of(*caller, "import os\nwhile True:\n  try: os.stat('/nowhere/trial-dies-mark')\n  except OSError: pass");
        let learnt = trial.folder.path("out/learnt");
        let options = ["--learn", learnt.to_str().unwrap(), "--read", trial.folder.path("root").to_str().unwrap()].map(str::to_owned);
        let command = ["/usr/bin/python3", trial.script.to_str().unwrap(), "trial-dies-mark"];
        let mut running = launcher(*caller, &options.each_ref().map(String::as_str), &command).spawn().unwrap();
        let program = || {
            fs::read_dir("/proc").unwrap().flatten().any(|entry| {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                line.starts_with(b"/usr/bin/python3") && text(&line).contains("trial-dies-mark")
            })
        };
        eventually("the program runs", program);
        running.kill().unwrap();
        running.wait().unwrap();
        eventually("nothing is left", || !lives("trial-dies-mark"));
    }
}

#[test]
fn a_service_that_a_program_with_local_sockets_wants_is_told_of() {
    for caller in callers() {
        let trial = Trial::of(*caller, "import os, socket\nprint(socket.socket(socket.AF_UNIX).connect_ex(os.environ['SERVICE']))");
        let service = trial.folder.folder("outside").join("socket");
        let _service = UnixListener::bind(&service).unwrap();
        let learnt = trial.run(&["--seccomp", "+local-sockets", "--env", &format!("SERVICE={}", service.display())], &[]);
        assert_eq!(learnt.stdout, "2\n", "{caller:?}: it is not there");
        learnt.says_all(&[format!("service {}", service.display()), "local sockets 0".to_owned()]);
    }
}

#[test]
fn a_hostile_program_gets_nothing_in_a_trial_either() {
    for caller in callers() {
        let trial = Trial::of(*caller, include_str!("hostile.py"));
        let (readable, writable) = (trial.folder.folder("readable"), trial.folder.folder("writable"));
        trial.folder.file("readable/file", "text");
        trial.folder.folder("secret");
        let canary = trial.folder.file("secret/canary", "canary");
        let socket = trial.folder.path("secret/socket");
        let _service = UnixListener::bind(&socket).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let given = serde_json::json!({
            "canary": canary, "readable": readable, "writable": writable, "gateway": std::process::id(),
            "port": tcp.local_addr().unwrap().port(), "abstract": "no-such-name", "socket": socket,
        });
        let options = ["--read", readable.to_str().unwrap(), "--write", writable.to_str().unwrap(), "--env", "GIVEN=x"];
        let learnt = trial.run(&options, &[&given.to_string()]);
        let results: BTreeMap<String, String> = serde_json::from_str(&learnt.stdout).expect(&learnt.stdout);
        let open: Vec<_> = results.iter().filter(|(_, result)| result.starts_with("OPEN")).collect();
        assert!(open.is_empty(), "{caller:?}: {open:#?}");
        assert!(results.len() > 100, "only {} attacks ran", results.len());
        assert!(learnt.lines.iter().filter(|line| line.starts_with("call ")).count() > 30, "{:?}", learnt.lines);
    }
}
