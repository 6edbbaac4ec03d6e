//! Container images: a program out of an image on disk, started by a container runtime that passes a real start here.
//!
//! `command` runs inside the image; the single word `entrypoint` as its first stands for what the image itself starts. A command
//! `oci:IMAGE` names an image in a registry, which is installed first. Needs root.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::backend::{Backend, Host, Pending};
use crate::error::Error;
use crate::instance::{Instance, Running};
use crate::probe::Report;
use crate::profile::{Profile, Program};

/// The image and who runs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The image's path, a relative one from the configuration's folder: a folder in OCI layout, or an archive (`docker save`,
    /// `podman save`, `skopeo copy … oci-archive:`).
    pub image: PathBuf,
    /// What the image must be: `sha256:` and the digest of its manifest or of its configuration. Without it, whatever lies there.
    pub digest: Option<String>,
    /// The container runtime.
    pub runtime: Runtime,
    /// The image is one of a registry: `image` is its folder in the store, empty as long as it is not installed.
    #[serde(skip)]
    #[schemars(skip)]
    pub(crate) is_installed: bool,
}

/// A container runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// The first of the others that passes a real start.
    #[default]
    Auto,
    /// The reference runtime.
    Runc,
    /// The same in C.
    Crun,
    /// gVisor: a kernel of its own between the program and the host's. Without a network.
    Runsc,
}

/// The back-end.
#[derive(Debug)]
pub struct Oci {
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "no container starts there"))]
    host: Host,
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "no container starts there"))]
    config: Config,
}

/// Makes the back-end.
///
/// # Errors
/// Where the image is not named by an absolute path.
pub fn build(config: Config, host: &Host) -> Result<Oci, Error> {
    if !config.is_installed && !config.image.is_absolute() {
        return Err(Error::new("sandbox oci has no image, or none with an absolute path").with_hint(
            "write `sandbox = { oci = { image = \"/path/to/image.tar\" } }`, or `oci:registry.example.com/name:tag` as the command",
        ));
    }
    Ok(Oci { host: host.clone(), config })
}

#[cfg(target_os = "linux")]
impl Backend for Oci {
    fn name(&self) -> &'static str {
        "oci"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(crate::oci::report(&self.host, self.config.runtime))
    }

    fn launch<'a>(&'a self, profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(crate::oci::launch(&self.host, &self.config, profile, program))
    }
}

#[cfg(not(target_os = "linux"))]
impl Backend for Oci {
    fn name(&self) -> &'static str {
        "oci"
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(async { super::none::unsupported_report() })
    }

    fn launch<'a>(&'a self, _profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(async { Err(super::none::unsupported(&program.name)) })
    }
}
