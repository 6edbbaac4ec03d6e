//! What a client can declare in each revision.

use sallyport_protocol::Revision;
use serde_json::{Value, json};

/// The identifier of the tasks extension.
pub(super) const TASKS: &str = "io.modelcontextprotocol/tasks";

/// Everything that a client of `revision` has a word for.
#[must_use]
pub fn capabilities_of(revision: Revision) -> Value {
    match revision {
        Revision::V2024_11_05 | Revision::V2025_03_26 => json!({ "roots": { "listChanged": true }, "sampling": {} }),
        Revision::V2025_06_18 => json!({ "roots": { "listChanged": true }, "sampling": {}, "elicitation": {} }),
        Revision::V2025_11_25 => json!({
            "roots": { "listChanged": true },
            "sampling": { "tools": {} },
            "elicitation": { "form": {}, "url": {} },
        }),
        Revision::V2026_07_28 => json!({
            "roots": {},
            "sampling": { "tools": {} },
            "elicitation": { "form": {}, "url": {} },
            "extensions": { TASKS: {} },
        }),
    }
}
