//! What a server says of itself: the answer to `server/discover`, or to `initialize`.

use crate::raw::{RawJson, RawObject};
use crate::revision::Revision;

/// What a server says of itself.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// The revision that is spoken with it.
    pub revision: Revision,
    /// Its `capabilities`.
    pub capabilities: RawObject,
    /// Who it says it is.
    pub identity: ServerIdentity,
    /// What it tells the model about its use.
    pub instructions: Option<String>,
}

/// A server's `serverInfo`. Self-reported: for display and logs only (2026-07-28, `_meta`).
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    /// The `Implementation` object.
    pub info: RawJson,
}

impl ServerIdentity {
    /// An identity of a name and a version.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        let mut info = RawObject::new();
        info.set("name", RawJson::string(name));
        info.set("version", RawJson::string(version));
        Self { info: info.to_json() }
    }

    /// The name in it, for display.
    #[must_use]
    pub fn name(&self) -> String {
        self.info.object().ok().and_then(|info| info.get_str("name").map(std::borrow::Cow::into_owned)).unwrap_or_default()
    }
}

impl Discovery {
    /// Whether the server declares a capability (`tools`, `resources`, …).
    #[must_use]
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.get(capability).is_some()
    }
}
