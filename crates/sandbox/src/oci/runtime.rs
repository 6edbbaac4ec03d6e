//! The container runtimes that we know how to start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::bundle::Bundle;
use crate::backends::oci::Runtime;
use crate::cgroup::{Group, Version};
use crate::error::Error;
use crate::layer::Layer;
use crate::profile::{EnvText, Limits};
use crate::sys::seccomp::{self, Filter};

/// Where packages put them. `PATH` is not asked: this runs as root.
const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// How many of the host's processes and threads gVisor may take for one of the program's. With `ptrace` 4 to 5 were seen; only a program
/// that goes far beyond its limit may be ended by it.
const HOSTS_FOR_ONE: u32 = 8;

/// And for itself: its kernel, what opens files for it, and the command, each a Go program.
const HOSTS_FOR_GVISOR: u32 = 128;

/// A runtime by its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Runc,
    Crun,
    Runsc,
}

impl Known {
    /// Those that stand for what the configuration says, the preferred first.
    pub(super) fn of(wanted: Runtime) -> &'static [Self] {
        match wanted {
            Runtime::Auto => &[Self::Runc, Self::Crun, Self::Runsc],
            Runtime::Runc => &[Self::Runc],
            Runtime::Crun => &[Self::Crun],
            Runtime::Runsc => &[Self::Runsc],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Runsc => "runsc",
        }
    }

    /// Whether a container stays in the network namespace that it finds. gVisor has a network stack of its own.
    pub(super) fn shares_network(self) -> bool {
        self != Self::Runsc
    }

    /// Whether its containers bear to be stopped at any moment. gVisor traces the program by ptrace, and ends with a panic where a process
    /// that it has just made tells it of our going on instead of the stop that it waits for.
    pub(super) fn can_freeze(self) -> bool {
        self != Self::Runsc
    }

    /// What control groups of ours hold the runtime to, where it does not make its own. gVisor could, but its processes are not the host's:
    /// for each it keeps some of the host's, and ends with all of them where it is refused one more.
    pub(super) fn held_to(self, limits: &Limits) -> Option<Limits> {
        let processes = limits.processes.saturating_mul(HOSTS_FOR_ONE).saturating_add(HOSTS_FOR_GVISOR);
        (self == Self::Runsc).then(|| Limits { processes, ..limits.clone() })
    }

    /// What it is held to beside its own filter. runc and crun hand the program another one; gVisor sets on files what the program asks for.
    pub(super) fn filter(self) -> Result<Option<Filter>, Error> {
        if self != Self::Runsc {
            return Ok(None);
        }
        let filter = seccomp::without_privilege_bits();
        filter.map(Some).ok_or_else(|| Error::new("the system call filter of runsc cannot be made"))
    }

    /// What it is told to put in force, and what groups of ours hold.
    pub(super) fn layers(self, group: &Group) -> Vec<(Layer, String)> {
        let by = |version: Option<Version>, without: &str| version.map_or_else(|| without.to_owned(), |version| version.to_string());
        let held = group.held();
        let (calls, limits) = match self {
            Self::Runc | Self::Crun => ("allow-list", "memory and processes as one, the rest for each process".to_owned()),
            Self::Runsc => (
                "answered by a kernel of its own",
                format!(
                    "memory with that kernel's ({}), roughly so many processes ({}), the rest for each process",
                    by(held.memory, "watchdog"),
                    by(held.processes, "not limited: no control group"),
                ),
            ),
        };
        let layers = [
            (Layer::Namespaces, "mount, pid, ipc, uts"),
            (Layer::Root, "the image, read-only"),
            (Layer::Procfs, "with masked paths"),
            (Layer::Limits, &limits),
            (Layer::NoNewPrivileges, "set"),
            (Layer::Capabilities, "none"),
            (Layer::Seccomp, calls),
        ];
        layers.map(|(layer, what)| (layer, format!("{what}, by {}", self.name()))).to_vec()
    }

    pub(super) fn path(self) -> Result<PathBuf, Error> {
        let found = PLACES.iter().map(|place| Path::new(place).join(self.name())).find(|file| file.is_file());
        found.ok_or_else(|| Error::new(format!("{} is not installed", self.name())).with_hint(format!("install {}", self.name())))
    }

    /// Its state lies on the mount that ends with the container.
    pub(super) fn arguments(self, bundle: &Bundle) -> Vec<String> {
        let own: &[&str] = match self {
            Self::Runc | Self::Crun => &[],
            Self::Runsc => &["--network=none", "--ignore-cgroups"],
        };
        let state = format!("{}/mount/state", bundle.place().display());
        let folder = bundle.place().display().to_string();
        let general = ["--root".to_owned(), state].into_iter().chain(own.iter().map(|word| (*word).to_owned()));
        general.chain(["run".to_owned(), "--bundle".to_owned(), folder, bundle.id().to_owned()]).collect()
    }

    /// Its own; the program's is in the bundle.
    pub(super) fn environment(self) -> BTreeMap<String, EnvText> {
        BTreeMap::from([("PATH".to_owned(), EnvText::from(PLACES.join(":")))])
    }
}
