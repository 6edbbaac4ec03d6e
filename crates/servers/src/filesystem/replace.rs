//! Writing, so that a reader sees the old content or the new one and never a half.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::fs::fchown;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, File, Metadata, MetadataExt, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};

use super::root::{Root, show};
use crate::tool::ToolError;

/// A place where something is to be written: the folder it is in, opened, and its name there.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) folder: Dir,
    pub(super) name: OsString,
    /// Below the root, links resolved.
    pub(super) path: PathBuf,
}

impl Root {
    /// Where a new or existing file is written: links in it are followed first, as far as they stay inside.
    pub(super) fn spot(&self, path: &Path) -> Result<Spot, ToolError> {
        let resolved = self.resolve_new(path)?;
        self.open_spot(path, resolved)
    }

    /// The entry itself: where it is a link, the link.
    pub(super) fn entry(&self, path: &Path) -> Result<Spot, ToolError> {
        let name = path.file_name().ok_or_else(|| not_a_name(path))?;
        let above = path.parent().unwrap_or_else(|| Path::new(""));
        let resolved = if above.as_os_str().is_empty() { PathBuf::new() } else { self.resolve_new(above)? };
        self.open_spot(path, resolved.join(name))
    }

    fn open_spot(&self, asked: &Path, resolved: PathBuf) -> Result<Spot, ToolError> {
        self.refuse_protected(&resolved)?;
        let name = resolved.file_name().ok_or_else(|| not_a_name(asked))?.to_owned();
        let above = resolved.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let folder = self.folder().open_dir(above).map_err(|error| {
            let told = self.fault(above, &error);
            if error.kind() == io::ErrorKind::NotFound { told.with_hint("make the folder first, with create_directory") } else { told }
        })?;
        self.refuse_closed(&folder, asked)?;
        Ok(Spot { folder, name, path: resolved })
    }

    /// Refuses a path without links where it is not to be written.
    pub(super) fn refuse_protected(&self, resolved: &Path) -> Result<(), ToolError> {
        refuse_git_folder(resolved)?;
        if self.protects(resolved) {
            return Err(ToolError::new(format!("`{}` is or holds what the gateway goes by, which is not written to", show(resolved)))
                .with_hint("ask the user to change it"));
        }
        if self.denies(resolved) {
            let told = format!("`{}` is or holds what editors, shells or agents run or obey, which is not written to", show(resolved));
            return Err(ToolError::new(told).with_hint("ask the user to change it"));
        }
        Ok(())
    }

    /// `path` without links, as far as it exists; what does not exist yet is kept as it is written.
    pub(super) fn resolve_new(&self, path: &Path) -> Result<PathBuf, ToolError> {
        for known in path.ancestors() {
            let below = path.strip_prefix(known).unwrap_or_else(|_| Path::new(""));
            if known.as_os_str().is_empty() {
                return plain(path, below).map(Path::to_owned);
            }
            match self.folder().canonicalize(known) {
                Ok(resolved) if below.as_os_str().is_empty() => return Ok(resolved), // joined, it would get a `/` at its end
                Ok(resolved) => return Ok(resolved.join(plain(path, below)?)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.folder().symlink_metadata(known).is_err() => {}
                Err(error) => return Err(self.fault(known, &error)), // also: a link to what is not there
            }
        }
        Err(not_a_name(path))
    }
}

/// Git's own folder holds programs that git runs (hooks) and settings that name programs: who may write files may
/// not for that reason run commands on the user's next commit.
pub(super) fn refuse_git_folder(resolved: &Path) -> Result<(), ToolError> {
    if resolved.components().any(|part| part.as_os_str().eq_ignore_ascii_case(".git")) {
        let told = ToolError::new(format!("`{}` is in git's own folder, which is not written to", show(resolved)));
        return Err(told.with_hint("use the git server's tools"));
    }
    Ok(())
}

fn plain<'a>(path: &Path, below: &'a Path) -> Result<&'a Path, ToolError> {
    match below.components().all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(below),
        false => Err(not_a_name(path)),
    }
}

fn not_a_name(path: &Path) -> ToolError {
    ToolError::new(format!("`{}` names no file or folder to write", show(path)))
}

impl Spot {
    /// What is there now.
    pub(super) fn metadata(&self) -> Option<Metadata> {
        self.folder.symlink_metadata(&self.name).ok()
    }

    /// Puts `content` there, in one step. Mode and, where that is possible, owner of an existing file are kept.
    pub(super) fn replace(&self, content: &[u8]) -> io::Result<()> {
        let before = self.metadata();
        if before.as_ref().is_some_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let (draft, file) = self.create_draft(before.is_some())?;
        let written = fill(file, content, before.as_ref()).and_then(|()| self.folder.rename(&draft, &self.folder, &self.name));
        if written.is_err() {
            let _ = self.folder.remove_file(&draft); // the first error is the one to tell
        }
        written
    }

    /// A new file beside the old one: closed to others until it has the old one's mode.
    fn create_draft(&self, replaces: bool) -> io::Result<(OsString, File)> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if replaces {
            options.mode(0o600);
        }
        loop {
            let draft = draft_name(&self.name);
            match self.folder.open_with(&draft, &options) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {} // left over from a crash: the next number
                opened => return opened.map(|file| (draft, file)),
            }
        }
    }
}

/// A hidden name that no other writer uses at this moment; the start of the old name only, which may be as long as names get.
fn draft_name(name: &OsStr) -> OsString {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let start: String = name.to_string_lossy().chars().take(40).collect();
    OsString::from(format!(".{start}.{}-{number}.draft", std::process::id()))
}

fn fill(mut file: File, content: &[u8], before: Option<&Metadata>) -> io::Result<()> {
    file.write_all(content)?;
    if let Some(before) = before {
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            // Only root may give files away; for everybody else the file becomes theirs, as with any editor.
            let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
        }
        // Without set-user-id and the like: the kernel clears them on every write, too.
        file.set_permissions(Permissions::from_mode(before.permissions().mode() & 0o777))?;
    }
    file.sync_data() // the name must never point to content that a power cut lost
}
