//! A walk through folders, from open folder to open folder: no link is followed, no path resolved twice.

use std::ffi::OsString;
use std::io;
use std::ops::ControlFlow;
use std::path::{Component, Path};

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;

use super::ignored::Ignored;
use super::root::{Kind, Root};
use crate::tool::{Job, ToolError};

/// Folders below each other at most: each is an open descriptor while the walk is inside it.
pub(super) const MAX_DEPTH: usize = 64;

/// Entries of one folder at most: they are sorted in memory (some 10 MiB).
const MAX_ENTRIES: usize = 100_000;

/// Why a folder could not be gone through: the disk failed, or the call must end.
#[derive(Debug)]
pub(super) enum Stopped {
    Io(io::Error),
    Told(ToolError),
}

impl Stopped {
    pub(super) fn or(self, fault: impl FnOnce(io::Error) -> ToolError) -> ToolError {
        match self {
            Self::Io(error) => fault(error),
            Self::Told(error) => error,
        }
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ToolError> for Stopped {
    fn from(error: ToolError) -> Self {
        Self::Told(error)
    }
}

/// A folder's entries by name: the order of pages must not depend on the disk's.
pub(super) fn sorted_entries(folder: &Dir, job: &Job) -> Result<Vec<(OsString, Kind)>, Stopped> {
    let mut entries = Vec::new();
    for (at, entry) in folder.entries()?.enumerate() {
        if at % 1024 == 0 {
            job.check()?;
        }
        if at == MAX_ENTRIES {
            return Err(ToolError::new(format!("a folder has more than {MAX_ENTRIES} entries")).into());
        }
        let entry = entry?;
        entries.push((entry.file_name(), entry.file_type().map_or(Kind::Other, Kind::from)));
    }
    entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(entries)
}

/// Something the walk came to.
pub(super) struct Found<'a> {
    /// Where it is, below the root.
    pub(super) path: &'a str,
    /// The folder it is in, and its name there.
    pub(super) folder: &'a Dir,
    pub(super) name: &'a Path,
    pub(super) kind: Kind,
}

/// How far a walk goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Levels of folders, 1 being what is directly in the start.
    pub(super) depth: usize,
    /// Whether to go where `.gitignore` says not to look.
    pub(super) ignored: bool,
}

/// Goes through everything below `start`, depth first, by name, until `visit` breaks.
pub(super) fn walk(
    root: &Root,
    start: &Path,
    reach: Reach,
    job: &Job,
    visit: &mut dyn FnMut(&Found<'_>) -> Result<ControlFlow<()>, ToolError>,
) -> Result<(), ToolError> {
    let folder = root.open_folder(start)?;
    let mut path = String::new();
    for part in start.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => join(&mut path, &name.to_string_lossy()),
            _ => return Err(ToolError::argument("path", "`..` has no place in the start of a walk")),
        }
    }
    let mut ignored = Ignored::new(reach.ignored);
    ignored.enter_above(root, start);
    let mut walk = Walk { root, reach, job, visit, ignored, path };
    match walk.go(&folder, 1) {
        Ok(_) => Ok(()),
        Err(stopped) => Err(stopped.or(|error| root.fault(start, &error))),
    }
}

struct Walk<'a> {
    root: &'a Root,
    reach: Reach,
    job: &'a Job,
    visit: &'a mut dyn FnMut(&Found<'_>) -> Result<ControlFlow<()>, ToolError>,
    ignored: Ignored,
    path: String,
}

impl Walk<'_> {
    fn go(&mut self, folder: &Dir, depth: usize) -> Result<ControlFlow<()>, Stopped> {
        let entries = sorted_entries(folder, self.job)?;
        self.ignored.enter(folder, self.path.len());
        for (name, kind) in entries {
            self.job.check()?;
            let above = self.path.len();
            join(&mut self.path, &name.to_string_lossy());
            let flow = match self.ignored.hides(&self.path, kind == Kind::Directory) {
                true => ControlFlow::Continue(()),
                false => self.come_to(folder, Path::new(&name), kind, depth)?,
            };
            self.path.truncate(above);
            if flow.is_break() {
                return Ok(flow);
            }
        }
        self.ignored.leave();
        Ok(ControlFlow::Continue(()))
    }

    fn come_to(&mut self, folder: &Dir, name: &Path, kind: Kind, depth: usize) -> Result<ControlFlow<()>, Stopped> {
        let found = Found { path: &self.path, folder, name, kind };
        if (self.visit)(&found)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if kind != Kind::Directory || depth >= self.reach.depth.min(MAX_DEPTH) {
            return Ok(ControlFlow::Continue(()));
        }
        match folder.open_dir_nofollow(name) {
            Ok(below) if self.root.refuse_closed(&below, name).is_err() => Ok(ControlFlow::Continue(())),
            Ok(below) => match self.go(&below, depth + 1) {
                Err(Stopped::Io(_)) => Ok(ControlFlow::Continue(())), // gone or unreadable meanwhile
                done => done,
            },
            Err(_) => Ok(ControlFlow::Continue(())), // not ours to read, or swapped for a link: nothing to see
        }
    }
}

fn join(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(name);
}
