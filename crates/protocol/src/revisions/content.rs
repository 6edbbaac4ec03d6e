//! Content blocks, as far as crossing between revisions must look at them.

use super::payload::{change_each, change_object, mentions};
use crate::method::Method;
use crate::raw::{RawJson, RawObject};

/// A text block that says `text`.
pub(super) fn text(text: &str) -> RawObject {
    let mut block = RawObject::new();
    block.set("type", RawJson::from_static("\"text\""));
    block.set("text", RawJson::string(text));
    block
}

/// Takes structured content out. The text that says the same stays; where the server sent none, the value itself becomes one.
pub(super) fn structure_to_text(result: &mut RawObject) {
    let Some(value) = result.remove("structuredContent") else { return };
    let has_content = result.get("content").and_then(|content| content.array().ok()).is_some_and(|blocks| !blocks.is_empty());
    if !has_content {
        result.set("content", RawJson::of_array(&[text(value.as_str()).to_json()]));
    }
}

/// Changes the content blocks of a tool's result or a prompt, if they mention one of `words` at all.
pub(super) fn change_blocks(result: &mut RawObject, method: Method, words: &[&str], mut change: impl FnMut(&mut RawObject) -> bool) {
    match method {
        Method::ToolsCall if mentions(result, "content", words) => {
            change_each(result, "content", change);
        }
        Method::PromptsGet if mentions(result, "messages", words) => {
            change_each(result, "messages", |message| change_object(message, "content", &mut change));
        }
        _ => {}
    }
}

/// Changes the content blocks of the messages of a sampling request.
pub(super) fn change_sampled(params: &mut RawObject, mut change: impl FnMut(&mut RawObject) -> bool) {
    change_each(params, "messages", |message| change_object(message, "content", &mut change));
}

/// Whether a block is of this type.
pub(super) fn is(block: &RawObject, kind: &str) -> bool {
    block.get_str("type").as_deref() == Some(kind)
}
