//! Files of the work tree as they are on the disk, read without leaving it: libgit2 itself would open them by path,
//! and follow a link that was put there between its look and its open.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, PermissionsExt};
use git2::{AttrCheckFlags, AttrValue, FileMode, Repository};

use super::location::Location;
use super::revision::MAX_BLOB_BYTES;
use crate::filesystem::open_regular;
use crate::tool::ToolError;

/// A file of the work tree.
#[derive(Debug)]
pub(super) enum Entry {
    /// A regular file; executable or not.
    File(File, bool),
    /// A symbolic link's own content.
    Link(Vec<u8>),
}

impl Entry {
    pub(super) fn mode(&self) -> FileMode {
        match self {
            Self::File(_, false) => FileMode::Blob,
            Self::File(_, true) => FileMode::BlobExecutable,
            Self::Link(_) => FileMode::Link,
        }
    }

    /// The content, where it is small enough to be text.
    pub(super) fn read(self) -> Result<Option<Vec<u8>>, ToolError> {
        match self {
            Self::Link(target) => Ok(Some(target)),
            Self::File(file, _) => {
                let mut content = Vec::new();
                file.take(MAX_BLOB_BYTES as u64 + 1).read_to_end(&mut content)?;
                Ok((content.len() <= MAX_BLOB_BYTES).then_some(content))
            }
        }
    }
}

pub(super) fn open(location: &Location) -> Result<Dir, ToolError> {
    if location.is_bare() {
        return Err(ToolError::new("a bare repository has no work tree").with_hint("log, show, blame and branches work without"));
    }
    Ok(Dir::open_ambient_dir(location.folder(), ambient_authority())?)
}

/// Opens a file of the work tree, or reads a link; nothing where it is kept from callers, whatever its name here.
pub(super) fn entry(tree: &Dir, location: &Location, path: &Path) -> Result<Option<Entry>, ToolError> {
    if tree.symlink_metadata(path)?.is_symlink() {
        let target = tree.read_link_contents(path)?;
        return Ok(Some(Entry::Link(target.as_os_str().as_bytes().to_vec())));
    }
    let (file, metadata) = open_regular(tree, path, false)?;
    let is_executable = metadata.permissions().mode() & 0o100 != 0;
    Ok((!location.keeps(&file, &metadata)?).then_some(Entry::File(file, is_executable)))
}

/// `content` with the line ends it would be stored with: text that git turns into `\n` on its way in
/// (gitattributes(5), `text`; `core.autocrlf`).
pub(super) fn stored(repository: &Repository, path: &Path, content: Vec<u8>) -> Vec<u8> {
    let windows = memchr::memmem::find(&content, b"\r\n").is_some() && !content.contains(&0);
    if !windows || !is_converted(repository, path) {
        return content;
    }
    let mut stored = Vec::with_capacity(content.len());
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(text) => {
                stored.extend_from_slice(text);
                stored.push(b'\n');
            }
            None => stored.extend_from_slice(line),
        }
    }
    stored
}

fn is_converted(repository: &Repository, path: &Path) -> bool {
    let text = repository.get_attr(path, "text", AttrCheckFlags::default()).ok().flatten();
    match AttrValue::from_string(text) {
        AttrValue::True | AttrValue::String("auto") => true,
        AttrValue::False => false,
        _ => repository.config().and_then(|config| config.get_string("core.autocrlf")).is_ok_and(|set| set == "true" || set == "input"),
    }
}
