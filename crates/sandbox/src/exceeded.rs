//! A limit that a program went beyond.

use std::fmt;

use crate::instance::Exit;

/// A limit that a program went beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// Its processes together used more memory than this many MiB, and were ended.
    Memory(u32),
    /// It wrote more within a minute than this many MiB, and was ended.
    Output(u32),
    /// It wanted more processes and threads than this many, and went on without, until it ended.
    Processes(u32),
    /// It wrote on at the end of a file of this many MiB, and was ended by the kernel. Who ignores SIGXFSZ is told by EFBIG instead, and goes on.
    FileSize(u32),
}

impl Exceeded {
    /// The key of `limits` that sets it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Memory(_) => "memory_mb",
            Self::Output(_) => "output_mb",
            Self::Processes(_) => "processes",
            Self::FileSize(_) => "file_mb",
        }
    }

    /// What became of the program that ended like `exit`: "was ended because …".
    #[must_use]
    pub fn explain(self, exit: Exit) -> String {
        match self {
            Self::Memory(_) | Self::Output(_) | Self::FileSize(_) => format!("was ended because it {self}"),
            Self::Processes(_) => format!("{exit} after it {self}"),
        }
    }
}

impl fmt::Display for Exceeded {
    /// "used more than 512 MiB of memory"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(mb) => write!(f, "used more than {mb} MiB of memory"),
            Self::Output(mb) => write!(f, "wrote more than {mb} MiB within a minute"),
            Self::FileSize(mb) => write!(f, "wanted a file larger than {mb} MiB"),
            Self::Processes(count) => write!(f, "wanted more than {count} processes and threads"),
        }
    }
}
