//! What a program may see and use, and the program itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::calls::SystemCalls;
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
    /// What stays read-only inside every folder to write, relative to it, and with `~/` in front relative to the home of the
    /// gateway's user where that lies in one. What is not there cannot be made either, unless a `?` follows. Usually [`DENY_WRITE`].
    pub deny_write: Vec<String>,
    /// Files and folders that are not to be read, though they lie in what is shown: opening such a file is refused, and it stays in its
    /// place; such a folder is empty and read-only, but for what is itself named in `read` or `write`, or is the program's own. What is
    /// missing or shown nowhere is left alone.
    pub hidden: Vec<PathBuf>,
    /// What it writes may be executed too: for what builds programs. Default: no.
    pub exec_in_write: bool,
    /// What of the network is there.
    pub network: Network,
    /// How much it may use.
    pub limits: Limits,
    /// How its system calls differ from the usual.
    pub seccomp: SystemCalls,
}

/// What the host would run later, by git, an editor, an agent or a shell, though nobody looked at it: the usual deny-write list. What
/// a build, a test or a commit runs (scripts, `Makefile`, workflows) is the project itself, which is there to be written and reviewed.
pub const DENY_WRITE: &[&str] = &[
    // git runs hooks, and what its settings name, with the next command. Where there is no repository none can be made, as its
    // settings could be any.
    ".git/hooks",
    ".git/config",
    ".git/commondir", // where else it would look for those two
    ".git/config.worktree?",
    ".git/modules?", // the same of submodules and linked work trees, where there are any
    ".git/worktrees?",
    ".hg/hgrc", // Mercurial's hooks and extensions, the same
    // direnv and mise, on entering the folder
    ".envrc",
    ".mise.toml",
    "mise.toml",
    // MCP servers and hooks of agents, tasks and extensions of editors, on opening the folder
    ".mcp.json",
    ".claude",
    ".cursor",
    ".codex",
    ".gemini",
    ".vscode",
    ".idea",
    ".zed",
    ".devcontainer",
    "sallyport.toml",
    // shells, git, ssh and programs that start with the session
    "~/.bashrc",
    "~/.bash_profile",
    "~/.bash_login",
    "~/.bash_logout",
    "~/.profile",
    "~/.zshrc",
    "~/.zshenv",
    "~/.zprofile",
    "~/.zlogin",
    "~/.zlogout",
    "~/.config/fish",
    "~/.config/autostart",
    "~/.config/systemd",
    "~/.config/git",
    "~/.gitconfig",
    "~/.ssh",
    "~/.npmrc",
    "~/.xprofile",  // the graphical session, at login
    "~/.local/bin", // in the `PATH` of most: a `git` there is run for git
    // editors, with every start
    "~/.vimrc",
    "~/.vim",
    "~/.config/nvim",
    // programs that these tools run by themselves: linkers and wrappers, MCP servers, helpers for credentials, plugins
    "~/.cargo/config.toml",
    "~/.cargo/bin", // in the `PATH`, too
    "~/.claude.json",
    "~/.docker/config.json",
    "~/.docker/cli-plugins",
    "~/.aws/config",
];

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

/// How much one program may use. Where control groups can be made (version 2 delegated to the gateway, or version 1 writable to it) they
/// hold memory, processes and processor for everything the program starts, together; elsewhere the gateway looks at its memory once a
/// second, the number of processes is the kernel's resource limit, and the processor is not limited. `sallyport doctor` tells which it is
/// here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory of all its processes together, in MiB. Beyond it the program is ended, and started anew.
    pub memory_mb: u32,
    /// Processes and threads together. Beyond it none is started.
    pub processes: u32,
    /// Processors that it may keep busy, on average: `0.5` is half of one. Default: not given, because what nobody else needs is free.
    pub cpus: Option<Cpus>,
    /// Its share of the processors while others want them too, from 1 to 10000, in proportion to the others' weights.
    pub cpu_weight: u32,
    /// Open files of one process.
    pub open_files: u32,
    /// The largest file that it may write, in MiB.
    pub file_mb: u32,
    /// Size of its own `/tmp`, in MiB of memory.
    pub tmp_mb: u32,
    /// Size of its own `/dev/shm`, in MiB of memory.
    pub shm_mb: u32,
    /// Files and folders in its own `/tmp`, and as many in its `/dev/shm`.
    pub tmp_files: u32,
    /// The longest message that is read from it, in MiB. A longer one is thrown away, and the calls under way fail.
    pub line_mb: u32,
    /// What it may write to stdout and stderr within a minute, together, in MiB. Beyond it the program is ended, and started anew.
    pub output_mb: u32,
    /// Size of the file that keeps its stderr, in MiB. The one before it is kept as well.
    pub stderr_mb: u32,
    /// Connections to one destination of `network` at a time; all destinations together have 128 at most.
    pub connections: u32,
    /// What may be sent to and received from one destination of `network` within an hour, together, in MiB.
    pub network_mb: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_mb: 2048,  // V8's own heap limit lies near here; what a browser with a few pages takes
            processes: 128,   // Node takes 11 threads a process: room for ten of them
            cpus: None,       // a start takes all processors for a moment, and would take longer
            cpu_weight: 100,  // the kernel's own: a program counts as much as any other, however many processes it has
            open_files: 1024, // what shells have given programs for decades
            file_mb: 256,     // a report or an archive fits; a runaway log does not fill the disk
            tmp_mb: 64,       // scratch files; it is memory of the machine
            shm_mb: 64,       // what container engines give
            tmp_files: 16384, // one for each 4 KiB of 64 MiB
            line_mb: 16,      // a screenshot or a small document fits
            output_mb: 4096,  // 68 MiB a second for a whole minute: no answers, but a flood
            stderr_mb: 1,     // enough to find what went wrong
            connections: 64,  // ten times what a browser opens to one host
            network_mb: 4096, // ten Mbit/s for an hour: far more than answers need, far less than a disk holds
        }
    }
}

/// A number of processors, from a hundredth of one to a thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Cpus {
    hundredths: u32,
}

impl Cpus {
    /// Microseconds of processor time within each `period` microseconds.
    #[must_use]
    pub fn quota(self, period: u64) -> u64 {
        u64::from(self.hundredths) * period / 100
    }
}

impl TryFrom<f64> for Cpus {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        if !(0.01..=1000.0).contains(&number) {
            return Err("a number of processors lies between 0.01 and 1000");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 100000")]
        Ok(Self { hundredths: (number * 100.0).round() as u32 })
    }
}

impl From<Cpus> for f64 {
    fn from(cpus: Cpus) -> Self {
        Self::from(cpus.hundredths) / 100.0
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f64::from(*self).fmt(f)
    }
}

impl JsonSchema for Cpus {
    fn schema_name() -> Cow<'static, str> {
        "Cpus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0.01, "maximum": 1000 })
    }
}

/// One program to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The server's name, for errors and logs.
    pub name: String,
    /// For whom it works: a tenant, a caller; empty for whoever calls. Programs of one name for two scopes are two users to the kernel, as
    /// programs of two names are.
    pub scope: String,
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
    /// Names of devices in `/dev` beside those that every program has. For the monitor of a machine alone.
    pub(crate) devices: Vec<&'static str>,
    /// A folder of its own to write, to which `deny_write` does not apply. For the same.
    pub(crate) room: Option<PathBuf>,
}

impl Program {
    /// A program without arguments, variables, folder and log.
    pub fn new(name: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scope: String::new(),
            command: command.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            log: None,
            devices: Vec::new(),
            room: None,
        }
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
