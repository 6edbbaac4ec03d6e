//! `sallyport completions`: a script that lets a shell complete the command line.

use clap::CommandFactory;

use crate::arguments::{Arguments, CompletionsArguments};
use crate::output::Failure;

pub(crate) fn run(arguments: &CompletionsArguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "sallyport", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(())
}
