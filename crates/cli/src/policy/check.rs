//! `sallyport policy check`: rules that cannot be understood, do not fit the tools, or can never match.

use owo_colors::OwoColorize;
use sallyport_gateway::config::{self, Diagnostic};
use sallyport_gateway::policy_of;
use sallyport_policy::InvalidPolicy;
use serde::Serialize;

use super::never;
use super::tools::Tools;
use crate::arguments::{Global, PolicyCheckArguments};
use crate::output::{self, Exit, Failure};
use crate::{start, tenant};

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    /// The servers whose tools the policies were checked against.
    checked: Vec<&'a str>,
    errors: Vec<Wrong<'a>>,
}

#[derive(Serialize)]
struct Wrong<'a> {
    place: &'a str,
    message: &'a str,
    hint: &'a str,
}

pub(crate) fn run(global: &Global, arguments: &PolicyCheckArguments) -> Result<(), Failure> {
    let plan = match config::load(&global.invocation()?) {
        Ok(plan) => tenant::of(plan, arguments.tenant.as_deref())?,
        Err(errors) if arguments.json => return broken(&errors),
        Err(errors) => return Err(errors.into()),
    };
    let policy = policy_of(&plan).map_err(|error| start::unusable(&error))?;
    let names: Vec<&str> = plan.servers.keys().map(String::as_str).collect();
    // Those about which a policy or a rule may say something that does not fit their tools.
    let is_about = |name: &&str| policy.needs_tools() || never::names_tools_of(&plan, name);
    let asked: Vec<&str> = names.iter().copied().filter(|name| is_about(name) && !arguments.offline).collect();
    let tools = if asked.is_empty() { Tools::default() } else { Tools::ask(&plan, &asked)? };
    let mut errors = tools.teach(&policy);
    errors.extend(never::matching(&plan, &tools));
    let checked: Vec<&str> = names.into_iter().filter(|name| !is_about(name) || tools.knows(name)).collect();
    if arguments.json {
        let told = errors.iter().map(|InvalidPolicy { place, message, hint }| Wrong { place, message, hint });
        output::json(&Report { ok: errors.is_empty(), checked, errors: told.collect() })?;
    } else {
        for InvalidPolicy { place, message, hint } in &errors {
            output::note(format!("{} {place}: {message}\n  {} {hint}", "error:".red().bold(), "hint:".cyan()));
        }
        if errors.is_empty() {
            let which = if checked.is_empty() { "no server".to_owned() } else { checked.join(", ") };
            output::line(format!("{} the policy holds together for: {which}", "ok:".green().bold()))?;
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Failure::told(Exit::Configuration)) }
}

/// A configuration that cannot be read, for programs.
fn broken(errors: &[Diagnostic]) -> Result<(), Failure> {
    let told = errors.iter().map(|Diagnostic { path, message, hint, .. }| {
        let hint = hint.as_deref().unwrap_or_default();
        Wrong { place: path, message, hint }
    });
    output::json(&Report { ok: false, checked: Vec::new(), errors: told.collect() })?;
    Err(Failure::told(Exit::Configuration))
}
