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

fn open(path: &Path) -> Tried {
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

/// The machine's ports, by which the monitor and the host hear, and its memory.
pub(super) fn monitor(attack: &Attack<'_>) {
    let names = std::fs::read_dir("/dev").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let ports: Vec<PathBuf> =
        names.filter(|name| name.to_string_lossy().starts_with("vport")).map(|name| Path::new("/dev").join(name)).collect();
    for port in ports.iter().map(PathBuf::as_path).chain(["/dev/vport0p1", "/dev/hvc0", "/dev/mem", "/dev/vda"].map(Path::new)) {
        attack.attempt(&port.display().to_string(), || open(port));
    }
    for file in ["/proc/iomem", "/proc/kcore", "/sys/class/virtio-ports"] {
        attack.attempt(file, || {
            let text = std::fs::read_to_string(file)?;
            // Whoever may not see addresses reads zeros.
            let addresses = text.lines().filter(|line| !line.trim_start().starts_with("00000000-00000000")).count();
            if addresses == 0 { Err(super::Stopped::by("no address is shown")) } else { Ok(format!("{addresses} addresses")) }
        });
    }
    attack.calls_in_child(raw::PORTS, 0);
}
