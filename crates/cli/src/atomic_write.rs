//! Writes files so that a reader sees the old content or the new, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Puts `text` in the place of the content of `file`, which keeps its mode; a symbolic link stays one. A new file gets the mode that
/// the process's umask leaves.
///
/// # Errors
/// When the folder cannot be written; then `file` is as it was.
pub(crate) fn replace(file: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let (unfinished, mut new) = unfinished(&target)?;
    let written = fill(&mut new, &target, text).and_then(|()| fs::rename(&unfinished, &target));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished); // the first error is the one to tell
    }
    written
}

/// Writes a new file that only its owner may read, in a folder that only its owner may enter.
///
/// # Errors
/// When it is there already or cannot be written.
pub(crate) fn create_private(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        private_folder(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut new = options.open(file)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()
}

#[cfg(unix)]
fn private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn private_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// A new file beside `target`: a rename must not cross file systems.
fn unfinished(target: &Path) -> io::Result<(PathBuf, File)> {
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let unfinished = target.with_file_name(name);
    let file = match OpenOptions::new().write(true).create_new(true).open(&unfinished) {
        // What an earlier process with this number left when it was killed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&unfinished)?;
            OpenOptions::new().write(true).create_new(true).open(&unfinished)?
        }
        opened => opened?,
    };
    Ok((unfinished, file))
}

fn fill(new: &mut File, target: &Path, text: &str) -> io::Result<()> {
    // Before anything is in it: what was private stays so at every moment.
    if let Ok(metadata) = fs::metadata(target) {
        new.set_permissions(metadata.permissions())?;
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(mode(&file), 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing unfinished is left");
    }

    #[test]
    fn a_private_file_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets/token");
        create_private(&file, "s").unwrap();
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert!(create_private(&file, "t").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "s");
    }
}
