//! The system call filter in the runtime's words: what [`crate::sys::seccomp`] allows, by name, with the same exceptions by argument.

use serde_json::{Value, json};

use crate::calls::{CallGroup, SystemCalls};

/// What programs may call; the same list as in `sys/seccomp/allowed.rs`, which a test compares.
const ALLOWED: &str = "\
     accept accept4 access alarm arch_prctl bind brk capget capset chdir chmod chown clock_getres clock_gettime clock_nanosleep clone \
     close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 \
     epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat \
     fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate \
     futex futex_waitv futimesat get_mempolicy get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid \
     getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage \
     getsid getsockname getsockopt gettid gettimeofday getuid getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch \
     ioctl ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat \
     listen listxattr llistxattr lremovexattr lseek lsetxattr lstat madvise membarrier memfd_create mincore mkdir mkdirat mlock mlock2 \
     mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv \
     msgsnd msync munlock munlockall munmap nanosleep newfstatat open openat pause personality pidfd_open pidfd_send_signal \
     pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pwrite64 \
     pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg removexattr rename renameat renameat2 \
     restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
     rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
     sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget \
     semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid \
     setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr shmat \
     shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 socket socketpair splice stat statfs statx symlink symlinkat sync \
     sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime \
     timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat utime utimensat utimes vfork wait4 \
     waitid write writev";

/// Allowed with some arguments only; [`by_argument`] says which.
const CONDITIONAL: [&str; 15] = [
    "chmod",
    "clone",
    "creat",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "ioctl",
    "memfd_create",
    "mmap",
    "open",
    "openat",
    "personality",
    "shmget",
    "socket",
    "socketpair",
];

/// `ENOSYS`: programs fall back to what they used before, from `clone3` to `clone` for one.
const NOSYS: i32 = 38;

/// Set-user-id and set-group-id.
const PRIVILEGE_BITS: u64 = 0o6000;
/// `O_CREAT`, and what `O_TMPFILE` has beside `O_DIRECTORY`.
const MAKES: u64 = 0o20_000_100;
/// `MFD_HUGETLB`, `MAP_HUGETLB` and `SHM_HUGETLB`.
const HUGE_FILE: u64 = 0x4;
const HUGE_MAPPING: u64 = 0x4_0000;
const HUGE_SEGMENT: u64 = 0o4000;
/// All `CLONE_NEW…` flags.
const NAMESPACES: u64 = 0x7e02_0000;
/// `AF_NETLINK`; up to there only local, IPv4 and IPv6 sockets are let through.
const UNIX: u64 = 1;
const INET: u64 = 2;
const INET6: u64 = 10;
const NETLINK: u64 = 16;
/// The kind of a socket without its flags, and its harmless kinds.
const KIND: u64 = 0xf;
const STREAM: u64 = 1;
const DATAGRAM: u64 = 2;
const PACKETS: u64 = 5;

/// Protocols of IPv4 and IPv6 sockets, as in `sys/seccomp/refused.rs`: the kind's usual one, ICMP, TCP, UDP, ICMPv6.
const IP_PROTOCOLS: [u64; 5] = [0, 1, 6, 17, 58];

/// The filter for a bundle, with the groups that are added and without those that are taken away.
pub(super) fn profile(changes: &SystemCalls) -> Value {
    let removed: Vec<&str> = changes.removed().flat_map(members).copied().collect();
    let is_left = |name: &&str| !removed.contains(name);
    let added = changes.added().flat_map(members).copied();
    let always: Vec<&str> = ALLOWED.split_whitespace().filter(|name| !CONDITIONAL.contains(name)).filter(is_left).chain(added).collect();
    let mut calls = vec![allow(&always, json!([]))];
    let by_argument = by_argument().into_iter().chain(local_sockets(changes.adds(CallGroup::LocalSockets)));
    calls.extend(by_argument.filter(|call| call["names"][0].as_str().is_some_and(|name| is_left(&name))));
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": NOSYS, "architectures": [ARCHITECTURE], "syscalls": calls })
}

/// The calls of a group, as in `sys/seccomp/groups.rs`, which a test compares.
fn members(group: CallGroup) -> &'static [&'static str] {
    match group {
        CallGroup::Debugging => &["ptrace", "process_vm_readv", "process_vm_writev", "kcmp"],
        CallGroup::Ipc => &[
            "shmget",
            "shmat",
            "shmctl",
            "shmdt",
            "semget",
            "semctl",
            "semop",
            "semtimedop",
            "msgget",
            "msgsnd",
            "msgrcv",
            "msgctl",
            "mq_open",
            "mq_unlink",
            "mq_timedsend",
            "mq_timedreceive",
            "mq_notify",
            "mq_getsetattr",
        ],
        CallGroup::LocalSockets => &[], // forms of calls: [`local_sockets`]
        CallGroup::IoUring => &["io_uring_setup", "io_uring_enter", "io_uring_register"],
        CallGroup::MemoryFiles => &["memfd_create"],
        CallGroup::MemoryPolicy => &["mbind", "set_mempolicy", "migrate_pages", "move_pages"],
        CallGroup::Performance => &["perf_event_open"],
        CallGroup::Sockets => &[
            "socket",
            "socketpair",
            "bind",
            "listen",
            "accept",
            "accept4",
            "connect",
            "getsockname",
            "getpeername",
            "sendto",
            "recvfrom",
            "sendmsg",
            "recvmsg",
            "sendmmsg",
            "recvmmsg",
            "setsockopt",
            "getsockopt",
            "shutdown",
        ],
        CallGroup::Watching => &["inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch"],
    }
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "SCMP_ARCH_X86_64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "SCMP_ARCH_AARCH64";

/// Each entry lets one form through.
fn by_argument() -> Vec<Value> {
    let no_bits = |argument: u64, bits: u64| json!({ "index": argument, "op": "SCMP_CMP_MASKED_EQ", "value": bits, "valueTwo": 0 });
    let mut calls = vec![
        allow(&["clone"], json!([no_bits(0, NAMESPACES)])),
        allow(&["chmod", "creat", "fchmod"], json!([no_bits(1, PRIVILEGE_BITS)])),
        allow(&["fchmodat", "fchmodat2"], json!([no_bits(2, PRIVILEGE_BITS)])),
        // A mode counts only where a file is made.
        allow(&["open"], json!([no_bits(1, MAKES)])),
        allow(&["open"], json!([no_bits(2, PRIVILEGE_BITS)])),
        allow(&["openat"], json!([no_bits(2, MAKES)])),
        allow(&["openat"], json!([no_bits(3, PRIVILEGE_BITS)])),
        allow(&["memfd_create"], json!([no_bits(1, HUGE_FILE)])),
        allow(&["mmap"], json!([no_bits(3, HUGE_MAPPING)])),
        allow(&["shmget"], json!([no_bits(2, HUGE_SEGMENT)])),
        allow(&["personality"], json!([is(0, 0)])),
        allow(&["personality"], json!([is(0, 0xffff_ffff)])),
        allow(&["socket"], json!([is(0, NETLINK), is(2, 0)])),
    ];
    for family in [INET, INET6] {
        for harmless in [STREAM, DATAGRAM] {
            calls.extend(IP_PROTOCOLS.map(|protocol| allow(&["socket"], json!([is(0, family), kind(harmless), is(2, protocol)]))));
        }
    }
    // Everything but TIOCSTI (0x5412) and TIOCLINUX (0x541c), compared as the kernel does: the lower half.
    calls.extend(requests());
    calls
}

/// Pairs that stay connected to each other, or all, as in `sys/seccomp/local.rs`.
fn local_sockets(all: bool) -> Vec<Value> {
    if all {
        return vec![allow(&["socket", "socketpair"], json!([is(0, UNIX)]))];
    }
    [STREAM, PACKETS].map(|connected| allow(&["socketpair"], json!([is(0, UNIX), kind(connected)]))).into()
}

/// A request is allowed where it differs from both in some bit; the two differ from each other in the bits 1 to 3 only.
fn requests() -> Vec<Value> {
    const SHARED: u64 = 0xffff_fff1;
    const COMMON: u64 = 0x5410;
    let masked = |mask: u64, value: u64| json!({ "index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value });
    let mut calls = Vec::new();
    for bit in (0..32).map(|bit| 1u64 << bit).filter(|bit| bit & SHARED != 0) {
        calls.push(allow(&["ioctl"], json!([masked(bit, !COMMON & bit)])));
    }
    for middle in (0..8u64).map(|middle| middle << 1).filter(|middle| ![0x2, 0xc].contains(middle)) {
        calls.push(allow(&["ioctl"], json!([masked(0xffff_ffff, COMMON | middle)])));
    }
    calls
}

fn is(argument: u64, value: u64) -> Value {
    json!({ "index": argument, "op": "SCMP_CMP_EQ", "value": value })
}

fn kind(kind: u64) -> Value {
    json!({ "index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": KIND, "valueTwo": kind })
}

fn allow(names: &[&str], conditions: Value) -> Value {
    json!({ "names": names, "action": "SCMP_ACT_ALLOW", "args": conditions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_launchers_own_list() {
        let own = include_str!("../sys/seccomp/allowed.rs");
        let mut names: Vec<&str> = own
            .split("libc::SYS_")
            .skip(1)
            .filter_map(|rest| rest.split(|end: char| !end.is_alphanumeric() && end != '_').next())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(ALLOWED.split_whitespace().collect::<Vec<_>>(), names);
        assert!(CONDITIONAL.iter().all(|name| names.contains(name)));
    }

    #[test]
    fn groups_are_those_of_the_launchers_own_list() {
        for group in CallGroup::ALL {
            let own = crate::sys::seccomp::members(*group);
            let listed = |name: &&&str| ALLOWED.split_whitespace().any(|allowed| allowed == **name);
            let (names, allowed) = (members(*group), members(*group).iter().filter(listed).count());
            assert_eq!((names.len(), allowed), (own.len(), if group.is_allowed() { own.len() } else { 0 }), "{group:?}");
        }
    }

    #[test]
    fn a_group_that_is_taken_away_is_allowed_in_no_form() {
        let changes = SystemCalls::parse(&["-sockets", "+debugging"]).unwrap_or_default();
        let text = profile(&changes).to_string();
        assert!(!text.contains("\"socket\"") && !text.contains("\"socketpair\"") && text.contains("\"ptrace\""));
        let usual = profile(&SystemCalls::default()).to_string();
        assert!(usual.contains("\"socket\"") && !usual.contains("\"ptrace\""));
    }

    #[test]
    fn exactly_the_two_requests_are_left_out() {
        let allows = |request: u64| {
            requests().iter().any(|call| {
                let condition = &call["args"][0];
                condition["value"].as_u64().is_some_and(|mask| Some(request & mask) == condition["valueTwo"].as_u64())
            })
        };
        for request in (0x5400..0x5500).chain([0, 0x8912, 0xc020_660b, u64::from(u32::MAX)]) {
            assert_eq!(allows(request), ![0x5412, 0x541c].contains(&request), "{request:x}");
        }
    }
}
