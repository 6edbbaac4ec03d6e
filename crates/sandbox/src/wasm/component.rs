//! A component that exports functions: each is a tool of an MCP server that lives here.

mod lines;
mod schema;
mod server;
mod tools;
mod value;

use std::sync::Arc;

use tokio::io::{duplex, split};
use tokio::sync::watch;
use wasmtime::component::Component;

use super::process::Server;
use super::room::Room;
use crate::backends::wasm::Config;
use crate::error::Error;
use crate::instance::{Exit, Instance, Running};
use crate::output::Counted;
use crate::profile::Program;
use tools::Tools;

/// As much as a pipe of the kernel holds.
const PIPE_BYTES: usize = 64 * 1024;

/// Starts the server of a component. Nothing of the component runs before it is called.
pub(super) fn start(config: &Config, component: Component, mut room: Room, program: &Program) -> Result<Instance<Running>, Error> {
    if !program.args.is_empty() {
        return Err(Error::new(format!("server {} is a component, which takes no arguments", program.name))
            .with_hint("leave only the file in `command`"));
    }
    let (layers, process) = (room.layers(), Server::new(&mut room));
    let tools = Tools::of(component, room, usize::from(config.calls)).map_err(|why| super::unusable(&program.name, &why))?;
    let (ours, theirs) = duplex(PIPE_BYTES);
    let (tell, end) = watch::channel(None);
    let (killed, name) = (process.killed(), program.name.clone());
    tokio::spawn(async move {
        let exit = tokio::select! {
            () = killed => Exit::Signal(9),
            ended = server::serve(theirs, name, Arc::new(tools)) => ended.map_or(Exit::Code(1), |()| Exit::Code(0)),
        };
        tell.send_replace(Some(exit));
    });
    let (stdout, stdin) = split(ours);
    let stdout = Counted::new(stdout, process.meter());
    Ok(Instance::new(process, layers, end, (Box::new(stdin), Box::new(stdout))))
}
