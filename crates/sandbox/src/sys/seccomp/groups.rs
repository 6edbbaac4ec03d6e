//! The groups of calls that a configuration may add to the filter or take from it.

use crate::calls::{CallGroup, SystemCalls};

/// The calls of a group.
pub(crate) fn members(group: CallGroup) -> &'static [i64] {
    match group {
        CallGroup::Debugging => DEBUGGING,
        CallGroup::Ipc => super::allowed::IPC,
        CallGroup::IoUring => IO_URING,
        CallGroup::LocalSockets => &[], // forms of calls: `local.rs`
        CallGroup::MemoryFiles => &[libc::SYS_memfd_create],
        CallGroup::MemoryPolicy => super::refused::MEMORY_POLICY,
        CallGroup::Performance => &[libc::SYS_perf_event_open],
        CallGroup::Sockets => super::allowed::SOCKETS,
        CallGroup::Watching => WATCHING,
    }
}

/// Another process of the same sandbox: its memory, its steps. Without a capability nobody else's.
const DEBUGGING: &[i64] = &[libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp];

/// Queues of file operations that the kernel carries out by itself.
const IO_URING: &[i64] = &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// News of files that change.
#[cfg(target_arch = "x86_64")]
const WATCHING: &[i64] = &[libc::SYS_inotify_init, libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch];
#[cfg(not(target_arch = "x86_64"))]
const WATCHING: &[i64] = &[libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch];

/// What `calls` adds to what is allowed.
pub(super) fn added(calls: &SystemCalls) -> impl Iterator<Item = i64> {
    calls.added().flat_map(members).copied()
}

/// The allowed calls with what is added and without what is taken away.
pub(super) fn apply(calls: &SystemCalls, allowed: impl Iterator<Item = i64>) -> impl Iterator<Item = i64> {
    let removed: Vec<i64> = calls.removed().flat_map(members).copied().collect();
    allowed.chain(added(calls)).filter(move |call| !removed.contains(call))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::seccomp::{allowed, refused};

    #[test]
    fn a_group_is_allowed_or_refused_as_a_whole() {
        for group in CallGroup::ALL {
            let (allowed, refused): (Vec<i64>, Vec<i64>) = (allowed::calls().collect(), refused::always().collect());
            let list = if group.is_allowed() { allowed } else { refused };
            assert!(members(*group).iter().all(|call| list.contains(call)), "{group:?}");
        }
    }
}
