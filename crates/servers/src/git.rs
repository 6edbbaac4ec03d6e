//! One git repository, through libgit2: no hook, filter or other program is ever run, and no network is used.

mod add;
mod blame;
mod branch;
mod branches;
mod checkout;
mod commit;
mod describe;
mod diff;
mod location;
mod log;
mod patch;
mod revision;
mod show;
mod status;
mod work_tree;

use std::path::{Path, PathBuf};

use sallyport_protocol::McpServer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::build_error::BuildError;
use crate::server::BuiltIn;
use crate::tool::Entry;
use location::Location;

/// One git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The repository's folder, or one inside its work tree; relative to the configuration's own.
    pub root: PathBuf,
    /// Whether changes may be staged and committed, branches made and switched. Not by default: a server that nobody
    /// configured must not be able to change anything.
    pub write: bool,
    /// Files whose content is neither shown nor staged in any case, absolute: the gateway's secrets. Not part of what is configured.
    #[serde(skip)]
    pub hidden: Vec<PathBuf>,
    /// Folders in which nothing is shown, staged or written in any case, absolute: the gateway's own. Not part of what is configured.
    #[serde(skip)]
    pub closed: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self { root: PathBuf::from("."), write: false, hidden: Vec::new(), closed: Vec::new() }
    }
}

pub(crate) fn build(config: Config) -> Result<impl McpServer, BuildError> {
    let location = Location::find(&config.root)?.with(config.write, config.hidden, &config.closed)?;
    let mut tools = vec![
        Entry::of::<status::Status>(),
        Entry::of::<log::Log>(),
        Entry::of::<diff::Diff>(),
        Entry::of::<show::Show>(),
        Entry::of::<blame::Blame>(),
        Entry::of::<branches::Branches>(),
    ];
    if config.write {
        tools.extend([
            Entry::of::<add::Add>(),
            Entry::of::<commit::Commit>(),
            Entry::of::<checkout::Checkout>(),
            Entry::of::<branch::Branch>(),
        ]);
    }
    let may = if config.write { "can be read and changed" } else { "can be read, not changed" };
    let instructions = format!("The git repository in {} {may}. Paths are relative to that folder.", location.folder().display());
    BuiltIn::new("git", instructions, location, tools)
}

/// Whether `folder` lies in the work tree of a repository that this server would open. Blocks on the disk.
#[must_use]
pub fn in_work_tree(folder: &Path) -> bool {
    Location::find(folder).is_ok_and(|location| !location.is_bare())
}

/// The folder of the repository that this server would open for `root`: that of its work tree, where it has one. Blocks on the disk.
#[must_use]
pub fn repository_of(root: &Path) -> Option<PathBuf> {
    Location::find(root).ok().map(|location| location.folder().to_owned())
}
