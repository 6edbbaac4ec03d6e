//! What differs from back-end to back-end in how it can be attacked: what it gives a program at all, and as whom that runs.

use rustix::process::{getegid, geteuid, getgroups};

use super::inside::MEMORY_BOMBS;
use crate::calls::{CallGroup, SystemCalls};
use crate::launch::unprivileged_id;
use crate::profile::DENY_WRITE;
use crate::sys::INSIDE;

/// The name of the hostile program's server.
pub(super) const HOSTILE: &str = "hostile";

/// How a user namespace shows groups that it does not map.
const UNMAPPED: u32 = 65_534;

/// The ground on which an attack is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Terrain {
    /// Namespaces, whose ids are mapped; also where there is no boundary.
    Mapped,
    /// The host's own root and ids.
    Landlock,
    /// A container, with the ids of the host.
    Container,
    /// A container on gVisor's kernel, with the ids of the host. Without a network.
    Gvisor,
    /// A machine, with a kernel of its own.
    Machine,
    /// An engine in the gateway's own process.
    Module,
}

impl Terrain {
    pub(super) fn of(backend: &str) -> Self {
        match backend {
            "landlock" => Self::Landlock,
            "oci" => Self::Container,
            "gvisor" => Self::Gvisor,
            "microvm" => Self::Machine,
            "wasm" => Self::Module,
            _ => Self::Mapped,
        }
    }

    /// Who must own what the program is to write, where its own id is not mapped to the caller's.
    pub(super) fn owner(self) -> Option<u32> {
        let has_own = matches!(self, Self::Landlock | Self::Container | Self::Gvisor) && geteuid().is_root();
        has_own.then(|| unprivileged_id(HOSTILE, ""))
    }

    /// Whether destinations can be named.
    pub(super) fn has_way_out(self) -> bool {
        matches!(self, Self::Mapped | Self::Container | Self::Machine)
    }

    /// In how many sandboxes, one after the other, a row is tried. Memory that is in no mapping is a machine's own, and gVisor's.
    pub(super) fn parts(self, row: u8) -> usize {
        match (row, self) {
            (18, Self::Mapped | Self::Landlock | Self::Container) => MEMORY_BOMBS,
            _ => 1,
        }
    }

    /// Whether each server has a `/tmp` and sockets of its own, where it can leave something behind.
    pub(super) fn has_tmp(self) -> bool {
        self != Self::Landlock
    }

    /// What the other server has beyond the usual to leave a socket behind. A kernel of its own has no filter that would have to let it.
    pub(super) fn local_sockets(self) -> SystemCalls {
        match self {
            Self::Mapped | Self::Container => SystemCalls::with(CallGroup::LocalSockets),
            Self::Landlock | Self::Gvisor | Self::Machine | Self::Module => SystemCalls::default(),
        }
    }

    /// Whether a part of a folder to write can be kept read-only.
    pub(super) fn can_deny(self) -> bool {
        self != Self::Landlock
    }

    /// What more than its number of processes a program may have: without a namespace the kernel counts those of the user, whoever they
    /// belong to, and some of them end meanwhile.
    pub(super) fn spare_processes(self) -> u32 {
        if self == Self::Landlock { 20 } else { 0 }
    }

    /// What is kept read-only in the folder to write.
    pub(super) fn deny_write(self) -> Vec<String> {
        let list = if self.can_deny() { DENY_WRITE } else { &[] };
        list.iter().map(|entry| (*entry).to_owned()).collect()
    }

    /// The ids that the hostile program may have.
    pub(super) fn ids(self) -> Vec<u32> {
        match (self.owner(), self) {
            (Some(owner), _) => vec![owner],
            (None, Self::Landlock) => {
                let groups = getgroups().unwrap_or_default().into_iter().chain([getegid()]).map(|group| group.as_raw());
                groups.chain([geteuid().as_raw()]).collect()
            }
            (None, _) => vec![INSIDE, UNMAPPED],
        }
    }
}
