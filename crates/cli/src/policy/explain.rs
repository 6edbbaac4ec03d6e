//! `sallyport policy explain`: why something is allowed or denied.

use std::time::SystemTime;

use owo_colors::OwoColorize;
use sallyport_gateway::{config, policy_of};
use sallyport_policy::{Action, Arguments, Circumstances, Decision, Explanation, Outcome, Pin, Principal, Resource, Verdict};
use serde_json::{Map, Value, json};

use super::subject::principal;
use super::tools::Tools;
use crate::arguments::{Global, PolicyExplainArguments};
use crate::output::{self, Failure};
use crate::start;
use crate::tenant;
use crate::tools::shown;

pub(crate) fn run(global: &Global, arguments: &PolicyExplainArguments) -> Result<(), Failure> {
    let PolicyExplainArguments { principal: who, server, tool, args, groups, scopes, tenant: name, address, offline, json } = arguments;
    let plan = tenant::of_or_whole(config::load(&global.invocation()?)?, name.as_deref())?;
    super::known_server(&plan, server)?;
    let given = args.as_deref().map(object).transpose()?;
    let who = principal(who, groups, scopes.as_deref(), name.as_deref())?;
    let policy = policy_of(&plan).map_err(|error| start::unusable(&error))?;
    let tools = if *offline { Tools::default() } else { Tools::ask(&plan, &[server])? };
    for wrong in tools.teach(&policy) {
        output::note(format!(
            "server `{server}` is closed, since a policy does not fit: {}: {}\n  hint: {}",
            wrong.place, wrong.message, wrong.hint
        ));
    }
    if tools.knows(server) {
        tools.fits(server, tool, given.as_ref())?;
    }
    let resource = tools.resource(&plan, server, tool);
    let resource = args.as_deref().map_or(resource, |args| resource.with(Arguments::Given(args)));
    let action = if args.is_some() { Action::Call } else { Action::List };
    let moment = Circumstances { time: SystemTime::now(), origin: (*address).into() };
    let explained = start::runtime()?.block_on(policy.explain(&who, action, &resource, moment));
    if *json { output::json(&as_json(&resource, &explained)) } else { tell(&who, &resource, &explained) }
}

/// The arguments of a call, which are one object whatever the tool.
fn object(text: &str) -> Result<Map<String, Value>, Failure> {
    let hint = "write one JSON object: '{\"sql\": \"SELECT 1\"}'; leave --args out to ask whether the tool is listed";
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Failure::new("--args is JSON, but no object").hint(hint)),
        Err(error) => Err(Failure::new(format!("--args is no JSON: {error}")).hint(hint)),
    }
}

/// Tells a decision to a person.
fn tell(who: &Principal, resource: &Resource<'_>, explained: &Explanation) -> Result<(), Failure> {
    let told = shown(&explained.decision.to_string());
    output::line(if explained.decision.is_allow() { told.green().to_string() } else { told.red().to_string() })?;
    let groups = if who.groups().is_empty() { String::new() } else { format!(", in {}", who.groups().join(", ")) };
    output::line(format!("  principal  {who}{groups}"))?;
    output::line(format!("  tool       {}/{} ({})", resource.server, resource.name, does(resource)))?;
    output::line(format!("  definition {}", defined(resource.pin)))?;
    match &explained.arguments {
        Ok(Some(arguments)) => output::line(format!("  arguments  {}", shown(&arguments.to_string())))?,
        Ok(None) => output::line("  arguments  not known: this is what a list shows")?,
        Err(why) => output::line(format!("  arguments  not understood: {}", shown(why)))?,
    }
    for (engine, outcome) in &explained.said {
        output::line(format!("  {engine:<10} {}", shown(&said(outcome))))?;
    }
    let hint = explained.decision.hint();
    if hint.is_empty() { Ok(()) } else { output::line(format!("  {} {hint}", "hint:".cyan())) }
}

/// What using a tool does, as far as that is believed.
fn does(resource: &Resource<'_>) -> String {
    let changes = if resource.changes_nothing() { "changes nothing" } else { "may change something" };
    let more = [
        (!resource.changes_nothing() && !resource.is_destructive(), ", only adds"),
        (!resource.changes_nothing() && resource.is_idempotent(), ", twice is as once"),
        (!resource.is_open_world(), ", reaches nothing else"),
    ];
    more.iter().filter(|(is_so, _)| *is_so).fold(changes.to_owned(), |told, (_, more)| told + more)
}

/// How the tool's definition stands to the recorded one.
fn defined(pin: Pin) -> &'static str {
    match pin {
        Pin::Pinned => "pinned: as it was recorded",
        Pin::Changed => "changed since it was recorded",
        Pin::Unpinned => "unpinned: none is recorded",
    }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Ok(Verdict::Silent) => "says nothing".to_owned(),
        Ok(Verdict::Decided(decision)) => decision.to_string(),
        Err(failure) => format!("failed: {failure}"),
    }
}

/// The same for programs.
fn as_json(resource: &Resource<'_>, explained: &Explanation) -> Value {
    let engine = |(name, outcome): &(&'static str, Outcome)| match outcome {
        Ok(Verdict::Silent) => json!({ "engine": name, "says": "nothing" }),
        Ok(Verdict::Decided(decision)) => {
            json!({ "engine": name, "says": decision.effect, "place": decision.place.as_str(), "why": why(decision) })
        }
        Err(failure) => json!({ "engine": name, "says": "failed", "why": failure.to_string() }),
    };
    let decision = &explained.decision;
    json!({
        "effect": decision.effect,
        "place": decision.place.as_str(),
        "why": why(decision),
        "tool": {
            "read_only": resource.changes_nothing(),
            "destructive": resource.is_destructive(),
            "idempotent": resource.is_idempotent(),
            "open_world": resource.is_open_world(),
            "trusted": resource.trusted,
            "pin": resource.pin.as_str(),
        },
        "hint": Some(decision.hint()).filter(|hint| !hint.is_empty()),
        "arguments": explained.arguments.as_ref().ok().and_then(Option::as_ref),
        "engines": explained.said.iter().map(engine).collect::<Vec<_>>(),
    })
}

fn why(decision: &Decision) -> String {
    decision.detail.as_deref().map_or_else(|| decision.reason.to_string(), str::to_owned)
}
