//! What stays read-only inside a root to write, because the host would run it later: by git, an editor, a shell, an agent.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::view::ViewBuilder;
use crate::cover;
use crate::profile::Profile;

/// Adds to the view what of the deny-write list is there, and gives what is not: it must be covered before the view is opened.
pub(super) fn add(builder: &mut ViewBuilder, profile: &Profile) -> Vec<PathBuf> {
    let home = super::home().and_then(|home| home.canonicalize().ok());
    let roots = profile.write.iter().filter_map(|root| root.canonicalize().ok()).filter(|root| root.is_dir());
    let mut absent = Vec::new();
    for root in roots {
        for written in &profile.deny_write {
            let (entry, only_if_there) = written.strip_suffix('?').map_or((written.as_str(), false), |entry| (entry, true));
            let (start, entry) = match entry.strip_prefix("~/") {
                None => (root.clone(), entry),
                Some(of_home) => match home.as_ref().filter(|home| home.starts_with(&root)) {
                    Some(home) => (home.clone(), of_home),
                    None => continue,
                },
            };
            absent.extend(deny(builder, &root, start, Path::new(entry)).filter(|_| !only_if_there));
        }
    }
    absent.sort();
    absent.dedup();
    for path in &absent {
        builder.add_denied(path, !cover::is_file(path));
    }
    absent
}

/// Goes down to one entry. A link on the way is itself kept, and followed only inside the root: what lies outside must not become
/// visible by it. Gives the first part that is not there.
fn deny(builder: &mut ViewBuilder, root: &Path, start: PathBuf, entry: &Path) -> Option<PathBuf> {
    let mut path = start;
    for part in entry.components() {
        let Component::Normal(part) = part else { return None };
        path.push(part);
        // Whoever may not look there may not write there either.
        let Ok(found) = fs::symlink_metadata(&path) else { return Some(path) };
        if is_placeholder(&path, &found) {
            return Some(path);
        }
        if found.is_dir() {
            continue;
        }
        builder.add_denied(&path, false);
        if !found.is_symlink() {
            return None;
        }
        path = path.canonicalize().ok().filter(|target| target.starts_with(root))?;
    }
    builder.add_denied(&path, path.is_dir());
    None
}

/// One that another sandbox made, or that was left when the power failed.
fn is_placeholder(path: &Path, found: &Metadata) -> bool {
    match found.mode() & 0o7777 {
        cover::FOLDER_MODE if found.is_dir() => fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()),
        cover::FILE_MODE => found.is_file() && cover::is_file(path),
        _ => false,
    }
}
