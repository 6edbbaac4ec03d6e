//! 2025-11-25 and its two elders: structured content is an object, and so is what an output schema describes.

use super::{change_each, content};
use crate::method::Method;
use crate::raw::{RawJson, RawObject};

/// Makes a result of 2026-07-28 one of 2025-11-25.
pub(super) fn narrow(result: &mut RawObject, method: Method) {
    match method {
        Method::ToolsCall => drop_structure_of_no_object(result),
        Method::ToolsList if content::mentions(result, "tools", "outputSchema") => {
            change_each(result, "tools", |tool| match tool.get("outputSchema") {
                Some(schema) if !describes_object(schema) => tool.remove("outputSchema").is_some(),
                _ => false,
            });
        }
        _ => {}
    }
}

/// The text that says the same stays; where the server sent none, the value itself becomes one.
fn drop_structure_of_no_object(result: &mut RawObject) {
    if result.get("structuredContent").is_none_or(|value| value.as_bytes().first() == Some(&b'{')) {
        return;
    }
    let Some(value) = result.remove("structuredContent") else { return };
    let has_content = result.get("content").and_then(|content| content.array().ok()).is_some_and(|blocks| !blocks.is_empty());
    if !has_content {
        result.set("content", content::texts(value.as_str()));
    }
}

fn describes_object(schema: &RawJson) -> bool {
    schema.object().is_ok_and(|schema| schema.get_str("type").as_deref() == Some("object"))
}
