//! Takes away what the program could use or regain.

use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, no_new_privs, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

use super::read_back;
use super::step::{Step, failure};
use crate::cgroup::{Held, Version, write};
use crate::error::Failure;
use crate::layer::{Layer, Layers};
use crate::profile::Limits;

const MIB: u64 = 1024 * 1024;

/// Message queues of its own are nothing that a server needs; locked memory is for keys, which are small.
const LOCKED_BYTES: u64 = 64 * 1024;

/// Enters the control groups, with everything that is forked from here on.
pub(super) fn join(groups: &[PathBuf]) -> Result<(), Failure> {
    groups.iter().try_for_each(|group| write(group, "0").step(Layer::Limits, "join the control groups"))
}

/// The resource limits of each process. A limit of the gateway that is lower already stays. What a control group holds for the whole
/// program is not limited here as well: the group's refusal is counted, and can be told.
pub(super) fn limit(limits: &Limits, held: Held, layers: &mut Layers) -> Result<(), Failure> {
    let mib = |megabytes: u32| u64::from(megabytes) * MIB;
    let unless = |holds: Option<Version>, limit: u64| if holds.is_some() { u64::MAX } else { limit };
    let table = [
        (Resource::Data, unless(held.memory, mib(limits.memory_mb)), "memory"),
        (Resource::Nproc, unless(held.processes, u64::from(limits.processes)), "processes"),
        (Resource::Nofile, u64::from(limits.open_files), "open files"),
        (Resource::Fsize, mib(limits.file_mb), "file size"),
        (Resource::Memlock, LOCKED_BYTES, "locked memory"),
        (Resource::Msgqueue, 0, "message queues"),
        (Resource::Core, 0, "core dumps"),
    ];
    for (resource, wanted, name) in table {
        let most = getrlimit(resource).maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let limit = Some(most).filter(|most| *most < u64::MAX);
        let limit = Rlimit { current: limit, maximum: limit };
        setrlimit(resource, limit).step(Layer::Limits, &format!("limit {name}"))?;
        read_back::limit(resource, &limit, name)?;
    }
    layers.in_force(Layer::Limits, told(limits, held));
    Ok(())
}

/// Each limit, and what holds it.
fn told(limits: &Limits, held: Held) -> String {
    let by = |version: Option<Version>, instead: &str| version.map_or_else(|| instead.to_owned(), |version| version.to_string());
    let processor = match (held.processor, limits.cpus) {
        (None, None) => "processor not limited".to_owned(),
        (None, Some(_)) => "processor not limited, though `cpus` asks for it (no control group)".to_owned(),
        (Some(version), None) => format!("processor weight {} ({version})", limits.cpu_weight),
        (Some(version), Some(cpus)) => format!("{cpus} processors, weight {} ({version})", limits.cpu_weight),
    };
    format!(
        "{} MiB together ({}), {} processes ({}), {processor}, {} files, {} MiB a file",
        limits.memory_mb,
        by(held.memory, "watchdog"),
        limits.processes,
        by(held.processes, "resource limit"),
        limits.open_files,
        limits.file_mb,
    )
}

/// No capability in any set, and no way to get one by `execve`.
pub(super) fn give_up(layers: &mut Layers) -> Result<(), Failure> {
    set_no_new_privs(true).step(Layer::NoNewPrivileges, "set no_new_privs")?;
    clear_ambient_capability_set().step(Layer::Capabilities, "clear the ambient set")?;
    empty_bounding_set()?;
    let nothing =
        CapabilitySets { effective: CapabilitySet::empty(), permitted: CapabilitySet::empty(), inheritable: CapabilitySet::empty() };
    set_capabilities(None, nothing).step(Layer::Capabilities, "empty the sets")?;
    layers.in_force(Layer::NoNewPrivileges, "");
    layers.in_force(Layer::Capabilities, "none");
    Ok(())
}

fn holds_none() -> bool {
    capabilities(None).is_ok_and(|sets| (sets.effective | sets.permitted).is_empty())
}

fn empty_bounding_set() -> Result<(), Failure> {
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The first number that this kernel does not know.
            Err(Errno::INVAL) => return Ok(()),
            // A user without a namespace of his own may not; `no_new_privs`, set before, makes the set mean nothing.
            Err(Errno::PERM) if no_new_privs() == Ok(true) && holds_none() => return Ok(()),
            Err(errno) => return Err(failure(Layer::Capabilities, "empty the bounding set", errno)),
        }
    }
    Ok(())
}
