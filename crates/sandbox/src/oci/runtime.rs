//! The container runtimes that we know how to start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::bundle::Bundle;
use crate::backends::oci::Runtime;
use crate::error::Error;
use crate::layer::Layer;
use crate::profile::EnvText;

/// Where packages put them. `PATH` is not asked: this runs as root.
const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

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

    /// What it is told to put in force.
    pub(super) fn layers(self) -> Vec<(Layer, String)> {
        let (calls, limits) = match self {
            Self::Runc | Self::Crun => ("allow-list", "memory and processes as one, the rest for each process"),
            Self::Runsc => ("answered by a kernel of its own", "for each process"),
        };
        let layers = [
            (Layer::Namespaces, "mount, pid, ipc, uts"),
            (Layer::Root, "the image, read-only"),
            (Layer::Procfs, "with masked paths"),
            (Layer::Limits, limits),
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
