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
