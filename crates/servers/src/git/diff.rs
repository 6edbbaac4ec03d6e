//! What differs between commits, the index and the work tree.

use git2::{DiffFindOptions, Repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::location::Location;
use super::patch::{self, Changed, NewSide, USUAL_CONTEXT};
use super::status::where_head_is;
use super::{revision, work_tree};
use crate::page::more;
use crate::tool::{Content, Effect, Job, Tool, ToolError};

/// Files compared with each other in the search for renamed ones: the cost grows with the square.
const RENAME_LIMIT: usize = 200;

pub(super) struct Diff;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Old side: a commit or branch. Without it, the index.
    from: Option<String>,
    /// New side: a commit or branch. Without it, the work tree. Needs `from`.
    to: Option<String>,
    /// Compare what is staged with HEAD (or `from`).
    staged: Option<bool>,
    /// Only this file or folder.
    path: Option<String>,
    /// Unchanged lines around each change (by default 3, at most 50).
    context: Option<u32>,
    /// How many lines of the diff to skip.
    offset: Option<u64>,
    /// How many lines of the diff at most (by default 1000, at most 5000).
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The files that differ (the first 300).
    files: Vec<Changed>,
    /// How many files differ.
    total_files: u64,
    /// Unified diff.
    text: String,
    /// `offset` of the next page; missing where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

impl Tool for Diff {
    type State = Location;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "diff";
    const TITLE: &'static str = "Show differences";
    const DESCRIPTION: &'static str = "Shows the changes that are not staged yet; with `staged` those that are; with `from` (and `to`) those since (and between) commits. Untracked files and submodules are left out.";
    const EFFECT: Effect = Effect::Reads;

    fn run(location: &Location, input: Input, job: &Job) -> Result<Output, ToolError> {
        let repository = location.open()?;
        let context = input.context.unwrap_or(USUAL_CONTEXT);
        let diff = compare(location, &repository, &input, context)?;
        let on_disk = input.to.is_none() && !input.staged.unwrap_or(false);
        let tree = if on_disk { Some(work_tree::open(location)?) } else { None };
        let new_side = tree.as_ref().map(|tree| NewSide { location, repository: &repository, tree });
        let (text, next) = patch::page(location, &diff, new_side, context, (input.offset, input.limit), job)?;
        let (files, total_files) = patch::files(&diff);
        Ok(Output { files, total_files, text, next })
    }

    fn content(output: &Output) -> Option<Content> {
        let mut text = if output.total_files == 0 { "[no differences]".to_owned() } else { output.text.clone() };
        more(&mut text, output.next);
        Some(Content::Text(text))
    }
}

fn compare<'r>(location: &Location, repository: &'r Repository, input: &Input, context: u32) -> Result<git2::Diff<'r>, ToolError> {
    let mut options = patch::options(context);
    if let Some(path) = &input.path {
        options.pathspec(revision::path(location, "path", path)?);
    }
    let options = Some(&mut options);
    let tree = |argument, name: &str| -> Result<git2::Tree<'r>, ToolError> { Ok(revision::commit(repository, argument, name)?.tree()?) };
    let mut diff = match (&input.from, &input.to, input.staged.unwrap_or(false)) {
        (Some(from), Some(to), false) => repository.diff_tree_to_tree(Some(&tree("from", from)?), Some(&tree("to", to)?), options)?,
        (None, Some(_), _) => return Err(ToolError::argument("to", "needs `from`")),
        (_, Some(_), true) => return Err(ToolError::argument("staged", "has no place beside `to`")),
        (from, None, true) => {
            let unborn = from.is_none() && where_head_is(repository)?.1.is_none(); // before the first commit all is new
            let old = if unborn { None } else { Some(tree("from", from.as_deref().unwrap_or("HEAD"))?) };
            repository.diff_tree_to_index(old.as_ref(), None, options)?
        }
        (Some(from), None, false) => {
            work_tree::open(location)?;
            repository.diff_tree_to_workdir_with_index(Some(&tree("from", from)?), options)?
        }
        (None, None, false) => {
            work_tree::open(location)?;
            repository.diff_index_to_workdir(None, options)?
        }
    };
    if input.to.is_some() {
        // Only between commits: it reads the files on both sides.
        diff.find_similar(Some(DiffFindOptions::new().renames(true).rename_limit(RENAME_LIMIT)))?;
    }
    Ok(diff)
}
