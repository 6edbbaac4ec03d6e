//! What a hostile program does that has no safe form: system calls by number, forks, and calls of another architecture.
//!
//! The suite is run on users' machines, also with a boundary that lets everything through: no call here does any harm where it
//! is let through. Most have arguments that no kernel accepts, so that `EINVAL` or `EFAULT` tells that the call arrived.

use std::ffi::CStr;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, waitpid};

use super::raw::{self, Forked};

/// One system call with arguments that do no harm.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    number: i64,
    arguments: [Word; 6],
}

/// One argument.
#[derive(Clone, Copy)]
enum Word {
    Number(i64),
    Text(&'static CStr),
    /// Zeroed memory of one page, to read or write.
    Room,
    /// The process that is attacked.
    Process,
}

use Word::{Number, Process, Room, Text};

const ROOM: usize = 4096;
const NONE: Word = Number(0);
/// An address at which no program has memory.
const NOWHERE: Word = Number(1);
const NO_DESCRIPTOR: Word = Number(-1);
const WORKING_FOLDER: Word = Number(libc::AT_FDCWD as i64);

const fn call(name: &'static str, number: i64, first: &[Word]) -> Call {
    let mut arguments = [NONE; 6];
    let mut index = 0;
    while index < first.len() {
        arguments[index] = first[index];
        index += 1;
    }
    Call { name, number, arguments }
}

/// Into another process.
pub(crate) const OTHER_PROCESSES: &[Call] = &[
    call("ptrace", libc::SYS_ptrace, &[Number(libc::PTRACE_SEIZE as i64), Process]),
    call("process_vm_readv", libc::SYS_process_vm_readv, &[Process]),
    call("process_vm_writev", libc::SYS_process_vm_writev, &[Process]),
    call("kcmp", libc::SYS_kcmp, &[Process, Process]),
    call("pidfd_getfd", libc::SYS_pidfd_getfd, &[NO_DESCRIPTOR]),
];

/// To be traced by whoever started it.
pub(crate) const BE_TRACED: Call = call("ptrace itself", libc::SYS_ptrace, &[Number(libc::PTRACE_TRACEME as i64)]);

pub(crate) const RINGS: &[Call] = &[
    call("io_uring_setup", libc::SYS_io_uring_setup, &[Number(8), Room]),
    call("io_uring_enter", libc::SYS_io_uring_enter, &[NO_DESCRIPTOR]),
    call("io_uring_register", libc::SYS_io_uring_register, &[NO_DESCRIPTOR]),
];

pub(crate) const KEYRINGS: &[Call] = &[
    call("keyctl", libc::SYS_keyctl, &[NONE, Number(-3), NONE]),
    call("add_key", libc::SYS_add_key, &[NOWHERE, NOWHERE, NONE, NONE, Number(-3)]),
    call("request_key", libc::SYS_request_key, &[NOWHERE, NOWHERE, NONE, NONE]),
];

pub(crate) const MOUNTS: &[Call] = &[
    call("mount", libc::SYS_mount, &[Text(c"none"), Text(c"/"), Text(c"no such file system")]),
    call("umount2", libc::SYS_umount2, &[Text(c"/proc/self")]),
    call("pivot_root", libc::SYS_pivot_root, &[Text(c"/"), Text(c"/")]),
    call("chroot", libc::SYS_chroot, &[Text(c"/")]),
    call("fsopen", libc::SYS_fsopen, &[Text(c"tmpfs")]),
    call("fsconfig", libc::SYS_fsconfig, &[NO_DESCRIPTOR]),
    call("fsmount", libc::SYS_fsmount, &[NO_DESCRIPTOR]),
    call("fspick", libc::SYS_fspick, &[WORKING_FOLDER, Text(c"/")]),
    call("open_tree", libc::SYS_open_tree, &[WORKING_FOLDER, Text(c"/"), Number(libc::OPEN_TREE_CLONE as i64)]),
    call("move_mount", libc::SYS_move_mount, &[WORKING_FOLDER, Text(c"/proc/self"), WORKING_FOLDER, Text(c"/proc/self")]),
    call("mount_setattr", libc::SYS_mount_setattr, &[WORKING_FOLDER, Text(c"/proc/self"), NONE, Room, Number(32)]),
    call("setns", libc::SYS_setns, &[NO_DESCRIPTOR]),
    call("sethostname", libc::SYS_sethostname, &[NOWHERE, Number(-1)]),
];

pub(crate) const SURFACE: &[Call] = &[
    call("bpf", libc::SYS_bpf, &[Number(-1), Room, Number(64)]),
    call("perf_event_open", libc::SYS_perf_event_open, &[Room, NONE, NO_DESCRIPTOR, NO_DESCRIPTOR]),
    call("huge pages", libc::SYS_mmap, &[NONE, Number(2 << 20), Number(3), Number(0x4_0022), Number(-1), NONE]),
    call("huge pages in a file", libc::SYS_memfd_create, &[Text(c"huge"), Number(4)]),
    call("userfaultfd", libc::SYS_userfaultfd, &[Number(1)]),
    call("open_by_handle_at", libc::SYS_open_by_handle_at, &[NONE, Room]),
    call("name_to_handle_at", libc::SYS_name_to_handle_at, &[WORKING_FOLDER, Text(c"/"), NOWHERE, NOWHERE]),
    call("init_module", libc::SYS_init_module, &[NOWHERE, Number(1), NOWHERE]),
    call("finit_module", libc::SYS_finit_module, &[NO_DESCRIPTOR, NOWHERE]),
    call("delete_module", libc::SYS_delete_module, &[NOWHERE]),
    call("kexec_load", libc::SYS_kexec_load, &[NONE, Number(1000), NOWHERE, Number(-1)]),
    call("kexec_file_load", libc::SYS_kexec_file_load, &[NO_DESCRIPTOR, NO_DESCRIPTOR, NONE, NONE, Number(-1)]),
    call("reboot", libc::SYS_reboot, &[]),
    call("swapon", libc::SYS_swapon, &[Text(c"/proc/self/no-such-file")]),
    call("swapoff", libc::SYS_swapoff, &[Text(c"/proc/self/no-such-file")]),
    call("syslog", libc::SYS_syslog, &[Number(3), Room, Number(100)]),
    call("acct", libc::SYS_acct, &[Text(c"/proc/self/no-such-file")]),
    call("quotactl", libc::SYS_quotactl, &[Number(-1)]),
    call("settimeofday", libc::SYS_settimeofday, &[NOWHERE]),
    call("clock_settime", libc::SYS_clock_settime, &[NONE, NOWHERE]),
    call("clock_adjtime", libc::SYS_clock_adjtime, &[NONE, NOWHERE]),
    call("adjtimex", libc::SYS_adjtimex, &[NOWHERE]),
    call("mbind", libc::SYS_mbind, &[]),
    call("set_mempolicy", libc::SYS_set_mempolicy, &[]),
    call("migrate_pages", libc::SYS_migrate_pages, &[]),
    call("move_pages", libc::SYS_move_pages, &[]),
    call("fanotify_init", libc::SYS_fanotify_init, &[]),
    call("vmsplice", libc::SYS_vmsplice, &[NO_DESCRIPTOR]),
    call("process_madvise", libc::SYS_process_madvise, &[NO_DESCRIPTOR]),
    call("memfd_secret", libc::SYS_memfd_secret, &[]),
];

/// Changes of this process itself: made in a child.
pub(crate) const OWN_PROCESS: &[Call] = &[
    call("personality", libc::SYS_personality, &[Number(libc::ADDR_NO_RANDOMIZE as i64)]),
    #[cfg(target_arch = "x86_64")]
    call("iopl", libc::SYS_iopl, &[Number(3)]),
    #[cfg(target_arch = "x86_64")]
    call("ioperm", libc::SYS_ioperm, &[NONE, Number(1), Number(1)]),
    #[cfg(target_arch = "x86_64")]
    call("modify_ldt", libc::SYS_modify_ldt, &[NONE, Room, Number(10)]),
];

/// To the machine's devices.
pub(crate) const PORTS: &[Call] = &[
    #[cfg(target_arch = "x86_64")]
    call("iopl", libc::SYS_iopl, &[Number(3)]),
    #[cfg(target_arch = "x86_64")]
    call("ioperm", libc::SYS_ioperm, &[NONE, Number(1), Number(1)]),
];

pub(crate) const BECOME_ROOT: &[Call] = &[
    call("setuid", libc::SYS_setuid, &[]),
    call("setgid", libc::SYS_setgid, &[]),
    call("setgroups", libc::SYS_setgroups, &[]),
    call("setresuid", libc::SYS_setresuid, &[]),
];

pub(crate) const UNKNOWN: &[Call] = &[
    call("a number that nobody knows", 999, &[]),
    #[cfg(target_arch = "x86_64")]
    call("getpid by its x32 number", 0x4000_0000 + libc::SYS_getpid, &[]),
];

/// On stdin, which is no terminal: without a filter the answer is `ENOTTY`.
pub(crate) const TERMINAL: &[Call] = &[
    call("TIOCSTI", libc::SYS_ioctl, &[NONE, Number(libc::TIOCSTI as i64), Text(c"x")]),
    call("TIOCSTI with high bits", libc::SYS_ioctl, &[NONE, Number(0xf000_0000_0000 | libc::TIOCSTI as i64), Text(c"x")]),
    call("TIOCLINUX", libc::SYS_ioctl, &[NONE, Number(libc::TIOCLINUX as i64), Text(c"x")]),
];

/// What `unshare` and `clone` take for a namespace of its own.
pub(crate) const NAMESPACES: &[(&str, i32)] = &[
    ("user", libc::CLONE_NEWUSER),
    ("mount", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
];

impl Call {
    /// Makes the call; `process` is whom it is about, if it is about anybody.
    pub(crate) fn make(&self, process: u32) -> Result<i64, Errno> {
        let mut room = [0_u8; ROOM];
        let room = room.as_mut_ptr();
        let [a, b, c, d, e, f] = self.arguments.map(|word| match word {
            Number(number) => number,
            Text(text) => text.as_ptr().expose_provenance().cast_signed() as i64,
            Room => room.expose_provenance().cast_signed() as i64,
            Process => i64::from(process),
        });
        // SAFETY: only the tables above make a `Call`. Each reads texts that end with NUL and writes into `room` at most, which is
        // as large as the kernel is told or larger than what it writes; none maps, unmaps or protects memory of this process.
        let result = unsafe { libc::syscall(self.number, a, b, c, d, e, f) };
        if result < 0 { Err(last_errno()) } else { Ok(result) }
    }
}

/// `unshare(2)`, to be made in a child.
pub(crate) fn unshare(flag: i32) -> Result<(), Errno> {
    // SAFETY: takes an integer; namespace flags leave memory and descriptors as they are.
    if unsafe { libc::unshare(flag) } == 0 { Ok(()) } else { Err(last_errno()) }
}

/// `clone(2)` with a namespace flag, as a fork; the child ends at once.
pub(crate) fn clone(flag: i32) -> Result<(), Errno> {
    let flags = i64::from(flag | libc::SIGCHLD);
    // SAFETY: without a stack and without CLONE_VM it is a fork of a process with one thread.
    fork_result(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })
}

/// `clone3(2)` without any flag; the child ends at once.
pub(crate) fn clone3() -> Result<(), Errno> {
    let arguments = [0_u64; 11];
    // SAFETY: the kernel reads the live array, whose size it is told; all zero means a fork, of a process with one thread.
    fork_result(unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) })
}

fn fork_result(result: i64) -> Result<(), Errno> {
    match result {
        0 => raw::exit(0),
        pid if pid > 0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// `getpid` as a program of 32-bit x86 calls it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_as_i386() {
    // SAFETY: number 20 is `getpid`, which touches no memory; the kernel may clear the registers that are named.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("eax") 20 => _, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _);
    }
}

/// Whether there is a descriptor of this number.
pub(crate) fn is_open(descriptor: i32) -> bool {
    // SAFETY: takes integers; asking for its flags changes nothing about a descriptor, and one that is not there is an error.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) >= 0 }
}

/// The end of the hostile program.
pub(crate) fn end(code: i32) -> ! {
    raw::exit(code)
}

/// How a child ended.
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
}

/// Runs `action` in a child, whose exit code it gives, and waits for that.
pub(crate) fn in_child(action: impl FnOnce() -> i32) -> Result<Ended, Errno> {
    let child = start(|| raw::exit(action()))?;
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(ended(status)),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A filled segment of System V that nobody has attached. Without its end it would stay as long as the ipc namespace.
pub(crate) struct Segment(i32);

impl Segment {
    pub(crate) fn fill(bytes: usize) -> Result<Self, Errno> {
        // SAFETY: makes a new segment, which nothing in this process refers to.
        let number = unsafe { libc::shmget(libc::IPC_PRIVATE, bytes, libc::IPC_CREAT | 0o600) };
        if number < 0 {
            return Err(last_errno());
        }
        let segment = Self(number);
        // SAFETY: the kernel chooses a place where nothing is.
        let place = unsafe { libc::shmat(segment.0, std::ptr::null(), 0) };
        if place.addr() == usize::MAX {
            return Err(last_errno());
        }
        // SAFETY: the kernel has just mapped so many bytes there, to be written, and nobody else knows of them.
        unsafe { place.cast::<u8>().write_bytes(1, bytes) };
        // SAFETY: nothing refers to them from here on.
        match unsafe { libc::shmdt(place) } {
            0 => Ok(segment),
            _ => Err(last_errno()),
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: takes away what `fill` made. Where it fails, the namespace ends soon.
        let _gone = unsafe { libc::shmctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

/// Starts a child that does `action` and ends.
pub(crate) fn start(action: impl FnOnce()) -> Result<Pid, Errno> {
    match raw::fork()? {
        Forked::Child => {
            action();
            raw::exit(0)
        }
        Forked::Parent(child) => Ok(child),
    }
}

fn ended(status: WaitStatus) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, signal) => Ended::Signal(signal.unwrap_or(0)),
    }
}

/// From here on this signal does nothing.
pub(crate) fn ignore(signal: Signal) {
    // SAFETY: `SIG_IGN` is a valid action and installs no handler.
    unsafe { libc::signal(signal.as_raw(), libc::SIG_IGN) };
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
