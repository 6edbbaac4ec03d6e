//! The joint between a machine and the program that makes one: QEMU is the first, and what another one must be able to do stands here.

use super::launch::Guest;

/// A machine to be made. Paths without a folder are in the monitor's working folder.
pub(super) struct Shape {
    pub(super) guest: Guest,
    /// Memory in MiB; backed by the file [`MEMORY`].
    pub(super) memory_mb: u32,
    pub(super) accelerator: Accelerator,
}

/// The file that holds a machine's memory.
pub(super) const MEMORY: &str = "memory";
/// The sockets at which the gateway listens and to which the monitor connects.
pub(super) const CONTROL_SOCKET: &str = "control";
pub(super) const STDIO_SOCKET: &str = "stdio";
pub(super) const DISK_SOCKET: &str = "disk";
pub(super) const EGRESS_SOCKET: &str = "egress";

/// What runs the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The processor itself.
    Kvm,
    /// The monitor, which translates them.
    Emulation {
        /// How often the clock that its processor shows counts in a millisecond.
        khz: u64,
    },
}

/// One kind of monitor. To stand still and to end are signals to its process, whatever the kind.
pub(super) trait Vmm: Send + Sync {
    /// The program and its arguments. It connects to the four sockets, and needs neither stdin nor stdout.
    fn command(&self, shape: &Shape) -> (&'static str, Vec<String>);
}
