//! `sallyport sandbox run`: one program in a sandbox, without a gateway.

use std::path::PathBuf;

use sallyport_sandbox::egress::{Allowed, Destination};
use sallyport_sandbox::{DENY_WRITE, Host, Network, Profile, Program, alone};

use crate::arguments::RunArguments;
use crate::output::{Exit, Failure};
use crate::sandbox::{refused, select};
use crate::start;

/// Ends this process as the program ended.
pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let backend = select(arguments.backend.as_deref())?.build(&Host::this_binary()).map_err(|error| refused(&error))?;
    let (profile, program) = (profile(arguments)?, program(arguments)?);
    let runtime = start::runtime()?;
    let exit = runtime.block_on(alone::run(&*backend, &profile, &program, |_| {}));
    // A thread may wait for stdin, and would be waited for.
    runtime.shutdown_background();
    match alone::code(exit.map_err(|error| refused(&error))?) {
        0 => Ok(()),
        code => Err(Failure::told(Exit::Program(code))),
    }
}

fn profile(arguments: &RunArguments) -> Result<Profile, Failure> {
    let network = match arguments.network.as_slice() {
        [] => Network::None,
        [only] if only == "host-network" => Network::Host,
        hosts => Network::Only(allowed(hosts)?),
    };
    Ok(Profile {
        read: absolute(&arguments.read)?,
        write: absolute(&arguments.write)?,
        deny_write: DENY_WRITE.iter().map(|entry| (*entry).to_owned()).collect(),
        network,
        ..Profile::default()
    })
}

fn allowed(hosts: &[String]) -> Result<Allowed, Failure> {
    let parse = |host: &String| {
        let told = |error| Failure::new(format!("`{}` cannot be used: {error}", host.escape_debug()));
        host.parse::<Destination>().map_err(told)
    };
    let destinations = hosts.iter().map(parse).collect::<Result<_, _>>()?;
    Allowed::new(destinations).map_err(|error| Failure::new(error.to_string()))
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let absolute = |path| std::path::absolute(path).map_err(|error| Failure::new(format!("a path cannot be used: {error}")));
    paths.iter().map(absolute).collect()
}

fn program(arguments: &RunArguments) -> Result<Program, Failure> {
    let (command, rest) = arguments.command.split_first().ok_or_else(|| Failure::new("no command is given"))?;
    let mut program = Program::new(command, command);
    program.args = rest.to_vec();
    Ok(program)
}
