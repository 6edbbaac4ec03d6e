//! A new branch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::describe::Described;
use super::location::Location;
use super::revision;
use crate::tool::{Effect, Job, Tool, ToolError};

pub(super) struct Branch;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The branch's name.
    name: String,
    /// Where it begins: a branch, tag or commit (by default HEAD).
    start: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    name: String,
    commit: Described,
}

impl Tool for Branch {
    type State = Location;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "branch";
    const TITLE: &'static str = "Make a branch";
    const DESCRIPTION: &'static str = "Makes a branch, without switching to it (use checkout for that). Fails if it exists.";
    const EFFECT: Effect = Effect::Adds;

    fn run(location: &Location, input: Input, _job: &Job) -> Result<Output, ToolError> {
        if !git2::Branch::name_is_valid(&input.name).unwrap_or(false) {
            return Err(ToolError::argument("name", format!("`{}` is no name for a branch", input.name)));
        }
        let repository = location.open()?;
        let commit = revision::commit(&repository, "start", input.start.as_deref().unwrap_or("HEAD"))?;
        repository.branch(&input.name, &commit, false).map_err(|error| match error.code() {
            git2::ErrorCode::Exists => ToolError::argument("name", format!("there is a branch `{}` already", input.name)),
            _ => error.into(),
        })?;
        Ok(Output { name: input.name, commit: Described::new(&commit) })
    }
}
