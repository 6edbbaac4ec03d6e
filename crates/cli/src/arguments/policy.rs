//! What `sallyport policy` is told.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sallyport_telemetry::Timestamp;

pub(super) const POLICY_EXAMPLES: &str = "\
Examples:
  sallyport policy check
  sallyport policy explain key:env:CI_KEY db query --args '{\"sql\": \"SELECT * FROM orders\"}'
  sallyport policy test policy-tests.toml
  sallyport policy shadow next.toml --since 7d
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
    /// Ask another policy about the calls in the audit records, and tell what it would have decided in another way
    ///
    /// Ends with 3 if there is such a call. Nothing is called. A rule that looks at what records do not tell is named instead of guessed at:
    /// of arguments they tell what rules for arguments declare.
    Shadow(PolicyShadowArguments),
    /// Propose rules that allow what the audit records show to be used, and nothing else
    Suggest(PolicySuggestArguments),
    /// Record anew what a server's tools say of themselves
    ///
    /// What is recorded is forgotten; what the server tells at its next start is what policies call pinned from then on. For when you know why
    /// its tools have changed.
    Repin(PolicyRepinArguments),
}

#[derive(Debug, Args)]
pub(crate) struct PolicyRepinArguments {
    /// The server's name in the configuration
    pub(crate) server: String,

    /// A server of this tenant
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyShadowArguments {
    /// The configuration with the policy to try
    #[arg(value_name = "NEW.toml")]
    pub(crate) file: PathBuf,

    /// The audit records: a file, or `default` for the gateways' own
    #[arg(long, alias = "records", value_name = "FILE", default_value = "default")]
    pub(crate) audit: Option<PathBuf>,

    /// Only those since then: `36h`, `7d`, `2026-11-20`, `2026-11-20T08:00:00Z`
    #[arg(long, value_name = "WHEN", value_parser = crate::policy::records::since)]
    pub(crate) since: Option<Timestamp>,

    /// Only the calls of this tenant, by the tenant's tables in the file, or by a file that holds nothing else
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,

    /// Ask decision points elsewhere, too: they are sent what is recorded
    #[arg(long)]
    pub(crate) ask_remote: bool,

    /// Start no server to ask what its tools take
    #[arg(long)]
    pub(crate) offline: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicySuggestArguments {
    /// Only of this server
    pub(crate) server: Option<String>,

    /// Print a policy in Cedar, for each principal, instead of rules for sallyport.toml
    #[arg(long)]
    pub(crate) cedar: bool,

    /// The audit records: a file, or `default` for the gateways' own
    #[arg(long, alias = "audit", value_name = "FILE", default_value = "default")]
    pub(crate) records: Option<PathBuf>,

    /// Only those since then: `36h`, `7d`, `2026-11-20`, `2026-11-20T08:00:00Z`
    #[arg(long, value_name = "WHEN", value_parser = crate::policy::records::since)]
    pub(crate) since: Option<Timestamp>,

    /// Only the calls of this tenant
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,

    /// Print what was used, and the proposal, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheckArguments {
    /// Start no server: policies are not checked against what tools take
    #[arg(long)]
    pub(crate) offline: bool,

    /// The policy of this tenant, instead of the gateway's own
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,

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

    /// Whose it is; where the configuration has tenants, the server is this one's
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

    /// The policy of this tenant, instead of the gateway's own
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,

    /// Print the results as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
