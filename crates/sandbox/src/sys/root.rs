//! The private root: an empty tmpfs that gets the visible trees, its own `/etc`, `/dev`, `/proc` and `/tmp`, and replaces `/`.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change, mount_remount, move_mount,
    open_tree, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::identity::INSIDE;
use super::raw::{MountAttributes, mount_setattr};
use super::sources::Source;
use super::step::Step;
use crate::egress::synthetic;
use crate::error::Failure;
use crate::layer::{Layer, Layers};
use crate::policy::{Confinement, Network};

/// Where the new root stands until it replaces the old one: a folder that exists wherever this process can exist.
const STAGE: &str = "/proc";

/// The devices that programs count on and that reach nothing.
pub(super) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];

/// The root holds mount points, links and six small files.
const ROOT_OPTIONS: &str = "size=1m,nr_inodes=4k,mode=755";

/// The program's own `/tmp` and `/dev/shm`, also where something else is shown in the place of one.
pub(super) struct OwnFolders {
    pub(super) tmp: OwnedFd,
    pub(super) shm: OwnedFd,
}

/// Builds the root and enters it.
pub(super) fn enter(sources: Vec<Source>, confinement: &Confinement, layers: &mut Layers) -> Result<OwnFolders, Failure> {
    let devices = open_devices(confinement)?;
    let everything = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", everything).step(Layer::Root, "make mounts private")?;
    stage()?;
    skeleton(confinement)?;
    let tmp = temporary("tmp", confinement.limits.tmp_mb, confinement.limits.tmp_files)?;
    let shm = temporary("dev/shm", confinement.limits.shm_mb, confinement.limits.tmp_files)?;
    for source in sources {
        let step = format!("show {}", source.tree.path.display());
        attach(&source.mount, &source.tree.path, source.tree.folder).step(Layer::Root, &step)?;
    }
    for (name, device) in devices {
        attach(&device, Path::new("dev").join(name).as_path(), false).step(Layer::Root, &format!("show /dev/{name}"))?;
    }
    procfs(layers);
    switch()?;
    layers.in_force(Layer::Root, "");
    Ok(OwnFolders { tmp, shm })
}

fn open_devices(confinement: &Confinement) -> Result<Vec<(&str, OwnedFd)>, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let attributes = MountAttributes { set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC, id_map: None };
    let open = |name| {
        let device = open_tree(CWD, format!("/dev/{name}"), flags)?;
        mount_setattr(device.as_fd(), &attributes, false)?;
        Ok((name, device))
    };
    DEVICES
        .iter()
        .copied()
        .chain(confinement.devices.iter().map(String::as_str))
        .map(open)
        .collect::<Result<_, Errno>>()
        .step(Layer::Root, "open the devices")
}

fn stage() -> Result<(), Failure> {
    mount_tmpfs(STAGE, ROOT_OPTIONS, MountFlags::NOEXEC).step(Layer::Root, "mount the new root")?;
    chdir(STAGE).step(Layer::Root, "enter the new root")
}

fn skeleton(confinement: &Confinement) -> Result<(), Failure> {
    let make = || {
        for folder in ["dev", "dev/shm", "proc", "tmp", "etc", "run"] {
            mkdirat(CWD, folder, Mode::from_raw_mode(0o755))?;
        }
        let outside = |(link, _): &(&PathBuf, &PathBuf)| confinement.view.innermost(link).is_none();
        for (link, target) in confinement.view.links.iter().filter(outside) {
            let (parent, name) = (link.parent(), link.file_name());
            if let (Some(parent), Some(name)) = (parent, name) {
                tolerate_existing(symlinkat(target, &open_folder(parent)?, name))?;
            }
        }
        for (name, target) in
            [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")]
        {
            symlinkat(target, CWD, format!("dev/{name}"))?;
        }
        Ok(())
    };
    let made: Result<(), Errno> = make();
    made.step(Layer::Root, "make the skeleton")?;
    own_etc(&confinement.network).step(Layer::Root, "write /etc")
}

/// The files of `/etc` that every sandbox has of its own: one user, one host, and names from the files or, with a way out, from the gateway.
pub(crate) fn etc(network: &Network) -> Vec<(&'static str, String)> {
    let mut files = vec![
        ("etc/passwd", format!("mcp:x:{INSIDE}:{INSIDE}:mcp:/tmp:/bin/sh\n")),
        ("etc/group", format!("mcp:x:{INSIDE}:\n")),
        ("etc/hosts", "127.0.0.1 localhost mcp\n::1 localhost\n".to_owned()),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ];
    if matches!(network, Network::Only(_)) {
        files.push(("etc/resolv.conf", format!("nameserver {}\noptions timeout:2 attempts:2\n", synthetic::GATEWAY)));
    }
    files
}

fn own_etc(network: &Network) -> std::io::Result<()> {
    for (path, text) in etc(network) {
        match File::create_new(path) {
            Ok(mut file) => file.write_all(text.as_bytes())?,
            // The host's own file of that name is a link that is shown.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn temporary(place: &str, megabytes: u32, files: u32) -> Result<OwnedFd, Failure> {
    let options = format!("size={megabytes}m,nr_inodes={files},mode=1777");
    mount_tmpfs(place, &options, MountFlags::NOEXEC)
        .and_then(|()| open_folder(Path::new(place)))
        .step(Layer::Root, &format!("mount /{place}"))
}

fn mount_tmpfs(place: &str, options: &str, flags: MountFlags) -> Result<(), Errno> {
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    mount("tmpfs", place, "tmpfs", flags | MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))
}

/// Moves a detached tree to its place, which is made if it is not there.
fn attach(tree: &OwnedFd, path: &Path, folder: bool) -> Result<(), Errno> {
    let place = if folder { open_folder(path)? } else { open_file(path)? };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", &place, "", flags)
}

/// Opens a folder of the new root, making what is missing; follows no link, because a tree below may hold hostile ones.
fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = openat(CWD, ".", flags, Mode::empty())?;
    for part in path.components() {
        let Component::Normal(part) = part else { continue };
        folder = match openat(&folder, part, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                mkdirat(&folder, part, Mode::from_raw_mode(0o755))?;
                openat(&folder, part, flags, Mode::empty())?
            }
            opened => opened?,
        };
    }
    Ok(folder)
}

fn open_file(path: &Path) -> Result<OwnedFd, Errno> {
    let folder = open_folder(path.parent().ok_or(Errno::INVAL)?)?;
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&folder, name, look, Mode::empty()) {
        Err(Errno::NOENT) => {
            let make = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&folder, name, make, Mode::from_raw_mode(0o644))?;
            openat(&folder, name, look, Mode::empty())
        }
        opened => opened,
    }
}

/// A procfs of the new pid namespace. The kernel refuses one where the outer `/proc` is partly covered, as in Docker;
/// programs run without it, and the outer one is never shown instead.
fn procfs(layers: &mut Layers) {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("proc", "proc", "proc", flags, Some(c"hidepid=2")) {
        Ok(()) => layers.in_force(Layer::Procfs, "own processes only"),
        Err(errno) => layers.absent(Layer::Procfs, format!("the program runs without /proc: {errno}")),
    }
}

fn switch() -> Result<(), Failure> {
    // The old root ends up on top of the new one, in the same place, and is then taken away.
    pivot_root(".", ".").step(Layer::Root, "switch the root")?;
    unmount(".", UnmountFlags::DETACH).step(Layer::Root, "detach the old root")?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_remount("/", flags, "").step(Layer::Root, "make the root read-only")?;
    chdir("/").step(Layer::Root, "enter the root")?;
    rustix::system::sethostname(b"mcp").step(Layer::Namespaces, "name the host")
}

fn tolerate_existing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}
