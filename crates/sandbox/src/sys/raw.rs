//! The kernel calls that have no safe form.

use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Which of the two processes after a fork this is.
pub(super) enum Forked {
    Child,
    Parent(Pid),
}

/// `fork(2)`.
pub(super) fn fork() -> Result<Forked, Errno> {
    // SAFETY: the launcher has one thread (it starts none, and `enter_if_asked` runs first in `main`), so the child's
    // copy of memory and of every lock is consistent.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Pid::from_raw(pid).map(Forked::Parent).ok_or(Errno::SRCH),
        _ => Err(last_errno()),
    }
}

/// Which of the two processes after [`copy`] this is.
pub(super) enum Copied {
    Copy,
    /// With a pidfd of the copy.
    Original(OwnedFd),
}

/// `clone(2)`, as `fork` but for the parent: the copy is not a child of this process but of its parent's, thread and all.
pub(super) fn copy() -> Result<Copied, Errno> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD;
    // SAFETY: as for `fork`, this process has one thread, and without CLONE_VM the copy has memory of its own, on the same stack (a null
    // one says so). Of the pointers the kernel uses only that of CLONE_PIDFD, which is alive for the call; the others are null. What libc
    // would do besides is for threads and handlers of `fork`, and there are none.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, flags, std::ptr::null_mut::<libc::c_void>(), &raw mut pidfd, std::ptr::null_mut::<libc::c_void>(), 0)
    };
    match pid {
        0 => Ok(Copied::Copy),
        // SAFETY: the kernel has just made this descriptor, and nobody else has it.
        pid if pid > 0 => Ok(Copied::Original(unsafe { OwnedFd::from_raw_fd(pidfd) })),
        _ => Err(last_errno()),
    }
}

/// `unshare(2)`.
pub(super) fn unshare(namespaces: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: none of the flags given by callers is CLONE_FILES, so every descriptor stays valid.
    unsafe { unshare_unsafe(namespaces) }
}

/// The newest Landlock ABI of the kernel. ENOSYS: not built in; EOPNOTSUPP: off at boot.
pub(crate) fn landlock_abi() -> Result<i32, Errno> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with the version flag the kernel takes a null attribute of size zero, reads no memory and returns a number.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0, VERSION) };
    i32::try_from(abi).ok().filter(|abi| *abi > 0).ok_or_else(last_errno)
}

/// The attributes that `mount_setattr(2)` sets on a whole tree of mounts.
pub(super) struct MountAttributes<'a> {
    pub(super) set: u64,
    pub(super) id_map: Option<BorrowedFd<'a>>,
}

/// `mount_setattr(2)` on a detached tree and everything below it.
pub(super) fn mount_setattr(tree: BorrowedFd<'_>, attributes: &MountAttributes<'_>, recursive: bool) -> Result<(), Errno> {
    let id_map = attributes.id_map.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs()));
    let attr = libc::mount_attr {
        attr_set: attributes.set | if attributes.id_map.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: 0,
        propagation: 0,
        userns_fd: id_map,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated empty string; `attr` is a live `mount_attr` of the size given, which the
    // kernel only reads; the descriptors are open for the whole call.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, tree.as_raw_fd(), c"".as_ptr(), flags, &raw const attr, size_of::<libc::mount_attr>())
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// What `close_range(2)` does with every descriptor but stdin, stdout and stderr.
#[derive(Clone, Copy)]
pub(super) enum Others {
    /// Closes them. Only for the start of the launcher, before it owns any.
    Close,
    /// Leaves them open until `execve`.
    CloseOnExec,
}

/// `close_range(2)` from 3 upwards.
pub(super) fn close_others(how: Others) -> Result<(), Errno> {
    let flags = match how {
        Others::Close => 0,
        Others::CloseOnExec => libc::CLOSE_RANGE_CLOEXEC,
    };
    // SAFETY: takes integers only. With `Close` the caller owns no descriptor above 2 yet, so no `OwnedFd` is left
    // behind; with `CloseOnExec` nothing is closed now.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, flags) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Ends this process without running anything of the one it was forked from.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: takes an integer and never returns; the launcher's processes own nothing that must be put in order.
    unsafe { libc::_exit(code) }
}

/// Every signal back to its default action: an ignored one would stay ignored in the program.
pub(super) fn default_signals() {
    for number in 1..=31 {
        if number == libc::SIGKILL || number == libc::SIGSTOP {
            continue;
        }
        // SAFETY: `SIG_DFL` is a valid action for each of these and installs no handler.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// Ends this process as `signal` would have ended it, so that its parent sees the same.
pub(super) fn die_by(signal: i32) {
    default_signals();
    unblock_all();
    // SAFETY: takes an integer; the default action is in place, so no handler of ours can run.
    unsafe { libc::raise(signal) };
}

/// Signals that are kept back until somebody waits for them, instead of acting at once.
pub(super) struct HeldBack(libc::sigset_t);

impl HeldBack {
    /// From here on these signals are kept back.
    pub(super) fn these(signals: &[Signal]) -> Self {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigemptyset` initialises the whole set before anything reads it; the set outlives the calls, and no old
        // set is asked for.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), signal.as_raw());
            }
            libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            set.assume_init()
        };
        Self(set)
    }

    /// A descriptor that can be read, without waiting, when one of them is there.
    pub(super) fn descriptor(&self) -> Result<OwnedFd, Errno> {
        // SAFETY: the set is initialised, and a new descriptor is asked for.
        let descriptor = unsafe { libc::signalfd(-1, &raw const self.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel has just made it, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }

    /// Waits for one of them. Of several that are there the one with the lowest number comes first.
    pub(super) fn next(&self) -> Option<Signal> {
        // SAFETY: the set is initialised; the kernel writes no information because the pointer for it is null.
        Signal::from_named_raw(unsafe { libc::sigwaitinfo(&raw const self.0, std::ptr::null_mut()) })
    }
}

/// Sends a signal to every process of this pid namespace but its init, in one step: none can be forked past it.
pub(super) fn signal_all_but_init(signal: Signal) {
    // Anywhere else it would reach everything that this user runs.
    if getpid().is_init() {
        // SAFETY: takes integers only. That nobody is there to get it is no failure.
        unsafe { libc::kill(-1, signal.as_raw()) };
    }
}

/// Lets every signal through again; the mask would be inherited by the program.
pub(super) fn unblock_all() {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set that `sigprocmask` then reads.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// The processor's time stamp counter.
#[cfg(target_arch = "x86_64")]
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: the instruction only reads a register, which every 64-bit x86 processor has.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// `process_madvise(2)` with MADV_PAGEOUT: the kernel writes to swap, or drops, what it can of a range of another process's memory.
pub(crate) fn page_out(process: BorrowedFd<'_>, range: Range<usize>) -> Result<(), Errno> {
    advise(process, &[range], libc::MADV_PAGEOUT)
}

/// The same with MADV_WILLNEED: the kernel begins to read what is missing of these ranges. At most 1024 (`UIO_MAXIOV`) go in one call.
pub(crate) fn fetch(process: BorrowedFd<'_>, ranges: &[Range<usize>]) -> Result<(), Errno> {
    ranges.chunks(1024).try_for_each(|ranges| advise(process, ranges, libc::MADV_WILLNEED))
}

fn advise(process: BorrowedFd<'_>, ranges: &[Range<usize>], advice: libc::c_int) -> Result<(), Errno> {
    let vector = |range: &Range<usize>| libc::iovec { iov_base: std::ptr::without_provenance_mut(range.start), iov_len: range.len() };
    let ranges: Vec<libc::iovec> = ranges.iter().map(vector).collect();
    // SAFETY: the kernel reads as many live `iovec`s as are said. The addresses in them are the other process's: they are never followed
    // here, and neither advice changes what that process reads from its memory.
    let advised = unsafe { libc::syscall(libc::SYS_process_madvise, process.as_raw_fd(), ranges.as_ptr(), ranges.len(), advice, 0) };
    if advised < 0 { Err(last_errno()) } else { Ok(()) }
}

pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
