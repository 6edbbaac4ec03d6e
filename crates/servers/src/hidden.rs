//! What is kept from callers in any case: the gateway's secrets, whose content is not read, and its own folders, in which nothing is read or
//! written.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cap_std::fs::{Metadata, MetadataExt as _};

/// Files, by absolute paths.
#[derive(Debug, Default)]
pub(crate) struct Hidden(Vec<PathBuf>);

impl Hidden {
    pub(crate) fn new(files: Vec<PathBuf>) -> Self {
        Self(files)
    }

    /// Whether an open file is one of them. By what it is: names and links lead anywhere.
    pub(crate) fn holds(&self, open: &Metadata) -> bool {
        let is_it = |file: &PathBuf| std::fs::metadata(file).is_ok_and(|file| (file.dev(), file.ino()) == (open.dev(), open.ino()));
        self.0.iter().any(is_it)
    }

    /// Where they lie below `folder`, whose path is canonical: by their own names, and by what those lead to.
    pub(crate) fn below(&self, folder: &Path) -> Vec<PathBuf> {
        below(&self.0, folder)
    }
}

/// Folders, by their real paths.
#[derive(Debug, Default)]
pub(crate) struct Closed(Vec<PathBuf>);

impl Closed {
    pub(crate) fn new(folders: &[PathBuf]) -> Self {
        Self(folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect())
    }

    /// Whether a real path is that of one of them, or lies in one.
    pub(crate) fn holds(&self, real: &Path) -> bool {
        self.0.iter().any(|folder| real.starts_with(folder))
    }

    /// The same of what is open. By where it is in the end: names and links lead anywhere, and may be others by now.
    ///
    /// # Errors
    /// Without `/proc`, where it cannot be told.
    pub(crate) fn holds_open(&self, open: &impl AsFd) -> std::io::Result<bool> {
        if self.0.is_empty() {
            return Ok(false);
        }
        Ok(self.holds(&std::fs::read_link(format!("/proc/self/fd/{}", open.as_fd().as_raw_fd()))?))
    }

    /// As [`Hidden::below`].
    pub(crate) fn below(&self, folder: &Path) -> Vec<PathBuf> {
        below(&self.0, folder)
    }
}

fn below(paths: &[PathBuf], folder: &Path) -> Vec<PathBuf> {
    let place = |path: &PathBuf| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let places = paths.iter().flat_map(|path| [Some(path.clone()), place(path), path.canonicalize().ok()]).flatten();
    places.filter_map(|place| Some(place.strip_prefix(folder).ok()?.to_owned())).collect()
}
