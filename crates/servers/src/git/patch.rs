//! Differences as text, a page of lines at a time.

use std::ops::ControlFlow;
use std::path::Path;

use cap_std::fs::Dir;
use git2::{Delta, Diff, DiffDelta, DiffFile, DiffOptions, ErrorCode, FileMode, Patch, Repository};
use schemars::JsonSchema;
use serde::Serialize;

use super::location::{Location, SECRET};
use super::revision::MAX_BLOB_BYTES;
use super::work_tree;
use crate::page::{Page, cut};
use crate::tool::{Job, ToolError};

const USUAL_LINES: usize = 1000;
const MOST_LINES: usize = 5000;

/// Bytes of a line that are shown: minified sources have lines of megabytes.
const SHOWN_LINE_BYTES: usize = 2000;

/// Files that are named beside the text.
const MOST_FILES: usize = 300;

/// Lines around a change, as git has it.
pub(super) const USUAL_CONTEXT: u32 = 3;
pub(super) const MOST_CONTEXT: u32 = 50;

/// A file that differs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Changed {
    path: String,
    /// added, deleted, modified, renamed, copied, typechange or conflicted.
    change: &'static str,
    /// The path before a renaming.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

/// The new side of a diff, where it is not in the repository.
#[derive(Clone, Copy)]
pub(super) struct NewSide<'a> {
    pub(super) location: &'a Location,
    pub(super) repository: &'a Repository,
    pub(super) tree: &'a Dir,
}

/// What any diff is made with.
pub(super) fn options(context: u32) -> DiffOptions {
    let mut options = DiffOptions::new();
    let max = i64::try_from(MAX_BLOB_BYTES).unwrap_or(i64::MAX);
    options.context_lines(context.min(MOST_CONTEXT)).max_size(max).disable_pathspec_match(true).ignore_submodules(true);
    options
}

/// The files that differ, and how many there are.
pub(super) fn files(diff: &Diff<'_>) -> (Vec<Changed>, u64) {
    let changed = |delta: DiffDelta<'_>| Changed {
        path: shown(&delta.new_file()),
        change: change(delta.status()),
        from: (delta.status() == Delta::Renamed).then(|| shown(&delta.old_file())),
    };
    (diff.deltas().take(MOST_FILES).map(changed).collect(), diff.deltas().len() as u64)
}

pub(super) fn change(delta: Delta) -> &'static str {
    match delta {
        Delta::Added | Delta::Untracked => "added",
        Delta::Deleted => "deleted",
        Delta::Renamed => "renamed",
        Delta::Copied => "copied",
        Delta::Typechange => "typechange",
        Delta::Conflicted => "conflicted",
        _ => "modified",
    }
}

/// The lines `offset..offset + limit` of the whole diff. Of what is kept from callers it says only that it differs.
pub(super) fn page(
    location: &Location,
    diff: &Diff<'_>,
    new_side: Option<NewSide<'_>>,
    context: u32,
    (offset, limit): (Option<u64>, Option<u64>),
    job: &Job,
) -> Result<(String, Option<u64>), ToolError> {
    let mut lines = Lines(Page::new(offset, limit, USUAL_LINES, MOST_LINES));
    let kept = location.kept();
    for (at, delta) in diff.deltas().enumerate() {
        job.check()?;
        let sides = [delta.old_file(), delta.new_file()];
        let why = sides.iter().find_map(|side| kept.why(side.path()?));
        let flow = match new_side {
            _ if let Some(why) = why => lines.kept(&shown(&delta.new_file()), why),
            Some(side) if delta.status() != Delta::Deleted => lines.work_tree_file(side, &delta, context)?,
            _ => match Patch::from_diff(diff, at)? {
                Some(mut patch) => lines.patch(&mut patch)?,
                None => ControlFlow::Continue(()),
            },
        };
        if flow.is_break() {
            break;
        }
    }
    let (lines, next) = lines.0.finish();
    Ok((lines.join("\n"), next))
}

struct Lines(Page<String>);

impl Lines {
    fn line(&mut self, text: &str) -> ControlFlow<()> {
        self.0.offer(text.len().min(SHOWN_LINE_BYTES) + 1, || cut(text, SHOWN_LINE_BYTES))
    }

    fn kept(&mut self, name: &str, why: &str) -> ControlFlow<()> {
        self.line(&format!("* {name} {why}"))
    }

    fn patch(&mut self, patch: &mut Patch<'_>) -> Result<ControlFlow<()>, ToolError> {
        let mut flow = ControlFlow::Continue(());
        let printed = patch.print(&mut |_, _, line| {
            let content = String::from_utf8_lossy(line.content());
            flow = match line.origin() {
                sign @ (' ' | '+' | '-') => self.line(&format!("{sign}{content}")),
                _ => content.lines().filter(|line| !line.is_empty()).try_for_each(|line| self.line(line)),
            };
            flow.is_continue()
        });
        match printed {
            Err(error) if error.code() != ErrorCode::User => Err(error.into()),
            _ => Ok(flow),
        }
    }

    /// A file whose new side is on the disk.
    fn work_tree_file(&mut self, side: NewSide<'_>, delta: &DiffDelta<'_>, context: u32) -> Result<ControlFlow<()>, ToolError> {
        let name = shown(&delta.new_file());
        let Some(path) = delta.new_file().path() else { return Ok(ControlFlow::Continue(())) };
        if delta.status() == Delta::Conflicted {
            return Ok(self.line(&format!("* unmerged path {name}")));
        }
        let entry = match work_tree::entry(side.tree, side.location, path) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(self.kept(&name, SECRET)),
            Err(_) => return Ok(self.line(&format!("* {name}: not readable"))),
        };
        let (old_mode, new_mode) = (delta.old_file().mode(), entry.mode());
        if old_mode != new_mode && old_mode != FileMode::Unreadable && self.modes(&name, old_mode, new_mode).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let Some(content) = entry.read()? else {
            return Ok(self.line(&format!("Binary or large file {name} differs")));
        };
        let content = if new_mode == FileMode::Link { content } else { work_tree::stored(side.repository, path, content) };
        self.against_blob(side.repository, delta, &content, path, context)
    }

    fn modes(&mut self, name: &str, old: FileMode, new: FileMode) -> ControlFlow<()> {
        self.line(&format!("diff --git a/{name} b/{name}"))?;
        self.line(&format!("old mode {:06o}", u32::from(old)))?;
        self.line(&format!("new mode {:06o}", u32::from(new)))
    }

    fn against_blob(
        &mut self,
        repository: &Repository,
        delta: &DiffDelta<'_>,
        content: &[u8],
        path: &Path,
        context: u32,
    ) -> Result<ControlFlow<()>, ToolError> {
        let mut options = options(context);
        let id = delta.old_file().id();
        if id.is_zero() {
            let mut patch = Patch::from_buffers(&[], None, content, Some(path), Some(&mut options))?;
            return self.patch(&mut patch);
        }
        if repository.odb()?.read_header(id)?.0 > MAX_BLOB_BYTES {
            return Ok(self.line(&format!("Binary or large file {} differs", path.display())));
        }
        let old = repository.find_blob(id)?;
        let mut patch = Patch::from_blob_and_buffer(&old, Some(path), content, Some(path), Some(&mut options))?;
        self.patch(&mut patch)
    }
}

fn shown(file: &DiffFile<'_>) -> String {
    String::from_utf8_lossy(file.path_bytes().unwrap_or_default()).into_owned()
}
