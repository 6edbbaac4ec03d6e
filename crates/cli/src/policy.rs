//! `sallyport policy`: what the rules and engines of a configuration come to.

mod check;
mod explain;
mod subject;
mod suggest;
mod test;
mod tools;

use crate::arguments::{Global, PolicyCommand};
use crate::output::Failure;

pub(crate) fn run(global: &Global, command: &PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Check(arguments) => check::run(global, arguments),
        PolicyCommand::Explain(arguments) => explain::run(global, arguments),
        PolicyCommand::Suggest(arguments) => suggest::run(global, arguments),
        PolicyCommand::Test(arguments) => test::run(global, arguments),
    }
}
