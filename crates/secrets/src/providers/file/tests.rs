#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

fn file_with(content: &[u8], mode: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

fn outcome(content: &[u8], mode: u32) -> Result<String, Problem> {
    let (_folder, path) = file_with(content, mode);
    read(path.to_str().unwrap()).map(|secret| secret.expose().to_owned())
}

#[test]
fn one_line_ending_is_trimmed_and_nothing_else() {
    assert_eq!(outcome(b"key", 0o600), Ok("key".into()));
    assert_eq!(outcome(b"key\n", 0o400), Ok("key".into()));
    assert_eq!(outcome(b"key\r\n", 0o600), Ok("key".into()));
    assert_eq!(outcome(b" key \n\n", 0o600), Ok(" key \n".into()));
}

#[test]
fn a_file_that_others_may_use_is_refused() {
    for mode in [0o640, 0o604, 0o620, 0o602, 0o777] {
        assert_eq!(outcome(b"key", mode), Err(Problem::OpenToOthers { mode }));
        let (_folder, path) = file_with(b"key", mode);
        assert_eq!(look(path.to_str().unwrap()), Err(Problem::OpenToOthers { mode }));
    }
}

#[test]
fn what_cannot_be_a_secret_is_refused() {
    assert_eq!(outcome(b"", 0o600), Err(Problem::Empty));
    assert_eq!(outcome(b"\n", 0o600), Err(Problem::Empty));
    assert_eq!(outcome(b"a\0b", 0o600), Err(Problem::NotText));
    assert_eq!(outcome(b"\xff\xfe", 0o600), Err(Problem::NotText));
}

#[test]
fn the_size_is_bounded_exactly() {
    let most = usize::try_from(MOST_BYTES).unwrap();
    assert!(outcome(&vec![b'a'; most], 0o600).is_ok());
    assert_eq!(outcome(&vec![b'a'; most + 1], 0o600), Err(Problem::TooLarge));
}

#[test]
fn only_regular_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(read(path).err(), Some(Problem::NotRegular));
    assert_eq!(read("/dev/zero").err(), Some(Problem::NotRegular));
    let missing = format!("{path}/missing");
    assert_eq!(read(&missing).err(), Some(Problem::Unreadable(std::io::ErrorKind::NotFound)));
    assert_eq!(read("secret").err(), Some(Problem::RelativePath));
}

#[test]
fn a_link_is_followed_to_a_private_file() {
    let (folder, path) = file_with(b"key", 0o600);
    let link = folder.path().join("link"); // as orchestrators mount secrets
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(read(link.to_str().unwrap()).is_ok());
}
