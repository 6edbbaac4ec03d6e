//! `sallyport policy shadow`: what another policy would have decided of the calls that were recorded.

mod report;

use std::path::Path;
use std::time::SystemTime;

use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;
use sallyport_gateway::config::{self, Invocation};
use sallyport_gateway::plan::Plan;
use sallyport_gateway::policy_of;
use sallyport_policy::engines::EngineConfig;
use sallyport_policy::{Action, Annotations, Arguments, Circumstances, Origin, Pin, Policy, Principal, Recorded, Replayed, Resource};
use sallyport_telemetry::{Asked, AuditRecord, UNKNOWN_ADDRESS};
use serde_json::Value;
use tokio::runtime::Runtime;

use self::report::Report;
use super::records::{self, LeftOut, Wanted};
use super::subject::principal;
use super::tools::Tools;
use crate::arguments::{Global, PolicyShadowArguments};
use crate::output::{self, Exit, Failure};
use crate::{start, tenant};

/// What `{}` and no arguments at all have in bytes.
const NOTHING: u64 = 2;

pub(crate) fn run(global: &Global, arguments: &PolicyShadowArguments) -> Result<(), Failure> {
    let file = config::load(&Invocation { file: Some(arguments.file.clone()), ..global.invocation()? })?;
    let plan = tenant::of_or_whole(file, arguments.tenant.as_deref())?;
    let policy = policy_of(&plan).map_err(|error| start::unusable(&error))?;
    let files = records::files(arguments.audit.as_deref())?;
    let tools = if arguments.offline || !looks_at_tools(&plan, &policy) { Tools::default() } else { ask(&plan, &policy)? };
    let replay = Replay { plan: &plan, policy: &policy, tools: &tools, asks_elsewhere: arguments.ask_remote, runtime: start::runtime()? };
    let wanted = Wanted { plan: &plan, server: None, tenant: arguments.tenant.as_deref(), since: arguments.since };
    let (mut report, mut left_out) = (Report::default(), LeftOut::default());
    let line = progress(&files);
    let told = records::each(
        &files,
        &wanted,
        &mut left_out,
        |bytes| line.inc(bytes),
        |record, left_out| {
            replay.one(&record, &mut report, left_out);
            Ok(())
        },
    );
    line.finish_and_clear();
    told?;
    if report.is_empty() {
        let none = Failure::new("no record tells of a call that could be asked about");
        let why: Vec<String> = left_out.iter().map(|(why, count)| format!("{count} {why}")).collect();
        return Err(if why.is_empty() {
            none.hint("let the gateway serve calls for some time first")
        } else {
            none.hint(format!("left out: {}", why.join("; ")))
        });
    }
    if arguments.json {
        output::json(&report.as_json(&arguments.file, &left_out))?
    } else {
        report.tell(&arguments.file, &left_out)?
    }
    if report.differs() { Err(Failure::told(Exit::Differs)) } else { Ok(()) }
}

/// Whether an engine decides by what tools take: Cedar does, and what a tool does not take at all need not be recorded for Rego.
fn looks_at_tools(plan: &Plan, policy: &Policy) -> bool {
    policy.needs_tools() || plan.policy.engines.iter().any(|engine| matches!(engine, EngineConfig::Rego(_)))
}

fn ask(plan: &Plan, policy: &Policy) -> Result<Tools, Failure> {
    let names: Vec<&str> = plan.servers.keys().map(String::as_str).collect();
    let tools = Tools::ask(plan, &names)?;
    for wrong in tools.teach(policy) {
        let label = "warning:".yellow().bold().to_string();
        output::note(format!("{label} {}: {}\n  {} {}", wrong.place, wrong.message, "hint:".cyan(), wrong.hint));
    }
    Ok(tools)
}

fn progress(files: &[std::path::PathBuf]) -> ProgressBar {
    let bytes = files.iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum();
    let line = ProgressBar::new(bytes); // on stderr, and nothing at all where that is no terminal
    let style = ProgressStyle::with_template("{bytes} of {total_bytes} of records");
    line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    line
}

/// What recorded calls are asked with.
struct Replay<'a> {
    plan: &'a Plan,
    policy: &'a Policy,
    tools: &'a Tools,
    asks_elsewhere: bool,
    runtime: Runtime,
}

impl Replay<'_> {
    fn one(&self, record: &AuditRecord<'_>, report: &mut Report, left_out: &mut LeftOut) {
        match self.ask(record) {
            Ok((principal, replayed)) => report.add(record, &principal, replayed),
            Err(why) => left_out.count(why),
        }
    }

    /// # Errors
    /// Why nothing can be asked, to be read after `records`.
    fn ask(&self, record: &AuditRecord<'_>) -> Result<(Principal, Replayed), &'static str> {
        let (Some(server), Some(target)) = (record.server.as_ref(), record.target.as_ref()) else { return Err("without a target") };
        let asked = record.asked.as_ref().ok_or("that do not say what policy was asked with (an earlier version, or very many groups)")?;
        let who = caller(record, asked).ok_or("of callers that cannot be made out")?;
        let origin = origin(asked).ok_or("of addresses that are none")?;
        if target.as_str().ends_with('…') {
            return Err("whose target is cut"); // or really ends so, which nobody will miss
        }
        let mut recorded = None;
        let (action, resource) = match record.method.as_str() {
            "tools/call" => {
                let recorded = recorded.insert(self.arguments(record, server.as_str(), target.as_str()));
                let tool = self.tools.resource(self.plan, server.as_str(), target.as_str());
                let tool = Resource { annotations: annotations(asked), pin: pin(asked), ..tool };
                (Action::Call, tool.with(Arguments::Recorded(recorded)))
            }
            "resources/read" => (Action::Read, Resource::resource(server.as_str(), target.as_str())),
            "resources/subscribe" | "resources/unsubscribe" => (Action::Subscribe, Resource::resource(server.as_str(), target.as_str())),
            "prompts/get" => (Action::Get, Resource::prompt(server.as_str(), target.as_str())),
            _ => return Err("of other methods than calls, prompts and resources"),
        };
        let moment = Circumstances { time: SystemTime::from(record.time), origin };
        Ok((who.clone(), self.runtime.block_on(self.policy.replay(&who, action, &resource, moment, self.asks_elsewhere))))
    }

    fn arguments(&self, record: &AuditRecord<'_>, server: &str, tool: &str) -> Recorded {
        let is_nothing = record.arguments.is_none_or(|arguments| arguments.bytes <= NOTHING);
        let members = |value: &Option<Value>| value.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
        let unrecorded = if is_nothing { Some(0) } else { record.unrecorded };
        Recorded::new(members(&record.attributes), members(&record.sizes), unrecorded, self.tools.arguments(server, tool))
    }
}

/// What the server said of the tool then.
fn annotations(asked: &Asked<'_>) -> Annotations {
    let Asked { read_only, destructive, idempotent, open_world, .. } = *asked;
    Annotations { read_only, destructive, idempotent, open_world }
}

/// How the tool stood then to what was recorded of it.
fn pin(asked: &Asked<'_>) -> Pin {
    let told = asked.pin.as_ref().map(|pin| pin.as_str());
    Pin::ALL.into_iter().find(|pin| told == Some(pin.as_str())).unwrap_or_default()
}

/// Where it came from.
fn origin(asked: &Asked<'_>) -> Option<Origin> {
    match asked.address.as_ref().map(|address| address.as_str()) {
        None => Some(Origin::ThisMachine),
        Some(UNKNOWN_ADDRESS) => Some(Origin::Unknown),
        Some(address) => address.parse().ok().map(Origin::Address),
    }
}

/// The caller as it was when policy was asked.
fn caller(record: &AuditRecord<'_>, asked: &Asked<'_>) -> Option<Principal> {
    let groups: Vec<String> = asked.groups.iter().map(ToString::to_string).collect();
    let scopes = asked.scopes.as_ref().map(|scopes| scopes.as_str());
    principal(record.principal.as_ref()?.as_str(), &groups, scopes, record.tenant.as_ref().map(|tenant| tenant.as_str())).ok()
}

/// The file as messages name it.
fn named(file: &Path) -> String {
    file.display().to_string()
}
