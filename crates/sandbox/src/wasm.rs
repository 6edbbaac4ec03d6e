//! Runs WebAssembly with an engine in this process.
//!
//! A program (`_start` of WASI preview 1, or `wasi:cli/run`) has its own stdin and stdout, as any other program. A component that
//! exports functions has neither: [`component`] answers MCP for it on a pair of pipes in memory that look like its stdio, so that
//! whatever works with a program works with it. What either can reach is in its [`room`]; everything it can make grow is bounded
//! there and in [`memory`]; [`engine`] sees to it that it can be stopped at any time.

mod component;
mod engine;
mod memory;
mod process;
mod program;
mod room;

use std::path::{Path, PathBuf};

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::backends::wasm::Config;
use crate::error::Error;
use crate::instance::{Instance, Running};
use crate::profile::{Profile, Program};
use room::Room;

/// A large program with everything compiled into it (a whole language's runtime) has 50 MiB.
const MOST_BYTES: u64 = 128 * 1024 * 1024;

/// The smallest program: it ends.
const TRIAL: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

/// What was compiled.
enum Code {
    Module(Module),
    Component(Component),
}

/// Starts what lies in the program's file.
pub(crate) async fn launch(config: &Config, profile: &Profile, program: &Program) -> Result<Instance<Running>, Error> {
    let room = Room::new(profile, program)?;
    let file = file_of(program);
    let code = compile_file(file).await.map_err(|why| unusable(&program.name, &why))?;
    start(config, room, code, program)
}

/// Starts a program that does nothing.
pub(crate) fn trial() -> Result<Instance<Running>, Error> {
    let program = Program::new("trial", "trial.wasm");
    let room = Room::new(&Profile::default(), &program)?;
    let code = engine::engine().and_then(|engine| compile(engine, TRIAL)).map_err(|why| unusable("trial", &why))?;
    start(&Config::default(), room, code, &program)
}

fn start(config: &Config, room: Room, code: Code, program: &Program) -> Result<Instance<Running>, Error> {
    match code {
        Code::Module(module) => program::start_module(&module, room, program),
        Code::Component(component) if program::is_one(&component) => program::start_component(component, room, program),
        Code::Component(component) => component::start(config, component, room, program),
    }
}

/// A plain name is a file in the server's folder: nothing is looked up in `PATH`, where other programs lie.
fn file_of(program: &Program) -> PathBuf {
    let folder = program.cwd.clone().or_else(|| std::env::current_dir().ok()).unwrap_or_default();
    folder.join(&program.command)
}

/// Compiling takes all of a core for a moment, for large files many seconds.
async fn compile_file(file: PathBuf) -> wasmtime::Result<Code> {
    let compiling = tokio::task::spawn_blocking(move || compile(engine::engine()?, &read(&file)?));
    compiling.await.unwrap_or_else(|_| Err(wasmtime::Error::msg("its compilation failed, which is a fault of the engine")))
}

fn compile(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Code> {
    if is_component(bytes) {
        return Component::from_binary(engine, bytes).map(Code::Component);
    }
    Module::from_binary(engine, bytes).map(Code::Module)
}

/// The preamble's last two bytes: the layer, 1 for a component.
fn is_component(bytes: &[u8]) -> bool {
    bytes.get(6..8) == Some(&[1, 0])
}

fn read(file: &Path) -> wasmtime::Result<Vec<u8>> {
    let found = std::fs::metadata(file).map_err(|cause| wasmtime::Error::msg(format!("{}: {cause}", file.display())))?;
    if !found.is_file() || found.len() > MOST_BYTES {
        return Err(wasmtime::Error::msg(format!("{} is not a file of at most {MOST_BYTES} bytes", file.display())));
    }
    Ok(std::fs::read(file)?)
}

fn unusable(name: &str, why: &wasmtime::Error) -> Error {
    Error::new(format!("webassembly of server {name} cannot be used: {why:#}"))
        .with_hint("`command` begins with a WASI program or a component, in binary form; text form is compiled with `wasm-tools parse`")
}
