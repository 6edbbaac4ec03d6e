//! One commit with what it changed; or a file or folder as it was.

use std::path::Path;

use git2::{Object, ObjectType, Repository, Tree};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::describe::{date, name};
use super::location::Location;
use super::patch::{self, USUAL_CONTEXT};
use super::revision;
use crate::page::{Page, cut, more};
use crate::tool::{Content, Effect, Job, Tool, ToolError};

const USUAL_LINES: usize = 1000;
const MOST_LINES: usize = 5000;
const SHOWN_LINE_BYTES: usize = 2000;

/// Bytes of a commit's message that are shown: git bounds it nowhere.
const SHOWN_MESSAGE_BYTES: usize = 16 * 1024;

pub(super) struct Show;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// A commit, branch or tag (by default HEAD); with `:path` behind it a file or folder of it, such as `HEAD~2:src/main.rs`.
    revision: Option<String>,
    /// How many lines of the text to skip.
    offset: Option<u64>,
    /// How many lines of the text at most (by default 1000, at most 5000).
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The commit; missing where a file or folder was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<Commit>,
    /// What the commit changed as unified diff, the file's content, or the folder's entries.
    text: String,
    /// `offset` of the next page; missing where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Commit {
    id: String,
    /// The diff is against the first.
    parents: Vec<String>,
    author: String,
    email: String,
    /// When it was written (RFC 3339).
    date: String,
    message: String,
}

impl Tool for Show {
    type State = Location;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "show";
    const TITLE: &'static str = "Show a commit or an old file";
    const DESCRIPTION: &'static str = "Shows a commit with its message and diff, or, with `commit:path`, a file's content or a folder's entries as they were in that commit.";
    const EFFECT: Effect = Effect::Reads;

    fn run(location: &Location, input: Input, job: &Job) -> Result<Output, ToolError> {
        let repository = location.open()?;
        let asked = input.revision.as_deref().unwrap_or("HEAD");
        let span = (input.offset, input.limit);
        match asked.split_once(':') {
            Some((name, path)) => show_path(location, &repository, name, path, span),
            None => show_commit(location, &repository, asked, span, job),
        }
    }

    fn content(output: &Output) -> Option<Content> {
        let mut text = match &output.commit {
            Some(Commit { id, author, email, date, message, .. }) => {
                format!("commit {id}\nauthor {author} <{email}>\ndate {date}\n\n{message}\n\n{}", output.text)
            }
            None => output.text.clone(),
        };
        more(&mut text, output.next);
        Some(Content::Text(text))
    }
}

fn show_commit(
    location: &Location,
    repository: &Repository,
    asked: &str,
    span: (Option<u64>, Option<u64>),
    job: &Job,
) -> Result<Output, ToolError> {
    let commit = revision::commit(repository, "revision", asked)?;
    let old = if commit.parent_count() == 0 { None } else { Some(commit.parent(0)?.tree()?) };
    let mut options = patch::options(USUAL_CONTEXT);
    let diff = repository.diff_tree_to_tree(old.as_ref(), Some(&commit.tree()?), Some(&mut options))?;
    let (text, next) = patch::page(location, &diff, None, USUAL_CONTEXT, span, job)?;
    let author = commit.author();
    let told = Commit {
        id: commit.id().to_string(),
        parents: commit.parent_ids().take(64).map(|id| id.to_string()).collect(),
        author: name(&author),
        email: cut(&String::from_utf8_lossy(author.email_bytes()), 200),
        date: date(&author),
        message: cut(&String::from_utf8_lossy(commit.message_bytes()), SHOWN_MESSAGE_BYTES),
    };
    Ok(Output { commit: Some(told), text, next })
}

fn show_path(
    location: &Location,
    repository: &Repository,
    name: &str,
    asked: &str,
    (offset, limit): (Option<u64>, Option<u64>),
) -> Result<Output, ToolError> {
    let path = revision::path(location, "revision", asked)?;
    location.check_kept("revision", &path)?;
    let tree = revision::commit(repository, "revision", name)?.tree()?;
    let mut page = Page::new(offset, limit, USUAL_LINES, MOST_LINES);
    let mut offer = |line: &str| page.offer(line.len().min(SHOWN_LINE_BYTES) + 1, || cut(line, SHOWN_LINE_BYTES));
    match entry(repository, &tree, &path)? {
        Found::Folder(folder) => {
            let _ = folder.iter().try_for_each(|entry| {
                let mark = if entry.kind() == Some(ObjectType::Tree) { "/" } else { "" };
                offer(&format!("{}{mark}", String::from_utf8_lossy(entry.name_bytes())))
            });
        }
        Found::File(id) => {
            let blob = revision::blob(repository, id, &path)?;
            let _ = String::from_utf8_lossy(blob.content()).lines().try_for_each(offer);
        }
    }
    let (lines, next) = page.finish();
    Ok(Output { commit: None, text: lines.join("\n"), next })
}

enum Found<'r> {
    Folder(Tree<'r>),
    File(git2::Oid),
}

fn entry<'r>(repository: &'r Repository, tree: &Tree<'r>, path: &str) -> Result<Found<'r>, ToolError> {
    if path.is_empty() {
        return Ok(Found::Folder(tree.clone()));
    }
    let missing = || ToolError::argument("revision", format!("there is no `{path}` in that commit"));
    let entry = tree.get_path(Path::new(path)).map_err(|_| missing())?;
    match entry.kind() {
        Some(ObjectType::Blob) => Ok(Found::File(entry.id())),
        Some(ObjectType::Tree) => {
            let object: Object<'r> = entry.to_object(repository)?;
            object.into_tree().map(Found::Folder).map_err(|_| missing())
        }
        _ => Err(ToolError::argument("revision", format!("`{path}` is a submodule"))),
    }
}
