//! The Landlock ruleset: every right that the kernel knows is handled, and granted only below what is visible.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::io::Errno;

use super::raw;
use super::root::DEVICES;
use super::sources::open_without_links;
use super::step::failure;
use crate::error::Failure;
use crate::layer::{Layer, Layers};
use crate::policy::{Access, Confinement, Network};

/// Network rules came with ABI 4, scopes with 6: the namespaces cover both where they are missing.
const NETWORK_RULES: i32 = 4;

/// The kernel's ABI.
pub(crate) fn abi() -> Result<i32, Errno> {
    raw::landlock_abi()
}

/// Restricts this process for good; everything it starts inherits it.
pub(super) fn enforce(confinement: &Confinement, layers: &mut Layers) -> Result<(), Failure> {
    let version = abi().map_err(|errno| failure(Layer::Landlock, "ask for its version", errno))?;
    // Not for compatibility, which is off: rights that this kernel does not know cannot be asked of it.
    let rights = ABI::from(version);
    let status = ruleset(rights, confinement)
        .and_then(|ruleset| grant(ruleset, rights, confinement))
        .and_then(|ruleset| ruleset.restrict_self())
        .map_err(|error| failure(Layer::Landlock, &error.to_string(), last_errno()))?;
    if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
        return Err(failure(Layer::Landlock, "found not in force", Errno::PERM));
    }
    layers.in_force(Layer::Landlock, format!("abi {version}"));
    Ok(())
}

/// The oldest ABI with everything that namespaces would otherwise cover: truncating files is of 3, TCP ports of 4, devices' own
/// calls of 5, signals of 6 (Linux 6.12).
const ALONE: i32 = 6;

/// The same as the only wall: on the host's own root, and refused where this kernel's Landlock leaves a gap.
pub(super) fn enforce_alone(confinement: &Confinement, layers: &mut Layers) -> Result<(), Failure> {
    match abi() {
        Ok(abi) if abi < ALONE => {
            Err(failure(Layer::Landlock, &format!("ask for abi {ALONE}, which is this back-end's least"), Errno::NOSYS))
        }
        _ => enforce(confinement, layers),
    }
}

fn ruleset(abi: ABI, confinement: &Confinement) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(abi))?;
    // Without the host's network no TCP port is granted but those that the gateway listens at, and none to listen at.
    if handles_network(abi, confinement) {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    let scopes = Scope::from_all(abi);
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    ruleset.create()
}

fn handles_network(abi: ABI, confinement: &Confinement) -> bool {
    !matches!(confinement.network, Network::Host) && abi as i32 >= NETWORK_RULES
}

fn grant(mut ruleset: RulesetCreated, abi: ABI, confinement: &Confinement) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::from_read(abi);
    let write = AccessFs::from_all(abi) & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    if let Network::Only(way_out) = &confinement.network
        && handles_network(abi, confinement)
    {
        for port in &way_out.ports {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    // What is hidden has no rule: the folder's is that of what is shown in its place, which cannot be opened.
    for tree in confinement.view.trees.iter().filter(|tree| tree.access != Access::Hidden) {
        let access = match tree.access {
            Access::Write if confinement.view.exec_in_write => write | AccessFs::Execute,
            Access::Write => write,
            Access::System | Access::Read | Access::Hidden => read,
        };
        let possible = if tree.folder { access } else { access & AccessFs::from_file(abi) };
        ruleset = match confinement.namespaces {
            true => allow(ruleset, &tree.path, possible)?,
            false => allow_without_links(ruleset, &tree.path, possible)?,
        };
    }
    ruleset = match confinement.namespaces {
        true => grant_own_root(ruleset, write)?,
        false => grant_public_files(ruleset)?,
    };
    for device in DEVICES {
        ruleset = allow(ruleset, &Path::new("/dev").join(device), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    // What these are for is asked of them by ioctl.
    let used = (AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev) & AccessFs::from_all(abi);
    for device in &confinement.devices {
        ruleset = allow(ruleset, &Path::new("/dev").join(device), used)?;
    }
    Ok(ruleset)
}

/// Places that the boundary has made for this program alone.
fn grant_own_root(mut ruleset: RulesetCreated, write: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    for own in ["/tmp", "/dev/shm"] {
        ruleset = allow(ruleset, Path::new(own), write)?;
    }
    // Names only, of what is mounted: `ls /` and the folders above a root.
    ruleset = allow(ruleset, Path::new("/"), AccessFs::ReadDir.into())?;
    for own in ["/proc", "/etc"] {
        ruleset = allow(ruleset, Path::new(own), AccessFs::ReadFile | AccessFs::ReadDir)?;
    }
    Ok(ruleset)
}

/// Of the host's own `/etc`, what libraries look up names by; who its users are is nobody's business.
fn grant_public_files(mut ruleset: RulesetCreated) -> Result<RulesetCreated, RulesetError> {
    for file in ["/etc/hosts", "/etc/nsswitch.conf"] {
        ruleset = allow(ruleset, Path::new(file), AccessFs::ReadFile.into())?;
    }
    Ok(ruleset)
}

fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(place) => ruleset.add_rule(PathBeneath::new(place, access)),
        // Not there, so nothing to grant; what a program needs and lacks it will say itself.
        Err(_) => Ok(ruleset),
    }
}

/// The same on the host's own root, where somebody may have put a link in the place of what was looked at: that is not granted.
fn allow_without_links(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match open_without_links(path) {
        Ok(place) => ruleset.add_rule(PathBeneath::new(place, access)),
        Err(_) => Ok(ruleset),
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::PERM)
}
