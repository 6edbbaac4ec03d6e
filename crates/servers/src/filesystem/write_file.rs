//! A file with new content.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::root::{Root, show};
use crate::tool::{Effect, Job, Tool, ToolError};

pub(super) struct WriteFile;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The file. Its folder must exist.
    path: String,
    /// All of its new content.
    content: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    path: String,
    /// Bytes written.
    size: u64,
    /// There was no such file before.
    created: bool,
}

impl Tool for WriteFile {
    type State = Root;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "write_file";
    const TITLE: &'static str = "Write a file";
    const DESCRIPTION: &'static str =
        "Writes a text file, new or in place of the old content, in one step. To change parts of a file use edit_file.";
    const EFFECT: Effect = Effect::Replaces;

    fn run(root: &Root, input: Input, _job: &Job) -> Result<Output, ToolError> {
        let path = root.locate(&input.path)?;
        let spot = root.spot(&path)?;
        let created = spot.metadata().is_none();
        spot.replace(input.content.as_bytes()).map_err(|error| root.fault(&path, &error))?;
        Ok(Output { path: show(&spot.path), size: input.content.len() as u64, created })
    }
}
