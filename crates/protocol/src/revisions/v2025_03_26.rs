//! 2025-03-26 and its elder: no structured output, no titles, no links to resources.

use super::{change_each, content, entries_of};
use crate::method::Method;
use crate::raw::{RawJson, RawObject};

/// Makes a result of 2025-06-18 one of 2025-03-26.
pub(super) fn narrow(result: &mut RawObject, method: Method) {
    if let Some(entries) = entries_of(method) {
        change_each(result, entries, |entry| {
            let structured = entry.remove("outputSchema").is_some();
            entry.remove("title").is_some() || structured
        });
    }
    match method {
        Method::ToolsCall => {
            if let Some(value) = result.remove("structuredContent")
                && result.get("content").is_none_or(|content| content.as_bytes().as_ref() == b"[]")
            {
                result.set("content", content::texts(value.as_str()));
            }
            change_each(result, "content", link_to_text);
        }
        Method::PromptsGet => content::change_messages(result, link_to_text),
        _ => {}
    }
}

/// A link becomes a text that names the resource: the client can still read it by its URI.
fn link_to_text(block: &mut RawObject) -> bool {
    if block.get_str("type").as_deref() != Some("resource_link") {
        return false;
    }
    let uri = block.get_str("uri").unwrap_or_default().into_owned();
    let text = match block.get_str("name") {
        Some(name) => format!("resource {name}: {uri}"),
        None => format!("resource {uri}"),
    };
    *block = content::text(&RawJson::string(&text));
    true
}
