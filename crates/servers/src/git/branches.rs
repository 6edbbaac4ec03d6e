//! The branches there are.

use git2::{BranchType, Repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::describe::{self, Described, short};
use super::location::Location;
use crate::page::{Page, more};
use crate::tool::{Content, Effect, Job, Tool, ToolError};

const USUAL_BRANCHES: usize = 100;
const MOST_BRANCHES: usize = 300;

pub(super) struct Branches;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// List the remotes' branches as last fetched, instead of the local ones.
    remote: Option<bool>,
    /// How many branches to skip.
    offset: Option<u64>,
    /// How many branches at most (by default 100, at most 300).
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// By name.
    branches: Vec<Listed>,
    /// `offset` of the next page; missing where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Listed {
    name: String,
    /// It is checked out here.
    current: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    /// The newest commit.
    commit: Described,
}

impl Tool for Branches {
    type State = Location;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "branches";
    const TITLE: &'static str = "List branches";
    const DESCRIPTION: &'static str =
        "Lists the local branches, or with `remote` those of the remotes as last fetched, each with its newest commit.";
    const EFFECT: Effect = Effect::Reads;

    fn run(location: &Location, input: Input, job: &Job) -> Result<Output, ToolError> {
        let repository = location.open()?;
        let kind = if input.remote.unwrap_or(false) { BranchType::Remote } else { BranchType::Local };
        let mut page = Page::new(input.offset, input.limit, USUAL_BRANCHES, MOST_BRANCHES);
        for (name, branch) in sorted(&repository, kind)? {
            job.check()?;
            // A branch that points to nothing readable (a broken or symbolic one, such as origin/HEAD) is no place to go.
            let Ok(commit) = branch.get().peel_to_commit() else { continue };
            let listed = || Listed {
                name: lossy(&name),
                current: branch.is_head(),
                upstream: branch.upstream().ok().and_then(|upstream| upstream.name_bytes().ok().map(lossy)),
                commit: Described::new(&commit),
            };
            if page.offer(name.len() + describe::SHOWN_BYTES, listed).is_break() {
                break;
            }
        }
        let (branches, next) = page.finish();
        Ok(Output { branches, next })
    }

    fn content(output: &Output) -> Option<Content> {
        let mut text = String::new();
        for Listed { name, current, upstream, commit } in &output.branches {
            let mark = if *current { "* " } else { "" };
            let upstream = upstream.as_ref().map(|upstream| format!(" [{upstream}]")).unwrap_or_default();
            text.push_str(&format!("{mark}{name}{upstream} {} {}\n", short(&commit.id), commit.summary));
        }
        if output.branches.is_empty() {
            text.push_str("[no branches]\n");
        }
        more(&mut text, output.next);
        Some(Content::Text(text))
    }
}

fn sorted(repository: &Repository, kind: BranchType) -> Result<Vec<(Vec<u8>, git2::Branch<'_>)>, ToolError> {
    let mut branches = Vec::new();
    for branch in repository.branches(Some(kind))? {
        let (branch, _) = branch?;
        if branch.get().symbolic_target_bytes().is_none() {
            branches.push((branch.name_bytes()?.to_vec(), branch));
        }
    }
    branches.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(branches)
}

fn lossy(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}
