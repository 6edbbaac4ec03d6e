//! `sallyport sandbox`: what the boundary round servers is worth here, what it is made of, and a program in it.

mod attack;
mod file_code;
mod inspect;
mod run;

use sallyport_sandbox::{BackendConfig, Error, Selection};

use crate::arguments::{Global, SandboxCommand};
use crate::output::Failure;

/// A boundary of its own, though the configuration names it by the runtime.
const GVISOR: &str = "gvisor";

pub(crate) fn run(global: &Global, command: &SandboxCommand) -> Result<(), Failure> {
    match command {
        SandboxCommand::Attack(arguments) => attack::run(arguments),
        SandboxCommand::Inspect(arguments) => inspect::run(global, arguments),
        SandboxCommand::Run(arguments) => run::run(arguments),
    }
}

/// The back-end that is named, else that of a server without one.
fn select(name: Option<&str>) -> Result<Selection, Failure> {
    let Some(name) = name else { return Ok(Selection::default()) };
    let named = if name == GVISOR { serde_json::json!({ "oci": { "runtime": "runsc" } }) } else { name.into() };
    serde_json::from_value(named).map_err(|_| {
        let names = BackendConfig::NAMES.join("`, `");
        Failure::new(format!("there is no sandbox back-end `{}`", name.escape_debug()))
            .hint(format!("the back-ends are `{names}`, and `{GVISOR}` is `oci` with the runtime runsc"))
    })
}

fn refused(error: &Error) -> Failure {
    let failure = Failure::new(error.to_string());
    error.hint().map(str::to_owned).into_iter().fold(failure, Failure::hint)
}
