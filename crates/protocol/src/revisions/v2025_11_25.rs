//! 2025-11-25, as it differs from 2026-07-28: results do not say of which kind they are nor for how long they hold, structured
//! content is an object, tasks belong to the protocol itself, elicitation by URL has an id.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::neighbour::{Neighbour, NoWord};
use super::payload::{change_each, change_object, mentions, strip_modern_meta, strip_related_task};
use super::{Method, RawJson, RawObject, content, v2026_07_28};

/// The extension that tasks became.
const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// The capability that they were: what the extension can do for `tools/call`, in this revision's words.
const TASKS: RawJson = RawJson::from_static(r#"{"cancel":{},"list":{},"requests":{"tools":{"call":{}}}}"#);

pub(super) struct Differences;

impl Neighbour for Differences {
    fn narrow_reply(&self, result: &mut RawObject, method: Method) -> Result<(), NoWord> {
        v2026_07_28::unfinish(result)?;
        strip_modern_meta(result);
        match method {
            Method::ToolsCall if result.get("structuredContent").is_some_and(|value| value.as_bytes().first() != Some(&b'{')) => {
                content::structure_to_text(result);
            }
            Method::ToolsList if mentions(result, "tools", &["\"outputSchema\""]) => {
                change_each(result, "tools", |tool| match tool.get("outputSchema") {
                    Some(schema) if !describes_object(schema) => tool.remove("outputSchema").is_some(),
                    _ => false,
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn widen_reply(&self, result: &mut RawObject, _method: Method) {
        strip_related_task(result);
    }

    fn narrow_params(&self, params: &mut RawObject, _method: Method) {
        params.remove("inputResponses");
        params.remove("requestState");
    }

    fn widen_params(&self, params: &mut RawObject, method: Method) {
        if method == Method::ToolsCall {
            params.remove("task");
        }
    }

    fn narrow_notification(&self, params: &mut RawObject, method: &str) -> bool {
        strip_modern_meta(params);
        !matches!(method, "notifications/subscriptions/acknowledged" | "notifications/tasks")
    }

    fn widen_notification(&self, params: &mut RawObject, method: &str) -> bool {
        strip_related_task(params);
        !matches!(
            method,
            "notifications/initialized"
                | "notifications/roots/list_changed"
                | "notifications/elicitation/complete"
                | "notifications/tasks/status"
        )
    }

    fn narrow_client(&self, capabilities: &mut RawObject) {
        remove_extension(capabilities);
    }

    fn widen_client(&self, capabilities: &mut RawObject) {
        remove_extension(capabilities);
        capabilities.remove("tasks");
        change_object(capabilities, "roots", |roots| roots.remove("listChanged").is_some());
        change_object(capabilities, "elicitation", |kinds| {
            let unsaid = kinds.is_empty();
            if unsaid {
                kinds.set("form", RawJson::from_static("{}"));
            }
            unsaid
        });
    }

    fn narrow_server(&self, capabilities: &mut RawObject) {
        if remove_extension(capabilities) && capabilities.get("tasks").is_none() {
            capabilities.set("tasks", TASKS);
        }
    }

    fn widen_server(&self, capabilities: &mut RawObject) {
        let Some(tasks) = capabilities.remove("tasks").and_then(|tasks| tasks.object().ok()) else { return };
        let of_tools = tasks.get_object("requests").ok().flatten().is_some_and(|requests| requests.get("tools").is_some());
        let Ok(extensions) = capabilities.get_object("extensions") else { return };
        if of_tools {
            let mut extensions = extensions.unwrap_or_default();
            extensions.set(TASKS_EXTENSION, RawJson::from_static("{}"));
            capabilities.set("extensions", extensions.to_json());
        }
    }

    fn narrow_question(&self, params: &mut RawObject, method: &str) -> Result<(), NoWord> {
        strip_modern_meta(params);
        let by_url = method == "elicitation/create" && params.get_str("mode").as_deref() == Some("url");
        if by_url && params.get("elicitationId").is_none() {
            params.set("elicitationId", elicitation_id(params));
        }
        Ok(())
    }

    fn widen_question(&self, params: &mut RawObject, method: &str) {
        params.remove("task");
        strip_related_task(params);
        if method == "elicitation/create" {
            params.remove("elicitationId");
        }
    }

    fn narrow_answer(&self, result: &mut RawObject, _method: &str) {
        result.remove("resultType");
        strip_modern_meta(result);
    }

    fn widen_answer(&self, result: &mut RawObject, _method: &str) {
        strip_related_task(result);
    }
}

fn describes_object(schema: &RawJson) -> bool {
    schema.object().is_ok_and(|schema| schema.get_str("type").as_deref() == Some("object"))
}

/// Takes the tasks extension out and says whether it was there.
fn remove_extension(capabilities: &mut RawObject) -> bool {
    let mut none_left = false;
    let removed = change_object(capabilities, "extensions", |extensions| {
        let removed = extensions.remove(TASKS_EXTENSION).is_some();
        none_left = extensions.is_empty();
        removed
    });
    if removed && none_left {
        capabilities.remove("extensions");
    }
    removed
}

/// An id for a question that has none: the same for the same text and URL, so that who is asked again is asked the same.
fn elicitation_id(params: &RawObject) -> RawJson {
    let mut digest = Sha256::new();
    for member in ["message", "url"] {
        digest.update(params.get(member).map_or(&[][..], |value| value.as_bytes()));
        digest.update([0]);
    }
    let mut id = String::with_capacity(32);
    for byte in digest.finalize().iter().take(16) {
        let _ = write!(id, "{byte:02x}"); // into a String it cannot fail
    }
    RawJson::string(&id)
}
