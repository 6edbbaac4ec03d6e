//! Ready-made MCP servers that run inside the gateway.
//!
//! A server is a folder of tools, a tool is one file: its arguments, its result, what it says of itself and what it
//! does (`tool::Tool`). Everything about the wire is in `server`.
#![forbid(unsafe_code)]

mod build_error;
mod hidden;
mod moment;
mod page;
mod server;
mod tool;

use std::path::{Path, PathBuf};

use sallyport_protocol::McpServer;
use sallyport_secrets::SecretReference;

pub use build_error::BuildError;

sallyport_registry::registry! {
    /// Which built-in server, and how it is set up. Building one blocks on the disk, and needs no runtime.
    #[derive(Eq, serde::Serialize)]
    pub BuiltInConfig builds McpServer, or BuildError {
        /// The files of one folder.
        filesystem => Filesystem,
        /// One git repository.
        git => Git,
        /// One database.
        database => Database,
    }
}

impl BuiltInConfig {
    /// The folder or file that the server is confined to, and the key that names it; a server elsewhere has none.
    #[must_use]
    pub fn place(&self) -> Option<(&'static str, &Path)> {
        match self {
            Self::Filesystem(filesystem::Config { root, .. }) | Self::Git(git::Config { root, .. }) => Some(("root", root)),
            Self::Database(config) => Some(("sqlite", config.sqlite.as_deref()?)),
        }
    }

    /// Puts the whole configuration's folder before every relative path; `absolute` gives the path that a written one means.
    pub fn anchor(&mut self, folder: &Path, place: Option<PathBuf>) {
        match (self, place) {
            (Self::Filesystem(filesystem::Config { root, .. }) | Self::Git(git::Config { root, .. }), Some(place)) => *root = place,
            (Self::Filesystem(_) | Self::Git(_), None) => {}
            (Self::Database(config), place) => {
                config.sqlite = place;
                config.postgres = config.postgres.take().map(|reference| reference.within(folder));
                config.authority = config.authority.take().map(|path| folder.join(path));
            }
        }
    }

    /// What is wrong with what is written, as far as it can be told without looking at the disk or the network.
    #[must_use]
    pub fn problem(&self) -> Option<BuildError> {
        match self {
            Self::Filesystem(_) | Self::Git(_) => None,
            Self::Database(config) => config.problem(),
        }
    }

    /// The secret that the server needs.
    #[must_use]
    pub fn secret(&self) -> Option<&SecretReference> {
        match self {
            Self::Filesystem(_) | Self::Git(_) => None,
            Self::Database(config) => config.postgres.as_ref(),
        }
    }

    /// What the server gives access to, for people.
    #[must_use]
    pub fn target(&self) -> String {
        match (self.place(), self.secret()) {
            (Some((_, place)), _) => place.display().to_string(),
            (None, Some(secret)) => secret.to_string(),
            (None, None) => String::new(),
        }
    }

    /// Keeps `file`, an absolute path, from being changed by the server, also where it may write: what it is set up by. The `git` server has no such exception: a checkout writes whatever a commit holds.
    pub fn protect(&mut self, file: PathBuf) {
        match self {
            Self::Filesystem(filesystem::Config { protected, .. }) => protected.push(file),
            Self::Git(_) | Self::Database(_) => {}
        }
    }

    /// Keeps what lies in `file`, an absolute path, from being read through the server: a secret of the gateway.
    pub fn hide(&mut self, file: PathBuf) {
        match self {
            Self::Filesystem(filesystem::Config { hidden, .. }) | Self::Git(git::Config { hidden, .. }) => hidden.push(file),
            Self::Database(_) => {}
        }
    }

    /// Keeps `entry`, relative to the server's folder, and all that lies in it from being written, also where it is not there yet: what
    /// the host would run or obey. Of the `git` server a checkout writes whatever a commit holds.
    pub fn deny_write(&mut self, entry: PathBuf) {
        match self {
            Self::Filesystem(filesystem::Config { denied, .. }) => denied.push(entry),
            Self::Git(_) | Self::Database(_) => {}
        }
    }

    /// Keeps all that lies in `folder`, an absolute path, from being read or changed through the server: what the gateway keeps for itself.
    pub fn close(&mut self, folder: PathBuf) {
        match self {
            Self::Filesystem(filesystem::Config { closed, .. }) | Self::Git(git::Config { closed, .. }) => closed.push(folder),
            Self::Database(_) => {}
        }
    }

    /// Whether the server may change what is in its folder.
    #[must_use]
    pub const fn writes(&self) -> bool {
        match self {
            Self::Filesystem(filesystem::Config { write, .. }) | Self::Git(git::Config { write, .. }) => *write,
            Self::Database(config) => config.write,
        }
    }
}
