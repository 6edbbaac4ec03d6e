//! The place of a machine's monitor, for a program of the attack suite: what somebody has who has broken out of his machine.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::launch::Guest;
use super::ready::{apart, around};
use super::room::Room;
use super::vmm::{Accelerator, Shape};
use super::{folders, run_in};
use crate::backend::Host;
use crate::backends::microvm::Config;
use crate::error::Error;
use crate::profile::Profile;

/// What the monitor of a machine has: the folder with its memory and its sockets, and the profile of the sandbox round it.
pub(crate) struct Place {
    pub(crate) profile: Profile,
    /// The kernel of all machines.
    pub(crate) kernel: PathBuf,
    room: Room,
}

impl Place {
    /// That of a machine whose program has this profile.
    pub(crate) async fn of(host: &Host, config: &Config, profile: &Profile, name: &str) -> Result<Self, Error> {
        let (machines, wanted) = (host.machines()?, config.clone());
        let folders = folders::of(profile, name, &machines)?;
        let needs_drivers = !folders.is_empty();
        let (guest, room) = apart(move || {
            let guest = Guest::prepared(&wanted, &machines, needs_drivers)?;
            Ok((guest, Room::new(&run_in(&machines), wanted.memory_mb)?))
        })
        .await?;
        let kernel = guest.kernel.clone();
        // With KVM it has one device more, which is not what is attacked.
        let shape = Shape { guest, memory_mb: config.memory_mb, accelerator: Accelerator::Emulation { khz: 0 }, folders };
        Ok(Self { profile: around(&shape, profile), kernel, room })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.room.path()
    }

    /// The machine's memory.
    pub(crate) fn memory(&self) -> &File {
        &self.room.memory
    }

    /// Whether somebody has connected to one of the sockets, of which this is nobody's monitor.
    pub(crate) async fn was_reached(&self) -> bool {
        let Room { control, stdio, disk, egress, steer, .. } = &self.room;
        let anybody = async {
            tokio::select! {
                _ = control.accept() => {}
                _ = stdio.accept() => {}
                _ = disk.accept() => {}
                _ = egress.accept() => {}
                _ = steer.accept() => {}
            }
        };
        // Whoever has connected waits to be taken.
        tokio::time::timeout(std::time::Duration::from_millis(100), anybody).await.is_ok()
    }
}
