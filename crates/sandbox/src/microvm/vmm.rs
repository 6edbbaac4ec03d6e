//! The joint between a machine and the program that makes one: QEMU is the first, and what another one must be able to do stands here.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::launch::Guest;

/// A machine to be made. Paths without a folder are in the monitor's working folder.
pub(super) struct Shape {
    pub(super) guest: Guest,
    /// Memory in MiB; backed by the file [`MEMORY`].
    pub(super) memory_mb: u32,
    pub(super) accelerator: Accelerator,
    /// Folders that the monitor serves to the guest, to be written.
    pub(super) folders: Vec<PathBuf>,
}

/// The file that holds a machine's memory.
pub(crate) const MEMORY: &str = "memory";
/// The sockets at which the gateway listens and to which the monitor connects.
pub(super) const CONTROL_SOCKET: &str = "control";
pub(super) const STDIO_SOCKET: &str = "stdio";
pub(super) const DISK_SOCKET: &str = "disk";
pub(super) const EGRESS_SOCKET: &str = "egress";
/// The socket at which the monitor takes commands, of a machine that is saved or restored.
pub(super) const STEER_SOCKET: &str = "steer";

/// All of them.
pub(crate) const SOCKETS: [&str; 5] = [CONTROL_SOCKET, STDIO_SOCKET, DISK_SOCKET, EGRESS_SOCKET, STEER_SOCKET];

/// How a machine begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// With its kernel; nobody steers the monitor.
    Booting,
    /// With its kernel, to be saved.
    ToBeSaved,
    /// With what was saved.
    Saved,
}

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
    /// The program and its arguments. It connects to the four sockets, to the fifth where it is steered, and needs neither stdin nor stdout.
    fn command(&self, shape: &Shape, begins: Begins) -> (&'static str, Vec<String>);

    /// Saves all of a machine but its memory, which is in its file, and ends it. Blocks.
    fn save(&self, steer: UnixStream, state: &File) -> io::Result<()>;

    /// Reads what was saved into a machine that has the same memory, and lets it go on. Blocks.
    fn restore(&self, steer: UnixStream, state: &File) -> io::Result<()>;
}
