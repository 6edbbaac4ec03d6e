//! A file with parts of it replaced.

use std::io::Read;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use similar::TextDiff;

use super::root::{Root, show};
use crate::page::{PAGE_BYTES, cut};
use crate::tool::{Content, Effect, Job, Tool, ToolError};

/// Bytes of a file that is edited: it is held three times for a moment.
const MAX_EDITED_BYTES: u64 = 8 * 1024 * 1024;

/// Edits of one call at most: each goes through the whole text.
const MAX_EDITS: usize = 200;

/// Time for the diff; then it gets coarser (the edit itself is exact).
const DIFF_TIME: Duration = Duration::from_millis(500);

/// Bytes of a line of the diff that are shown.
const SHOWN_LINE_BYTES: usize = 2000;

pub(super) struct EditFile;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The file.
    path: String,
    /// What to replace, one after the other (at most 200).
    edits: Vec<Edit>,
    /// Show the diff only, write nothing.
    dry_run: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// The text to replace, exactly as it stands in the file. It must occur once, unless replace_all is true.
    old_text: String,
    /// What takes its place.
    new_text: String,
    /// Replace every occurrence.
    replace_all: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    path: String,
    /// The file was written: not on a dry run.
    written: bool,
    /// How many places were replaced.
    replaced: u64,
    /// Unified diff, cut at 64 KiB.
    diff: String,
    /// The diff was cut.
    diff_cut: bool,
}

impl Tool for EditFile {
    type State = Root;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "edit_file";
    const TITLE: &'static str = "Edit a file";
    const DESCRIPTION: &'static str =
        "Replaces exact pieces of text in a file, all of them or none, and returns the diff. With dry_run it only shows the diff.";
    const EFFECT: Effect = Effect::Changes;

    fn run(root: &Root, input: Input, job: &Job) -> Result<Output, ToolError> {
        let path = root.locate(&input.path)?;
        if input.edits.is_empty() || input.edits.len() > MAX_EDITS {
            return Err(ToolError::argument("edits", format!("give 1 to {MAX_EDITS} edits")));
        }
        let spot = root.spot(&path)?;
        let before = read_text(root, &spot.path)?;
        let (mut after, mut replaced) = (before.clone(), 0);
        for (at, edit) in input.edits.iter().enumerate() {
            job.check()?;
            replaced += apply(&mut after, edit, at)?;
        }
        let (diff, diff_cut) = diff(&before, &after, &show(&spot.path));
        let written = !input.dry_run.unwrap_or(false);
        if written {
            spot.replace(after.as_bytes()).map_err(|error| root.fault(&path, &error))?;
        }
        Ok(Output { path: show(&spot.path), written, replaced, diff, diff_cut })
    }

    fn content(output: &Output) -> Option<Content> {
        let done = if output.written { "written" } else { "dry run, nothing written" };
        let cut = if output.diff_cut { "\n[diff cut]" } else { "" };
        Some(Content::Text(format!("{}: {done}, {} replaced\n{}{cut}", output.path, output.replaced, output.diff)))
    }
}

fn read_text(root: &Root, path: &std::path::Path) -> Result<String, ToolError> {
    let (file, metadata) = root.open_file(path)?;
    if metadata.len() > MAX_EDITED_BYTES {
        return Err(ToolError::new(format!("`{}` is too large to edit: {} bytes, at most {MAX_EDITED_BYTES}", show(path), metadata.len())));
    }
    let mut bytes = Vec::new();
    file.take(MAX_EDITED_BYTES).read_to_end(&mut bytes).map_err(|error| root.fault(path, &error))?;
    String::from_utf8(bytes).map_err(|_| ToolError::new(format!("`{}` is not UTF-8 text, and an edit would damage it", show(path))))
}

/// Replaces in `text`; says how many places.
fn apply(text: &mut String, edit: &Edit, at: usize) -> Result<u64, ToolError> {
    let argument = format!("edits[{at}].old_text");
    if edit.old_text.is_empty() {
        return Err(ToolError::argument(&argument, "must not be empty").with_hint("use write_file for a new file"));
    }
    // A file with Windows' line ends keeps them, whichever the model wrote.
    let windows = text.contains("\r\n") && !edit.old_text.contains('\r');
    let ends = |piece: &str| if windows { piece.replace('\n', "\r\n") } else { piece.to_owned() };
    let (old, new) = (ends(&edit.old_text), ends(&edit.new_text));
    let count = text.matches(old.as_str()).count() as u64;
    match (count, edit.replace_all.unwrap_or(false)) {
        (0, _) => Err(ToolError::argument(&argument, "not found in the file; nothing was changed")
            .with_hint("read the file again: white space and line ends must be the same")),
        (1, _) | (_, true) => {
            *text = text.replace(old.as_str(), &new);
            if text.len() as u64 > MAX_EDITED_BYTES {
                return Err(ToolError::argument(&argument, format!("the file would grow beyond {MAX_EDITED_BYTES} bytes")));
            }
            Ok(count)
        }
        (many, false) => Err(ToolError::argument(&argument, format!("occurs {many} times; nothing was changed"))
            .with_hint("give more of the text around it, or set replace_all")),
    }
}

fn diff(before: &str, after: &str, name: &str) -> (String, bool) {
    let diff = TextDiff::configure().timeout(DIFF_TIME).diff_lines(before, after);
    let text = diff.unified_diff().header(name, name).to_string();
    let mut shown = String::new();
    for line in text.lines() {
        if shown.len() + line.len().min(SHOWN_LINE_BYTES) > PAGE_BYTES {
            return (shown, true);
        }
        shown.push_str(&cut(line, SHOWN_LINE_BYTES));
        shown.push('\n');
    }
    (shown, false)
}
