//! A WASI program: it has a `main`, reads its stdin, writes its stdout, and ends.

use tokio::io::{DuplexStream, duplex};
use tokio::sync::watch;
use wasmtime::component::{Component, Linker};
use wasmtime::{Module, Result};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::cli::{AsyncStdinStream, AsyncStdoutStream};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::Command;

use super::engine;
use super::process::Server;
use super::room::{Guest, Room, Wasi};
use crate::error::Error;
use crate::instance::{Exit, Instance, Running};
use crate::output::Counted;
use crate::profile::Program;

/// As much as a pipe of the kernel holds.
const PIPE_BYTES: usize = 64 * 1024;

/// As with any program that is aborted.
const ABORTED: Exit = Exit::Signal(6);
const KILLED: Exit = Exit::Signal(9);

/// What a program of preview 2 exports, up to its version.
const RUN: &str = "wasi:cli/run@";

/// The guest's ends of its stdin and stdout.
type Stdio = (DuplexStream, DuplexStream);

/// Whether the component is a program.
pub(super) fn is_one(component: &Component) -> bool {
    component.component_type().exports(component.engine()).any(|(name, _)| name.starts_with(RUN))
}

/// Starts a program of preview 1.
pub(super) fn start_module(module: &Module, room: Room, program: &Program) -> std::result::Result<Instance<Running>, Error> {
    let mut linker = wasmtime::Linker::<Guest<WasiP1Ctx>>::new(module.engine());
    let linked = wasmtime_wasi::p1::add_to_linker_async(&mut linker, |guest| &mut guest.wasi).and_then(|()| linker.instantiate_pre(module));
    let linked = linked.map_err(|why| super::unusable(&program.name, &why))?;
    let guest = async move |room: &Room, stdio: Stdio| {
        let wasi = with_stdio(room, stdio)?.build_p1();
        let mut store = room.store(linked.module().engine(), wasi);
        let instance = linked.instantiate_async(&mut store).await?;
        let main = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        main.call_async(&mut store, ()).await
    };
    start(room, guest, &program.name)
}

/// Starts a program of preview 2.
pub(super) fn start_component(component: Component, room: Room, program: &Program) -> std::result::Result<Instance<Running>, Error> {
    let mut linker = Linker::<Guest<Wasi>>::new(component.engine());
    let linked = wasmtime_wasi::p2::add_to_linker_async(&mut linker).and_then(|()| linker.instantiate_pre(&component).map(drop));
    linked.map_err(|why| super::unusable(&program.name, &why))?;
    let guest = async move |room: &Room, stdio: Stdio| {
        let wasi = Wasi::new(with_stdio(room, stdio)?.build());
        let mut store = room.store(component.engine(), wasi);
        let command = Command::instantiate_async(&mut store, &component, &linker).await?;
        let outcome = command.wasi_cli_run().call_run(&mut store).await?;
        outcome.map_err(|()| I32Exit(1).into())
    };
    start(room, guest, &program.name)
}

fn with_stdio(room: &Room, (stdin, stdout): Stdio) -> Result<wasmtime_wasi::WasiCtxBuilder> {
    let mut context = room.context()?;
    context.stdin(AsyncStdinStream::new(stdin)).stdout(AsyncStdoutStream::new(PIPE_BYTES, stdout));
    Ok(context)
}

fn start<G>(mut room: Room, guest: G, name: &str) -> std::result::Result<Instance<Running>, Error>
where
    G: AsyncFnOnce(&Room, Stdio) -> Result<()> + Send + 'static,
{
    let (stdin, guests_stdin) = duplex(PIPE_BYTES);
    let (stdout, guests_stdout) = duplex(PIPE_BYTES);
    let (layers, server) = (room.layers(), Server::new(&mut room));
    let stdout = Counted::new(stdout, server.meter());
    let run = move || async move {
        let ended = guest(&room, (guests_stdin, guests_stdout)).await;
        exit_of(&ended, &room)
    };
    let ended = engine::run(run, server.killed()).map_err(|why| super::unusable(name, &why))?;
    let (tell, end) = watch::channel(None);
    tokio::spawn(async move {
        let exit = ended.await.ok().flatten().unwrap_or(KILLED);
        tell.send_replace(Some(exit));
    });
    Ok(Instance::new(server, layers, end, (Box::new(stdin), Box::new(stdout))))
}

/// A trap is told where the program's own words are.
fn exit_of(ended: &Result<()>, room: &Room) -> Exit {
    let Err(error) = ended else { return Exit::Code(0) };
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        return Exit::Code(*code);
    }
    room.note(&format!("{error:#}"));
    ABORTED
}
