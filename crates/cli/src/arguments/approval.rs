//! What `sallyport approval` is told.

use clap::{Args, Subcommand};

use super::OfTenants;

pub(super) const APPROVAL_EXAMPLES: &str = "\
Examples:
  sallyport approval list
  sallyport approval show 0123456789abcdef0123
  sallyport approval approve 0123456789abcdef0123";

#[derive(Debug, Args)]
pub(crate) struct ApprovalArguments {
    #[command(subcommand)]
    pub(crate) command: ApprovalCommand,

    #[command(flatten)]
    pub(crate) tenant: OfTenants,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalCommand {
    /// List the calls that wait
    List(ApprovalListArguments),
    /// Show a call with its arguments
    Show(ApprovalOneArguments),
    /// Let a call through, once, with the arguments that it was made with
    Approve(ApprovalOneArguments),
    /// Refuse a call, also one that was approved and has not been made: the same one is not asked about again until the request is over
    Refuse(ApprovalOneArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ApprovalListArguments {
    /// Also those that were decided
    #[arg(long)]
    pub(crate) all: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApprovalOneArguments {
    /// The handle, as the refused call and `sallyport approval list` tell it
    pub(crate) handle: String,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
