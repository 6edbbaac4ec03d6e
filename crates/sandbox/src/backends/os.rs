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

impl Os {
    /// Starts a real program and waits for its end.
    ///
    /// # Errors
    /// The boundary cannot be built here, or the program did not end well in it.
    pub(crate) async fn try_out(&self) -> Result<(), Error> {
        let trial = crate::probe::trial(&self.host);
        let exit = self.launch(&Profile::default(), &trial).await?.wait().await;
        if exit.is_success() { Ok(()) } else { Err(Error::new(format!("the trial program {exit}"))) }
    }
}

#[cfg(target_os = "linux")]
impl Backend for Os {
    fn name(&self) -> &'static str {
        "os"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(async {
            let trial = crate::probe::trial(&self.host);
            crate::probe::of_trial(self.launch(&Profile::default(), &trial).await).await
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
