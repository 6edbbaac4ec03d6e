//! Control groups: what holds a program to its limits as a whole, all its processes together.
//!
//! Each of the three limits (memory, processes, processor) is held by the first of these that is there: a group of version 2 below the
//! gateway's own, where that was delegated to it; a group of version 1 below the gateway's own in that controller's hierarchy; nothing,
//! and then other means take its place. A machine may have one limit here and another there.
//!
//! | file | its subject |
//! | --- | --- |
//! | `hierarchy` | which hierarchies are mounted, and where this process is in each |
//! | `place` | the folders in which groups can be made |
//! | `group` | the groups of one program: made, joined, asked, removed |
//! | `leftover` | whose a group is, and groups of gateways that are gone |

mod group;
mod hierarchy;
mod leftover;
mod place;

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub(crate) use group::{Group, PERIOD, SHARES, reclaim};
pub(crate) use leftover::{clear, remove};
pub(crate) use place::{Places, places};

/// What a group can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Controller {
    Memory,
    Processes,
    Processor,
}

impl Controller {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Processes, Self::Processor];

    /// The kernel's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "pids",
            Self::Processor => "cpu",
        }
    }
}

/// Which kind of group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Version {
    One,
    Two,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "control group v1",
            Self::Two => "control group v2",
        })
    }
}

/// Which limits groups hold for the whole of one program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) memory: Option<Version>,
    pub(crate) processes: Option<Version>,
    pub(crate) processor: Option<Version>,
}

/// Writes to a file of the kernel's: in one write, and never a new file.
pub(crate) fn write(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}
