//! What is known of one file or folder.

use std::path::Path;

use cap_std::fs::{MetadataExt, PermissionsExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::root::{Kind, Root, show};
use crate::moment;
use crate::tool::{Effect, Job, Tool, ToolError};

pub(super) struct GetFileInfo;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The file, folder or link.
    path: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    path: String,
    kind: Kind,
    /// Size in bytes.
    size: u64,
    /// Last change of the content (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    /// Permissions, octal.
    mode: String,
    /// Names the content has: more than 1 means hard links.
    links: u64,
    /// What a link points to, as it is written there.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl Tool for GetFileInfo {
    type State = Root;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "get_file_info";
    const TITLE: &'static str = "Describe a file";
    const DESCRIPTION: &'static str =
        "Tells kind, size, time of the last change and permissions of a file, folder or link (of the link itself).";
    const EFFECT: Effect = Effect::Reads;

    fn run(root: &Root, input: Input, _job: &Job) -> Result<Output, ToolError> {
        let path = root.locate(&input.path)?;
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        root.open_folder(above)?;
        let metadata = root.folder().symlink_metadata(&path).map_err(|error| root.fault(&path, &error))?;
        let kind = Kind::from(metadata.file_type());
        let target = match kind {
            Kind::Symlink => root.folder().read_link_contents(&path).ok().map(|target| show(&target)),
            _ => None,
        };
        Ok(Output {
            path: show(&path),
            kind,
            size: metadata.len(),
            modified: metadata.modified().ok().map(|time| moment::from_system(time.into_std())),
            mode: format!("{:04o}", metadata.permissions().mode() & 0o7777),
            links: metadata.nlink(),
            target,
        })
    }
}
