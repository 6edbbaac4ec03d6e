//! Groups of system calls that a profile adds or takes away.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use support::{Folder, callers, succeeds};

/// Tells how `ptrace` of itself, files in memory, System V memory and a nested namespace are answered.
const ASK: &str = "
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def ask(*call): return 'done' if getattr(libc, call[0])(*call[1:]) >= 0 else errno.errorcode[ctypes.get_errno()]
print(ask('memfd_create', b'x', 0), ask('shmget', 0, 4096, 0o1600), ask('unshare', 0x10000000), ask('ptrace', 0, 0, 0, 0))";

/// Tells how connections to `SERVICE` and to the name `ABSTRACT`, and pairs of each kind are answered.
const LOCAL: &str = "
import errno, os, socket
def ask(wish):
    try: return wish() or 'done'
    except OSError as error: return errno.errorcode[error.errno]
pair = lambda kind: ask(lambda: socket.socketpair(socket.AF_UNIX, kind)[0].sendto(b'x', os.environ['LETTERS']) and 'sent')
connect = lambda name: ask(lambda: socket.socket(socket.AF_UNIX).connect(name))
print(connect(os.environ['SERVICE']), connect('\\0' + os.environ['ABSTRACT']), pair(socket.SOCK_DGRAM), pair(socket.SOCK_RAW))
for kind in socket.SOCK_STREAM, socket.SOCK_SEQPACKET:
    here, there = socket.socketpair(socket.AF_UNIX, kind)
    here.send(b'heard')
    print(there.recv(9).decode())";

#[test]
fn a_service_whose_socket_is_shown_is_reached_only_where_that_was_asked_for() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let (service, letters) = (folder.path("service"), folder.path("letters"));
        let (_service, _letters) = (UnixListener::bind(&service).unwrap(), UnixDatagram::bind(&letters).unwrap());
        for socket in [&service, &letters] {
            std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let name = service.display().to_string();
        let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let named = [format!("SERVICE={name}"), format!("ABSTRACT={name}"), format!("LETTERS={}", letters.display())];
        let root = folder.path("");
        let asked = |access: &str, calls: &[&str]| {
            let shown = [access, root.to_str().unwrap(), "--env", &named[0], "--env", &named[1], "--env", &named[2]];
            succeeds(*caller, &[&shown, calls].concat(), &["/usr/bin/python3", "-c", LOCAL])
        };
        for access in ["--read", "--write"] {
            assert_eq!(asked(access, &[]), "EPERM EPERM EPERM EPERM\nheard\nheard\n", "{caller:?} {access}");
            assert_eq!(
                asked(access, &["--seccomp", "+local-sockets"]),
                "done ECONNREFUSED sent sent\nheard\nheard\n",
                "{caller:?} {access}"
            );
        }
        assert_eq!(asked("--read", &["--seccomp", "+local-sockets", "--sandbox", "landlock"]), "EPERM EPERM EPERM EPERM\nheard\nheard\n");
    }
}

#[test]
fn groups_change_what_they_name_and_nothing_else() {
    for caller in callers() {
        let asked = |options: &[&str]| succeeds(*caller, options, &["/usr/bin/python3", "-c", ASK]);
        assert_eq!(asked(&[]), "done done EPERM EPERM\n");
        assert_eq!(asked(&["--seccomp", "+debugging"]), "done done EPERM done\n");
        assert_eq!(asked(&["--seccomp", "-memory-files,-ipc"]), "ENOSYS ENOSYS EPERM EPERM\n");
        assert_eq!(asked(&["--seccomp", "+debugging,-memory-files", "--sandbox", "landlock"]), "ENOSYS EPERM EPERM done\n");
    }
}
