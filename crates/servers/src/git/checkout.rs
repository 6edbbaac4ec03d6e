//! Another branch or commit in the work tree.

use git2::build::CheckoutBuilder;
use git2::{BranchType, CheckoutNotificationType, Commit, ErrorCode, Object, Repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::location::{Kept, Location};
use super::status::{operation, where_head_is};
use super::{revision, work_tree};
use crate::tool::{Effect, Job, Tool, ToolError};

/// Files in the way that are named.
const NAMED_CONFLICTS: usize = 20;

pub(super) struct Checkout;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// A local branch; or a tag or commit, which detaches HEAD.
    target: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The branch; missing where HEAD is detached.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
}

impl Tool for Checkout {
    type State = Location;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "checkout";
    const TITLE: &'static str = "Switch branches";
    const DESCRIPTION: &'static str = "Switches the work tree to a branch or commit. Refuses if that would lose changes or untracked files. Runs no hooks, leaves submodules alone.";
    const EFFECT: Effect = Effect::Ensures;

    fn run(location: &Location, input: Input, _job: &Job) -> Result<Output, ToolError> {
        work_tree::open(location)?;
        let repository = location.open()?;
        if let Some(operation) = operation(repository.state()) {
            return Err(ToolError::new(format!("a {operation} is under way")).with_hint("end it first"));
        }
        let commit = revision::commit(&repository, "target", &input.target)?;
        refuse_closed(&repository, &commit, &location.kept())?;
        put(&repository, commit.as_object())?;
        match repository.find_branch(&input.target, BranchType::Local) {
            Ok(branch) => repository.set_head_bytes(branch.get().name_bytes())?,
            Err(_) => repository.set_head_detached(commit.id())?,
        }
        let (branch, head) = where_head_is(&repository)?;
        Ok(Output { branch, head })
    }
}

/// Refuses what would write, or take away, anything in a folder of the gateway. Links are no way round: what is behind one is not written.
fn refuse_closed(repository: &Repository, commit: &Commit<'_>, kept: &Kept) -> Result<(), ToolError> {
    let now = match repository.head() {
        Ok(head) => Some(head.peel_to_tree()?),
        Err(_) => None, // no commit yet: all is new
    };
    let diff = repository.diff_tree_to_tree(now.as_ref(), Some(&commit.tree()?), None)?;
    let closed = diff
        .deltas()
        .flat_map(|delta| [delta.old_file(), delta.new_file()])
        .find(|file| file.path().is_some_and(|path| kept.is_near_closed(path)));
    match closed.and_then(|file| Some(file.path()?.display().to_string())) {
        Some(path) => Err(ToolError::new(format!("it would change `{path}`, and there is a folder of the gateway, which is closed"))
            .with_hint("nothing in there is for servers; ask the user")),
        None => Ok(()),
    }
}

/// Makes the work tree that of `commit`, if nothing is lost by it.
fn put(repository: &Repository, commit: &Object<'_>) -> Result<(), ToolError> {
    let (mut in_the_way, mut more) = (Vec::new(), 0);
    let mut options = CheckoutBuilder::new();
    options.safe().overwrite_ignored(false).notify_on(CheckoutNotificationType::CONFLICT).notify(|_, path, _, _, _| {
        match path {
            Some(path) if in_the_way.len() < NAMED_CONFLICTS => in_the_way.push(path.to_string_lossy().into_owned()),
            _ => more += 1,
        }
        true
    });
    let done = repository.checkout_tree(commit, Some(&mut options));
    drop(options);
    match done {
        Err(error) if error.code() == ErrorCode::Conflict => {
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let text = format!("these files would lose what they hold now: {}{more}", in_the_way.join(", "));
            Err(ToolError::new(text).with_hint("commit the changes first"))
        }
        done => Ok(done?),
    }
}
