//! Sampling without tools: one content block a message.

use super::{NoWord, Revision, content};
use crate::raw::{RawJson, RawObject};

/// Writes a sampling request of 2025-11-25 as one of 2025-06-18.
pub(super) fn narrow(params: &mut RawObject) -> Result<(), NoWord> {
    let offers = params.get("tools").is_some_and(|tools| tools.array().map_or_else(|_| !tools.is_null(), |tools| !tools.is_empty()));
    if offers {
        return Err(NoWord::new("sampling with tools", Revision::V2025_11_25));
    }
    params.remove("tools");
    params.remove("toolChoice");
    let Some(messages) = params.get("messages").and_then(|messages| messages.array().ok()) else { return Ok(()) };
    let mut written = Vec::with_capacity(messages.len());
    for message in &messages {
        narrow_message(message, &mut written)?;
    }
    if written != messages {
        params.set("messages", RawJson::of_array(&written));
    }
    Ok(())
}

/// A message of several blocks becomes as many messages of the same role.
fn narrow_message(message: &RawJson, written: &mut Vec<RawJson>) -> Result<(), NoWord> {
    let opened = message.object().ok();
    let Some((mut opened, content)) = opened.and_then(|opened| opened.get("content").cloned().map(|content| (opened, content))) else {
        written.push(message.clone());
        return Ok(());
    };
    let blocks = blocks_of(&content);
    if blocks.iter().any(|block| content::is(block, "tool_use") || content::is(block, "tool_result")) {
        return Err(NoWord::new("messages about tools", Revision::V2025_11_25));
    }
    if is_array(&content) {
        written.extend(blocks.iter().map(|block| {
            opened.set("content", block.to_json());
            opened.to_json()
        }));
    } else {
        written.push(message.clone());
    }
    Ok(())
}

/// Writes a sampled message of 2025-11-25 as one of 2025-06-18: its texts in one, or its first block where there is no text.
pub(super) fn narrow_answer(result: &mut RawObject) {
    let Some(content) = result.get("content").filter(|content| is_array(content)) else { return };
    let blocks = blocks_of(content);
    let texts: Vec<_> = blocks.iter().filter(|block| content::is(block, "text")).filter_map(|block| block.get_str("text")).collect();
    let single = match blocks.first() {
        Some(only) if blocks.len() == 1 => only.to_json(),
        Some(first) if texts.is_empty() => first.to_json(),
        _ => content::text(&texts.join("\n")).to_json(),
    };
    result.set("content", single);
}

/// The blocks in it, one or several; what is no object is none.
fn blocks_of(content: &RawJson) -> Vec<RawObject> {
    let blocks = content.array().unwrap_or_else(|_| vec![content.clone()]);
    blocks.iter().filter_map(|block| block.object().ok()).collect()
}

fn is_array(content: &RawJson) -> bool {
    content.as_bytes().first() == Some(&b'[')
}
