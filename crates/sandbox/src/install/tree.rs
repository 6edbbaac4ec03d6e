//! Digests of what was installed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Source;
use super::locked::hex;

/// Files of one installation: ten times the largest public server.
const MOST_FILES: usize = 500_000;

/// Files of a Python environment that say where and by whom it was made, and so differ from machine to machine.
const LOCAL_OF_PYTHON: &[&str] = &["RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"];

/// Every file below a folder with the digest of what is in it, by its path from there. Links count by where they lead, the bit that
/// makes a file executable counts too.
///
/// # Errors
/// When a file cannot be read, and when there are more than half a million.
pub(super) fn files(tree: &Path) -> io::Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![tree.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            let digest = if kind.is_symlink() { of_link(&path)? } else { of_file(&path)? };
            found.insert(path.strip_prefix(tree).unwrap_or(&path).to_path_buf(), digest);
            if found.len() > MOST_FILES {
                return Err(io::Error::other("more files than an installation has"));
            }
        }
    }
    Ok(found)
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

fn of_file(path: &Path) -> io::Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut file = File::open(path)?;
    let executable = if file.metadata()?.permissions().mode() & 0o100 != 0 { "x:" } else { "" };
    Ok(format!("{executable}{}", sha256(&mut file)?))
}

/// The digest of what is read to its end, as `sha256:…`.
pub(super) fn sha256(from: &mut impl io::Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(from, &mut digest)?;
    Ok(format!("sha256:{}", hex(digest.finalize().iter())))
}
