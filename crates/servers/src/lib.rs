//! Ready-made MCP servers that run inside the gateway.
//!
//! A server is a folder of tools, a tool is one file: its arguments, its result, what it says of itself and what it
//! does (`tool::Tool`). Everything about the wire is in `server`.
#![forbid(unsafe_code)]

mod build_error;
mod moment;
mod page;
mod server;
mod tool;

use std::path::{Path, PathBuf};

use sallyport_protocol::McpServer;

pub use build_error::BuildError;

sallyport_registry::registry! {
    /// Which built-in server, and how it is set up. Building one blocks on the disk, and needs no runtime.
    #[derive(Eq, serde::Serialize)]
    pub BuiltInConfig builds McpServer, or BuildError {
        /// The files of one folder.
        filesystem => Filesystem,
        /// One git repository.
        git => Git,
    }
}

impl BuiltInConfig {
    /// The folder that the server is confined to.
    #[must_use]
    pub fn root(&self) -> &Path {
        match self {
            Self::Filesystem(filesystem::Config { root, .. }) | Self::Git(git::Config { root, .. }) => root,
        }
    }

    /// Puts another folder in its place: the same one as an absolute path, once it is known what it is relative to.
    pub fn set_root(&mut self, folder: PathBuf) {
        match self {
            Self::Filesystem(filesystem::Config { root, .. }) | Self::Git(git::Config { root, .. }) => *root = folder,
        }
    }

    /// Keeps `file`, an absolute path, from being changed by the server, also where it may write: the configuration that it is set
    /// up by. The `git` server has no such exception: a checkout writes whatever a commit holds.
    pub fn protect(&mut self, file: PathBuf) {
        match self {
            Self::Filesystem(filesystem::Config { protected, .. }) => protected.push(file),
            Self::Git(_) => {}
        }
    }

    /// Whether the server may change what is in its folder.
    #[must_use]
    pub const fn writes(&self) -> bool {
        match self {
            Self::Filesystem(filesystem::Config { write, .. }) | Self::Git(git::Config { write, .. }) => *write,
        }
    }
}
