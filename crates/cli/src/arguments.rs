//! The command line: every subcommand with its options, and what `--help` says of them.

mod approval;
mod identity;
mod policy;
mod sandbox;

use std::path::PathBuf;
use std::time::Duration;

use anstream::ColorChoice;
use clap::{Args, Parser, Subcommand, ValueEnum};
use sallyport_gateway::config::{Invocation, parse_duration};
use sallyport_gateway::packages::Share;
use sallyport_telemetry::Timestamp;

use crate::output::Failure;

use approval::APPROVAL_EXAMPLES;
pub(crate) use approval::{ApprovalArguments, ApprovalCommand, ApprovalListArguments, ApprovalOneArguments};
use identity::USER_EXAMPLES;
pub(crate) use identity::{
    AddKeyArguments, AddUserArguments, ForgetArguments, ForgetTenantArguments, KeyArguments, KeyCommand, ListKept, NamedUser, OfServers,
    OfTenant, OfTenants, RevokeTokenArguments, RotateKeyArguments, TenantArguments, TenantCommand, TokenArguments, TokenCommand,
    UserArguments, UserCommand, VaultArguments, VaultCommand,
};
use policy::POLICY_EXAMPLES;
pub(crate) use policy::{
    PolicyArguments, PolicyCheckArguments, PolicyCommand, PolicyExplainArguments, PolicyRepinArguments, PolicyShadowArguments,
    PolicySuggestArguments, PolicyTestArguments,
};
pub(crate) use sandbox::{
    AttackArguments, InspectArguments, MicrovmArguments, MicrovmCommand, PrepareArguments, RunArguments, SandboxArguments, SandboxCommand,
};

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
  3   `policy shadow`: a call would be decided in another way
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
    /// Show what a server wrote to stderr, or the gateway's own log
    Logs(LogsArguments),
    /// Show who called what, and how it ended: the gateway's own records, or those of one tenant
    Audit(AuditArguments),
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
    /// Decide about calls that wait for a person's approval
    ///
    /// A rule with `ask` holds them. They lie in your own store; what is decided is recorded.
    #[command(after_help = APPROVAL_EXAMPLES)]
    Approval(ApprovalArguments),
    /// Add, list and change the people who log in at this gateway, or at a tenant
    ///
    /// They lie in your own store, their passwords as argon2id hashes alone, and log in at gateways of yours with `[identity.server]` in
    /// their configuration; those of a tenant (`--tenant`) in the tenant's, and log in there alone.
    #[command(after_help = USER_EXAMPLES)]
    User(UserArguments),
    /// List what clients may do in people's names, and take it back
    Token(TokenArguments),
    /// What users granted the gateway at servers elsewhere
    Vault(VaultArguments),
    /// List the tenants of the configuration, and clear away what is left of others
    Tenant(TenantArguments),
    /// Write a completion script for a shell
    Completions(CompletionsArguments),
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

    #[command(flatten)]
    pub(crate) of: OfTenant,
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

    #[command(flatten)]
    pub(crate) of: OfTenant,
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

    #[command(flatten)]
    pub(crate) of: OfTenant,
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
    pub(crate) of: OfServers,

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

    /// The server is this tenant's, not the gateway's own
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
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

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// The server's name
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) of: OfServers,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Print the servers as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) of: OfTenant,
}

const UPDATE_EXAMPLES: &str = "\
Examples:
  sallyport update --dry-run             show what all servers' newest versions would change
  sallyport update github --yes
  sallyport update github --share 10%    give a new version to a tenth of the callers first
  sallyport update github --finish       and then to all
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

    /// With `--yes`: also take versions that lack the provenance which the ones before have
    #[arg(long, requires = "yes")]
    pub(crate) without_provenance: bool,

    /// Do not start the two versions to compare their tools
    #[arg(long)]
    pub(crate) no_start: bool,

    /// Start them with the server's secrets, network and folders to write, where they list no tools without
    #[arg(long, conflicts_with = "no_start")]
    pub(crate) with_rights: bool,

    /// Give the new version to a share of the callers first; again, to give one that has a share another one
    #[arg(long, value_name = "PERCENT", requires = "names", conflicts_with_all = ["verify", "prune", "finish"])]
    pub(crate) share: Option<Share>,

    /// Give the version that has a share to all callers
    #[arg(long, requires = "names", conflicts_with_all = ["dry_run", "no_start", "with_rights", "verify", "prune"])]
    pub(crate) finish: bool,

    /// Only compare every installed file with what was installed
    #[arg(long, conflicts_with_all = ["dry_run", "yes", "no_start", "with_rights", "prune"])]
    pub(crate) verify: bool,

    /// Only remove versions that no server was started from for 30 days and no lock on this machine names
    #[arg(long, conflicts_with_all = ["dry_run", "yes", "no_start", "with_rights", "names"])]
    pub(crate) prune: bool,

    /// The servers are this tenant's, not the gateway's own
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArguments {
    /// The server
    pub(crate) name: String,

    /// The version; without one, the last that was locked before
    #[arg(id = "to", value_name = "VERSION")]
    pub(crate) version: Option<String>,

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server is this tenant's, not the gateway's own
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
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

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
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

    /// Print the lines, and which file they are from, as JSON
    #[arg(long, conflicts_with = "follow")]
    pub(crate) json: bool,

    /// The server is this tenant's, not the gateway's own
    #[arg(long, value_name = "TENANT", requires = "name")]
    pub(crate) tenant: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArguments {
    /// How many of the last records
    #[arg(long, short = 'n', value_name = "RECORDS", default_value_t = 100)]
    pub(crate) lines: usize,

    /// Only those since then: `36h`, `7d`, `2026-11-20`, `2026-11-20T08:00:00Z`
    #[arg(long, value_name = "WHEN", value_parser = crate::policy::records::since)]
    pub(crate) since: Option<Timestamp>,

    /// The audit records: a file, or `default` for the gateways' own
    #[arg(long, value_name = "FILE", default_value = "default")]
    pub(crate) records: Option<PathBuf>,

    /// Print the records as they were written, as a list in JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) of: OfServers,
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
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use clap::CommandFactory;
    use clap::error::ErrorKind;

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

    /// The command lines of this program that stand in `text`, each by itself, prompts and results left out.
    fn command_lines(text: &str) -> Vec<String> {
        let lines = text.replace("\\\n", " ");
        lines
            .lines()
            .map(|line| line.trim().trim_start_matches("$ "))
            .filter(|line| line.starts_with("sallyport "))
            .map(str::to_owned)
            .collect()
    }

    /// What stands between fences, and between backticks as a command that is whole.
    fn quoted(page: &str) -> String {
        let (fenced, prose): (Vec<_>, Vec<_>) = page.split("```").enumerate().partition(|(index, _)| index % 2 == 1);
        let inline = prose.into_iter().flat_map(|(_, text)| text.split('`').skip(1).step_by(2)).filter(|code| !code.contains(['[', '|']));
        fenced.into_iter().map(|(_, text)| text.to_owned()).chain(inline.map(|code| code.replace('\n', " "))).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_command_that_is_shown_somewhere_is_one() {
        let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut pages = vec![top.join("README.md"), top.join("docs/reference/exit-codes.md")];
        pages.extend(std::fs::read_dir(top.join("docs/guides")).unwrap().map(|entry| entry.unwrap().path()));
        let mut shown: Vec<String> =
            pages.iter().flat_map(|page| command_lines(&quoted(&std::fs::read_to_string(page).unwrap()))).collect();
        let mut command = Arguments::command();
        command.build();
        shown.extend(
            command
                .get_subcommands()
                .chain([&command])
                .flat_map(|command| command_lines(&command.get_after_help().map(ToString::to_string).unwrap_or_default())),
        );
        assert!(shown.len() > 100, "only {} were found", shown.len());
        for line in shown {
            // In a help text what a command does stands beside it.
            let line = line.split("   ").next().unwrap_or_default();
            let words = shlex::split(line).unwrap_or_else(|| panic!("{line}"));
            if let Err(error) = Arguments::try_parse_from(words) {
                // Where it is spoken of, a command may stand without what it needs.
                let is_named = matches!(
                    error.kind(),
                    ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingRequiredArgument
                );
                assert!(is_named, "{line}\n{error}");
            }
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
