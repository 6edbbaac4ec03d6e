//! `sallyport sandbox`: what the boundary round servers is worth here, and what it is made of.

mod attack;
mod file_code;

use crate::arguments::{Global, SandboxCommand};
use crate::output::Failure;

pub(crate) fn run(_global: &Global, command: &SandboxCommand) -> Result<(), Failure> {
    match command {
        SandboxCommand::Attack(arguments) => attack::run(arguments),
    }
}
