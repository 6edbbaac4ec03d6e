//! The known bad, each group with what it would open.

use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{BackendError, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::Rules;

/// Refused whatever the arguments are.
pub(super) fn always() -> impl Iterator<Item = i64> {
    [MOUNTS, NAMESPACES, OTHER_PROCESSES, KERNEL_SURFACE, KERNEL_KEYS, HANDLES, MACHINE, CLOCKS, MEMORY_POLICY, DEVICES]
        .concat()
        .into_iter()
        .chain(OLD.iter().copied())
}

/// Mounts: a way to another view of the files.
const MOUNTS: &[i64] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
];

/// Namespaces: a nested one brings capabilities back, and with them most kernel bugs of recent years.
const NAMESPACES: &[i64] = &[libc::SYS_unshare, libc::SYS_setns];

/// Other processes' memory and descriptors.
const OTHER_PROCESSES: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
];

/// Large parts of the kernel that no server needs and that have been the way out again and again.
const KERNEL_SURFACE: &[i64] = &[
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_vmsplice,
];

/// Keyrings are not of a namespace: another session's keys.
const KERNEL_KEYS: &[i64] = &[libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key];

/// Files by handle pass by every path check.
const HANDLES: &[i64] = &[libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at];

/// The machine as a whole.
const MACHINE: &[i64] = &[
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
];

/// The host's clock.
const CLOCKS: &[i64] = &[libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex];

/// Placement of memory on the host's nodes.
pub(super) const MEMORY_POLICY: &[i64] = &[libc::SYS_mbind, libc::SYS_set_mempolicy, libc::SYS_migrate_pages, libc::SYS_move_pages];

/// Device nodes.
const DEVICES: &[i64] = &[libc::SYS_mknodat];

/// What only this architecture still has.
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[
    libc::SYS_mknod,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[libc::SYS_kexec_file_load];

/// Clone flags that make a namespace.
const CLONE_NAMESPACES: &[i32] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// The kind of a socket without its flags.
pub(super) const SOCKET_KIND: u64 = 0xf;

/// `SOCK_PACKET`, the obsolete raw socket.
const SOCK_PACKET: u64 = 10;

/// `personality(0xffffffff)` only asks.
const PERSONALITY_ASK: u64 = 0xffff_ffff;

/// The whole table.
pub(super) fn rules() -> Result<Rules, BackendError> {
    let mut rules: Rules = always().map(|call| (call, Vec::new())).collect();
    for (call, when) in by_argument()? {
        rules.entry(call).or_default().push(when);
    }
    Ok(rules)
}

/// Calls that are refused with certain arguments only.
fn by_argument() -> Result<Vec<(i64, SeccompRule)>, BackendError> {
    let mut table = Vec::new();
    for flag in CLONE_NAMESPACES {
        table.push((libc::SYS_clone, all(&[has(0, u64::from(flag.unsigned_abs()))])?));
    }
    // Putting words into a terminal's input. The kernel ignores the upper half of the request.
    for request in [libc::TIOCSTI, libc::TIOCLINUX] {
        table.push((libc::SYS_ioctl, all(&[(1, Eq, request)])?));
    }
    for (call, mode) in mode_arguments() {
        for bit in [libc::S_ISUID, libc::S_ISGID] {
            table.push((call, all(&[has(mode, u64::from(bit))])?));
        }
    }
    table.push((libc::SYS_personality, all(&[(0, Ne, 0), (0, Ne, PERSONALITY_ASK)])?));
    table.extend(sockets()?);
    Ok(table)
}

/// Only local, IPv4, IPv6 and routing sockets, none of them raw: vsock, packet, the crypto interface and netfilter stay out.
fn sockets() -> Result<Vec<(i64, SeccompRule)>, BackendError> {
    let family = |family: i32| u64::from(family.unsigned_abs());
    let kind = |kind: u64| (1, MaskedEq(SOCKET_KIND), kind);
    let (unix, inet, inet6) = (family(libc::AF_UNIX), family(libc::AF_INET), family(libc::AF_INET6));
    let netlink = family(libc::AF_NETLINK);
    let raw = family(libc::SOCK_RAW);
    let unlisted = [(0, Ne, unix), (0, Ne, inet), (0, Ne, inet6), (0, Ne, netlink)];
    let mut table = vec![
        (libc::SYS_socket, all(&unlisted)?),
        (libc::SYS_socket, all(&[(0, Eq, netlink), (2, Ne, family(libc::NETLINK_ROUTE))])?),
        (libc::SYS_socketpair, all(&[(0, Ne, unix)])?),
    ];
    for ip in [inet, inet6] {
        table.push((libc::SYS_socket, all(&[(0, Eq, ip), kind(raw)])?));
        table.push((libc::SYS_socket, all(&[(0, Eq, ip), kind(SOCK_PACKET)])?));
    }
    Ok(table)
}

/// Calls that set a file's mode, with the position of that argument.
fn mode_arguments() -> Vec<(i64, u8)> {
    let mut calls = vec![(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (libc::SYS_fchmodat2, 2)];
    #[cfg(target_arch = "x86_64")]
    calls.push((libc::SYS_chmod, 1));
    calls
}

fn has(argument: u8, bit: u64) -> (u8, SeccompCmpOp, u64) {
    (argument, MaskedEq(bit), bit)
}

/// A rule that holds when every condition does; each looks at the lower half of an argument, as the kernel does.
pub(super) fn all(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions
        .iter()
        .map(|(argument, compare, value)| SeccompCondition::new(*argument, Dword, compare.clone(), *value))
        .collect::<Result<Vec<_>, _>>()?;
    SeccompRule::new(conditions)
}
