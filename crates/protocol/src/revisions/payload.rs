//! Opening of a payload no further than crossing needs.

use crate::method::Method;
use crate::raw::{RawJson, RawObject};

/// `_meta` keys that belong to one leg of 2026-07-28 (its `_meta` page): they mean nothing in an older revision.
const MODERN_KEYS: [&str; 6] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/subscriptionId",
    "io.modelcontextprotocol/serverInfo",
];

/// The `_meta` key by which 2025-11-25 alone (tasks) tells to which task a message belongs.
const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// Takes the keys of a modern leg out of `_meta`.
pub(super) fn strip_modern_meta(object: &mut RawObject) {
    strip_meta(object, |key| MODERN_KEYS.contains(&key));
}

/// Takes the mark of a task of 2025-11-25 out of `_meta`.
pub(super) fn strip_related_task(object: &mut RawObject) {
    strip_meta(object, |key| key == RELATED_TASK);
}

/// Takes keys out of `_meta`, and `_meta` itself where nothing else is in it.
fn strip_meta(object: &mut RawObject, goes: impl Fn(&str) -> bool) {
    let Some(mut meta) = object.get("_meta").and_then(|meta| meta.object().ok()) else { return };
    let before = meta.len();
    meta.retain(|key| !goes(key));
    if meta.len() == before {
        return;
    }
    if meta.is_empty() {
        object.remove("_meta");
    } else {
        object.set("_meta", meta.to_json());
    }
}

/// Takes members out and says whether one was there.
pub(super) fn remove_all(object: &mut RawObject, keys: &[&str]) -> bool {
    let before = object.len();
    object.retain(|key| !keys.contains(&key));
    object.len() < before
}

/// Opens the object `member`, lets `change` look at it, and writes it anew only where it changed.
pub(super) fn change_object(object: &mut RawObject, member: &str, change: impl FnOnce(&mut RawObject) -> bool) -> bool {
    let Some(mut inner) = object.get(member).and_then(|inner| inner.object().ok()) else { return false };
    let changed = change(&mut inner);
    if changed {
        object.set(member, inner.to_json());
    }
    changed
}

/// Opens each object in the array `member`, lets `change` look at it, and writes the array anew only where one changed.
pub(super) fn change_each(object: &mut RawObject, member: &str, mut change: impl FnMut(&mut RawObject) -> bool) -> bool {
    let Some(mut items) = object.get(member).and_then(|items| items.array().ok()) else { return false };
    let mut changed = false;
    for item in &mut items {
        let Ok(mut opened) = item.object() else { continue };
        if change(&mut opened) {
            *item = opened.to_json();
            changed = true;
        }
    }
    if changed {
        object.set(member, RawJson::of_array(&items));
    }
    changed
}

/// The member that holds a list's entries.
pub(super) const fn entries_of(method: Method) -> Option<&'static str> {
    match method {
        Method::ToolsList => Some("tools"),
        Method::PromptsList => Some("prompts"),
        Method::ResourcesList => Some("resources"),
        Method::ResourceTemplatesList => Some("resourceTemplates"),
        _ => None,
    }
}

/// Whether the text of a member holds one of `words`: a scan is cheaper than opening a thousand entries. A word that the
/// server spelt with escapes is not found; its client then sees what it would have seen without us.
pub(super) fn mentions(object: &RawObject, member: &str, words: &[&str]) -> bool {
    let holds = |value: &RawJson| words.iter().any(|word| memchr::memmem::find(value.as_bytes(), word.as_bytes()).is_some());
    object.get(member).is_some_and(holds)
}
