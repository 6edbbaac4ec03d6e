//! The step down where namespaces are refused: Landlock, the system call filter and limits, on the host's own namespaces.
//!
//! Landlock watches over opening, making and removing files, TCP ports and signals; whatever else reaches beyond the program
//! (other sockets, System V memory, modes and owners of files, priorities) the filter refuses. What cannot be had this way is
//! refused rather than weakened: destinations in `network`, and a read-only place inside one to write.

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
pub struct Landlock {
    host: Host,
}

/// Makes the back-end.
///
/// # Errors
/// None so far; whether the kernel plays along only a launch or a probe can tell.
pub fn build(_config: Config, host: &Host) -> Result<Landlock, Error> {
    Ok(Landlock { host: host.clone() })
}

#[cfg(target_os = "linux")]
impl Backend for Landlock {
    fn name(&self) -> &'static str {
        "landlock"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(async {
            let trial = crate::probe::trial(&self.host);
            crate::probe::of_trial(self.launch(&Profile::default(), &trial).await).await
        })
    }

    fn launch<'a>(&'a self, profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(async {
            refuse_destinations(profile, program)?;
            crate::launch::launch_without_namespaces(&self.host, program, profile).await
        })
    }
}

/// Landlock knows ports and no addresses: a port that leads to the gateway's way out would lead to that port of every host.
#[cfg(target_os = "linux")]
fn refuse_destinations(profile: &Profile, program: &Program) -> Result<(), Error> {
    if !matches!(profile.network, crate::profile::Network::Only(_)) {
        return Ok(());
    }
    let message = format!("sandbox of {}: without a network namespace nobody can be let to some hosts only", program.name);
    Err(Error::new(message).with_hint(
        "run it where namespaces work (`sallyport doctor` says what is missing); `network = [\"host-network\"]` would show it every host",
    ))
}

#[cfg(not(target_os = "linux"))]
impl Backend for Landlock {
    fn name(&self) -> &'static str {
        "landlock"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(async { super::none::unsupported_report() })
    }

    fn launch<'a>(&'a self, _profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(async { Err(super::none::unsupported(&program.name)) })
    }
}
