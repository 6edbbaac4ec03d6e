//! Around a container runtime: a pid namespace, whose init ends everything the runtime has started; a mount namespace, so that what
//! the runtime needs to write is gone with it; and the network namespace in which the container stays. The boundary itself is the
//! runtime's. Only for root, whose runtime needs its rights.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, mount, mount_change, move_mount};
use rustix::process::{Signal, chdir, umask};
use rustix::thread::UnshareFlags;

use super::control::{Control, Message};
use super::launcher::{Never, become_program, give_up};
use super::lifetime::{self, Link};
use super::network;
use super::privileges;
use super::raw::{self, Forked, Others};
use super::seccomp;
use super::sources::{self, Source};
use super::step::Step;
use crate::error::Failure;
use crate::layer::{Layer, Layers};
use crate::policy::{Around, Target};

/// The runtime's state and the mount points that it makes: some kilobytes.
const SCRATCH: &std::ffi::CStr = c"size=4m,nr_inodes=16k,mode=0700";

/// The first process, as in a boundary of ours.
pub(super) fn launcher(control: &mut Control, gateway: i32, target: Target, around: &Around) -> Result<Never, Failure> {
    let mut layers = Layers::new("oci");
    lifetime::tie_to_gateway(gateway, Signal::KILL)?;
    lifetime::leave_session()?;
    chdir("/").step(Layer::Root, "leave the gateway's folder")?;
    privileges::join(&around.groups)?;
    let null = lifetime::open_null()?;
    raw::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWPID).step(Layer::Namespaces, "make namespaces")?;
    network::enter(&around.network, control, &mut layers)?;
    lifetime::hide_memory()?;
    let (link, init_link) = Link::pair()?;
    match raw::fork().step(Layer::Namespaces, "fork the init")? {
        Forked::Child => {
            drop(link);
            let failed = init(control, &init_link, null, &target, around, layers);
            give_up(control, failed)
        }
        Forked::Parent(init) => {
            drop((init_link, target));
            let ender = Message::Ender { signal: Signal::KILL.as_raw() };
            control.send(&ender, &[lifetime::pidfd(init)?.as_fd()])?;
            control.close();
            lifetime::let_go_of_stdio(null.as_fd())?;
            lifetime::pass_on_the_end(init, &link)
        }
    }
}

/// PID 1 of the namespace: makes the mounts, starts the runtime, then only reaps, freezes and thaws.
fn init(control: &mut Control, link: &Link, null: OwnedFd, target: &Target, around: &Around, mut layers: Layers) -> Result<Never, Failure> {
    link.tie_to_launcher()?;
    mounts(around)?;
    trees(around, &mut layers)?;
    let wishes = lifetime::Wishes::of_gateway(control)?;
    match raw::fork().step(Layer::Namespaces, "fork the runtime")? {
        Forked::Child => {
            let failed = runtime(control, target, around, layers);
            give_up(control, failed)
        }
        Forked::Parent(runtime) => {
            control.send(&Message::Server, &[lifetime::pidfd(runtime)?.as_fd()])?;
            control.close();
            lifetime::let_go_of_stdio(null.as_fd())?;
            lifetime::serve_until_end_of(runtime, link, &wishes)
        }
    }
}

/// A procfs of this namespace, and the container's root: the image below, what the runtime adds to it (mount points) above, in memory.
fn mounts(around: &Around) -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).step(Layer::Root, "make mounts private")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).step(Layer::Procfs, "mount a procfs")?;
    umask(Mode::WGRP | Mode::WOTH);
    let scratch = around.place.join("mount");
    mount("tmpfs", &scratch, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(SCRATCH)).step(Layer::Root, "mount scratch space")?;
    for folder in ["upper", "work", "root", "state", "trees"] {
        mkdirat(CWD, scratch.join(folder), Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH)
            .step(Layer::Root, &format!("make the folder {folder}"))?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        around.lower.display(),
        scratch.join("upper").display(),
        scratch.join("work").display()
    );
    let options = std::ffi::CString::new(options).map_err(std::io::Error::from).step(Layer::Root, "name the image")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("overlay", scratch.join("root"), "overlay", flags, Some(options.as_c_str())).step(Layer::Root, "lay the root over the image")
}

/// What is shown of the host, each opened once, with no link on the way, and with its restrictions on it: whatever is put in the place of
/// one of them afterwards, the runtime shows this. One that lies in another is put into that.
fn trees(around: &Around, layers: &mut Layers) -> Result<(), Failure> {
    let sources = sources::open_all(&around.view, None, layers)?;
    let mut shown: Vec<&Source> = Vec::with_capacity(sources.len());
    for source in &sources {
        let step = format!("show {}", source.tree.path.display());
        let outer = shown.iter().rev().find(|outer| source.tree.path.starts_with(&outer.tree.path));
        let place = match outer.and_then(|outer| Some((outer, source.tree.path.strip_prefix(&outer.tree.path).ok()?))) {
            Some((outer, below)) => sources::open_below(outer, below),
            None => make_place(around, source),
        };
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        place.and_then(|place| move_mount(&source.mount, "", &place, "", flags)).step(Layer::Root, &step)?;
        shown.push(source);
    }
    Ok(())
}

/// Where a tree is put that lies in no other.
fn make_place(around: &Around, source: &Source) -> Result<OwnedFd, Errno> {
    let number = around.view.outermost().position(|tree| *tree == source.tree).ok_or(Errno::NOENT)?;
    let place = Around::mount_of(&around.place, number);
    if source.tree.folder {
        mkdirat(CWD, &place, Mode::RWXU)?;
    } else {
        openat(CWD, &place, OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC, Mode::RUSR)?;
    }
    openat(CWD, &place, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The process that becomes the runtime. What the runtime does is told as what it is: by its word.
fn runtime(control: &Control, target: &Target, around: &Around, mut layers: Layers) -> Result<Never, Failure> {
    raw::default_signals();
    raw::unblock_all();
    raw::close_others(Others::CloseOnExec).step(Layer::Descriptors, "close descriptors")?;
    layers.in_force(Layer::Lifetime, "");
    layers.in_force(Layer::Descriptors, "");
    for (layer, what) in &around.layers {
        layers.in_force(*layer, what);
    }
    if let Some(filter) = &around.filter {
        seccomp::load(filter)?;
    }
    control.send(&Message::InForce(layers), &[])?;
    become_program(target)
}
