//! Names of the system calls that the filter refuses.

/// The name of a call, or its number where it is of those that nobody makes.
pub(super) fn of(call: i64) -> String {
    NAMES.iter().chain(OLD).find(|(number, _)| *number == call).map_or_else(|| format!("call {call}"), |(_, name)| (*name).to_owned())
}

/// Each call with its name.
macro_rules! named {
    ($($call:ident)*) => {
        &[$((libc::$call, {
            let (_, name) = stringify!($call).split_at("SYS_".len());
            name
        }),)*]
    };
}

/// Those that are refused always or for what they are asked, and newer ones that programs try.
const NAMES: &[(i64, &str)] = named! {
    SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick
    SYS_mount_setattr SYS_unshare SYS_setns SYS_clone SYS_clone3 SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_kcmp
    SYS_pidfd_getfd SYS_process_madvise SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_io_uring_setup SYS_io_uring_enter
    SYS_io_uring_register SYS_fanotify_init SYS_fanotify_mark SYS_vmsplice SYS_keyctl SYS_add_key SYS_request_key SYS_open_by_handle_at
    SYS_name_to_handle_at SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_kexec_file_load SYS_reboot SYS_swapon
    SYS_swapoff SYS_acct SYS_quotactl SYS_quotactl_fd SYS_syslog SYS_vhangup SYS_lookup_dcookie SYS_nfsservctl SYS_settimeofday
    SYS_clock_settime SYS_clock_adjtime SYS_adjtimex SYS_mbind SYS_set_mempolicy SYS_set_mempolicy_home_node SYS_migrate_pages
    SYS_move_pages SYS_mknodat SYS_ioctl SYS_socket SYS_socketpair SYS_personality SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_sethostname
    SYS_setdomainname SYS_io_setup SYS_io_submit SYS_io_getevents SYS_io_destroy SYS_io_cancel SYS_remap_file_pages SYS_memfd_secret
};

/// What only x86-64 still has.
#[cfg(target_arch = "x86_64")]
const OLD: &[(i64, &str)] = named! { SYS_mknod SYS_iopl SYS_ioperm SYS_modify_ldt SYS_uselib SYS_ustat SYS_sysfs SYS__sysctl SYS_chmod };
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[(i64, &str)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_its_name() {
        assert_eq!(of(libc::SYS_keyctl), "keyctl");
        assert_eq!(of(4242), "call 4242");
    }
}
