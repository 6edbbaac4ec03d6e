//! `file:PATH`: a file that only its owner can read.

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Problem;
use crate::secret::Secret;

pub(super) const SCHEME: &str = "file";
pub(super) const PLACEHOLDER: &str = "PATH";
pub(super) const PATTERN: &str = ".+";

/// Most bytes of a secret file: the longest chain of certificates with its key seen in use is under 32 KiB.
pub(crate) const MOST_BYTES: u64 = 64 * 1024;

pub(super) fn accepts(path: &str) -> bool {
    !path.is_empty() && !path.contains('\0')
}

pub(super) fn anchored<'a>(path: &'a str, folder: &Path) -> Cow<'a, str> {
    if Path::new(path).is_absolute() {
        return Cow::Borrowed(path);
    }
    match folder.join(path).into_os_string().into_string() {
        Ok(joined) => Cow::Owned(joined),
        Err(_) => Cow::Borrowed(path), // stays relative, so that reading it is refused rather than guessed
    }
}

pub(super) fn look(path: &str) -> Result<(), Problem> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err(Problem::RelativePath);
    }
    check(&path.metadata().map_err(unreadable)?)
}

pub(super) fn read(path: &str) -> Result<Secret, Problem> {
    look(path)?; // before opening: to open a FIFO is to wait for its writer
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    check(&metadata)?; // again, on what was really opened
    text(bytes(file, &metadata).map_err(unreadable)?)
}

fn unreadable(error: io::Error) -> Problem {
    Problem::Unreadable(error.kind())
}

fn check(metadata: &Metadata) -> Result<(), Problem> {
    if !metadata.is_file() {
        return Err(Problem::NotRegular);
    }
    if metadata.len() > MOST_BYTES {
        return Err(Problem::TooLarge);
    }
    check_mode(metadata)
}

#[cfg(unix)]
fn check_mode(metadata: &Metadata) -> Result<(), Problem> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(Problem::OpenToOthers { mode }) }
}

#[cfg(not(unix))]
fn check_mode(_: &Metadata) -> Result<(), Problem> {
    Ok(()) // access lists are inherited from the user's profile there
}

/// At most one byte more than is allowed, in a buffer that never moves: moving would leave a copy behind.
fn bytes(file: File, metadata: &Metadata) -> io::Result<Zeroizing<Vec<u8>>> {
    let room = usize::try_from(metadata.len().min(MOST_BYTES)).unwrap_or(0) + 64;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text without the one line ending that editors and `echo` put behind it.
fn text(mut bytes: Zeroizing<Vec<u8>>) -> Result<Secret, Problem> {
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Problem::TooLarge);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(Problem::Empty);
    }
    if bytes.contains(&0) || std::str::from_utf8(&bytes).is_err() {
        return Err(Problem::NotText);
    }
    let taken = std::mem::take(&mut *bytes);
    String::from_utf8(taken).map(Secret::new).map_err(|_| Problem::NotText)
}

#[cfg(test)]
mod tests;
