//! A limit that a program went beyond.

use std::fmt;

#[cfg(target_os = "linux")]
use rustix::process::Signal;
#[cfg(target_os = "linux")]
use sallyport_guest::Met;

use crate::instance::Exit;
#[cfg(target_os = "linux")]
use crate::profile::Limits;

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
    /// Its machine had no memory left of this many MiB, and ended a process of it.
    Machine(u32),
    /// It failed with a `/tmp` that was full with this many MiB.
    Tmp(u32),
    /// It failed with a `/dev/shm` that was full with this many MiB.
    Shm(u32),
    /// A process of it has this many files open, and is refused another; it runs on.
    OpenFiles(u32),
    /// It failed with this many files in its `/tmp` or its `/dev/shm`, which had no room for more.
    TmpFiles(u32),
}

impl Exceeded {
    /// What the end of a program shows by itself, and what was `met` until then: that counts only where the program did not end well, since
    /// a full folder may be all that it was to do. `machine_mb` is the memory of its machine, if it has one of its own.
    #[cfg(target_os = "linux")]
    pub(crate) fn at_the_end(exit: Exit, met: Option<Met>, limits: &Limits, machine_mb: Option<u32>) -> Option<Self> {
        // A shell or a container runtime round it says so by its code.
        let signal = Signal::XFSZ.as_raw();
        if exit == Exit::Signal(signal) || exit == Exit::Code(128 + signal) {
            return Some(Self::FileSize(limits.file_mb));
        }
        Some(match met.filter(|_| !exit.is_success())? {
            Met::Memory => Self::Machine(machine_mb?),
            Met::Tmp => Self::Tmp(limits.tmp_mb),
            Met::Shm => Self::Shm(limits.shm_mb),
            Met::Files => Self::TmpFiles(limits.tmp_files),
        })
    }

    /// Whether it is about the folders that a program has for itself.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_of_own_folders(self) -> bool {
        matches!(self, Self::Tmp(_) | Self::Shm(_) | Self::TmpFiles(_))
    }

    /// Where in a server's configuration it is set.
    #[must_use]
    pub fn setting(self) -> String {
        let table = if let Self::Machine(_) = self { "sandbox.microvm" } else { "limits" };
        format!("{table}.{}", self.key())
    }

    /// The key that sets it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Memory(_) | Self::Machine(_) => "memory_mb",
            Self::Output(_) => "output_mb",
            Self::Processes(_) => "processes",
            Self::FileSize(_) => "file_mb",
            Self::Tmp(_) => "tmp_mb",
            Self::Shm(_) => "shm_mb",
            Self::OpenFiles(_) => "open_files",
            Self::TmpFiles(_) => "tmp_files",
        }
    }

    /// What became of the program that ended like `exit`: "was ended because …".
    #[must_use]
    pub fn explain(self, exit: Exit) -> String {
        match self {
            Self::Memory(_) | Self::Output(_) | Self::FileSize(_) => format!("was ended because it {self}"),
            Self::Processes(_) | Self::Machine(_) | Self::Tmp(_) | Self::Shm(_) | Self::OpenFiles(_) | Self::TmpFiles(_) => {
                format!("{exit} after it {self}")
            }
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
            Self::Machine(mb) => write!(f, "used more than the {mb} MiB of memory of its machine"),
            Self::Tmp(mb) => write!(f, "filled the {mb} MiB of its /tmp"),
            Self::Shm(mb) => write!(f, "filled the {mb} MiB of its /dev/shm"),
            Self::OpenFiles(count) => write!(f, "has as many files open as a process of it may, {count}"),
            Self::TmpFiles(count) => write!(f, "made as many files as /tmp or /dev/shm may have, {count}"),
            Self::Processes(count) => write!(f, "wanted more than {count} processes and threads"),
        }
    }
}
