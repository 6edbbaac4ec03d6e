//! The back-end `microvm`: the program runs in a virtual machine with a kernel of its own, and the machine's monitor (QEMU) in the sandbox of
//! the operating system.
//!
//! What the profile shows is laid out as a read-only disk whose blocks are the host's own files (`image`, `disk`); the machine starts
//! from a kernel that was prepared once (`prepare`) and from our own init, crate `guest`. Its stdin and stdout are one virtio
//! port, byte for byte; everything else that is said between the gateway and the guest are records on another one (`control`).
//!
//! Both the guest and the monitor are taken for hostile: whatever is read from them is bounded, every start has a deadline, and the end of
//! either is a kill.

mod accelerator;
mod clock;
mod control;
mod disk;
mod folders;
mod image;
mod initramfs;
mod kernel;
mod launch;
mod place;
mod pool;
mod prepare;
mod process;
mod qemu;
mod qmp;
mod ready;
mod room;
mod stdio;
mod template;
mod vmm;

use std::path::{Path, PathBuf};

use sallyport_telemetry::state_folder::Folders;

use crate::backend::Host;
use crate::backends::microvm::Config;
use crate::error::Error;

pub use prepare::{Prepared, Source, prepare, prepared};

pub(crate) use launch::launch;
pub(crate) use place::Place;
pub(crate) use vmm::{MEMORY, SOCKETS};

/// The init, linked statically; empty where it could not be built.
static INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sallyport-guest"));

/// Where machines have their files: what was prepared, and a folder for each that is starting.
///
/// # Errors
/// When the user's folders are not known.
pub fn folder() -> Result<PathBuf, Error> {
    let folders = Folders::of_user().map_err(|error| Error::new(error.to_string()).with_hint(error.hint()))?;
    Ok(folders.cache.join("microvm"))
}

/// What `sallyport microvm prepare` makes, in the folder of machines.
#[must_use]
pub fn prepared_in(folder: &Path) -> PathBuf {
    folder.join("guest")
}

/// A folder for each machine that is starting, in that of all.
fn run_in(folder: &Path) -> PathBuf {
    folder.join("run")
}

/// Takes away what gateways have left that were killed.
pub(crate) fn clear() {
    // Where the user's folders are not known there are no machines.
    if let Ok(folder) = folder() {
        room::clear(&run_in(&folder));
        template::clear(&folder);
    }
}

/// Whether machines can be made, as far as it shows without making one.
pub(crate) fn look_round(config: &Config, host: &Host) -> Result<(), Error> {
    embedded_init()?;
    let guest = config.guest.clone().map_or_else(|| host.machines().map(|folder| prepared_in(&folder)), Ok)?;
    prepared(&guest)?;
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&paths).any(|folder| folder.join(qemu::PROGRAM).is_file()) {
        return Err(ready::no_monitor());
    }
    accelerator::look_round(config.accel)
}

fn embedded_init() -> Result<&'static [u8], Error> {
    match INIT {
        [] => Err(Error::new("this build of sallyport has no init for microVMs")
            .with_hint("build it on x86-64 linux where cargo can link glibc statically (Debian: libc6-dev, Fedora: glibc-static)")),
        init => Ok(init),
    }
}
