//! The command line: every subcommand with its options, and what `--help` says of them.

use std::path::PathBuf;
use std::time::Duration;

use anstream::ColorChoice;
use clap::{Args, Parser, Subcommand, ValueEnum};
use sallyport_gateway::config::{Invocation, parse_duration};

use crate::output::Failure;

const EXAMPLES: &str = "\
Examples:
  sallyport up                          serve this folder, or what sallyport.toml says
  sallyport --config mcp.json up        serve the servers of another client's configuration
  sallyport connect claude-code         write the entry into Claude Code's configuration
  sallyport add time -- uvx mcp-server-time
  sallyport call filesystem__read_file path=README.md

Exit codes:
  0   done
  1   it did not work; the reason is on stderr
  2   the command line is wrong
  64  the configuration is wrong; every error in it is on stderr";

/// One endpoint for any MCP client, in front of any number of MCP servers, each in a sandbox of its own.
///
/// Without a configuration Sallyport serves the working directory, to read: the built-in servers `filesystem` and, in a git work
/// tree, `git`. With a `sallyport.toml` (here, in a folder above, or your own in ~/.config/sallyport), or the JSON of another
/// client, it serves what that names.
#[derive(Debug, Parser)]
#[command(name = "sallyport", version, after_help = EXAMPLES, max_term_width = 100, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every subcommand understands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The configuration: a sallyport.toml, the .json of another client, or a folder to look in
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub(crate) config: Option<PathBuf>,

    /// The address of the HTTP endpoint, instead of the configuration's
    #[arg(long, global = true, value_name = "ADDR", help_heading = "Everywhere")]
    pub(crate) listen: Option<String>,

    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Everywhere")]
    pub(crate) color: Color,
}

impl Global {
    /// How the program was called, as far as the configuration depends on it.
    pub(crate) fn invocation(&self) -> Result<Invocation, Failure> {
        Invocation::of_this_process(self.config.clone(), self.listen.clone())
            .map_err(|error| Failure::new(format!("the working directory cannot be used: {error}")))
    }
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

impl Color {
    /// Makes it hold for everything that this process prints.
    pub(crate) fn write_global(self) {
        match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        }
        .write_global();
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway: an HTTP endpoint, and a live view of the calls on a terminal
    Up(UpArguments),
    /// Be an MCP server on stdin and stdout, for hosts that only launch commands
    ///
    /// Relays to a gateway that already runs for this configuration, if there is one.
    Stdio(StdioArguments),
    /// Tell everything that is wrong with the configuration
    Check(CheckArguments),
    /// List the tools that a client would see
    Tools(ToolsArguments),
    /// Call a tool
    #[command(after_help = CALL_EXAMPLES)]
    Call(CallArguments),
    /// Add a server to the configuration
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArguments),
    /// Try a server inside its sandbox, and propose what its configuration lacks
    ///
    /// The server runs with what its configuration allows and nothing more, while everything that it touches and is refused is recorded:
    /// files, hosts, system calls. What it was refused becomes a proposal, shown as a change of the configuration. Whatever you want
    /// it to be able to do should happen in the trial: by `--call`, or by working with it, at the endpoint, for as long as `--for` says. On
    /// a terminal, without `--call`, that is until Ctrl-C.
    #[command(after_help = LEARN_EXAMPLES)]
    Learn(LearnArguments),
    /// Remove a server from the configuration
    Remove(RemoveArguments),
    /// List the servers of the configuration
    List(ListArguments),
    /// Take newer versions of servers' packages, and show first what they change
    ///
    /// Looks up what the registries have now, installs it beside what is locked, and shows which packages, files and tools would be
    /// others: for the tools, the old and the new version are started in their sandboxes. Then asks, and writes sallyport.lock. Servers
    /// that run take the new version when they are started again; a running gateway does that by itself.
    #[command(after_help = UPDATE_EXAMPLES)]
    Update(UpdateArguments),
    /// Go back to a version of a server's package that was locked before
    Rollback(RollbackArguments),
    /// Take over the servers of other clients' configurations
    ///
    /// Looks into the configurations of Claude Desktop, Claude Code, Cursor, VS Code, Codex and Zed, shows what would change,
    /// and asks. Secrets that stand there in plain text are moved to files that only you may read. The other clients' files
    /// are not touched.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArguments),
    /// Write Sallyport's entry into a client's configuration
    ///
    /// Keeps comments and order, and a backup beside the file.
    #[command(after_help = CONNECT_EXAMPLES)]
    Connect(ConnectArguments),
    /// Show what a server wrote to stderr
    Logs(LogsArguments),
    /// Look for what keeps Sallyport from working here, and say how to get it
    Doctor(DoctorArguments),
    /// Make what `sandbox = "microvm"` needs
    Microvm(MicrovmArguments),
    /// Give out keys to callers, and take them back
    ///
    /// They lie in your own store, as digests alone, and are taken by gateways of yours with `identity.api_keys = true`.
    Key(KeyArguments),
    /// Try, show and use the boundary that servers run in
    Sandbox(SandboxArguments),
    /// Say what the policy allows, and why
    #[command(after_help = POLICY_EXAMPLES)]
    Policy(PolicyArguments),
    /// Add, list and change the people who log in at this gateway
    ///
    /// They lie in your own store, their passwords as argon2id hashes alone, and log in at gateways of yours with `[identity.server]` in
    /// their configuration.
    #[command(after_help = USER_EXAMPLES)]
    User(UserArguments),
    /// List what clients may do in people's names, and take it back
    Token(TokenArguments),
    /// What users granted the gateway at servers elsewhere
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Write a completion script for a shell
    Completions(CompletionsArguments),
}

const POLICY_EXAMPLES: &str = "\
Examples:
  sallyport policy check
  sallyport policy explain key:env:CI_KEY db query --args '{\"sql\": \"SELECT * FROM orders\"}'
  sallyport policy test policy-tests.toml
  sallyport policy suggest db";

#[derive(Debug, Args)]
pub(crate) struct PolicyArguments {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Tell which policies cannot be understood, do not fit the servers' tools, or can never match
    ///
    /// Servers are started where a policy has to be checked against what their tools take.
    Check(PolicyCheckArguments),
    /// Say why a call is allowed or denied, or, without --args, whether the tool is listed
    Explain(PolicyExplainArguments),
    /// Run files of cases: who may do what, and who may not
    Test(PolicyTestArguments),
    /// Propose rules that allow what the audit records show to be used, and nothing else
    Suggest(PolicySuggestArguments),
}

#[derive(Debug, Args)]
pub(crate) struct PolicySuggestArguments {
    /// Only of this server
    pub(crate) server: Option<String>,

    /// Print a policy in Cedar, for each principal, instead of rules for sallyport.toml
    #[arg(long)]
    pub(crate) cedar: bool,

    /// The audit records, instead of the gateway's own
    #[arg(long, value_name = "FILE")]
    pub(crate) records: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheckArguments {
    /// Start no server: policies are not checked against what tools take
    #[arg(long)]
    pub(crate) offline: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyExplainArguments {
    /// Who: `local`, `key:NAME`, `user:SUBJECT@ISSUER` or `client:NAME@ISSUER`
    pub(crate) principal: String,

    /// The server's name in the configuration
    pub(crate) server: String,

    /// The tool's own name
    pub(crate) tool: String,

    /// The arguments of the call, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) args: Option<String>,

    /// A group that the principal is in
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,

    /// What its token is good for, with spaces between
    #[arg(long, value_name = "SCOPES")]
    pub(crate) scopes: Option<String>,

    /// Whose it is
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,

    /// Where the request comes from; this machine, if left out
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<std::net::IpAddr>,

    /// Do not start the server to ask what its tools take
    #[arg(long)]
    pub(crate) offline: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyTestArguments {
    /// Files of cases, in TOML
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Print the results as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    /// Log lines instead of the live view
    #[arg(long)]
    pub(crate) no_view: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StdioArguments {
    /// Run the servers in this process, even if a gateway already runs for this configuration
    #[arg(long)]
    pub(crate) alone: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Print the JSON Schema of sallyport.toml instead
    #[arg(long, conflicts_with = "json")]
    pub(crate) schema: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ToolsArguments {
    /// Only tools with this text in their name or description
    pub(crate) filter: Option<String>,

    /// Print the tools as JSON, with their schemas
    #[arg(long)]
    pub(crate) json: bool,
}

const PREPARE_EXAMPLES: &str = "\
Examples:
  sallyport microvm prepare              with Debian's kernel for virtual machines, fetched by apt; needs no root
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

const CALL_EXAMPLES: &str = "\
Examples:
  sallyport call git__log limit=5
  sallyport call filesystem__read_file '{\"path\": \"README.md\"}'

In ARG=VALUE a value that is JSON (5, true, [1]) is taken as such, anything else as text.";

#[derive(Debug, Args)]
pub(crate) struct CallArguments {
    /// The tool, as `sallyport tools` names it
    pub(crate) tool: String,

    /// The arguments: ARG=VALUE each, or one JSON object
    #[arg(value_name = "ARG=VALUE | JSON")]
    pub(crate) arguments: Vec<String>,

    /// Print the whole result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const ADD_EXAMPLES: &str = "\
Examples:
  sallyport add time -- uvx mcp-server-time
  sallyport add github --env GITHUB_PERSONAL_ACCESS_TOKEN=env:GITHUB_TOKEN \\
      --network api.github.com -- npx -y @modelcontextprotocol/server-github
  sallyport add tracker --url https://mcp.example.com/mcp --header 'Authorization=Bearer ${env:TOKEN}'";

#[derive(Debug, Args)]
pub(crate) struct AddArguments {
    /// The server's name
    pub(crate) name: String,

    /// The endpoint of a server elsewhere
    #[arg(long, conflicts_with = "command", required_unless_present = "command")]
    pub(crate) url: Option<String>,

    /// The program and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,

    /// An environment variable of the program: a text, env:NAME or file:PATH
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, conflicts_with = "url")]
    pub(crate) env: Vec<(String, String)>,

    /// A header sent to the URL
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, requires = "url")]
    pub(crate) header: Vec<(String, String)>,

    /// A host that the program may connect to; without one it has no network
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "url")]
    pub(crate) network: Vec<String>,

    /// A file or folder that the program may read; without --read and --write it may read the project
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub(crate) read: Vec<String>,

    /// A file or folder that the program may read and write
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub(crate) write: Vec<String>,

    #[command(flatten)]
    pub(crate) target: Target,
}

const LEARN_EXAMPLES: &str = "\
Examples:
  sallyport learn git                                     until Ctrl-C, used by your own client
  sallyport learn git --call git_status '{\"repo_path\": \"/srv/code\"}'
  sallyport learn fetch --call fetch '{\"url\": \"https://example.com\"}' --write
  sallyport learn -- npx -y @modelcontextprotocol/server-memory
  sallyport learn tool --rounds 3 --call build '{}'       again with what was proposed, until nothing new is refused

Exit codes: 1 if the server did not answer; what it was refused until then is told all the same.";

#[derive(Debug, Args)]
pub(crate) struct LearnArguments {
    /// The server; with a command, the name that it gets
    #[arg(required_unless_present = "command")]
    pub(crate) name: Option<String>,

    /// A program that is not configured yet, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,

    /// Call a tool of the server in the trial; may be given again
    #[arg(long, num_args = 2, value_names = ["TOOL", "JSON"])]
    pub(crate) call: Vec<String>,

    /// Serve it at the endpoint for that long (30s, 5m), so that your client can work with it
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) r#for: Option<Duration>,

    /// Try it up to so often, each time with everything that was proposed before: it then really has that
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub(crate) rounds: u32,

    /// Change the configuration as proposed
    #[arg(long)]
    pub(crate) write: bool,

    /// Print what came to light, and the proposal, as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Look for the server in your own configuration instead of the project's
    #[arg(long, conflicts_with = "config")]
    pub(crate) user: bool,
}

/// Which configuration is changed.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Change your own configuration, for all folders, instead of the project's
    #[arg(long, conflicts_with = "config")]
    pub(crate) user: bool,

    /// Show what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// The server's name
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Print the servers as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// List who granted what; no token is shown
    List(VaultArguments),
    /// Forget grants: the next call asks for access again
    Forget(ForgetArguments),
    /// Make another key, and seal every grant anew with it
    Rotate(VaultArguments),
}

#[derive(Debug, Args)]
pub(crate) struct VaultArguments {
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true).args(["user", "server", "all"])))]
pub(crate) struct ForgetArguments {
    /// Only what this user granted, as `list` shows them
    #[arg(long, value_name = "ID")]
    pub(crate) user: Option<String>,
    /// Only what was granted for this server: its URL, as `list` shows it
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Everything
    #[arg(long, conflicts_with_all = ["user", "server"])]
    pub(crate) all: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const UPDATE_EXAMPLES: &str = "\
Examples:
  sallyport update --dry-run             show what all servers' newest versions would change
  sallyport update github --yes
  sallyport update --verify              compare every installed file with what was installed";

#[derive(Debug, Args)]
pub(crate) struct UpdateArguments {
    /// The servers; without one, all that are packages
    pub(crate) names: Vec<String>,

    /// Show what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Change without asking
    #[arg(long)]
    pub(crate) yes: bool,

    /// Do not start the two versions to compare their tools
    #[arg(long)]
    pub(crate) no_start: bool,

    /// Only compare every installed file with what was installed
    #[arg(long, conflicts_with_all = ["dry_run", "yes", "no_start", "prune"])]
    pub(crate) verify: bool,

    /// Only remove versions that no server has been started from for 30 days
    #[arg(long, conflicts_with_all = ["dry_run", "yes", "no_start", "names"])]
    pub(crate) prune: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArguments {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and print it, this once
    Add(AddKeyArguments),
    /// List the keys that were given out
    List(ListKeysArguments),
    /// Make a new key in place of one, which is taken for a while yet
    Rotate(RotateKeyArguments),
    /// Take a key back
    Revoke(RevokeKeyArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AddKeyArguments {
    /// Whose it is: what policy and audit records call the caller is `key:NAME`
    pub(crate) name: String,

    /// What it is good for, several times where it is more than one: SERVER, SERVER:read, SERVER:TOOL, mcp, mcp:read [default:
    /// whatever policy allows]
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,

    /// A group that its holder is in
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,

    /// For how many days it is good: one that nobody renews is one that nobody would miss
    #[arg(long, value_name = "DAYS", default_value = "90", value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub(crate) days: u64,

    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListKeysArguments {
    /// Print them as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RotateKeyArguments {
    /// Whose key it is
    pub(crate) name: String,

    /// For how long the old key is taken yet, so that its holder has time to change it
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub(crate) overlap: Duration,

    /// Print the new key as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeKeyArguments {
    /// Whose key it is, or the id of one that `list` shows
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArguments {
    /// The server
    pub(crate) name: String,

    /// The version; without one, the last that was locked before
    #[arg(id = "to", value_name = "VERSION")]
    pub(crate) version: Option<String>,
}

const IMPORT_EXAMPLES: &str = "\
Examples:
  sallyport import --dry-run             show what all clients' configurations would bring
  sallyport import --from cursor
  sallyport import --from ./mcp.json --yes";

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// One client (claude-desktop, claude-code, cursor, vscode, codex, zed) or one file, instead of all that are found
    #[arg(long, value_name = "CLIENT|FILE")]
    pub(crate) from: Option<String>,

    /// Change without asking
    #[arg(long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) target: Target,
}

const CONNECT_EXAMPLES: &str = "\
Examples:
  sallyport connect claude-code
  sallyport connect cursor --project     in this folder's .cursor/mcp.json
  sallyport connect zed --undo";

#[derive(Debug, Args)]
pub(crate) struct ConnectArguments {
    /// The client
    pub(crate) client: Client,

    /// Take the entry out again
    #[arg(long)]
    pub(crate) undo: bool,

    /// Have the client launch `sallyport stdio`
    #[arg(long, conflicts_with = "http")]
    pub(crate) stdio: bool,

    /// Have the client use the HTTP endpoint of `sallyport up`: the default, where the client can
    #[arg(long)]
    pub(crate) http: bool,

    /// Write to the client's configuration in this folder instead of your own
    #[arg(long)]
    pub(crate) project: bool,

    /// Show what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A client whose configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Client {
    ClaudeCode,
    ClaudeDesktop,
    Cursor,
    #[value(name = "vscode")]
    VsCode,
    Codex,
    Zed,
}

impl Client {
    /// Every client, in the order they are shown.
    pub(crate) const ALL: [Self; 6] = [Self::ClaudeCode, Self::ClaudeDesktop, Self::Cursor, Self::VsCode, Self::Codex, Self::Zed];

    /// What people call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::ClaudeDesktop => "Claude Desktop",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
            Self::Codex => "Codex",
            Self::Zed => "Zed",
        }
    }

    /// What the command line calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Cursor => "cursor",
            Self::VsCode => "vscode",
            Self::Codex => "codex",
            Self::Zed => "zed",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// The server; without one, the gateway's own log
    pub(crate) name: Option<String>,

    /// How many of the last lines
    #[arg(long, short = 'n', value_name = "LINES", default_value_t = 100)]
    pub(crate) lines: usize,

    /// Go on as new lines come
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Print the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Print the AppArmor profile that lets this binary make user namespaces, and nothing else (Ubuntu)
    #[arg(long, conflicts_with = "json")]
    pub(crate) apparmor_profile: bool,
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
    /// The back-end to attack, `os` or `none`; without one, that of a server whose configuration names none
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

const USER_EXAMPLES: &str = "\
Examples:
  sallyport user add alice --admin       asks for a password
  pass show alice | sallyport user add alice
  sallyport user disable alice           logs her out everywhere, at once";

#[derive(Debug, Args)]
pub(crate) struct UserArguments {
    #[command(subcommand)]
    pub(crate) command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add somebody; the password is asked for, or read from stdin
    Add(AddUserArguments),
    /// List everybody
    List(ListKept),
    /// Give somebody another password, and log them out everywhere
    Passwd(NamedUser),
    /// Let nobody in by this name for now, and end what clients have in it
    Disable(NamedUser),
    /// Let somebody in again
    Enable(NamedUser),
    /// Let nobody in by this name any more; nobody else gets it either
    Remove(NamedUser),
}

#[derive(Debug, Args)]
pub(crate) struct AddUserArguments {
    /// The name: what is typed at the login, and whom tokens name
    pub(crate) name: String,

    /// May steer the gateway: is in the group `admin`
    #[arg(long)]
    pub(crate) admin: bool,

    /// A group, which policies can name; may be given again
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListKept {
    /// Print them as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NamedUser {
    /// The name
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArguments {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// List what clients were granted
    List(ListKept),
    /// End a grant: its refresh token at once, its access tokens within a minute
    Revoke(RevokeTokenArguments),
}

#[derive(Debug, Args)]
pub(crate) struct RevokeTokenArguments {
    /// The grant's id, as `sallyport token list` shows it
    #[arg(required_unless_present = "user")]
    pub(crate) id: Option<String>,

    /// End every grant of this person
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    pub(crate) user: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Reads `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_client_has_one_name() {
        for client in Client::ALL {
            assert_eq!(client.to_possible_value().map(|value| value.get_name().to_owned()).as_deref(), Some(client.name()));
        }
    }

    #[test]
    fn help_says_everything() {
        // A width of its own: that of the terminal would change the text.
        let mut command = Arguments::command().term_width(100);
        command.build();
        let help: Vec<_> = command.get_subcommands_mut().map(|command| command.render_long_help().to_string()).collect();
        insta::assert_snapshot!(help.join("\n────\n"));
    }
}
