//! What the gateway tells the launcher: everything is resolved here already, the launcher only carries it out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::Held;
use crate::egress::{Allowed, Block, PROXY_PORT};
use crate::layer::Layer;
use crate::profile::{self, EnvText, Limits};
use crate::sys::seccomp::Filter;

/// One launch. It travels in a memfd: neither a command line nor an environment ever shows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Policy {
    /// The gateway's pid, to notice that it died before the tie to it was made.
    pub(crate) gateway: i32,
    /// What to execute in the end.
    pub(crate) target: Target,
    /// The boundary; `None` is the back-end `none`, or what is `around`.
    pub(crate) confinement: Option<Confinement>,
    /// What is put around a container runtime.
    pub(crate) around: Option<Around>,
}

/// The namespaces in which a container runtime runs, and the root that it is given.
#[derive(Serialize, Deserialize)]
pub(crate) struct Around {
    pub(crate) network: Network,
    /// The unpacked image, which stays as it is.
    pub(crate) lower: PathBuf,
    /// What the program sees of the host. Each tree that lies in no other is put where [`Around::mount_of`] says, with all that lies in it;
    /// from there the runtime shows it.
    pub(crate) view: View,
    /// The folder of the bundle: `mount` in it is what lasts as long as the container, `mount/root` the container's root.
    pub(crate) place: PathBuf,
    /// Where the launcher joins control groups, with the runtime and all that it starts.
    pub(crate) groups: Vec<PathBuf>,
    /// What neither the runtime nor anything that it starts may call.
    pub(crate) filter: Option<Filter>,
    /// The layers that the runtime is to put in force, and in which form.
    pub(crate) layers: Vec<(Layer, String)>,
}

impl Around {
    /// Where the launcher puts the outermost tree of this number, for the container whose folder is `place`.
    pub(crate) fn mount_of(place: &Path, number: usize) -> PathBuf {
        place.join(format!("mount/trees/{number}"))
    }
}

/// The program as `execve` takes it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, EnvText>,
    pub(crate) cwd: PathBuf,
}

/// The boundary's shape.
#[derive(Serialize, Deserialize)]
pub(crate) struct Confinement {
    pub(crate) view: View,
    pub(crate) network: Network,
    pub(crate) limits: Limits,
    /// Devices in `/dev` beside those that every program has.
    pub(crate) devices: Vec<String>,
    /// The gateway is asked about calls that name files and addresses, and about those that are refused.
    pub(crate) trial: bool,
    /// Which of these the launcher's control groups hold already.
    pub(crate) held: Held,
    /// The files through which it joins them.
    pub(crate) groups: Vec<PathBuf>,
    /// The uid and gid that a gateway run by root takes for this program.
    pub(crate) unprivileged: u32,
    /// Whether the boundary is made of namespaces; without, of Landlock and the system call filter alone.
    pub(crate) namespaces: bool,
    /// The system call filter, compiled.
    pub(crate) filter: Filter,
}

/// What of the network is there, as the launcher makes it; who may connect to what is the gateway's to say.
#[derive(Serialize, Deserialize)]
pub(crate) enum Network {
    /// An empty namespace.
    None,
    /// A namespace with listeners that the gateway serves.
    Only(WayOut),
    /// The host's.
    Host,
}

/// What there must be inside for connections to arrive at the gateway.
#[derive(Serialize, Deserialize)]
pub(crate) struct WayOut {
    /// Where listeners are made: the ports of all destinations, and the proxy's.
    pub(crate) ports: Vec<u16>,
    /// Addresses that are destinations themselves.
    pub(crate) blocks: Vec<Block>,
}

impl Network {
    pub(crate) fn of(profile: &profile::Network) -> Self {
        match profile {
            profile::Network::None => Self::None,
            profile::Network::Only(allowed) => Self::Only(WayOut::of(allowed)),
            profile::Network::Host => Self::Host,
        }
    }
}

impl WayOut {
    fn of(allowed: &Allowed) -> Self {
        let mut ports = allowed.ports();
        ports.insert(PROXY_PORT);
        Self { ports: ports.into_iter().collect(), blocks: allowed.blocks().collect() }
    }
}

/// Everything of the host's files that the program sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    /// Canonical paths, each before those below it.
    pub(crate) trees: Vec<Tree>,
    /// Symbolic links outside the trees, or where a folder is hidden, that lead into them.
    pub(crate) links: BTreeMap<PathBuf, PathBuf>,
    /// What may be written may be executed.
    pub(crate) exec_in_write: bool,
}

impl View {
    /// Whether a canonical path lies in what is shown.
    pub(crate) fn shows(&self, path: &Path) -> bool {
        self.innermost(path).is_some_and(|tree| tree.access != Access::Hidden)
    }

    /// The tree that a path lies in.
    pub(crate) fn innermost(&self, path: &Path) -> Option<&Tree> {
        self.trees.iter().rev().find(|tree| path.starts_with(&tree.path))
    }

    /// The trees that lie in no other.
    pub(crate) fn outermost(&self) -> impl Iterator<Item = &Tree> {
        let is_in_another = |tree: &&Tree| self.trees.iter().any(|outer| outer.path != tree.path && tree.path.starts_with(&outer.path));
        self.trees.iter().filter(move |tree| !is_in_another(tree))
    }
}

/// One file or folder of the host, shown at its own canonical path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tree {
    pub(crate) path: PathBuf,
    pub(crate) access: Access,
    pub(crate) folder: bool,
}

/// What may be done below a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Access {
    /// Read and execute; readable to everybody on the host as well.
    System,
    /// Read and execute.
    Read,
    /// Read and write, never execute.
    Write,
    /// Nothing: it cannot be opened. A file inside another tree.
    Hidden,
}
