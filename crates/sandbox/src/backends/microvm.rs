//! A virtual machine with a kernel of its own. What a hostile program would have to break is that kernel, then the monitor, then the sandbox
//! round the monitor.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::backend::{Backend, Host, Pending};
use crate::error::Error;
use crate::instance::{Instance, Running};
#[cfg(target_os = "linux")]
use crate::layer::{Layer, State};
#[cfg(target_os = "linux")]
use crate::probe::Finding;
use crate::probe::Report;
use crate::profile::{Profile, Program};

/// How machines are made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Memory of the machine, in MiB: 64 to 65536. It holds the kernel, the program, its `/tmp` and what was read from files; what was never
    /// used takes none of the host's. `limits.memory_mb` is the limit of each process in it. Default: 512, enough for a Node server.
    #[schemars(range(min = 64, max = 65536))]
    pub memory_mb: u32,

    /// `auto`: the processor itself (`kvm`) where a boot shows that it works, else an emulated one, on which programs run some ten times as
    /// slowly. `kvm`: that or nothing. `emulation`: never kvm. Default: `auto`.
    pub accel: Acceleration,

    /// How many machines wait, started and standing still, to take the place of one that ends: 0 to 8. The next start then takes
    /// milliseconds. Each holds memory as a server on standby does, and sees files as they were up to a quarter of an hour before. Default:
    /// 0, because a server that runs for days is seldom started.
    #[schemars(range(max = 8))]
    pub pool: u32,

    /// The folder that `sallyport microvm prepare --into` made. Default: the one it makes without `--into`.
    pub guest: Option<PathBuf>,

    /// A container image that is the machine's root, in the place of this machine's own programs: its path, a relative one from the
    /// configuration's folder, of a folder in OCI layout or an archive (`docker save`). `command` runs inside it; the single word
    /// `entrypoint` as its first stands for what the image itself starts. Default: none. A command `oci:IMAGE` names one in a registry.
    pub image: Option<PathBuf>,

    /// What that image must be: `sha256:` and the digest of its manifest or of its configuration. Default: whatever lies there.
    pub digest: Option<String>,

    /// The image is one of a registry: `image` is its folder in the store, empty as long as it is not installed.
    #[serde(skip)]
    #[schemars(skip)]
    pub(crate) is_installed: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { memory_mb: 512, accel: Acceleration::Auto, pool: 0, guest: None, image: None, digest: None, is_installed: false }
    }
}

impl Config {
    /// The same machine, with this machine's own files.
    pub(crate) fn without_image(&self) -> Self {
        Self { image: None, digest: None, is_installed: false, ..self.clone() }
    }
}

/// What runs a machine's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Acceleration {
    /// The processor itself where a boot shows that it works.
    #[default]
    Auto,
    /// The processor itself, or nothing.
    Kvm,
    /// An emulated processor.
    Emulation,
}

/// Room for a kernel; what a machine can address.
const MEMORY_MB: std::ops::RangeInclusive<u32> = 64..=65536;

/// Each takes a second of the processor's time to be made, and tens of megabytes.
const MOST_WAITING: u32 = 8;

/// The back-end.
#[derive(Debug)]
pub struct Microvm {
    host: Host,
    config: Config,
}

/// Makes the back-end.
///
/// # Errors
/// When the memory or the pool is out of bounds, the guest's folder or the image is not an absolute path, or a digest stands without an image.
/// Whether machines can be made only a launch can tell.
pub fn build(config: Config, host: &Host) -> Result<Microvm, Error> {
    if !MEMORY_MB.contains(&config.memory_mb) {
        return Err(Error::new(format!("memory_mb = {} is out of bounds", config.memory_mb)).with_hint("give 64 to 65536"));
    }
    if config.pool > MOST_WAITING {
        return Err(Error::new(format!("pool = {} is out of bounds", config.pool)).with_hint(format!("give 0 to {MOST_WAITING}")));
    }
    if let Some(guest) = config.guest.as_ref().filter(|guest| !guest.is_absolute()) {
        return Err(Error::new(format!("guest {} is not an absolute path", guest.display())));
    }
    if let Some(image) = config.image.as_ref().filter(|image| !config.is_installed && !image.is_absolute()) {
        return Err(Error::new(format!("image {} is not an absolute path", image.display())));
    }
    if config.image.is_none() && config.digest.is_some() {
        return Err(Error::new("`digest` is that of no `image`")
            .with_hint("name the image, too; that of a registry has its digest behind its name: `oci:REGISTRY/NAME@sha256:…`"));
    }
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
            // What an image holds nobody knows: that the machine starts is what is asked.
            let started = crate::microvm::launch(&self.host, &self.config.without_image(), &Profile::default(), &trial).await;
            let (works, detail, cure) = match started {
                Ok(instance) => {
                    let machine = match instance.in_force().get(Layer::Machine) {
                        Some(State::InForce(machine)) => machine.clone(),
                        _ => String::new(),
                    };
                    let exit = instance.wait().await;
                    (exit.is_success(), format!("a trial program {exit}; {machine}"), None)
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
