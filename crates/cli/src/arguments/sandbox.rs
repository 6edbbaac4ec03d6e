//! What the commands are told that are about boundaries: `sandbox`, `microvm`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const PREPARE_EXAMPLES: &str = "\
Examples:
  sallyport microvm prepare              with Debian's kernel, fetched by apt; needs no root
  sallyport microvm prepare --kernel /boot/vmlinuz-6.12 --modules /lib/modules/6.12";

#[derive(Debug, Args)]
pub(crate) struct MicrovmArguments {
    #[command(subcommand)]
    pub(crate) command: MicrovmCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MicrovmCommand {
    /// Unpack a kernel and its drivers, once for all servers
    #[command(after_help = PREPARE_EXAMPLES)]
    Prepare(PrepareArguments),
}

#[derive(Debug, Args)]
pub(crate) struct PrepareArguments {
    /// A folder into which a kernel's package was unpacked, with `boot` and `lib/modules` in it
    #[arg(long, value_name = "FOLDER", conflicts_with = "kernel")]
    pub(crate) from: Option<PathBuf>,

    /// The kernel, an ELF file or a bzImage
    #[arg(long, value_name = "FILE", requires = "modules")]
    pub(crate) kernel: Option<PathBuf>,

    /// The folder with the kernel's modules
    #[arg(long, value_name = "FOLDER", requires = "kernel")]
    pub(crate) modules: Option<PathBuf>,

    /// Where to, instead of your own cache: a server names it as `sandbox = { microvm = { guest = "FOLDER" } }`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) into: Option<PathBuf>,

    /// Print what was prepared as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SandboxArguments {
    #[command(subcommand)]
    pub(crate) command: SandboxCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// Let a hostile program try to get out of a sandbox on this machine, and tell what stopped it
    ///
    /// Some forty attacks, each by many attempts. One is stopped only if every attempt met an error and nothing outside has
    /// changed. Nothing is harmed by an attack that gets through. Takes about ten seconds; the exit code is 1 if one is open.
    Attack(AttackArguments),
    /// Show the boundary of a server: what the configuration makes of it, and what the kernel enforces
    ///
    /// Launches the server's program in its sandbox, says nothing to it, and ends it again.
    Inspect(InspectArguments),
    /// Run a program in a sandbox, without a gateway
    ///
    /// Its stdin and stdout are this command's own; of stderr the last lines are shown when it ends. The exit code is the program's, or 128
    /// and the number of the signal that ended it.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArguments),
}

const RUN_EXAMPLES: &str = "\
Examples:
  sallyport sandbox run -- ls /
  sallyport sandbox run --read . -- node server.js
  sallyport sandbox run --write ./data --network api.github.com:443 -- ./server";

#[derive(Debug, Args)]
pub(crate) struct AttackArguments {
    /// The back-end to attack, `os`, `landlock`, `microvm`, `oci`, `gvisor`, `wasm` or `none`; without one, that of a server whose
    /// configuration names none
    #[arg(long, value_name = "NAME")]
    pub(crate) backend: Option<String>,

    /// Print the outcomes as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// The server
    pub(crate) name: String,

    /// Print all of it as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The server is this tenant's, not the gateway's own
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,

    /// A file or folder that it may read
    #[arg(long, value_name = "PATH")]
    pub(crate) read: Vec<PathBuf>,

    /// A file or folder that it may read and write, but for what `deny_write` keeps by default
    #[arg(long, value_name = "PATH")]
    pub(crate) write: Vec<PathBuf>,

    /// A host that it may connect to; without one it has no network
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) network: Vec<String>,

    /// The back-end; without one, that of a server whose configuration names none
    #[arg(long, value_name = "NAME")]
    pub(crate) backend: Option<String>,
}
