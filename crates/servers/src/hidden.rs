//! Files whose content is not read in any case: the gateway's secrets.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cap_std::fs::{Metadata, MetadataExt as _};

/// The files, by absolute paths.
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
        let place = |file: &PathBuf| Some(file.parent()?.canonicalize().ok()?.join(file.file_name()?));
        let places = self.0.iter().flat_map(|file| [Some(file.clone()), place(file), file.canonicalize().ok()]).flatten();
        places.filter_map(|place| Some(place.strip_prefix(folder).ok()?.to_owned())).collect()
    }
}
