//! What is staged, as a commit.

use git2::{Oid, Repository, RepositoryState, Signature};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::describe::{Described, short};
use super::location::Location;
use super::status::{operation, where_head_is};
use super::work_tree;
use crate::tool::{Content, Effect, Job, Tool, ToolError};

/// Bytes of a message at most.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Parents of a merge at most: what git itself warns of.
const MOST_PARENTS: usize = 16;

pub(super) struct Commit;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The message: a short first line, then if need be an empty line and more.
    message: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    commit: Described,
    /// The branch that has the commit; missing where HEAD is detached.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
}

impl Tool for Commit {
    type State = Location;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "commit";
    const TITLE: &'static str = "Commit what is staged";
    const DESCRIPTION: &'static str = "Records what is staged as a commit on the current branch, with the author of git's settings. Ends a merge whose conflicts are resolved. Runs no hooks, signs nothing.";
    const EFFECT: Effect = Effect::Adds;

    fn run(location: &Location, input: Input, _job: &Job) -> Result<Output, ToolError> {
        let message = message(&input.message)?;
        work_tree::open(location)?;
        let mut repository = location.open()?;
        let merges = check_state(repository.state())?;
        let author = author(&repository)?;
        let parents = parents(&mut repository)?;
        let id = record(&repository, &author, &message, &parents)?;
        if merges {
            repository.cleanup_state()?;
        }
        let (branch, _) = where_head_is(&repository)?;
        let commit = Described::new(&repository.find_commit(id)?);
        Ok(Output { commit, branch })
    }

    fn content(output: &Output) -> Option<Content> {
        let branch = output.branch.as_deref().unwrap_or("detached HEAD");
        Some(Content::Text(format!("[{branch} {}] {}", short(&output.commit.id), output.commit.summary)))
    }
}

fn message(text: &str) -> Result<String, ToolError> {
    if text.trim().is_empty() || text.len() > MAX_MESSAGE_BYTES || text.contains('\0') {
        return Err(ToolError::argument("message", format!("must be text of 1 to {MAX_MESSAGE_BYTES} bytes")));
    }
    Ok(git2::message_prettify(text.trim(), None)?)
}

/// Whether a merge is under way; an error for everything else that is.
fn check_state(state: RepositoryState) -> Result<bool, ToolError> {
    match (state, operation(state)) {
        (RepositoryState::Merge, _) => Ok(true),
        (_, None) => Ok(false),
        (_, Some(operation)) => Err(ToolError::new(format!("a {operation} is under way")).with_hint("end it with git itself first")),
    }
}

fn author(repository: &Repository) -> Result<Signature<'static>, ToolError> {
    repository.signature().map_err(|_| {
        ToolError::new("git does not know who commits").with_hint("the user has to set user.name and user.email, with `git config`")
    })
}

/// HEAD, and what is being merged.
fn parents(repository: &mut Repository) -> Result<Vec<Oid>, ToolError> {
    let mut parents: Vec<Oid> = repository.head().ok().and_then(|head| head.target()).into_iter().collect();
    if repository.state() == RepositoryState::Merge {
        repository.mergehead_foreach(|id| {
            parents.push(*id);
            parents.len() <= MOST_PARENTS
        })?;
    }
    Ok(parents)
}

fn record(repository: &Repository, author: &Signature<'_>, message: &str, parents: &[Oid]) -> Result<Oid, ToolError> {
    let mut index = repository.index()?;
    if index.has_conflicts() {
        return Err(ToolError::new("there are conflicts in the index").with_hint("resolve them in the files, then use add"));
    }
    let tree = repository.find_tree(index.write_tree()?)?;
    let parents = parents.iter().map(|id| repository.find_commit(*id)).collect::<Result<Vec<_>, _>>()?;
    let unchanged = match parents.as_slice() {
        [] => tree.is_empty(),
        [one] => one.tree_id() == tree.id(),
        _ => false,
    };
    if unchanged {
        return Err(ToolError::new("nothing is staged").with_hint("use add first"));
    }
    Ok(repository.commit(Some("HEAD"), author, author, message, &tree, &parents.iter().collect::<Vec<_>>())?)
}
