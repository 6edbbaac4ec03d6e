//! What every request carries besides its own params: from 2026-07-28 on the revision, the client and what it can do.

use std::sync::{Mutex, PoisonError};

use sallyport_protocol::{Era, Revision};
use serde_json::{Value, json};

const PREFIX: &str = "io.modelcontextprotocol";

/// The revision and capabilities of a client.
#[derive(Debug)]
pub(super) struct Envelope {
    revision: Revision,
    capabilities: Value,
    log_level: Mutex<Option<String>>,
}

impl Envelope {
    pub(super) fn new(revision: Revision, capabilities: Value) -> Self {
        Self { revision, capabilities, log_level: Mutex::default() }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn capabilities(&self) -> &Value {
        &self.capabilities
    }

    pub(super) fn client_info() -> Value {
        json!({ "name": "sallyport-wire-client", "version": "1.0.0" })
    }

    /// From now on every request asks for log messages of this level.
    pub(super) fn set_log_level(&self, level: &str) {
        *self.log_level.lock().unwrap_or_else(PoisonError::into_inner) = Some(level.to_owned());
    }

    /// The params as they go onto the wire. What the caller put into `_meta` stands.
    pub(super) fn wrap(&self, mut params: Value) -> Value {
        if self.revision.era() == Era::Legacy {
            return params;
        }
        let mut meta = json!({
            (format!("{PREFIX}/protocolVersion")): self.revision.as_str(),
            (format!("{PREFIX}/clientCapabilities")): self.capabilities,
            (format!("{PREFIX}/clientInfo")): Self::client_info(),
        });
        let level = self.log_level.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(level) = level {
            meta[format!("{PREFIX}/logLevel")] = json!(level);
        }
        for (key, value) in params["_meta"].as_object().into_iter().flatten() {
            meta[key] = value.clone();
        }
        params["_meta"] = meta;
        params
    }
}
