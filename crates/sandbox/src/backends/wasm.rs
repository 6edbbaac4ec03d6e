//! WebAssembly: a WASI program, or a component whose exported functions are tools, run by an engine in this process.
//!
//! The command's first word is the file (`command = ["tool.wasm"]`). Nothing of the system is there: no process, no network, of
//! files the folders that the profile names, of the environment what it lists.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::backend::{Backend, Host, Pending};
use crate::error::Error;
use crate::instance::{Instance, Running};
use crate::probe::{Finding, Report};
use crate::profile::{Profile, Program};

/// What may differ from server to server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Calls of one component that run at a time, each on a thread of its own; further ones wait. 1 to 64.
    pub calls: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self { calls: 4 } // a client asks for a few things at once; each may keep a core busy until its time is up
    }
}

/// The back-end.
#[derive(Debug)]
pub struct Wasm {
    #[cfg_attr(not(all(feature = "wasm", target_os = "linux")), allow(dead_code, reason = "nothing runs without the engine"))]
    config: Config,
}

/// More threads than this are of no use to a component, and a burden to the machine.
const MOST_CALLS: u8 = 64;

/// Makes the back-end.
///
/// # Errors
/// Where `calls` is out of bounds, and where this binary was built without the engine.
pub fn build(config: Config, _host: &Host) -> Result<Wasm, Error> {
    if !(1..=MOST_CALLS).contains(&config.calls) {
        return Err(Error::new(format!("sandbox wasm: calls is {}, which is not between 1 and {MOST_CALLS}", config.calls)));
    }
    if cfg!(not(all(feature = "wasm", target_os = "linux"))) {
        return Err(Error::new("sandbox wasm is not in this binary").with_hint("build it on linux with `--features wasm`"));
    }
    Ok(Wasm { config })
}

impl Backend for Wasm {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(async {
            let outcome = self.trial().await;
            let works = outcome.is_ok();
            let finding = Finding {
                subject: "webassembly engine".to_owned(),
                in_force: works,
                detail: outcome.map_or_else(|error| error.to_string(), |()| "compiles and runs a program".to_owned()),
                cost: (!works).then(|| "no server is started with this back-end".to_owned()),
                cure: None,
            };
            Report::single(works, finding)
        })
    }

    fn launch<'a>(&'a self, profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(self.start(profile, program))
    }
}

#[cfg(all(feature = "wasm", target_os = "linux"))]
impl Wasm {
    async fn start(&self, profile: &Profile, program: &Program) -> Result<Instance<Running>, Error> {
        crate::wasm::launch(&self.config, profile, program).await
    }

    /// Runs a program that does nothing.
    async fn trial(&self) -> Result<(), Error> {
        let exit = crate::wasm::trial()?.wait().await;
        if exit.is_success() { Ok(()) } else { Err(Error::new(format!("the trial program {exit}"))) }
    }
}

#[cfg(not(all(feature = "wasm", target_os = "linux")))]
impl Wasm {
    async fn start(&self, _profile: &Profile, program: &Program) -> Result<Instance<Running>, Error> {
        Err(Error::new(format!("server {} cannot be started: sandbox wasm is not in this binary", program.name)))
    }

    async fn trial(&self) -> Result<(), Error> {
        Err(Error::new("it is not in this binary"))
    }
}
