//! Which calls are watched in a trial, and what each of them is about.

/// What a program wants to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To know whether it is there, and what it is.
    Look,
    /// To read it.
    Read,
    /// To change it; it is there.
    Write,
    /// To change it, or to make it.
    Make,
    /// To put an entry into the folder around it.
    Add,
    /// To take an entry out of the folder around it.
    Take,
    /// To execute it.
    Execute,
}

/// What one watched call is about. Numbers are positions of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// A path, from a folder's descriptor or from where the process is.
    Path(PathArgument, Means),
    /// An entry that goes from one path to another.
    Move(PathArgument, PathArgument),
    /// An address with its length.
    Address(usize, usize, Use),
}

/// Where a path stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathArgument {
    pub(super) folder: Option<usize>,
    pub(super) text: usize,
}

/// What is to be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// This, following a link at the end.
    To(Wish),
    /// This, with the link itself.
    WithLink(Wish),
    /// This, with the link itself if the argument has `AT_SYMLINK_NOFOLLOW`.
    ByFlags(Wish, usize),
    /// As `open` is told by its flags.
    Open(usize),
    /// As `access` is told by its mode.
    Access(usize),
}

/// What is to be done with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Connect,
    /// A packet without a connection.
    Send,
    Listen,
}

const fn at(folder: usize, text: usize) -> PathArgument {
    PathArgument { folder: Some(folder), text }
}

const fn here(text: usize) -> PathArgument {
    PathArgument { folder: None, text }
}

use About::{Address, Move, Path};
use Means::{Access, ByFlags, Open, To, WithLink};
use Wish::{Add, Execute, Look, Make, Read, Take, Write};

/// Every watched call. `sendmsg` is none of them: its address is too deep in memory, and this very machinery is set up by it.
const TABLE: &[(i64, About)] = &[
    (libc::SYS_openat, Path(at(0, 1), Open(2))),
    (libc::SYS_newfstatat, Path(at(0, 1), ByFlags(Look, 3))),
    (libc::SYS_statx, Path(at(0, 1), ByFlags(Look, 2))),
    (libc::SYS_statfs, Path(here(0), To(Look))),
    (libc::SYS_faccessat, Path(at(0, 1), Access(2))),
    (libc::SYS_faccessat2, Path(at(0, 1), Access(2))),
    (libc::SYS_readlinkat, Path(at(0, 1), WithLink(Look))),
    (libc::SYS_chdir, Path(here(0), To(Look))),
    (libc::SYS_inotify_add_watch, Path(here(1), To(Read))),
    (libc::SYS_getxattr, Path(here(0), To(Look))),
    (libc::SYS_lgetxattr, Path(here(0), WithLink(Look))),
    (libc::SYS_listxattr, Path(here(0), To(Look))),
    (libc::SYS_execve, Path(here(0), To(Execute))),
    (libc::SYS_execveat, Path(at(0, 1), ByFlags(Execute, 4))),
    (libc::SYS_mkdirat, Path(at(0, 1), WithLink(Add))),
    (libc::SYS_symlinkat, Path(at(1, 2), WithLink(Add))),
    (libc::SYS_linkat, Path(at(2, 3), WithLink(Add))),
    (libc::SYS_unlinkat, Path(at(0, 1), WithLink(Take))),
    (libc::SYS_renameat2, Move(at(0, 1), at(2, 3))),
    (libc::SYS_truncate, Path(here(0), To(Write))),
    (libc::SYS_fchmodat, Path(at(0, 1), To(Write))),
    (libc::SYS_fchmodat2, Path(at(0, 1), ByFlags(Write, 3))),
    (libc::SYS_fchownat, Path(at(0, 1), ByFlags(Write, 4))),
    (libc::SYS_utimensat, Path(at(0, 1), ByFlags(Write, 3))),
    (libc::SYS_setxattr, Path(here(0), To(Write))),
    (libc::SYS_lsetxattr, Path(here(0), WithLink(Write))),
    (libc::SYS_removexattr, Path(here(0), To(Write))),
    (libc::SYS_connect, Address(1, 2, Use::Connect)),
    (libc::SYS_bind, Address(1, 2, Use::Listen)),
    (libc::SYS_sendto, Address(4, 5, Use::Send)),
];

/// What only x86-64 still has.
#[cfg(target_arch = "x86_64")]
const OLD: &[(i64, About)] = &[
    (libc::SYS_open, Path(here(0), Open(1))),
    (libc::SYS_creat, Path(here(0), To(Make))),
    (libc::SYS_stat, Path(here(0), To(Look))),
    (libc::SYS_lstat, Path(here(0), WithLink(Look))),
    (libc::SYS_access, Path(here(0), Access(1))),
    (libc::SYS_readlink, Path(here(0), WithLink(Look))),
    (libc::SYS_mkdir, Path(here(0), WithLink(Add))),
    (libc::SYS_symlink, Path(here(1), WithLink(Add))),
    (libc::SYS_link, Path(here(1), WithLink(Add))),
    (libc::SYS_unlink, Path(here(0), WithLink(Take))),
    (libc::SYS_rmdir, Path(here(0), WithLink(Take))),
    (libc::SYS_rename, Move(here(0), here(1))),
    (libc::SYS_renameat, Move(at(0, 1), at(2, 3))),
    (libc::SYS_chmod, Path(here(0), To(Write))),
    (libc::SYS_chown, Path(here(0), To(Write))),
    (libc::SYS_lchown, Path(here(0), WithLink(Write))),
    (libc::SYS_utime, Path(here(0), To(Write))),
    (libc::SYS_utimes, Path(here(0), To(Write))),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[(i64, About)] = &[(libc::SYS_renameat, Move(at(0, 1), at(2, 3)))];

/// The calls that a trial's filter asks about.
pub(crate) fn watched() -> impl Iterator<Item = i64> {
    TABLE.iter().chain(OLD).map(|(call, _)| *call)
}

/// What a call is about, if it is a watched one.
pub(super) fn about(call: i64) -> Option<About> {
    TABLE.iter().chain(OLD).find(|(watched, _)| *watched == call).map(|(_, about)| *about)
}

/// What `open` is to do, by its flags.
pub(super) fn of_open(flags: u64) -> Wish {
    let has = |flag: i32| flags & u64::from(flag.unsigned_abs()) == u64::from(flag.unsigned_abs());
    let writes = flags & 0b11 != 0; // O_ACCMODE: O_WRONLY, O_RDWR
    match () {
        () if has(libc::O_PATH) => Look,
        () if has(libc::O_TMPFILE) => Write, // in the folder that is named
        () if has(libc::O_CREAT) => Make,
        () if writes || has(libc::O_TRUNC) => Write,
        () => Read,
    }
}

/// Whether `open` does not follow a link at the end.
pub(super) fn open_keeps_link(flags: u64) -> bool {
    flags & u64::from(libc::O_NOFOLLOW.unsigned_abs()) != 0
}

/// What `access` asks for, by its mode.
pub(super) fn of_access(mode: u64) -> Wish {
    if mode & u64::from(libc::W_OK.unsigned_abs()) == 0 { Look } else { Write }
}

/// Whether the flags of an `at` call keep it at a link itself.
pub(super) fn keeps_link(flags: u64) -> bool {
    flags & u64::from(libc::AT_SYMLINK_NOFOLLOW.unsigned_abs()) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_watched_twice() {
        let mut calls: Vec<i64> = watched().collect();
        let count = calls.len();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), count);
    }

    #[test]
    fn what_sets_a_trial_up_is_not_watched() {
        // The launcher makes these calls between loading the filter and being heard.
        for call in [libc::SYS_sendmsg, libc::SYS_close, libc::SYS_write, libc::SYS_prctl, libc::SYS_capget] {
            assert_eq!(about(call), None);
        }
    }

    #[test]
    fn flags_of_open_say_what_is_wanted() {
        let flags = |flags: i32| of_open(u64::from(flags.unsigned_abs()));
        assert_eq!(flags(libc::O_RDONLY | libc::O_CLOEXEC), Read);
        assert_eq!(flags(libc::O_WRONLY), Write);
        assert_eq!(flags(libc::O_RDWR | libc::O_CREAT), Make);
        assert_eq!(flags(libc::O_RDWR | libc::O_TMPFILE), Write);
        assert_eq!(flags(libc::O_DIRECTORY), Read);
        assert_eq!(flags(libc::O_PATH | libc::O_CREAT), Look);
        assert_eq!(of_open(u64::MAX), Look, "nonsense does no harm");
    }
}
