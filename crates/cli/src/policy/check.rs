//! `sallyport policy check`: rules that cannot be understood, do not fit the tools, or can never match.

use owo_colors::OwoColorize;
use sallyport_gateway::{config, policy_of};
use sallyport_policy::InvalidPolicy;
use serde::Serialize;

use super::tools::Tools;
use crate::arguments::{Global, PolicyCheckArguments};
use crate::output::{self, Exit, Failure};
use crate::start;

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
    let plan = config::load(&global.invocation()?)?;
    let policy = policy_of(&plan).map_err(|error| start::unusable(&error))?;
    let names: Vec<&str> = plan.servers.keys().map(String::as_str).collect();
    let asks = policy.needs_tools() && !arguments.offline;
    let tools = if asks { Tools::ask(&plan, &names)? } else { Tools::default() };
    let errors = tools.teach(&policy);
    let checked: Vec<&str> = names.into_iter().filter(|name| !policy.needs_tools() || tools.knows(name)).collect();
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
