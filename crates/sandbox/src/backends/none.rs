//! No boundary: the program can do whatever the gateway's user can. Only the environment is built as everywhere, and it
//! ends with the gateway.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::backend::{Backend, Host, Pending};
use crate::error::Error;
use crate::instance::{Instance, Running};
use crate::probe::{Finding, Report};
use crate::profile::{Profile, Program};

/// Nothing to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// The back-end.
#[derive(Debug)]
pub struct None {
    host: Host,
}

/// Makes the back-end.
///
/// # Errors
/// None: there is nothing that could be missing.
pub fn build(_config: Config, host: &Host) -> Result<None, Error> {
    Ok(None { host: host.clone() })
}

#[cfg(target_os = "linux")]
impl Backend for None {
    fn name(&self) -> &'static str {
        "none"
    }

    fn probe(&self) -> Pending<'_, Report> {
        let finding = Finding {
            subject: "boundary".to_owned(),
            in_force: false,
            detail: "none, as the configuration says".to_owned(),
            cost: Some("the server can do whatever the gateway's user can".to_owned()),
            cure: Some("remove sandbox = \"none\" from the server".to_owned()),
        };
        Box::pin(async { Report::single(true, finding) })
    }

    fn launch<'a>(&'a self, _profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(crate::launch::launch(&self.host, program, Option::None))
    }
}

#[cfg(not(target_os = "linux"))]
impl Backend for None {
    fn name(&self) -> &'static str {
        "none"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(async { unsupported_report() })
    }

    fn launch<'a>(&'a self, _profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(async { Err(unsupported(&program.name)) })
    }
}

/// What every launch answers where there is no launcher.
#[cfg(not(target_os = "linux"))]
pub(crate) fn unsupported(name: &str) -> Error {
    Error::new(format!("server {name} cannot be started: launching programs needs linux")).with_hint(HINT)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn unsupported_report() -> Report {
    let finding = Finding {
        subject: "launcher".to_owned(),
        in_force: false,
        detail: "launching programs needs linux".to_owned(),
        cost: Some("servers that are started by a command are refused; built-in and remote ones work".to_owned()),
        cure: Some(HINT.to_owned()),
    };
    Report::single(false, finding)
}

#[cfg(not(target_os = "linux"))]
const HINT: &str = "run the gateway on linux (a virtual machine or WSL 2 will do), or give the server by its url";
