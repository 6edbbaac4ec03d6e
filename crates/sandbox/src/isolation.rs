//! How much keeps a program in, as one order of all back-ends.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much keeps a program in, from nothing to a machine of its own. What is not on this ladder stands for the rung that it equals:
/// containers on the host's kernel and components in WebAssembly for `os`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Nothing.
    None,
    /// Landlock and a system call filter on the host's own namespaces.
    Landlock,
    /// Namespaces, a root of its own, Landlock and a system call filter.
    #[default]
    Os,
    /// A kernel in user space between the program and the host's.
    Gvisor,
    /// A kernel of its own, on a virtual machine.
    Microvm,
}

impl Isolation {
    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Landlock => "landlock",
            Self::Os => "os",
            Self::Gvisor => "gvisor",
            Self::Microvm => "microvm",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
