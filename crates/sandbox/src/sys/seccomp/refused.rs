//! The known bad, each with what it would open.

use super::rule::Compare::{Eq, MaskedEq, Ne};
use super::rule::{Compare, Rule, Rules, all};

/// Refused whatever the arguments are.
pub(super) fn always() -> impl Iterator<Item = i64> {
    [MOUNTS, NAMESPACES, OTHER_PROCESSES, KERNEL_SURFACE, KERNEL_KEYS, HANDLES, MACHINE, CLOCKS, MEMORY_POLICY, DEVICES]
        .concat()
        .into_iter()
        .chain(OLD.iter().copied())
}

/// Mounts: a way to another view of the files.
const MOUNTS: &[i64] = &[
    libc::SYS_mount,         // makes another view of the files
    libc::SYS_umount2,       // uncovers what a mount hides
    libc::SYS_pivot_root,    // swaps the root
    libc::SYS_chroot,        // moves the root, and an open folder leads out of it
    libc::SYS_open_tree,     // copies a mount
    libc::SYS_move_mount,    // moves one
    libc::SYS_fsopen,        // mounts in the new way
    libc::SYS_fsconfig,      // the same
    libc::SYS_fsmount,       // the same
    libc::SYS_fspick,        // changes a mount
    libc::SYS_mount_setattr, // makes a read-only mount writable
];

/// Namespaces: a nested one brings capabilities back, and with them most kernel bugs of recent years.
const NAMESPACES: &[i64] = &[
    libc::SYS_unshare, // a user namespace of its own
    libc::SYS_setns,   // another's namespace
];

/// Other processes' memory and descriptors.
const OTHER_PROCESSES: &[i64] = &[
    libc::SYS_ptrace,            // steers another process
    libc::SYS_process_vm_readv,  // reads its memory
    libc::SYS_process_vm_writev, // writes it
    libc::SYS_kcmp,              // tells what two processes share: addresses of the kernel
    libc::SYS_pidfd_getfd,       // takes its descriptors
    libc::SYS_process_madvise,   // pushes its memory out
];

/// Large parts of the kernel that no server needs and that have been the way out again and again.
const KERNEL_SURFACE: &[i64] = &[
    libc::SYS_bpf,               // programs in the kernel
    libc::SYS_perf_event_open,   // counters that tell of others, and faults without end
    libc::SYS_userfaultfd,       // stops the kernel in the middle of a copy: makes races sure
    libc::SYS_io_uring_setup,    // calls that no filter sees
    libc::SYS_io_uring_enter,    // the same
    libc::SYS_io_uring_register, // the same
    libc::SYS_fanotify_init,     // sees every file that is opened
    libc::SYS_vmsplice,          // pages that change after they were checked
];

/// Keyrings are not of a namespace: another session's keys.
const KERNEL_KEYS: &[i64] = &[
    libc::SYS_keyctl,      // reads keys
    libc::SYS_add_key,     // leaves keys
    libc::SYS_request_key, // starts a program of the host to get one
];

/// Files by handle pass by every path check.
const HANDLES: &[i64] = &[
    libc::SYS_open_by_handle_at, // opens a file by its number, past every folder
    libc::SYS_name_to_handle_at, // tells the numbers
];

/// The machine as a whole.
const MACHINE: &[i64] = &[
    libc::SYS_init_module,    // code in the kernel
    libc::SYS_finit_module,   // the same
    libc::SYS_delete_module,  // takes code out of it
    libc::SYS_kexec_load,     // another kernel
    libc::SYS_reboot,         // ends the machine
    libc::SYS_swapon,         // takes a file as memory
    libc::SYS_swapoff,        // gives it back, slowly
    libc::SYS_acct,           // a log of all processes
    libc::SYS_quotactl,       // limits of others
    libc::SYS_syslog,         // messages of the kernel, with addresses
    libc::SYS_vhangup,        // hangs up a terminal
    libc::SYS_lookup_dcookie, // names of others' files
    libc::SYS_nfsservctl,     // long gone
];

/// The host's clock.
const CLOCKS: &[i64] = &[
    libc::SYS_settimeofday,  // the clock
    libc::SYS_clock_settime, // the same
    libc::SYS_clock_adjtime, // its pace
    libc::SYS_adjtimex,      // the same
];

/// Placement of memory on the host's nodes.
pub(super) const MEMORY_POLICY: &[i64] = &[
    libc::SYS_mbind,         // where memory lies
    libc::SYS_set_mempolicy, // the same by default
    libc::SYS_migrate_pages, // moves others' memory
    libc::SYS_move_pages,    // the same, and tells where it lies
];

/// Device nodes.
const DEVICES: &[i64] = &[
    libc::SYS_mknodat, // devices and pipes by name
];

/// What only this architecture still has.
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[
    libc::SYS_mknod,           // the same
    libc::SYS_kexec_file_load, // another kernel, from a file
    libc::SYS_iopl,            // the machine's ports
    libc::SYS_ioperm,          // the same
    libc::SYS_modify_ldt,      // segments: faults of the entry code
    libc::SYS_uselib,          // long gone
    libc::SYS_ustat,           // long gone
    libc::SYS_sysfs,           // tells of file systems; long gone
    libc::SYS__sysctl,         // long gone
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[
    libc::SYS_kexec_file_load, // another kernel, from a file
];

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

/// `O_TMPFILE` without `O_DIRECTORY`, which it contains: a name can be given later.
const WITHOUT_A_NAME: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// The kind of a socket without its flags.
pub(super) const SOCKET_KIND: u32 = 0xf;

/// `SOCK_PACKET`, the obsolete raw socket.
const SOCK_PACKET: u32 = 10;

/// `personality(0xffffffff)` only asks.
const PERSONALITY_ASK: u32 = 0xffff_ffff;

/// The whole table.
pub(super) fn rules() -> Rules {
    let mut rules: Rules = always().map(|call| (call, Vec::new())).collect();
    for (call, when) in by_argument() {
        rules.entry(call).or_default().push(when);
    }
    rules
}

/// Calls that are refused with certain arguments only.
fn by_argument() -> Vec<(i64, Rule)> {
    let mut table = Vec::new();
    for flag in CLONE_NAMESPACES {
        table.push((libc::SYS_clone, all(&[has(0, flag.unsigned_abs())])));
    }
    // Putting words into a terminal's input. The kernel ignores the upper half of the request.
    for request in [libc::TIOCSTI, libc::TIOCLINUX].into_iter().flat_map(u32::try_from) {
        table.push((libc::SYS_ioctl, all(&[(1, Eq, request)])));
    }
    table.extend(privilege_bits());
    table.push((libc::SYS_personality, all(&[(0, Ne, 0), (0, Ne, PERSONALITY_ASK)])));
    table.extend(huge_pages());
    table.extend(sockets());
    table
}

/// Huge pages come out of a pool of the whole machine, in no limit and no control group.
fn huge_pages() -> [(i64, Rule); 3] {
    [
        (libc::SYS_mmap, all(&[has(3, libc::MAP_HUGETLB.unsigned_abs())])),
        (libc::SYS_memfd_create, all(&[has(1, libc::MFD_HUGETLB)])),
        (libc::SYS_shmget, all(&[has(2, libc::SHM_HUGETLB.unsigned_abs())])),
    ]
}

/// Protocols of IPv4 and IPv6 sockets: the kind's usual one, TCP, UDP, and the two of `ping`, which the kernel has for datagrams. SCTP,
/// DCCP, UDP-Lite, multipath TCP and whatever else is loaded on demand are parts of the kernel that hardly anybody uses or looks at.
const IP_PROTOCOLS: [i32; 5] = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6];

/// Only local, IPv4, IPv6 and routing sockets, none of them raw: vsock, packet, the crypto interface and netfilter stay out.
fn sockets() -> Vec<(i64, Rule)> {
    let family = |family: i32| family.unsigned_abs();
    let kind = |kind: u32| (1, MaskedEq(SOCKET_KIND), kind);
    let (unix, inet, inet6) = (family(libc::AF_UNIX), family(libc::AF_INET), family(libc::AF_INET6));
    let netlink = family(libc::AF_NETLINK);
    let raw = family(libc::SOCK_RAW);
    let unlisted = [(0, Ne, unix), (0, Ne, inet), (0, Ne, inet6), (0, Ne, netlink)];
    let mut table = vec![
        (libc::SYS_socket, all(&unlisted)),
        (libc::SYS_socket, all(&[(0, Eq, netlink), (2, Ne, family(libc::NETLINK_ROUTE))])),
        (libc::SYS_socketpair, all(&[(0, Ne, unix)])),
    ];
    for ip in [inet, inet6] {
        table.push((libc::SYS_socket, all(&[(0, Eq, ip), kind(raw)])));
        table.push((libc::SYS_socket, all(&[(0, Eq, ip), kind(SOCK_PACKET)])));
        let unlisted: Vec<_> = IP_PROTOCOLS.iter().map(|protocol| (2, Ne, protocol.unsigned_abs())).collect();
        table.push((libc::SYS_socket, all(&[&[(0, Eq, ip)], &unlisted[..]].concat())));
    }
    table
}

/// What puts set-user-id or set-group-id on a file, be it there or made by the call. Of a call that opens, the mode counts where the flags
/// say that a file is made; `openat2`, whose flags lie in memory, is on no list for that.
pub(super) fn privilege_bits() -> Vec<(i64, Rule)> {
    let mut table = Vec::new();
    for bit in [libc::S_ISUID, libc::S_ISGID] {
        table.extend(mode_arguments().into_iter().map(|(call, mode)| (call, all(&[has(mode, bit)]))));
        for (call, flags, mode) in opening() {
            for makes in [libc::O_CREAT, WITHOUT_A_NAME] {
                table.push((call, all(&[has(flags, makes.unsigned_abs()), has(mode, bit)])));
            }
        }
    }
    table
}

/// The same of what makes a file by another name, where that is not refused as a whole.
pub(super) fn privilege_bits_of_nodes() -> Vec<(i64, Rule)> {
    let mut calls = vec![(libc::SYS_mknodat, 2)];
    #[cfg(target_arch = "x86_64")]
    calls.push((libc::SYS_mknod, 1));
    let bits = [libc::S_ISUID, libc::S_ISGID];
    calls.into_iter().flat_map(|(call, mode)| bits.map(|bit| (call, all(&[has(mode, bit)])))).collect()
}

/// Calls that open a file and can make it, with the positions of flags and mode.
fn opening() -> Vec<(i64, u8, u8)> {
    let mut calls = vec![(libc::SYS_openat, 2, 3)];
    #[cfg(target_arch = "x86_64")]
    calls.push((libc::SYS_open, 1, 2));
    calls
}

/// Calls that set a file's mode, with the position of that argument.
fn mode_arguments() -> Vec<(i64, u8)> {
    let mut calls = vec![(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (libc::SYS_fchmodat2, 2)];
    #[cfg(target_arch = "x86_64")]
    calls.extend([(libc::SYS_chmod, 1), (libc::SYS_creat, 1)]);
    calls
}

fn has(argument: u8, bit: u32) -> (u8, Compare, u32) {
    (argument, MaskedEq(bit), bit)
}
