//! Audit records in a bounded file of the user's own.

use std::io;
use std::path::Path;

use crate::bounded_log::{BoundedLog, Bounds};
use crate::sink::Sink;

/// 160 MiB in all, some 300,000 calls: weeks of one person's work, and a size that no disk notices. Files of 32 MiB can
/// still be opened by every editor.
const BOUNDS: Bounds = Bounds { bytes_per_file: 32 * 1024 * 1024, files: 5 };

/// The file and its older parts.
#[derive(Debug)]
pub struct FileSink(BoundedLog);

impl FileSink {
    /// Goes on at the end of the file at `path`, in a folder that exists.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        BoundedLog::open(path, BOUNDS).map(Self)
    }

    /// The file that is being written.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Sink for FileSink {
    fn name(&self) -> &'static str {
        "file"
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.0.append(lines)
    }
}
