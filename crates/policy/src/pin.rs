//! Whether a tool is still what it was when its definition was recorded.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the definition that a server gives of a tool stands to the one that is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pin {
    /// It is the recorded one.
    Pinned,
    /// It is another.
    Changed,
    /// None is recorded of it: the tool came later than its server's others, or it is no tool, or nobody knows what is recorded.
    #[default]
    Unpinned,
}

impl Pin {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Pinned, Self::Changed, Self::Unpinned];

    /// The name in policies and audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Changed => "changed",
            Self::Unpinned => "unpinned",
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
