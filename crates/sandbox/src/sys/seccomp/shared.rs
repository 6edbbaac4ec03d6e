//! What else is refused where the program shares the host's namespaces, because Landlock does not watch over it.

use super::local;
use super::rule::Compare::{Eq, Ne};
use super::rule::{Rules, all};

/// Refuses it; `network` leaves the sockets of the internet.
pub(super) fn refuse(rules: &mut Rules, network: bool) {
    for call in [METADATA, IPC, WATCHING, OLD].concat() {
        // Whatever the arguments are: no condition beside it.
        rules.insert(call, Vec::new());
    }
    for (call, argument) in OTHERS {
        rules.entry(*call).or_default().push(all(&[(*argument, Ne, 0)]));
    }
    for (call, argument, user) in WHOLE_USER {
        rules.entry(*call).or_default().push(all(&[(*argument, Eq, *user)]));
    }
    local::refuse(rules);
    // Without a network there is no other socket either; the interfaces of the host are nobody's business then.
    if !network {
        rules.insert(libc::SYS_socket, Vec::new());
    }
}

/// Modes, owners, times and attributes of files. Landlock does not look at these, so that any file of this user would be in reach,
/// and those that are only to be read.
const METADATA: &[i64] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
];

/// System V and POSIX objects of all programs of this user.
const IPC: &[i64] = super::allowed::IPC;

/// News of any folder whose mode lets this user read it, with the names in it.
const WATCHING: &[i64] = &[libc::SYS_inotify_add_watch];

/// Older forms of [`METADATA`].
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[];

/// Limits and priorities of another process of this user: the gateway is one. With the position of the pid; 0 is the caller.
const OTHERS: &[(i64, u8)] = &[
    (libc::SYS_prlimit64, 0),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_sched_setattr, 0),
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
];

/// Priorities of everything that this user runs: `PRIO_USER`, `IOPRIO_WHO_USER`.
const WHOLE_USER: &[(i64, u8, u32)] = &[(libc::SYS_setpriority, 0, 2), (libc::SYS_ioprio_set, 0, 3)];
