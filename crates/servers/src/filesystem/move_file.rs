//! A file or folder under another name.

use rustix::fs::{RenameFlags, renameat_with};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::root::{Root, show};
use crate::tool::{Effect, Job, Tool, ToolError};

pub(super) struct MoveFile;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The file, folder or link to move.
    from: String,
    /// Its new path. Nothing may be there yet.
    to: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    from: String,
    to: String,
}

impl Tool for MoveFile {
    type State = Root;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "move_file";
    const TITLE: &'static str = "Move or rename";
    const DESCRIPTION: &'static str =
        "Moves or renames a file or folder. Never replaces anything: it fails if something is at the new path.";
    const EFFECT: Effect = Effect::Changes;

    fn run(root: &Root, input: Input, _job: &Job) -> Result<Output, ToolError> {
        let (from, to) = (root.locate(&input.from)?, root.locate(&input.to)?);
        let (source, target) = (root.entry(&from)?, root.entry(&to)?);
        if source.metadata().is_none() {
            return Err(root.fault(&from, &std::io::ErrorKind::NotFound.into()));
        }
        // Between two open folders and without following links; the kernel itself refuses to replace.
        renameat_with(&source.folder, &source.name, &target.folder, &target.name, RenameFlags::NOREPLACE)
            .map_err(|errno| root.fault(&to, &errno.into()))?;
        Ok(Output { from: show(&source.path), to: show(&target.path) })
    }
}
