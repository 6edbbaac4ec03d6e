//! `sallyport policy test`: what a policy has to decide, written down, and whether it does.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use owo_colors::OwoColorize;
use sallyport_gateway::plan::Plan;
use sallyport_gateway::{config, policy_of};
use sallyport_policy::{Action, Annotations, Arguments, Circumstances, Decision, Effect, Pin, Policy};
use serde::Deserialize;
use serde_json::{Value, json};

use super::subject::principal;
use super::tools::{Tool, Tools};
use crate::arguments::{Global, PolicyTestArguments};
use crate::output::{self, Failure};
use crate::{start, tenant};

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What servers offer. A server that has none here is started and asked, where a policy needs to know.
    #[serde(default)]
    tool: Vec<ToolEntry>,
    case: Vec<Case>,
}

/// A tool of a server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolEntry {
    server: String,
    name: String,
    /// Its `inputSchema`.
    schema: Option<Value>,
    read_only: Option<bool>,
    destructive: Option<bool>,
    idempotent: Option<bool>,
    open_world: Option<bool>,
    /// Left out: nothing is recorded of it.
    #[serde(default)]
    pin: Pin,
}

/// One question, and what has to come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: Option<String>,
    principal: String,
    #[serde(default)]
    groups: Vec<String>,
    scopes: Option<String>,
    tenant: Option<String>,
    server: String,
    tool: String,
    /// Left out: whether the tool is in the principal's list.
    arguments: Option<Value>,
    address: Option<IpAddr>,
    /// Seconds since 1970; left out: now.
    time: Option<u64>,
    expect: Effect,
    /// The place that has to decide, or part of it.
    place: Option<String>,
}

pub(crate) fn run(global: &Global, arguments: &PolicyTestArguments) -> Result<(), Failure> {
    let plan = tenant::of(config::load(&global.invocation()?)?, arguments.tenant.as_deref())?;
    let policy = policy_of(&plan).map_err(|error| start::unusable(&error))?;
    let mut results = Vec::new();
    for file in &arguments.files {
        results.extend(run_file(&plan, &policy, file)?);
    }
    let failed = results.iter().filter(|result| result.problem.is_some()).count();
    if arguments.json {
        let told = results.iter().map(|result| json!({ "case": result.name, "decision": result.decision, "problem": result.problem }));
        output::json(&json!({ "ok": failed == 0, "cases": told.collect::<Vec<_>>() }))?;
    } else {
        for result in &results {
            match &result.problem {
                None => output::line(format!("{} {}", "ok".green(), result.name))?,
                Some(problem) => output::line(format!("{} {}: {problem}; {}", "FAILED".red().bold(), result.name, result.decision))?,
            }
        }
        output::line(format!("{} cases, {failed} failed", results.len()))?;
    }
    if failed == 0 { Ok(()) } else { Err(Failure::new(format!("{failed} of {} cases failed", results.len()))) }
}

/// What became of a case.
struct Ran {
    name: String,
    decision: String,
    problem: Option<String>,
}

fn run_file(plan: &Plan, policy: &Policy, path: &Path) -> Result<Vec<Ran>, Failure> {
    let unread = |wrong: config::Diagnostic| {
        Failure::new(format!("{}: {}", path.display(), wrong.message)).hint("name files of cases, such as `policy-tests.toml`")
    };
    let text = config::read_bounded(path).map_err(unread)?;
    let File { tool, case } = toml::from_str(&text).map_err(|error| {
        Failure::new(format!("{}: {error}", path.display()))
            .hint("a file has `[[case]]`s with `principal`, `server`, `tool`, `expect` and perhaps `arguments`")
    })?;
    for case in &case {
        super::known_server(plan, &case.server)?;
    }
    let mut tools = Tools::default();
    for ToolEntry { server, name, schema, read_only, destructive, idempotent, open_world, pin } in tool {
        let annotations = Annotations { read_only, destructive, idempotent, open_world };
        tools.add(&server, Tool { name, schema: schema.map(|schema| schema.to_string()), annotations, pin });
    }
    let mut unknown: Vec<&str> = case.iter().map(|case| case.server.as_str()).filter(|server| !tools.knows(server)).collect();
    unknown.sort_unstable();
    unknown.dedup();
    if policy.needs_tools() && !unknown.is_empty() {
        let asked = Tools::ask(plan, &unknown)?;
        tools.extend(asked);
    }
    if let Some(wrong) = tools.teach(policy).first() {
        return Err(Failure::new(format!("a policy does not fit the tools: {}: {}", wrong.place, wrong.message)).hint(wrong.hint.clone()));
    }
    let runtime = start::runtime()?;
    case.iter().enumerate().map(|(index, case)| runtime.block_on(run_case(plan, policy, &tools, index, case))).collect()
}

async fn run_case(plan: &Plan, policy: &Policy, tools: &Tools, index: usize, case: &Case) -> Result<Ran, Failure> {
    let who = principal(&case.principal, &case.groups, case.scopes.as_deref(), case.tenant.as_deref().or(plan.tenant.as_deref()))?;
    let text = case.arguments.as_ref().map(Value::to_string);
    let resource = tools.resource(plan, &case.server, &case.tool);
    let resource = text.as_deref().map_or(resource, |text| resource.with(Arguments::Given(text)));
    let action = if text.is_some() { Action::Call } else { Action::List };
    let time = case.time.map_or_else(SystemTime::now, |seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    let decision = policy.explain(&who, action, &resource, Circumstances { time, origin: case.address.into() }).await.decision;
    let what = || format!("case {}: {who} {action} {}/{}", index + 1, case.server, case.tool);
    Ok(Ran { name: case.name.clone().unwrap_or_else(what), problem: problem(case, &decision), decision: decision.to_string() })
}

fn problem(case: &Case, decision: &Decision) -> Option<String> {
    if decision.effect != case.expect {
        return Some(format!("`{}` was expected", case.expect.as_str()));
    }
    let place = case.place.as_deref().filter(|place| !decision.place.as_str().contains(place))?;
    Some(format!("`{place}` was to decide"))
}
