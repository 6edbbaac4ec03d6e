//! What a program may see and use, and the program itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::egress::Allowed;

/// What one program may see and use. Whatever is not named here is not there.
///
/// Visible without being named, read-only: the system's trees, the program, its interpreter's prefix, a script's package
/// tree, and existing absolute paths among the arguments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Files and folders to read. A missing one is an error. Inside one to write they stay read-only, and in their place: neither
    /// they nor the folders above them can be renamed, removed or covered. Who replaces such a *file* from outside takes that
    /// from it, since the new file is another: then start the program anew.
    pub read: Vec<PathBuf>,
    /// Files and folders to write; unless `exec_in_write`, nothing in them can be executed. A missing one is an error.
    pub write: Vec<PathBuf>,
    /// What it writes may be executed too: for what builds programs. Default: no.
    pub exec_in_write: bool,
    /// What of the network is there.
    pub network: Network,
    /// How much it may use.
    pub limits: Limits,
}

/// What of the network a program sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// An empty network namespace: no interface, no route, no name is resolved.
    #[default]
    None,
    /// A network namespace of its own, out of which only these destinations can be reached, over TCP and through the gateway.
    Only(Allowed),
    /// The host's whole network, its loopback and its local services included.
    Host,
}

/// How much one program may use. The kernel's resource limits enforce the first four for each process of it, the gateway the last two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Writable private memory of one process, in MiB. Address space that is only reserved does not count.
    pub memory_mb: u32,
    /// Processes and threads together.
    pub processes: u32,
    /// Open files of one process.
    pub open_files: u32,
    /// The largest file that it may write, in MiB.
    pub file_mb: u32,
    /// Size of its own `/tmp`, in MiB of memory.
    pub tmp_mb: u32,
    /// Size of its own `/dev/shm`, in MiB of memory.
    pub shm_mb: u32,
    /// Connections to one destination of `network` at a time; all destinations together have 128 at most.
    pub connections: u32,
    /// What may be sent to and received from one destination of `network` within an hour, together, in MiB.
    pub network_mb: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_mb: 2048,  // V8's own heap limit lies near here; it is a limit of each process, not of their sum
            processes: 128,   // Node takes 11 threads a process: room for ten of them
            open_files: 1024, // what shells have given programs for decades
            file_mb: 256,     // a report or an archive fits; a runaway log does not fill the disk
            tmp_mb: 64,       // scratch files; it is memory of the machine
            shm_mb: 64,       // what container engines give
            connections: 64,  // ten times what a browser opens to one host
            network_mb: 4096, // ten Mbit/s for an hour: far more than answers need, far less than a disk holds
        }
    }
}

/// One program to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// The server's name, for errors and logs.
    pub name: String,
    /// A path, or a name that is looked up in `PATH` (that of `env`, else the gateway's own).
    pub command: String,
    /// Its arguments, without the program's own name.
    pub args: Vec<String>,
    /// The variables it gets beside `PATH`, `HOME` and `LANG`. Nothing else is inherited.
    pub env: BTreeMap<String, EnvText>,
    /// Where it starts; must be visible to it. Default: the first root to write, else the first to read, else `/tmp`.
    pub cwd: Option<PathBuf>,
    /// The file that takes its stderr; bounded and rotated to `FILE.1`. Without it only the last lines are kept, in memory.
    pub log: Option<PathBuf>,
}

impl Program {
    /// A program without arguments, variables, folder and log.
    pub fn new(name: impl Into<String>, command: impl Into<String>) -> Self {
        Self { name: name.into(), command: command.into(), args: Vec::new(), env: BTreeMap::new(), cwd: None, log: None }
    }
}

/// The value of one variable. It may be a secret: it is never shown, and zeroed when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct EnvText(String);

impl EnvText {
    /// The text itself, for the one place that hands it to the program.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for EnvText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for EnvText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for EnvText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvText(…)")
    }
}
