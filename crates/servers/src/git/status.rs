//! What has changed since the last commit.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::{ErrorCode, Repository, RepositoryState, StatusOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::location::Location;
use super::{revision, work_tree};
use crate::page::{Page, more};
use crate::tool::{Content, Effect, Job, Tool, ToolError};

const USUAL_ENTRIES: usize = 300;
const MOST_ENTRIES: usize = 2000;

pub(super) struct Status;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Only this file or folder.
    path: Option<String>,
    /// How many entries to skip.
    offset: Option<u64>,
    /// How many entries at most (by default 300, at most 2000).
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The branch; missing where HEAD is detached.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// The commit; missing where there is none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<Upstream>,
    /// What is under way: merge, rebase, cherry-pick, revert, bisect, apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'static str>,
    /// Files that differ, by path.
    entries: Vec<Entry>,
    /// How many files differ.
    total: u64,
    /// `offset` of the next page; missing where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Upstream {
    name: String,
    /// Commits that only the branch has.
    ahead: u64,
    /// Commits that only the upstream has.
    behind: u64,
}

#[derive(Serialize, JsonSchema)]
struct Entry {
    path: String,
    /// Difference between HEAD and the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    staged: Option<&'static str>,
    /// Difference between the index and the work tree; a file that git does not know is `untracked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    unstaged: Option<&'static str>,
    /// The path before a staged renaming.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

impl Tool for Status {
    type State = Location;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "status";
    const TITLE: &'static str = "Show the state of the work tree";
    const DESCRIPTION: &'static str =
        "Shows the branch, its upstream, and the files that are staged, changed, conflicted or untracked. Submodules are left out.";
    const EFFECT: Effect = Effect::Reads;

    fn run(location: &Location, input: Input, job: &Job) -> Result<Output, ToolError> {
        work_tree::open(location)?;
        let repository = location.open()?;
        let mut options = StatusOptions::new();
        // Untracked folders stay folded: one may hold a million files.
        options.include_untracked(true).recurse_untracked_dirs(false).exclude_submodules(true).renames_head_to_index(true);
        if let Some(path) = &input.path {
            options.pathspec(revision::path(location, "path", path)?).disable_pathspec_match(true);
        }
        let statuses = repository.statuses(Some(&mut options))?;
        let kept = location.kept();
        let told = || statuses.iter().filter(|entry| !kept.is_closed(Path::new(OsStr::from_bytes(entry.path_bytes()))));
        let mut page = Page::new(input.offset, input.limit, USUAL_ENTRIES, MOST_ENTRIES);
        for entry in told() {
            job.check()?;
            if page.offer(entry.path_bytes().len() + 32, || describe(&entry)).is_break() {
                break;
            }
        }
        let (entries, next) = page.finish();
        let (branch, head) = where_head_is(&repository)?;
        let upstream = branch.as_deref().and_then(|branch| upstream(&repository, branch));
        Ok(Output { branch, head, upstream, operation: operation(repository.state()), entries, total: told().count() as u64, next })
    }

    fn content(output: &Output) -> Option<Content> {
        let mut text = match &output.branch {
            Some(branch) => format!("branch {branch}"),
            None => "HEAD is detached".to_owned(),
        };
        match &output.head {
            Some(head) => text.push_str(&format!(" at {head}")),
            None => text.push_str(" (no commit yet)"),
        }
        if let Some(Upstream { name, ahead, behind }) = &output.upstream {
            text.push_str(&format!("\nupstream {name}: {ahead} ahead, {behind} behind"));
        }
        if let Some(operation) = output.operation {
            text.push_str(&format!("\na {operation} is under way"));
        }
        for Entry { path, staged, unstaged, from } in &output.entries {
            let staged = staged.map(|change| format!(" staged: {change}")).unwrap_or_default();
            let unstaged = unstaged.map(|change| format!(" not staged: {change}")).unwrap_or_default();
            let from = from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
            text.push_str(&format!("\n{path}:{staged}{unstaged}{from}"));
        }
        if output.total == 0 {
            text.push_str("\nnothing has changed");
        }
        more(&mut text, output.next);
        Some(Content::Text(text))
    }
}

fn describe(entry: &git2::StatusEntry<'_>) -> Entry {
    let status = entry.status();
    let named = |names: [(git2::Status, &'static str); 5]| names.into_iter().find(|(flag, _)| status.contains(*flag)).map(|(_, name)| name);
    let staged = named([
        (git2::Status::INDEX_NEW, "added"),
        (git2::Status::INDEX_MODIFIED, "modified"),
        (git2::Status::INDEX_DELETED, "deleted"),
        (git2::Status::INDEX_RENAMED, "renamed"),
        (git2::Status::INDEX_TYPECHANGE, "typechange"),
    ]);
    let unstaged = named([
        (git2::Status::CONFLICTED, "conflicted"),
        (git2::Status::WT_NEW, "untracked"),
        (git2::Status::WT_MODIFIED, "modified"),
        (git2::Status::WT_DELETED, "deleted"),
        (git2::Status::WT_TYPECHANGE, "typechange"),
    ]);
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let renamed = entry.head_to_index().filter(|_| status.contains(git2::Status::INDEX_RENAMED));
    let (from, to) = match &renamed {
        Some(delta) => (delta.old_file().path_bytes().map(lossy), delta.new_file().path_bytes().map(lossy)),
        None => (None, None),
    };
    Entry { path: to.unwrap_or_else(|| lossy(entry.path_bytes())), staged, unstaged, from }
}

/// The branch and the commit; on a branch without commits only the branch.
pub(super) fn where_head_is(repository: &Repository) -> Result<(Option<String>, Option<String>), ToolError> {
    match repository.head() {
        Ok(head) => {
            let branch = head.is_branch().then(|| String::from_utf8_lossy(head.shorthand_bytes()).into_owned());
            Ok((branch, head.target().map(|id| id.to_string())))
        }
        Err(error) if error.code() == ErrorCode::UnbornBranch => {
            let head = repository.find_reference("HEAD")?;
            let target = head.symbolic_target_bytes().map(|name| String::from_utf8_lossy(name).into_owned());
            Ok((target.map(|name| name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned()), None))
        }
        Err(error) => Err(error.into()),
    }
}

fn upstream(repository: &Repository, branch: &str) -> Option<Upstream> {
    let local = repository.find_branch(branch, git2::BranchType::Local).ok()?;
    let upstream = local.upstream().ok()?;
    let name = String::from_utf8_lossy(upstream.name_bytes().ok()?).into_owned();
    let (ahead, behind) = repository.graph_ahead_behind(local.get().target()?, upstream.get().target()?).ok()?;
    Some(Upstream { name, ahead: ahead as u64, behind: behind as u64 })
}

/// What git is in the middle of.
pub(super) fn operation(state: RepositoryState) -> Option<&'static str> {
    match state {
        RepositoryState::Clean => None,
        RepositoryState::Merge => Some("merge"),
        RepositoryState::Revert | RepositoryState::RevertSequence => Some("revert"),
        RepositoryState::CherryPick | RepositoryState::CherryPickSequence => Some("cherry-pick"),
        RepositoryState::Bisect => Some("bisect"),
        RepositoryState::Rebase | RepositoryState::RebaseInteractive | RepositoryState::RebaseMerge => Some("rebase"),
        RepositoryState::ApplyMailbox | RepositoryState::ApplyMailboxOrRebase => Some("apply"),
    }
}
