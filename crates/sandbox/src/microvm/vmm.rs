//! The joint between a machine and the program that makes one: QEMU is the first, and what another one must be able to do stands here.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::instance::{Process, Stdin, Stdout};

/// A machine to be made. Paths without a folder are in the monitor's working folder.
pub(super) struct Shape {
    /// The unpacked kernel.
    pub(super) kernel: PathBuf,
    /// The archive with the init.
    pub(super) initramfs: PathBuf,
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

/// What runs the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The processor itself.
    Kvm,
    /// The monitor, which translates them.
    Emulation,
}

/// Whether a machine is to stand still. The last word counts: whoever steers it catches up.
pub(super) type Wish = watch::Sender<bool>;

/// One kind of monitor.
pub(super) trait Vmm: Send + Sync {
    /// The program and its arguments. It connects to the three sockets, and is steered over its stdin and stdout.
    fn command(&self, shape: &Shape) -> (&'static str, Vec<String>);

    /// Steers a machine as it is wished, as long as it lives; ends `process` if it does not follow.
    fn steer(&self, io: (Stdin, Stdout), process: Arc<dyn Process>) -> Wish;
}
