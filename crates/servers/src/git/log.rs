//! The commits that led here.

use std::path::Path;

use git2::{Commit, Oid, Repository, Revwalk, Sort};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::describe::{self, Described, short};
use super::location::Location;
use super::revision;
use crate::page::{Page, more};
use crate::tool::{Content, Effect, Job, Tool, ToolError};

const USUAL_COMMITS: usize = 30;
const MOST_COMMITS: usize = 300;

pub(super) struct Log;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Where to begin: a branch, tag or commit (by default HEAD), or a range such as `main..topic`.
    revision: Option<String>,
    /// Only commits that changed this file or folder.
    path: Option<String>,
    /// How many commits to skip.
    offset: Option<u64>,
    /// How many commits at most (by default 30, at most 300).
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// Newest first.
    commits: Vec<Described>,
    /// `offset` of the next page; missing where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

impl Tool for Log {
    type State = Location;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "log";
    const TITLE: &'static str = "Show the history";
    const DESCRIPTION: &'static str =
        "Lists commits, newest first: of HEAD, of a branch, of a range such as main..topic, or only those that changed a path.";
    const EFFECT: Effect = Effect::Reads;

    fn run(location: &Location, input: Input, job: &Job) -> Result<Output, ToolError> {
        let repository = location.open()?;
        let path = input.path.as_deref().map(|path| revision::path(location, "path", path)).transpose()?;
        let walk = begin(&repository, input.revision.as_deref().unwrap_or("HEAD"))?;
        let mut page = Page::new(input.offset, input.limit, USUAL_COMMITS, MOST_COMMITS);
        for id in walk {
            job.check()?;
            let commit = repository.find_commit(id?)?;
            if path.as_deref().is_some_and(|path| !path.is_empty() && !changes(&commit, Path::new(path))) {
                continue;
            }
            if page.offer(describe::SHOWN_BYTES, || Described::new(&commit)).is_break() {
                break;
            }
        }
        let (commits, next) = page.finish();
        Ok(Output { commits, next })
    }

    fn content(output: &Output) -> Option<Content> {
        let mut text = String::new();
        for commit in &output.commits {
            text.push_str(&format!("{} {} {}: {}\n", short(&commit.id), commit.date, commit.author, commit.summary));
        }
        if output.commits.is_empty() {
            text.push_str("[no commits]\n");
        }
        more(&mut text, output.next);
        Some(Content::Text(text))
    }
}

fn begin<'r>(repository: &'r Repository, from: &str) -> Result<Revwalk<'r>, ToolError> {
    let mut walk = repository.revwalk()?;
    walk.set_sorting(Sort::TIME)?; // a topological order would read all of history before the first commit
    let end = |name: &str| if name.is_empty() { "HEAD".to_owned() } else { name.to_owned() };
    match from.split_once("..") {
        Some((_, new)) if new.starts_with('.') => {
            return Err(ToolError::argument("revision", "a range has two dots: `main..topic`"));
        }
        Some((old, new)) => {
            walk.push(revision::commit(repository, "revision", &end(new))?.id())?;
            walk.hide(revision::commit(repository, "revision", &end(old))?.id())?;
        }
        None => walk.push(revision::commit(repository, "revision", from)?.id())?,
    }
    Ok(walk)
}

/// Whether a commit has `path` otherwise than each of its parents; a merge that took it from one of them has not.
fn changes(commit: &Commit<'_>, path: &Path) -> bool {
    let own = id_at(commit, path);
    match commit.parent_count() {
        0 => own.is_some(),
        _ => commit.parents().all(|parent| id_at(&parent, path) != own),
    }
}

fn id_at(commit: &Commit<'_>, path: &Path) -> Option<Oid> {
    commit.tree().ok()?.get_path(path).ok().map(|entry| entry.id())
}
