//! Digests of what was installed.

use std::collections::BTreeMap;
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::locked::hex;
use super::{Source, below};

/// Files of one installation: ten times the largest public server.
const MOST_FILES: usize = 500_000;
/// Bytes of their paths, which are held at once.
const MOST_NAMES: usize = 256 * 1024 * 1024;

/// Bytes of all its files: four times the largest image. What a script leaves without taking room on the disk must not be read for hours.
pub(super) const MOST_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// Files of a Python environment that say where and by whom it was made, and so differ from machine to machine.
const LOCAL_OF_PYTHON: &[&str] = &["RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"];

/// Every file below a folder with the digest of what is in it, by its path from there. Links count by where they lead, the bit that
/// makes a file executable counts too.
///
/// # Errors
/// When a file cannot be read or is a pipe or a socket, and when there are more than half a million, they hold more than 64 GiB, or their
/// names are too long to be held.
pub(super) fn files(tree: &Path) -> io::Result<BTreeMap<PathBuf, String>> {
    let (mut found, mut bytes) = (BTreeMap::new(), 0);
    walk(tree, |name, kind| {
        let digest = if kind.is_symlink() { of_link(&tree.join(&name))? } else { of_file(tree, &name, &mut bytes)? };
        found.insert(name, digest);
        Ok(())
    })?;
    Ok(found)
}

/// The links below a folder, by their paths from there.
///
/// # Errors
/// When a folder cannot be read, and when there are too many files, or their names are too long to be held.
pub(super) fn links(tree: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(tree, |name, kind| {
        found.extend(kind.is_symlink().then_some(name));
        Ok(())
    })?;
    Ok(found)
}

/// Shows everything below a folder that is no folder itself, by its path from there.
fn walk(tree: &Path, mut visit: impl FnMut(PathBuf, FileType) -> io::Result<()>) -> io::Result<()> {
    let mut folders = vec![tree.to_path_buf()];
    let (mut entries, mut names) = (0, 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            (entries, names) = (entries + 1, names + path.as_os_str().len());
            if entries > MOST_FILES || names > MOST_NAMES {
                return Err(io::Error::other("more files than an installation has"));
            }
            if kind.is_dir() {
                folders.push(path);
            } else {
                visit(path.strip_prefix(tree).unwrap_or(&path).to_path_buf(), kind)?;
            }
        }
    }
    Ok(())
}

/// Removes a folder with all that is in it, however deep: what an installation left may be built to end whoever goes down into it. Folders
/// are lifted up instead, so that no path grows.
///
/// # Errors
/// When something cannot be removed, and when there is no such folder.
pub(super) fn remove(tree: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(tree)?.is_dir() {
        return fs::remove_file(tree);
    }
    let mut lifted = 0_u64;
    let mut folders: Vec<PathBuf> = vec![tree.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let (path, kind) = {
                let entry = entry?;
                (entry.path(), entry.file_type()?)
            };
            if !kind.is_dir() {
                fs::remove_file(&path)?;
            } else if folder == tree {
                folders.push(path);
            } else {
                let place = loop {
                    lifted += 1;
                    let place = tree.join(format!(".removed-{lifted}"));
                    if place.symlink_metadata().is_err() {
                        break place;
                    }
                };
                fs::rename(&path, &place)?;
                folders.push(place);
            }
        }
        if folder != tree {
            fs::remove_dir(&folder)?;
        }
    }
    fs::remove_dir(tree)
}

/// The digest of all of `files`.
#[must_use]
pub(super) fn digest<'f>(files: impl IntoIterator<Item = (&'f PathBuf, &'f String)>) -> String {
    let mut digest = Sha256::new();
    for (path, content) in files {
        digest.update(path.as_os_str().as_bytes());
        digest.update([0]);
        digest.update(content.as_bytes());
        digest.update([0]);
    }
    format!("sha256:{}", hex(digest.finalize().iter()))
}

/// Whether a file is the same wherever the same packages are installed.
pub(super) fn is_portable(source: Source, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match source {
        // npm's own note of what it did, which names the folder; ours say what was asked for.
        Source::Npm => path.starts_with("node_modules") && !path.ends_with("node_modules/.package-lock.json"),
        Source::PyPi => {
            let compiled = path.components().any(|part| part.as_os_str() == "__pycache__");
            let of_a_package = path.components().any(|part| part.as_os_str() == "site-packages");
            of_a_package && !compiled && !name.starts_with("_virtualenv.") && !LOCAL_OF_PYTHON.contains(&name)
        }
        Source::Cargo => false,
        // Nothing is made here, all of it is out of the layers.
        Source::Oci => true,
    }
}

fn of_link(path: &Path) -> io::Result<String> {
    Ok(format!("link:{}", fs::read_link(path)?.display()))
}

/// Adds its length to `bytes`.
fn of_file(tree: &Path, name: &Path, bytes: &mut u64) -> io::Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut file = below::open(tree, name)?;
    let found = file.metadata()?;
    *bytes += found.len();
    if *bytes > MOST_BYTES {
        return Err(io::Error::other("more bytes than an installation has"));
    }
    let executable = if found.permissions().mode() & 0o100 != 0 { "x:" } else { "" };
    Ok(format!("{executable}{}", sha256(&mut file)?))
}

/// The digest of what is read to its end, as `sha256:…`.
pub(super) fn sha256(from: &mut impl io::Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(from, &mut digest)?;
    Ok(format!("sha256:{}", hex(digest.finalize().iter())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    #[test]
    fn a_tree_is_removed_however_deep_it_is_and_nothing_beside_it() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "kept").unwrap();
        let (tree, above) = (outside.path().join("tree"), outside.path().join("above"));
        fs::create_dir(&tree).unwrap();
        std::os::unix::fs::symlink(outside.path(), tree.join("link")).unwrap();
        for level in 0..20_000 {
            fs::create_dir(&above).unwrap();
            fs::write(above.join("file"), level.to_string()).unwrap();
            fs::rename(&tree, above.join("below")).unwrap();
            fs::rename(&above, &tree).unwrap();
        }
        fs::create_dir(tree.join(".removed-1")).unwrap();
        remove(&tree).unwrap();
        let left: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["kept"]);
        assert_eq!(remove(&tree).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
