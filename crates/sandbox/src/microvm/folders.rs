//! The folders that a program in a machine may write. The monitor serves them to its guest, by 9p, from within its own sandbox: there the host's
//! kernel keeps read-only what the profile does not let the program write. So whoever breaks the guest's kernel, and the monitor behind it,
//! writes what the program may write, and nothing else.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::policy::{Access, View};
use crate::profile::Profile;

/// Each is a device, of which QEMU's machine has eight; the disk and the ports are two.
pub(super) const MOST: usize = 4;

/// Threads with which the monitor works for the guest (QEMU's `THREAD_POOL_MAX_THREADS_DEFAULT`).
pub(super) const WORKERS: u32 = 64;

/// The folders by their canonical paths, those in another one of them left out.
///
/// # Errors
/// What a machine cannot give is refused: single files, too many folders, and one with all machines' own files (`machines`) in it.
pub(super) fn of(profile: &Profile, name: &str, machines: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut named = Vec::new();
    for root in &profile.write {
        let folder = root.canonicalize().map_err(|cause| {
            Error::io(format_args!("root {} cannot be shown", root.display()), &cause)
                .with_hint("name an existing folder that the gateway's user may enter")
        })?;
        if !folder.is_dir() {
            return Err(Error::new(format!(
                "server {name} cannot run in a microVM: {} is a file, and `write` gives folders there",
                root.display()
            ))
            .with_hint("name the folder that it is in, or use sandbox = \"os\" for it"));
        }
        named.push(folder);
    }
    // Whatever lies in another one comes after it.
    named.sort();
    for folder in named {
        if !folders.iter().any(|outer| folder.starts_with(outer)) {
            folders.push(folder);
        }
    }
    let machines = machines.canonicalize().unwrap_or_else(|_| machines.to_path_buf());
    if let Some(folder) = folders.iter().find(|folder| machines.starts_with(folder)) {
        let why = format!("{}, which it may write, holds what machines are made of", folder.display());
        return Err(Error::new(format!("server {name} cannot run in a microVM: {why}")).with_hint("name narrower folders in `write`"));
    }
    if folders.len() > MOST {
        return Err(Error::new(format!(
            "server {name} cannot run in a microVM: `write` names {} folders, and it has room for {MOST}",
            folders.len()
        ))
        .with_hint("name a folder that holds them, or use sandbox = \"os\" for it"));
    }
    Ok(folders)
}

/// What stays read-only in those folders because `read` names it: the monitor must see it so.
pub(super) fn kept(profile: &Profile, folders: &[PathBuf]) -> Vec<PathBuf> {
    let is_inside = |path: &&PathBuf| path.canonicalize().is_ok_and(|path| folders.iter().any(|folder| path.starts_with(folder)));
    profile.read.iter().filter(is_inside).cloned().collect()
}

/// Leaves on the disk what is not served.
pub(super) fn leave_out(view: &mut View, folders: &[PathBuf]) {
    view.trees.retain(|tree| {
        let is_served = folders.iter().any(|folder| tree.path.starts_with(folder));
        !is_served || (tree.access == Access::Write && folders.contains(&tree.path))
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::fs;

    use super::*;

    #[test]
    fn folders_are_the_outermost_by_their_real_paths_and_few() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        let make = |name: &str| {
            fs::create_dir_all(root.join(name)).unwrap();
            root.join(name)
        };
        let (inner, outer, other) = (make("a/b"), make("a"), make("a,b"));
        std::os::unix::fs::symlink(&outer, root.join("link")).unwrap();
        let found = |write: &[PathBuf]| {
            of(&Profile { write: write.to_vec(), ..Profile::default() }, "x", &root.join("machines")).map_err(|error| error.to_string())
        };
        assert_eq!(found(&[inner.clone(), root.join("link"), other.clone()]).unwrap(), [outer.clone(), other]);
        assert_eq!(found(&[]).unwrap(), Vec::<PathBuf>::new());
        fs::write(root.join("file"), "").unwrap();
        assert!(found(&[root.join("file")]).unwrap_err().contains("is a file"));
        assert!(found(&[root.join("missing")]).unwrap_err().contains("cannot be shown"));
        assert!(found(std::slice::from_ref(&root)).unwrap_err().contains("holds what machines are made of"));
        let many: Vec<PathBuf> = (0..=MOST).map(|number| make(&format!("many{number}"))).collect();
        assert!(found(&many).unwrap_err().contains("has room for 4"));
        let profile = Profile { read: vec![inner.clone(), root.join("many0")], ..Profile::default() };
        assert_eq!(kept(&profile, &[outer]), [inner]);
    }
}
