//! `sallyport policy`: what the rules and engines of a configuration come to.

mod check;
mod explain;
mod fits;
mod never;
pub(crate) mod records;
mod repin;
mod shadow;
mod subject;
mod suggest;
mod test;
mod tools;

use sallyport_gateway::config::nearest;
use sallyport_gateway::plan::Plan;

use crate::arguments::{Global, PolicyCommand};
use crate::output::Failure;

pub(crate) fn run(global: &Global, command: &PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Check(arguments) => check::run(global, arguments),
        PolicyCommand::Explain(arguments) => explain::run(global, arguments),
        PolicyCommand::Repin(arguments) => repin::run(global, arguments),
        PolicyCommand::Shadow(arguments) => shadow::run(global, arguments),
        PolicyCommand::Suggest(arguments) => suggest::run(global, arguments),
        PolicyCommand::Test(arguments) => test::run(global, arguments),
    }
}

/// # Errors
/// The configuration has no server of that name.
fn known_server(plan: &Plan, name: &str) -> Result<(), Failure> {
    if plan.servers.contains_key(name) {
        return Ok(());
    }
    let names: Vec<&str> = plan.servers.keys().map(String::as_str).collect();
    let hint = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if plan.disabled.iter().any(|disabled| disabled == name) => "it is disabled in the configuration".to_owned(),
        None => format!("the servers are: {}", names.join(", ")),
    };
    Err(Failure::new(format!("there is no server `{name}`")).hint(hint))
}
