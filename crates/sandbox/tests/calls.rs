//! Groups of system calls that a profile adds or takes away.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use support::{callers, succeeds};

/// Tells how `ptrace` of itself, files in memory, System V memory and a nested namespace are answered.
const ASK: &str = "
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def ask(*call): return 'done' if getattr(libc, call[0])(*call[1:]) >= 0 else errno.errorcode[ctypes.get_errno()]
print(ask('memfd_create', b'x', 0), ask('shmget', 0, 4096, 0o1600), ask('unshare', 0x10000000), ask('ptrace', 0, 0, 0, 0))";

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
