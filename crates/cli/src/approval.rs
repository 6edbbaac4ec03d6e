//! `sallyport approval`: calls that wait for a person, decided on the gateway's own machine.
//!
//! Whoever can write the store decides: the user who runs the gateway. Servers cannot, since they run in sandboxes of their own.

use std::time::Duration;

use owo_colors::OwoColorize;
use sallyport_gateway::approvals::{decide, visible};
use sallyport_policy::Principal;
use sallyport_store::Store;
use sallyport_store::approval::{Approval, Standing};
use sallyport_telemetry::{Audit, Metrics};
use serde::Serialize;

use crate::arguments::{ApprovalArguments, ApprovalCommand, ApprovalListArguments, ApprovalOneArguments, Global};
use crate::key::{kept, moment, open_in};
use crate::output::{self, Failure};
use crate::{start, tenant};

/// How long the record of a decision may take to be written.
const LAST_RECORD: Duration = Duration::from_secs(5);

/// An approval, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    handle: &'a str,
    standing: &'static str,
    principal: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tenant: &'a str,
    server: &'a str,
    target: &'a str,
    arguments: Option<serde_json::Value>,
    attributes: Option<serde_json::Value>,
    reason: &'a str,
    rule: &'a str,
    asked: String,
    ends: String,
    decided_by: Option<&'a str>,
}

pub(crate) fn run(global: &Global, arguments: &ApprovalArguments) -> Result<(), Failure> {
    let store = open_in(&tenant::folders_of(global, arguments.tenant.tenant.as_deref())?)?;
    match &arguments.command {
        ApprovalCommand::List(arguments) => list(&store, arguments),
        ApprovalCommand::Show(arguments) => show(&store, arguments),
        ApprovalCommand::Approve(arguments) => decided(&store, arguments, true),
        ApprovalCommand::Refuse(arguments) => decided(&store, arguments, false),
    }
}

fn list(store: &Store, arguments: &ApprovalListArguments) -> Result<(), Failure> {
    let mut found = start::runtime()?.block_on(decide::list(store)).map_err(|error| kept(&error))?;
    found.retain(|approval| arguments.all || approval.standing == Standing::Pending);
    if arguments.json {
        return output::json(&found.iter().map(as_json).collect::<Vec<_>>());
    }
    if found.is_empty() {
        output::note("no call waits for an approval");
    }
    found.iter().try_for_each(|approval| {
        let asked = &approval.asked;
        let what = shown(&format!("{}/{}", asked.server, asked.target));
        output::line(format!("{}  {:8}  {what}  by {}", asked.handle.bold(), approval.standing.as_str(), shown(&asked.principal)))
    })
}

fn show(store: &Store, arguments: &ApprovalOneArguments) -> Result<(), Failure> {
    let found = start::runtime()?.block_on(decide::find(store, &arguments.handle)).map_err(|error| kept(&error))?;
    let approval = found.ok_or_else(none)?;
    if arguments.json { output::json(&as_json(&approval)) } else { tell(&approval) }
}

fn decided(store: &Store, arguments: &ApprovalOneArguments, approves: bool) -> Result<(), Failure> {
    let folders = start::folders()?;
    let audit = Audit::to_file(&folders.audit_file(), &Metrics::new()).map_err(|error| {
        Failure::new(format!("the decision cannot be recorded in {}: {error}", folders.audit_file().display()))
            .hint("no decision is made without a record")
    })?;
    let decider = Principal::local_user();
    let deciding = decide::decide(store, &audit, &arguments.handle, approves, (&decider, "cli"));
    let decided = start::runtime()?.block_on(deciding).map_err(|error| kept(&error))?;
    if !audit.close(LAST_RECORD) {
        output::note("the record of this decision could not be written");
    }
    let approval = decided.ok_or_else(none)?;
    if arguments.json {
        return output::json(&as_json(&approval));
    }
    let asked = &approval.asked;
    let what = shown(&format!("{}/{} by {}", asked.server, asked.target, asked.principal));
    output::line(match approves {
        true => format!("approved {what}: the same call goes through once, until {}", time(approval.ends)),
        false => format!("refused {what}"),
    })
}

fn tell(approval: &Approval) -> Result<(), Failure> {
    let asked = &approval.asked;
    output::line(format!("{} {}", asked.handle.bold(), approval.standing.as_str()))?;
    let tenant = if asked.tenant.is_empty() { String::new() } else { format!(" of {}", asked.tenant) };
    output::line(format!("  principal  {}", shown(&format!("{}{tenant}", asked.principal))))?;
    output::line(format!("  {:<9}  {}", asked.action, shown(&format!("{}/{}", asked.server, asked.target))))?;
    output::line(format!("  arguments  {}", shown(&asked.arguments)))?;
    if let Some(attributes) = &asked.attributes {
        output::line(format!("  meaning    {}", shown(attributes)))?;
    }
    output::line(format!("  why        {} ({})", shown(&asked.reason), asked.rule))?;
    output::line(format!("  until      {}", time(approval.ends)))?;
    match &approval.decider {
        Some(decider) => output::line(format!("  decided    by {}", shown(decider))),
        None => Ok(()),
    }
}

fn as_json(approval: &Approval) -> Shown<'_> {
    let asked = &approval.asked;
    let parsed = |text: &str| serde_json::from_str(text).ok();
    Shown {
        handle: &asked.handle,
        standing: approval.standing.as_str(),
        principal: &asked.principal,
        tenant: &asked.tenant,
        server: &asked.server,
        target: &asked.target,
        arguments: parsed(&asked.arguments),
        attributes: asked.attributes.as_deref().and_then(parsed),
        reason: &asked.reason,
        rule: &asked.rule,
        asked: time(approval.made),
        ends: time(approval.ends),
        decided_by: approval.decider.as_deref(),
    }
}

/// A text of whoever made the call, for the eyes of whoever decides.
fn shown(text: &str) -> String {
    visible(text).into_owned()
}

fn time(seconds: i64) -> String {
    moment(u64::try_from(seconds).unwrap_or_default())
}

fn none() -> Failure {
    Failure::new("no call with this handle waits for an approval").hint("`sallyport approval list --all` shows those that there are")
}
