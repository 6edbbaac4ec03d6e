//! What the commands are told that are about who may call, and about what users granted: `key`, `user`, `token`, `vault`.

use std::time::Duration;

use clap::{Args, Subcommand};
use sallyport_gateway::config::parse_duration;

#[derive(Debug, Args)]
pub(crate) struct KeyArguments {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,

    #[command(flatten)]
    pub(crate) tenant: OfTenants,
}

/// Whose things a command with subcommands is about.
#[derive(Debug, Args)]
pub(crate) struct OfTenants {
    /// Those of this tenant, instead of the gateway's own
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
}

/// Whose gateway a command is about.
#[derive(Debug, Args)]
pub(crate) struct OfTenant {
    /// As a caller of this tenant, instead of the gateway's own
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
}

/// Whose servers a command is about.
#[derive(Debug, Args)]
pub(crate) struct OfServers {
    /// Of this tenant, instead of the gateway's own
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TenantArguments {
    #[command(subcommand)]
    pub(crate) command: TenantCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// List the tenants, and those that are gone and have left something
    List(ListKept),
    /// Remove what a tenant kept that is not configured any more: its keys, users, grants and logs
    Forget(ForgetTenantArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ForgetTenantArguments {
    /// The tenant's name
    pub(crate) name: String,

    /// Really remove it
    #[arg(long)]
    pub(crate) yes: bool,

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
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

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) const USER_EXAMPLES: &str = "\
Examples:
  sallyport user add alice --admin       asks for a password
  pass show alice | sallyport user add alice
  sallyport user disable alice           logs her out everywhere, at once
  sallyport user add bob --tenant acme   logs in at /t/acme alone";

#[derive(Debug, Args)]
pub(crate) struct UserArguments {
    #[command(subcommand)]
    pub(crate) command: UserCommand,

    #[command(flatten)]
    pub(crate) tenant: OfTenants,
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

    /// Print whom it added as JSON
    #[arg(long)]
    pub(crate) json: bool,
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

    /// Print whom it changed as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArguments {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,

    #[command(flatten)]
    pub(crate) tenant: OfTenants,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// List what clients were granted
    List(ListKept),
    /// End a grant: its refresh token at once, its access tokens within a second
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

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VaultArguments {
    #[command(subcommand)]
    pub(crate) command: VaultCommand,

    #[command(flatten)]
    pub(crate) tenant: OfTenants,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// List who granted what; no token is shown
    List(ListKept),
    /// Forget grants: the next call asks for access again
    Forget(ForgetArguments),
    /// Make another key, and seal every grant anew with it
    Rotate(RotateVaultArguments),
}

#[derive(Debug, Args)]
pub(crate) struct RotateVaultArguments {
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
