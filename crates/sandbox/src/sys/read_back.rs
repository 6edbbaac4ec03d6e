//! Asks the kernel for what was just set: a layer that is claimed and not there must not run a program. Filters and security modules
//! around a container can answer "done" to a call that they have not let through.

use rustix::fs::{CWD, Dev, FileType, Mode, OFlags, StatVfs, StatVfsMountFlags as Flags, fstatvfs, mknodat, open, stat, unlink};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getegid, geteuid, getgid, getgroups, getpid, getrlimit, getuid};
use rustix::thread::{
    CapabilitySet, SecureComputingMode, capabilities, capability_is_in_ambient_set, capability_is_in_bounding_set, no_new_privs,
    secure_computing_mode,
};

use super::step::{Step, failure};
use crate::error::Failure;
use crate::layer::Layer;
use crate::policy::{Access, View};

fn expect(layer: Layer, what: &str, holds: bool) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(failure(layer, &format!("found {what}"), Errno::PERM)) }
}

/// The namespaces of this process, as numbers that no other one has.
pub(super) struct Namespaces(Vec<(&'static str, Option<u64>)>);

/// Those that are made in any case and can be seen; the pid namespace is that of the first child ([`is_init`]).
const NAMESPACES: [&str; 5] = ["user", "mnt", "ipc", "uts", "cgroup"];

impl Namespaces {
    pub(super) fn now(network: bool) -> Self {
        let names = NAMESPACES.into_iter().chain(network.then_some("net"));
        Self(names.map(|name| (name, stat(format!("/proc/self/ns/{name}")).ok().map(|found| found.st_ino))).collect())
    }

    /// Whether all are others than before.
    pub(super) fn differ_from(&self, before: &Self) -> Result<(), Failure> {
        for ((name, now), (_, before)) in self.0.iter().zip(&before.0) {
            let layer = match *name {
                "user" => Layer::UserNamespace,
                "net" => Layer::Network,
                _ => Layer::Namespaces,
            };
            expect(layer, &format!("no new namespace `{name}`"), now.is_some() && now != before)?;
        }
        Ok(())
    }
}

/// Whether this is the first process of its pid namespace.
pub(super) fn is_init() -> Result<(), Failure> {
    expect(Layer::Namespaces, "no new namespace `pid`", getpid().is_init())
}

/// What may be done on the mounts of the new root.
pub(super) fn mounts(view: &View) -> Result<(), Failure> {
    let never = Flags::NOSUID | Flags::NODEV;
    look_at_mount("/", never | Flags::RDONLY)?;
    for own in ["/tmp", "/dev/shm"] {
        look_at_mount(own, never | Flags::NOEXEC)?;
    }
    for tree in &view.trees {
        let by_access = match tree.access {
            Access::Write if view.exec_in_write => Flags::empty(),
            Access::Write => Flags::NOEXEC,
            Access::System | Access::Read | Access::Hidden => Flags::RDONLY,
        };
        look_at_mount(&tree.path, never | by_access)?;
    }
    Ok(())
}

fn look_at_mount(path: impl AsRef<std::path::Path>, wanted: Flags) -> Result<(), Failure> {
    let path = path.as_ref();
    // A link is itself what is mounted there.
    let place = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let found = place.and_then(fstatvfs).step(Layer::Root, &format!("look at the mount of {}", path.display()))?;
    let StatVfs { f_flag, .. } = found;
    let missing: Vec<String> = (wanted - f_flag).iter_names().map(|(name, _)| name.to_lowercase()).collect();
    expect(Layer::Root, &format!("{} mounted without {}", path.display(), missing.join(", ")), missing.is_empty())
}

/// Whether a limit is what it was set to.
pub(super) fn limit(resource: Resource, wanted: &Rlimit, name: &str) -> Result<(), Failure> {
    expect(Layer::Limits, &format!("another limit of {name}"), getrlimit(resource) == *wanted)
}

/// What no program is given on any ground: making a device. Landlock is asked before privileges are, so its refusal is another one than
/// that of a kernel without it. Not an overlay's white-out, which needs no privilege: newer kernels let it pass as an ordinary file.
pub(super) fn landlock() -> Result<(), Failure> {
    const PLACE: &str = "/tmp/.device";
    const NONE: Dev = 0;
    match mknodat(CWD, PLACE, FileType::BlockDevice, Mode::empty(), NONE) {
        Err(Errno::ACCESS) => Ok(()),
        Err(Errno::PERM) => expect(Layer::Landlock, "only privileges between the program and a device", false),
        Ok(()) => {
            unlink(PLACE).step(Layer::Landlock, "remove what it should have refused")?;
            expect(Layer::Landlock, "a device that could be made", false)
        }
        Err(errno) => Err(failure(Layer::Landlock, "try what it must refuse", errno)),
    }
}

/// On the host's own root: listing it.
pub(super) fn landlock_alone() -> Result<(), Failure> {
    match open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::ACCESS) => Ok(()),
        Err(errno) => Err(failure(Layer::Landlock, "try what it must refuse", errno)),
        Ok(_) => expect(Layer::Landlock, "the host's root open", false),
    }
}

/// Root's uid is gone, and with it root's groups.
pub(super) fn ids(id: u32) -> Result<(), Failure> {
    let groups = getgroups().step(Layer::UidDrop, "read the groups")?;
    let ids = [getuid(), geteuid()].map(|uid| uid.as_raw()).into_iter().chain([getgid(), getegid()].map(|gid| gid.as_raw()));
    expect(Layer::UidDrop, "another uid or gid, or groups left", groups.is_empty() && ids.into_iter().all(|held| held == id))
}

/// Everything that `execve` must not give back. The bounding set counts where it could be emptied.
pub(super) fn privileges(bounding: bool) -> Result<(), Failure> {
    expect(Layer::NoNewPrivileges, "no_new_privs unset", no_new_privs() == Ok(true))?;
    expect(Layer::Seccomp, "no filter", secure_computing_mode() == Ok(SecureComputingMode::Filter))?;
    let sets = capabilities(None).step(Layer::Capabilities, "read the sets")?;
    expect(Layer::Capabilities, "some left", (sets.effective | sets.permitted | sets.inheritable).is_empty())?;
    let left = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number)).any(|capability| {
        capability_is_in_ambient_set(capability) == Ok(true) || bounding && capability_is_in_bounding_set(capability) == Ok(true)
    });
    expect(Layer::Capabilities, "some left to be inherited", !left)
}
