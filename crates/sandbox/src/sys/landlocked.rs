//! The back-end `landlock`: no namespaces, so nothing is out of sight; what is not named is refused instead, by Landlock and by a
//! stricter filter. Life and death are those of [`super::unconfined`].

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access as Wanted, access};
use rustix::io::Errno;
use rustix::process::{Signal, getuid};

use super::control::{Control, Message};
use super::launcher::{Never, become_program, enter_folder, load_filter};
use super::raw::{self, Others};
use super::step::{Step, failure};
use super::{identity, landlock, lifetime, privileges, read_back, unconfined};
use crate::error::Failure;
use crate::layer::{Layer, Layers};
use crate::policy::{Access, Confinement, Network, Target, View};
use crate::profile::Limits;

/// The launcher of a program in this boundary.
pub(super) fn launcher(control: &mut Control, gateway: i32, target: Target, confinement: &Confinement) -> Result<Never, Failure> {
    let mut layers = Layers::new("landlock");
    lifetime::tie_to_gateway(gateway, Signal::TERM)?;
    lifetime::leave_session()?;
    privileges::join(&confinement.groups)?;
    refuse_what_only_mounts_can(&confinement.view)?;
    if let Some(id) = identity::to_drop_to(confinement.unprivileged)? {
        identity::drop_to(id)?;
        layers.in_force(Layer::UidDrop, format!("uid {id}"));
        // The change of uid took it away.
        lifetime::tie_to_gateway(gateway, Signal::TERM)?;
        look_whether_roots_can_be_used(&confinement.view, &mut layers)?;
    }
    absent(&confinement.network, &mut layers);
    unconfined::adopt(control, target, |control, target| server(control, target, confinement, layers))
}

/// The server's process: gives up everything, looks that it is gone, and becomes the program.
fn server(control: &Control, target: &Target, confinement: &Confinement, mut layers: Layers) -> Result<Never, Failure> {
    unconfined::tie_to_launcher()?;
    layers.in_force(Layer::Lifetime, "whatever it starts is handed to its launcher, which ends it");
    enter_folder(target)?;
    raw::default_signals();
    raw::unblock_all();
    privileges::limit(&beside_others_of_this_user(&confinement.limits), confinement.held, &mut layers)?;
    privileges::give_up(&mut layers)?;
    landlock::enforce_alone(confinement, &mut layers)?;
    read_back::landlock_alone()?;
    raw::close_others(Others::CloseOnExec).step(Layer::Descriptors, "close descriptors")?;
    layers.in_force(Layer::Descriptors, "");
    load_filter(control, confinement)?;
    read_back::privileges(false)?;
    layers.in_force(Layer::Seccomp, "allow-list, without what Landlock does not watch over");
    control.send(&Message::InForce(layers), &[])?;
    become_program(target)
}

/// What namespaces would give.
fn absent(network: &Network, layers: &mut Layers) {
    layers.absent(Layer::UserNamespace, "this back-end makes none");
    layers.absent(Layer::Namespaces, "this back-end makes none: the host's processes can be seen to exist, but not signalled or read");
    layers.absent(
        Layer::Root,
        "names, sizes and owners of the host's files can be seen; only what is named can be opened, and there is no /tmp",
    );
    layers.absent(Layer::Procfs, "none of /proc can be opened");
    match network {
        Network::Host => layers.absent(Layer::Network, "the profile names the host's network"),
        Network::None | Network::Only(_) => {
            layers.absent(Layer::Network, "this back-end makes none: the program can make no socket instead")
        }
    }
}

/// Landlock's rights of a folder hold for everything below it: nothing in there can be taken out.
fn refuse_what_only_mounts_can(view: &View) -> Result<(), Failure> {
    if let Some(hidden) = view.trees.iter().find(|tree| tree.access == Access::Hidden) {
        return Err(failure(
            Layer::Root,
            &format!("keep {} from being read inside a folder that is shown", hidden.path.display()),
            Errno::OPNOTSUPP,
        ));
    }
    let writable =
        |path: &Path| view.trees.iter().any(|outer| outer.access == Access::Write && outer.path != path && path.starts_with(&outer.path));
    match view.trees.iter().find(|tree| tree.access != Access::Write && writable(&tree.path)) {
        None => Ok(()),
        Some(tree) => {
            Err(failure(Layer::Root, &format!("keep {} read-only inside a folder to write", tree.path.display()), Errno::OPNOTSUPP))
        }
    }
}

/// A root gateway's folders are root's, and nothing maps their owner here.
fn look_whether_roots_can_be_used(view: &View, layers: &mut Layers) -> Result<(), Failure> {
    for tree in view.trees.iter().filter(|tree| tree.access != Access::System) {
        let wanted = if tree.access == Access::Write { Wanted::READ_OK | Wanted::WRITE_OK } else { Wanted::READ_OK };
        let Err(errno) = access(&tree.path, wanted) else { continue };
        if tree.access == Access::Write {
            return Err(failure(Layer::IdMappedRoots, &format!("write {} with the uid of the sandbox", tree.path.display()), errno));
        }
        layers.absent(Layer::IdMappedRoots, format!("{} shows only what everybody may read: {errno}", tree.path.display()));
    }
    Ok(())
}

/// Without a user namespace the kernel counts everything that this uid runs: the program gets its number on top of that.
fn beside_others_of_this_user(limits: &Limits) -> Limits {
    let others = threads_of(getuid().as_raw());
    Limits { processes: limits.processes.saturating_add(others), ..limits.clone() }
}

/// As many as can be seen, which is all of one's own; those that come and go meanwhile may be missed.
fn threads_of(uid: u32) -> u32 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = processes.filter_map(|process| {
        let folder = process.path();
        // The owner of the folder is root's where a process hides its memory; this line is the uid itself.
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let real = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().next()?.parse::<u32>().ok()?;
        (real == uid).then_some(folder)
    });
    // A folder has a link for each of its folders, itself and its parent.
    let threads = own.filter_map(|folder| fs::metadata(folder.join("task")).ok()).map(|tasks| tasks.nlink().saturating_sub(2));
    u32::try_from(threads.sum::<u64>()).unwrap_or(u32::MAX)
}
