//! Memory of System V objects: it is in no process's mapping, and stays when nobody has it attached. What bounds it are the settings of its
//! namespace.

use std::fs;
use std::io;

use rustix::param::page_size;

use crate::profile::Limits;

const MIB: u64 = 1024 * 1024;

/// Queues and semaphores as the kernel bounded them before it knew bigger machines: a mebibyte and two at most.
const OTHERS: [(&str, &str); 3] = [("msgmnb", "16384"), ("msgmni", "64"), ("sem", "250 32000 100 128")];

/// Bounds what this ipc namespace holds. Segments have together what `/dev/shm` has. Only root of the user namespace that made it may, and
/// only since Linux 6.9.
pub(super) fn bound(limits: &Limits) -> io::Result<()> {
    let bytes = u64::from(limits.shm_mb) * MIB;
    set("shmmax", &bytes.to_string())?;
    set("shmall", &(bytes / page_size() as u64).to_string())?;
    OTHERS.iter().try_for_each(|(name, value)| set(name, value))
}

/// Sets it, and looks that it is set.
fn set(name: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/kernel/{name}");
    fs::write(&path, value)?;
    match fs::read_to_string(&path)?.split_ascii_whitespace().eq(value.split_ascii_whitespace()) {
        true => Ok(()),
        false => Err(io::Error::other(format!("{name} is not as it was set"))),
    }
}
