//! A folder, with those above it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::replace::refuse_git_folder;
use super::root::{Root, show};
use crate::tool::{Effect, Job, Tool, ToolError};

pub(super) struct CreateDirectory;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The folder.
    path: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    path: String,
    /// It was not there before.
    created: bool,
}

impl Tool for CreateDirectory {
    type State = Root;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "create_directory";
    const TITLE: &'static str = "Make a folder";
    const DESCRIPTION: &'static str = "Makes a folder, and the folders above it where they are missing. Fine if it is there already.";
    const EFFECT: Effect = Effect::Ensures;

    fn run(root: &Root, input: Input, _job: &Job) -> Result<Output, ToolError> {
        let path = root.locate(&input.path)?;
        let resolved = root.resolve_new(&path)?;
        refuse_git_folder(&resolved)?;
        let created = !root.folder().is_dir(&resolved);
        if created {
            root.refuse_protected(&resolved)?;
        }
        root.folder().create_dir_all(&resolved).map_err(|error| root.fault(&path, &error))?;
        Ok(Output { path: show(&resolved), created })
    }
}
