//! The files of one folder: nothing outside it is read or written, whatever links and races are laid out in it.

mod create_directory;
mod directory_tree;
mod edit_file;
mod get_file_info;
mod ignored;
mod list_directory;
mod move_file;
mod read_file;
mod read_media;
mod replace;
mod root;
mod search_files;
mod walk;
mod write_file;

use std::path::PathBuf;

use sallyport_protocol::McpServer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::build_error::BuildError;
use crate::server::BuiltIn;
use crate::tool::Entry;
use root::Root;

pub(crate) use root::open_regular;

/// The files of one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder; relative to the configuration's own.
    pub root: PathBuf,
    /// Whether files may be written, edited and moved too, but for `deny_write`. Not by default: a server that nobody configured
    /// must not be able to lose anything.
    pub write: bool,
    /// What is not written all the same, because the host runs it later or agents obey it: as `deny_write` of a program. Entries are added to
    /// the usual list; `!` in front takes one out (`!.vscode`), `!*` all. What is not there is not made either.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_write: Vec<String>,
    /// Files that are not written, moved or replaced in any case, absolute: the gateway's own. Not part of what is configured.
    #[serde(skip)]
    pub protected: Vec<PathBuf>,
    /// Files whose content is not read in any case, absolute: the gateway's secrets. Not part of what is configured.
    #[serde(skip)]
    pub hidden: Vec<PathBuf>,
    /// Folders in which nothing is read or written in any case, absolute: the gateway's own. Not part of what is configured.
    #[serde(skip)]
    pub closed: Vec<PathBuf>,
    /// What is not written because others run or obey it: relative to the root. Not part of what is configured.
    #[serde(skip)]
    pub denied: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: PathBuf::from("."),
            write: false,
            deny_write: Vec::new(),
            protected: Vec::new(),
            hidden: Vec::new(),
            closed: Vec::new(),
            denied: Vec::new(),
        }
    }
}

pub(crate) fn build(config: Config) -> Result<impl McpServer, BuildError> {
    let root = Root::open(&config)?;
    let mut tools = vec![
        Entry::of::<read_file::ReadFile>(),
        Entry::of::<read_media::ReadMedia>(),
        Entry::of::<list_directory::ListDirectory>(),
        Entry::of::<directory_tree::DirectoryTree>(),
        Entry::of::<search_files::SearchFiles>(),
        Entry::of::<get_file_info::GetFileInfo>(),
    ];
    if config.write {
        tools.extend([
            Entry::of::<write_file::WriteFile>(),
            Entry::of::<edit_file::EditFile>(),
            Entry::of::<create_directory::CreateDirectory>(),
            Entry::of::<move_file::MoveFile>(),
        ]);
    }
    let may = if config.write { "can be read and written" } else { "can be read, not written" };
    let instructions = format!("The files below {} {may}. Paths are relative to that folder.", root.path().display());
    BuiltIn::new("filesystem", instructions, root, tools)
}
