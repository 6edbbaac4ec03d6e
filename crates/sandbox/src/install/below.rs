//! Files below folders that package managers, and code of packages, have written: what lies there under a name may be a link to any file of
//! the user's, a pipe that nobody writes, or as large as the disk. So no link below the folder is followed, only regular files are opened,
//! and not more is read than expected.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the regular file `name` below `root` to be read.
///
/// # Errors
/// When it is not there, is something else, or a link leads to it.
pub(super) fn open(root: &Path, name: &Path) -> io::Result<File> {
    let (folder, last) = parent(root, name)?;
    // Without waiting: nobody may ever write into a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(&folder, last, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file")),
    }
}

/// The text of the file `name` below `root`, at most `bytes` of it.
///
/// # Errors
/// As [`open`], and when it has more, or is not text.
pub(super) fn read(root: &Path, name: &Path, bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = open(root, name)?.take(bytes.saturating_add(1)).read_to_string(&mut text)?;
    match u64::try_from(read).is_ok_and(|read| read <= bytes) {
        true => Ok(text),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {bytes} bytes"))),
    }
}

/// Puts a new file in the place of `name` below `root`, whatever was there.
///
/// # Errors
/// When a folder is there, when a link leads to it, and when it cannot be written.
pub(super) fn write(root: &Path, name: &Path, text: &str) -> io::Result<()> {
    let (folder, last) = parent(root, name)?;
    match unlinkat(&folder, last, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    File::from(openat(&folder, last, flags, Mode::from_raw_mode(0o644))?).write_all(text.as_bytes())
}

/// The folder that holds `name`, and what it is called there.
fn parent<'n>(root: &Path, name: &'n Path) -> io::Result<(OwnedFd, &'n OsStr)> {
    let mut parts = name.components();
    let Some(Component::Normal(last)) = parts.next_back() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut folder = openat(CWD, root, FOLDER, Mode::empty())?;
    for part in parts {
        let Component::Normal(part) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        folder = openat(&folder, part, FOLDER, Mode::empty())?;
    }
    Ok((folder, last))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_is_followed_and_no_pipe_is_waited_for() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("folder")).unwrap();
        fs::write(outside.path().join("victim"), "untouched").unwrap();
        symlink("../victim", root.join("link")).unwrap();
        symlink("..", root.join("out")).unwrap();
        symlink("/dev/zero", root.join("endless")).unwrap();
        rustix::fs::mknodat(CWD, root.join("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        for name in ["link", "out/victim", "endless", "pipe", "folder", "../victim", "/etc/hostname", ""] {
            assert!(read(&root, Path::new(name), 100).is_err(), "{name}");
        }
        write(&root, Path::new("folder/new"), "12345").unwrap();
        assert_eq!(read(&root, Path::new("folder/new"), 5).unwrap(), "12345");
        assert!(read(&root, Path::new("folder/new"), 4).is_err());

        write(&root, Path::new("link"), "a file of its own").unwrap();
        assert!(write(&root, Path::new("out/victim"), "overwritten").is_err() && write(&root, Path::new("folder"), "").is_err());
        assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "untouched");
        assert_eq!(read(&root, Path::new("link"), 100).unwrap(), "a file of its own");
    }
}
