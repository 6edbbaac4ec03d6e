//! The kernel's surface.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::io::Errno;

use super::{Attack, Tried, in_child, raw, refused};

pub(super) fn namespaces(attack: &Attack<'_>) {
    for (name, flag) in raw::NAMESPACES {
        attack.attempt(&format!("unshare {name}"), || in_child(|| refused(raw::unshare(*flag).map(|()| 0)).map(drop)));
        attack.attempt(&format!("clone {name}"), || refused(raw::clone(*flag).map(|()| 0)));
    }
    attack.attempt("clone3", || refused(raw::clone3().map(|()| 0)));
}

pub(super) fn surface(attack: &Attack<'_>) {
    attack.calls(raw::SURFACE, 0);
    attack.calls_in_child(raw::OWN_PROCESS, 0);
}

pub(super) fn conventions(attack: &Attack<'_>) {
    attack.calls_in_child(raw::UNKNOWN, 0);
    #[cfg(target_arch = "x86_64")]
    attack.attempt("a call of 32-bit x86", || {
        in_child(|| {
            raw::call_as_i386();
            Ok(())
        })
    });
}

/// What would be the host's, or a way to it.
const NODES: &[&str] = &[
    "kvm",
    "vda",
    "sda",
    "nvme0n1",
    "fuse",
    "net/tun",
    "kmsg",
    "mem",
    "port",
    "tty",
    "tty0",
    "ptmx",
    "console",
    "vhost-vsock",
    "userfaultfd",
    "uinput",
];

pub(super) fn devices(attack: &Attack<'_>) {
    for name in NODES {
        attack.attempt(&format!("/dev/{name}"), || open(&Path::new("/dev").join(name)));
    }
    for folder in [PathBuf::from("/tmp"), PathBuf::from("/dev/shm"), attack.given.writable.clone()] {
        let place = if folder == attack.given.writable { "the writable folder".into() } else { folder.display().to_string() };
        attack.attempt(&format!("device node in {place}"), || make_node(&folder.join("node")));
    }
}

pub(super) fn open(path: &Path) -> Tried {
    // NONBLOCK: a terminal might wait for a line.
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    Ok("opened".to_owned())
}

fn make_node(path: &Path) -> Tried {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3))?;
    let opened = open(path);
    std::fs::remove_file(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    opened.or_else(|_| Ok("made".to_owned()))
}
