//! Which lock files there are on this machine: each that was used is remembered in the private cache by its path, so that the versions that it
//! names stay in the store whichever configuration somebody prunes it by.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Lock files that are there: more than anybody has projects.
const MOST_LOCKS: usize = 10_000;

/// The longest path that a system call takes.
const PATH_BYTES: u64 = 4096;

/// How a file is called that holds the path of a lock file.
const EXTENSION: &str = "path";

/// Whether the lock file at `canonical` is remembered in `file`.
pub(super) fn is_remembered(canonical: &Path, file: &Path) -> bool {
    path_in(&file.with_extension(EXTENSION)).is_ok_and(|known| known == canonical)
}

/// Remembers it. Whoever calls holds off all others.
pub(super) fn remember(canonical: &Path, file: &Path) -> io::Result<()> {
    let unfinished = file.with_extension("path-new");
    fs::write(&unfinished, canonical.as_os_str().as_encoded_bytes())?;
    fs::rename(&unfinished, file.with_extension(EXTENSION))
}

/// All that are still there; the others are forgotten.
pub(super) fn all(drafts: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(drafts) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let lock = path_in(&file)?;
        // One that cannot be looked at may be there.
        match lock.is_absolute().then(|| lock.try_exists()) {
            None | Some(Ok(false)) => fs::remove_file(&file)?,
            Some(_) if found.len() >= MOST_LOCKS => return Err(io::Error::other(format!("it knows more than {MOST_LOCKS} lock files"))),
            Some(_) => found.push(lock),
        }
    }
    Ok(found)
}

fn path_in(file: &Path) -> io::Result<PathBuf> {
    let mut path = Vec::new();
    File::open(file)?.take(PATH_BYTES).read_to_end(&mut path)?;
    Ok(OsString::from_vec(path).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn locks_that_are_gone_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let drafts = folder.path().join("drafts");
        assert!(all(&drafts).unwrap().is_empty());
        fs::create_dir(&drafts).unwrap();
        let locks = ["a", "b"].map(|name| folder.path().join(format!("{name}.lock")));
        for (number, lock) in locks.iter().enumerate() {
            fs::write(lock, "").unwrap();
            let file = drafts.join(number.to_string());
            assert!(!is_remembered(lock, &file));
            remember(lock, &file).unwrap();
            assert!(is_remembered(lock, &file) && !is_remembered(&drafts, &file));
        }
        fs::write(drafts.join("nonsense.path"), "\0").unwrap();
        fs::write(drafts.join("0.lock"), "").unwrap();
        fs::remove_file(&locks[0]).unwrap();
        assert_eq!(all(&drafts).unwrap(), [locks[1].clone()]);
        let left: Vec<_> = fs::read_dir(&drafts).unwrap().map(|entry| entry.unwrap().file_name()).filter(|name| name != "0.lock").collect();
        assert_eq!(left, ["1.path"]);
    }
}
