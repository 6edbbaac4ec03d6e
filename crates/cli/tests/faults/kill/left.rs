//! What there is of a gateway: processes, mounts, files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};

use crate::harness::processes::{descendants, runs};

/// Paths below a folder.
pub(super) type Tree = BTreeSet<PathBuf>;

/// From now on whoever loses his parent becomes a child of this process: nobody is missed, whatever he is called.
pub(super) fn adopt_orphans() {
    set_child_subreaper(Some(getpid())).expect("every process may");
}

/// Whoever still runs of what this process, and what it started, has started.
pub(super) fn orphans() -> BTreeSet<u32> {
    descendants(std::process::id()).into_iter().filter(|id| runs(*id)).collect()
}

/// Hears of the end of those who were adopted.
pub(super) fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

pub(super) fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("there is a procfs")
}

/// Every path below a folder, whatever is there: also sockets and links.
pub(super) fn tree(folder: &Path) -> Tree {
    let mut found = Tree::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(below).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}
