//! Looks at files as a program sees them, and as this machine has them.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstatvfs, openat};
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::scoped;

/// The root of a sandbox, from outside.
pub(super) struct Inside(OwnedFd);

/// What a program finds at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Something { read_only: bool, no_exec: bool },
}

impl Inside {
    /// The root of a process. All processes of a sandbox have the same, since none can change it.
    pub(super) fn of(thread: u32) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, format!("/proc/{thread}/root"), flags, Mode::empty()).map(Self)
    }

    /// Looks, without leaving that root whatever links say.
    pub(super) fn look(&self, path: &Path, at_link: bool) -> Found {
        let flags = OFlags::PATH | if at_link { OFlags::NOFOLLOW } else { OFlags::empty() };
        match scoped::open(&self.0, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS) {
            Ok(found) => {
                let mount = fstatvfs(&found).map_or(StatVfsMountFlags::empty(), |mount| mount.f_flag);
                Found::Something {
                    read_only: mount.contains(StatVfsMountFlags::RDONLY),
                    no_exec: mount.contains(StatVfsMountFlags::NOEXEC),
                }
            }
            // Refused by the permissions of the file itself, which a sandbox does not change.
            Err(Errno::ACCESS) => Found::Something { read_only: false, no_exec: false },
            Err(_) => Found::Nothing,
        }
    }
}

/// Where a process stands, or what it has a descriptor of: an absolute path inside.
pub(super) fn link_of(thread: u32, link: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{thread}/{link}")).ok().filter(|path| path.is_absolute())
}

/// The kind of a process's socket. The copy of it is gone again before the process goes on.
pub(super) fn socket_kind(thread: u32, descriptor: i32) -> Option<SocketType> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok().and_then(Pid::from_raw)?;
    let process = pidfd_open(process, PidfdFlags::empty()).ok()?;
    let socket = pidfd_getfd(process, descriptor, PidfdGetfdFlags::empty()).ok()?;
    socket_type(socket).ok()
}

/// `path`, from `base`, without `.` and `..`. By name alone: a link before a `..` would lead elsewhere, which is rare and only mislays what
/// is recorded.
pub(super) fn absolute(base: &Path, path: &Path) -> PathBuf {
    let mut absolute = PathBuf::from("/");
    for part in base.join(path).components() {
        match part {
            Component::Normal(name) => absolute.push(name),
            Component::ParentDir => {
                absolute.pop();
            }
            _ => {}
        }
    }
    absolute
}

/// What this machine has at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Socket,
}

/// The machine's own files. Looking must do nothing: where something would be mounted for it, nothing is looked at.
pub(super) struct Outside {
    automounts: Vec<PathBuf>,
}

impl Outside {
    pub(super) fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // 36 35 98:0 ROOT POINT OPTIONS [FIELDS…] - TYPE SOURCE OPTIONS
        let point = |line: &str| {
            let (mount, kind) = line.split_once(" - ")?;
            kind.starts_with("autofs ").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
        };
        Self { automounts: mounts.lines().filter_map(point).collect() }
    }

    /// What is there, if it is a file, a folder or a socket.
    pub(super) fn kind(&self, path: &Path) -> Option<Kind> {
        use std::os::unix::fs::FileTypeExt;
        if self.automounts.iter().any(|point| path.starts_with(point)) {
            return None;
        }
        let kind = fs::metadata(path).ok()?.file_type();
        match () {
            () if kind.is_file() => Some(Kind::File),
            () if kind.is_dir() => Some(Kind::Folder),
            () if kind.is_socket() => Some(Kind::Socket),
            () => None,
        }
    }

    /// The innermost folder around `path` that is there.
    pub(super) fn nearest_folder<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.ancestors().skip(1).find(|folder| self.kind(folder) == Some(Kind::Folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_absolute_by_name() {
        for (base, path, expected) in
            [("/a/b", "c", "/a/b/c"), ("/a/b", "/c", "/c"), ("/a/b", "../c/./d/", "/a/c/d"), ("/", "../../..", "/"), ("/a", "", "/a")]
        {
            assert_eq!(absolute(Path::new(base), Path::new(path)), Path::new(expected));
        }
    }
}
