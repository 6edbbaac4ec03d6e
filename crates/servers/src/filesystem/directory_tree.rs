//! Everything below a folder, at a glance.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::root::{Kind, Root, show};
use super::walk::{MAX_DEPTH, Reach, walk};
use crate::page::{Page, more};
use crate::tool::{Content, Effect, Job, Tool, ToolError};

/// Levels where nothing else was said: enough to see how a project is laid out.
const USUAL_DEPTH: usize = 4;
const USUAL_ENTRIES: usize = 500;
const MOST_ENTRIES: usize = 5000;

pub(super) struct DirectoryTree;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The folder to begin with; by default the root.
    path: Option<String>,
    /// Levels of folders to go down (by default 4, at most 64).
    depth: Option<u64>,
    /// Show also what .gitignore leaves out, and .git itself.
    include_ignored: Option<bool>,
    /// How many entries to skip.
    offset: Option<u64>,
    /// How many entries at most (by default 500, at most 5000).
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    path: String,
    /// Paths below the root, depth first; folders end in `/`, links in `@`.
    entries: Vec<String>,
    /// `offset` of the next page; missing where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

impl Tool for DirectoryTree {
    type State = Root;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "directory_tree";
    const TITLE: &'static str = "Show a folder with all below it";
    const DESCRIPTION: &'static str = "Lists the paths of everything below a folder, down to `depth`. Leaves out what .gitignore names unless include_ignored is true. Links are shown, not followed.";
    const EFFECT: Effect = Effect::Reads;

    fn run(root: &Root, input: Input, job: &Job) -> Result<Output, ToolError> {
        let start = root.locate(input.path.as_deref().unwrap_or("."))?;
        let depth = input.depth.map_or(USUAL_DEPTH, |depth| usize::try_from(depth).unwrap_or(MAX_DEPTH)).clamp(1, MAX_DEPTH);
        let reach = Reach { depth, ignored: input.include_ignored.unwrap_or(false) };
        let mut page = Page::new(input.offset, input.limit, USUAL_ENTRIES, MOST_ENTRIES);
        walk(root, &start, reach, job, &mut |found| {
            let mark = match found.kind {
                Kind::Directory => "/",
                Kind::Symlink => "@",
                Kind::File | Kind::Other => "",
            };
            Ok(page.offer(found.path.len() + 4, || format!("{}{mark}", found.path)))
        })?;
        let (entries, next) = page.finish();
        Ok(Output { path: show(&start), entries, next })
    }

    fn content(output: &Output) -> Option<Content> {
        let mut text = output.entries.join("\n");
        more(&mut text, output.next);
        Some(Content::Text(text))
    }
}
