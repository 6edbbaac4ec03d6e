//! Which ids the program has: a root gateway gives up its uid first, then everybody gets a user namespace of his own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    DumpableBehavior, Gid, Pid, Signal, Uid, WaitOptions, getegid, geteuid, kill_process, set_dumpable_behavior, waitpid,
};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::raw::{self, Forked};
use super::read_back;
use super::step::{Step, failure};
use crate::error::Failure;
use crate::layer::Layer;

/// The one user inside: not 0, because `hidepid` exempts gid 0.
pub(crate) const INSIDE: u32 = 1000;

/// `nobody`, where the id meant for this program does not exist (a gateway in a small user namespace).
const NOBODY: u32 = 65534;

/// The id that a root gateway takes for this program; `None` when there is nothing to give up.
pub(super) fn to_drop_to(wanted: u32) -> Result<Option<u32>, Failure> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let read = |map| std::fs::read_to_string(map).step(Layer::UidDrop, "read the id maps");
    let (uids, gids) = (read("/proc/self/uid_map")?, read("/proc/self/gid_map")?);
    let both = |id: &u32| is_mapped(&uids, *id) && is_mapped(&gids, *id);
    // Root of a namespace that holds nobody else is an ordinary user of the host: nothing to give up.
    Ok([wanted, NOBODY].into_iter().find(both))
}

fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.nth(1)) {
            (Some(Ok(first)), Some(Ok(count))) => (first..first + count).contains(&u64::from(id)),
            _ => false,
        }
    })
}

/// Whether this root may map ids on mounts; a container's root usually may not.
pub(super) fn can_map_mounts() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Gives up root for good, with every capability and group.
pub(super) fn drop_to(id: u32) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .and_then(|()| set_thread_res_uid(uid, uid, uid))
        .step(Layer::UidDrop, "take an unprivileged uid")?;
    read_back::ids(id)?;
    // The change of uid made `/proc/self` root's; the id maps are written through it.
    set_dumpable_behavior(DumpableBehavior::Dumpable).step(Layer::UidDrop, "keep /proc/self writable")
}

/// Root of the user namespace round that of the program, which may set what its other namespaces hold.
pub(super) const ROOT: u32 = 0;

/// A user namespace in which this user is the only one, and `inside` is its id.
pub(super) fn enter_user_namespace(inside: u32) -> Result<(), Failure> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    raw::unshare(UnshareFlags::NEWUSER).step(Layer::UserNamespace, "make a user namespace")?;
    write_file("/proc/self/setgroups", "deny").step(Layer::UserNamespace, "deny setgroups")?;
    write_file("/proc/self/uid_map", &format!("{inside} {uid} 1")).step(Layer::UserNamespace, "map the uid")?;
    write_file("/proc/self/gid_map", &format!("{inside} {gid} 1")).step(Layer::UserNamespace, "map the gid")
}

/// Id maps for mounts: a file's owner on disk appears as the unprivileged id, and what that id writes is the owner's.
pub(super) struct IdMaps {
    shown_as: u32,
    made: Vec<((u32, u32), OwnedFd)>,
}

impl IdMaps {
    pub(super) fn new(shown_as: u32) -> Self {
        Self { shown_as, made: Vec::new() }
    }

    /// The user namespace that maps this owner; made once for each owner.
    pub(super) fn of(&mut self, uid: u32, gid: u32) -> Result<BorrowedFd<'_>, Failure> {
        let position = match self.made.iter().position(|(owner, _)| *owner == (uid, gid)) {
            Some(position) => position,
            None => {
                self.made.push(((uid, gid), map_of(uid, gid, self.shown_as)?));
                self.made.len() - 1
            }
        };
        self.made.get(position).map(|(_, map)| map.as_fd()).ok_or_else(|| failure(Layer::IdMappedRoots, "keep the id map", Errno::NOENT))
    }
}

/// A user namespace exists only with a process in it: a child makes it, waits while it is opened, and is killed.
fn map_of(uid: u32, gid: u32, shown_as: u32) -> Result<OwnedFd, Failure> {
    const LAYER: Layer = Layer::IdMappedRoots;
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).step(LAYER, "talk with the id map's process")?;
    match raw::fork().step(LAYER, "fork the id map's process")? {
        Forked::Child => {
            drop(ours);
            let mut line = File::from(theirs);
            let refusal = raw::unshare(UnshareFlags::NEWUSER).map_or_else(Errno::raw_os_error, |()| 0);
            // Until the launcher has opened the namespace and kills this process, or has died.
            let _end = line.write_all(&refusal.to_ne_bytes()).and_then(|()| line.read(&mut [0]));
            raw::exit(0);
        }
        Forked::Parent(child) => {
            drop(theirs);
            let map = open_map(child, &mut File::from(ours), (uid, gid), shown_as);
            let ended = kill_process(child, Signal::KILL).and_then(|()| waitpid(Some(child), WaitOptions::empty()));
            ended.step(LAYER, "end the id map's process")?;
            map
        }
    }
}

fn open_map(child: Pid, line: &mut File, owner: (u32, u32), shown_as: u32) -> Result<OwnedFd, Failure> {
    const LAYER: Layer = Layer::IdMappedRoots;
    let folder = format!("/proc/{}", child.as_raw_nonzero());
    let mut refusal = [0; 4];
    line.read_exact(&mut refusal).step(LAYER, "hear of the id map's namespace")?;
    match i32::from_ne_bytes(refusal) {
        0 => {}
        errno => {
            return Err(failure(Layer::UserNamespace, "make a user namespace for the owners of roots", Errno::from_raw_os_error(errno)));
        }
    }
    write_file(&format!("{folder}/uid_map"), &format!("{} {shown_as} 1", owner.0)).step(LAYER, "map the owner's uid")?;
    write_file(&format!("{folder}/gid_map"), &format!("{} {shown_as} 1", owner.1)).step(LAYER, "map the owner's gid")?;
    File::open(format!("{folder}/ns/user")).map(OwnedFd::from).step(LAYER, "open the id map's namespace")
}

/// The kernel takes an id map in one write only.
fn write_file(path: &str, text: &str) -> std::io::Result<()> {
    File::options().write(true).open(path)?.write_all(text.as_bytes())
}
