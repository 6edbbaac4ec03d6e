//! The operating system's own means: namespaces, a private root, Landlock, seccomp, limits. The default.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::backend::{Backend, Host, Pending};
use crate::error::Error;
use crate::instance::{Instance, Running};
use crate::probe::Report;
use crate::profile::{Profile, Program};

/// Nothing to choose: the boundary always has all its layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// The back-end.
#[derive(Debug)]
pub struct Os {
    host: Host,
}

/// Makes the back-end.
///
/// # Errors
/// None so far; whether the kernel plays along only a launch or a probe can tell.
pub fn build(_config: Config, host: &Host) -> Result<Os, Error> {
    Ok(Os { host: host.clone() })
}

#[cfg(target_os = "linux")]
impl Backend for Os {
    fn name(&self) -> &'static str {
        "os"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(async {
            // Through the link, because the file itself is what the sandbox can show.
            let launcher = self.host.launcher();
            let file = std::fs::read_link(launcher).unwrap_or_else(|_| launcher.to_path_buf());
            let mut trial = Program::new("trial", file.to_string_lossy());
            trial.args.push(crate::probe::TRIAL_ARGUMENT.to_owned());
            let started = crate::launch::launch(&self.host, &trial, Some(&Profile::default())).await;
            crate::probe::of_trial(started).await
        })
    }

    fn launch<'a>(&'a self, profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(crate::launch::launch(&self.host, program, Some(profile)))
    }
}

#[cfg(not(target_os = "linux"))]
impl Backend for Os {
    fn name(&self) -> &'static str {
        "os"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(async { super::none::unsupported_report() })
    }

    fn launch<'a>(&'a self, _profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(async { Err(super::none::unsupported(&program.name)) })
    }
}
