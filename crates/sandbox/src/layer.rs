//! The layers of a boundary, and which of them hold.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One layer of a boundary. Each is set and then checked on its own; the order is that of setting up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// A virtual machine with a kernel of its own; the other layers are round its monitor.
    Machine,
    /// The sandbox dies with the gateway.
    Lifetime,
    /// A gateway run by root gives up root's uid before anything else.
    UidDrop,
    /// Roots shown through id-mapped mounts, so that the given-up uid can use them.
    IdMappedRoots,
    /// A user namespace of its own.
    UserNamespace,
    /// Mount, pid, ipc, uts and cgroup namespaces of its own.
    Namespaces,
    /// A network namespace of its own: empty, or with the gateway as the only way out.
    Network,
    /// A root of its own that holds only what is visible.
    Root,
    /// A procfs that shows only the program's own processes.
    Procfs,
    /// Resource limits.
    Limits,
    /// No gain of privilege by `execve`.
    NoNewPrivileges,
    /// No capability at all.
    Capabilities,
    /// Landlock: files, and where the kernel can, TCP and scopes.
    Landlock,
    /// No descriptor but stdin, stdout and stderr.
    Descriptors,
    /// The system call filter.
    Seccomp,
    /// The start of the program itself, the last step.
    Start,
}

impl Layer {
    /// The layer's name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Lifetime => "lifetime",
            Self::UidDrop => "uid drop",
            Self::IdMappedRoots => "id-mapped roots",
            Self::UserNamespace => "user namespace",
            Self::Namespaces => "namespaces",
            Self::Network => "network namespace",
            Self::Root => "private root",
            Self::Procfs => "procfs",
            Self::Limits => "limits",
            Self::NoNewPrivileges => "no new privileges",
            Self::Capabilities => "capabilities",
            Self::Landlock => "landlock",
            Self::Descriptors => "descriptors",
            Self::Seccomp => "seccomp",
            Self::Start => "start",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether one layer holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It holds; the text says in which form, or is empty.
    InForce(String),
    /// It does not; the text says why.
    Absent(String),
}

/// Which layers hold round one running program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    boundary: String,
    layers: BTreeMap<Layer, State>,
}

impl Layers {
    pub(crate) fn new(boundary: &str) -> Self {
        Self { boundary: boundary.to_owned(), layers: BTreeMap::new() }
    }

    /// The same layers, round the monitor of a machine.
    #[cfg(target_os = "linux")]
    pub(crate) fn round_a_machine(&self, machine: impl Into<String>) -> Self {
        let mut layers = Self { boundary: "microvm".to_owned(), layers: self.layers.clone() };
        layers.in_force(Layer::Machine, machine);
        layers
    }

    pub(crate) fn in_force(&mut self, layer: Layer, detail: impl Into<String>) {
        self.layers.insert(layer, State::InForce(detail.into()));
    }

    pub(crate) fn absent(&mut self, layer: Layer, reason: impl Into<String>) {
        self.layers.insert(layer, State::Absent(reason.into()));
    }

    /// The back-end's name: `os`, or `none` for no boundary at all.
    #[must_use]
    pub fn boundary(&self) -> &str {
        &self.boundary
    }

    /// The state of one layer; `None` if the back-end has no such layer.
    #[must_use]
    pub fn get(&self, layer: Layer) -> Option<&State> {
        self.layers.get(&layer)
    }

    /// All layers, in the order in which they were set up.
    pub fn iter(&self) -> impl Iterator<Item = (Layer, &State)> {
        self.layers.iter().map(|(layer, state)| (*layer, state))
    }
}

impl fmt::Display for Layers {
    /// One line: the boundary, then what does not hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.boundary)?;
        let mut separator = " without ";
        for (layer, state) in self.iter() {
            if let State::Absent(reason) = state {
                write!(f, "{separator}{layer} ({reason})")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}
