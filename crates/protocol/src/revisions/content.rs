//! Content blocks, as far as crossing between revisions must look at them.

use super::change_each;
use crate::raw::{RawJson, RawObject};

/// A text block holding the JSON string `text`.
pub(super) fn text(text: &RawJson) -> RawObject {
    let mut block = RawObject::new();
    block.set("type", RawJson::from_static("\"text\""));
    block.set("text", text.clone());
    block
}

/// A content array of one text block.
pub(super) fn texts(content: &str) -> RawJson {
    let mut out = b"[".to_vec();
    text(&RawJson::string(content)).write_to(&mut out);
    out.push(b']');
    RawJson::parse(out).unwrap_or(RawJson::from_static("[]"))
}

/// Changes the content block of each message of a prompt.
pub(super) fn change_messages(result: &mut RawObject, mut change: impl FnMut(&mut RawObject) -> bool) {
    change_each(result, "messages", |message| {
        let Some(mut block) = message.get("content").and_then(|content| content.object().ok()) else { return false };
        let changed = change(&mut block);
        if changed {
            message.set("content", block.to_json());
        }
        changed
    });
}

/// Whether the text of a member holds `word` at all: a scan is cheaper than opening a thousand entries.
pub(super) fn mentions(result: &RawObject, member: &str, word: &str) -> bool {
    result.get(member).is_some_and(|value| memchr::memmem::find(value.as_bytes(), word.as_bytes()).is_some())
}
