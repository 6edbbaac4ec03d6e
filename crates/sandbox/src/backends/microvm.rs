//! A virtual machine with a kernel of its own. What a hostile program would have to break is that kernel, then the monitor, then the sandbox
//! round the monitor.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::backend::{Backend, Host, Pending};
use crate::error::Error;
use crate::instance::{Instance, Running};
use crate::probe::{Finding, Report};
use crate::profile::{Profile, Program};

/// How machines are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder that `sallyport microvm prepare --into` made. Default: the one it makes without `--into`.
    pub guest: Option<PathBuf>,
}

/// The back-end.
#[derive(Debug)]
pub struct Microvm {
    host: Host,
    config: Config,
}

/// Makes the back-end.
///
/// # Errors
/// None: whether machines can be made only a launch or a probe can tell.
pub fn build(config: Config, host: &Host) -> Result<Microvm, Error> {
    Ok(Microvm { host: host.clone(), config })
}

#[cfg(target_os = "linux")]
impl Backend for Microvm {
    fn name(&self) -> &'static str {
        "microvm"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(async {
            let mut trial = Program::new("trial", "/bin/true");
            trial.cwd = Some("/tmp".into());
            let started = crate::microvm::launch(&self.host, &self.config, &Profile::default(), &trial).await;
            let (works, detail, cure) = match started {
                Ok(instance) => {
                    let layers = instance.in_force().to_string();
                    let exit = instance.wait().await;
                    (exit.is_success(), format!("{layers}: a trial program {exit}"), None)
                }
                Err(error) => (false, error.to_string(), error.hint().map(str::to_owned)),
            };
            let cost = (!works).then(|| "sandbox = \"microvm\" does not work".to_owned());
            Report::single(works, Finding { subject: "microvm".to_owned(), in_force: works, detail, cost, cure })
        })
    }

    fn launch<'a>(&'a self, profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(crate::microvm::launch(&self.host, &self.config, profile, program))
    }
}

#[cfg(not(target_os = "linux"))]
impl Backend for Microvm {
    fn name(&self) -> &'static str {
        "microvm"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(async { super::none::unsupported_report() })
    }

    fn launch<'a>(&'a self, _profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(async { Err(super::none::unsupported(&program.name)) })
    }
}
