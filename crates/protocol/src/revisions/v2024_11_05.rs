//! 2024-11-05, as it differs from 2025-03-26: no audio, no annotations of tools, no texts in progress, and completion is
//! there without being declared.

use super::neighbour::{Neighbour, NoWord};
use super::payload::{change_each, change_object, mentions};
use super::{Method, RawJson, RawObject, content};

pub(super) struct Differences;

impl Neighbour for Differences {
    fn narrow_reply(&self, result: &mut RawObject, method: Method) -> Result<(), NoWord> {
        content::change_blocks(result, method, &["audio"], audio_to_text);
        if method == Method::ToolsList && mentions(result, "tools", &["\"annotations\""]) {
            change_each(result, "tools", |tool| tool.remove("annotations").is_some());
        }
        Ok(())
    }

    fn narrow_notification(&self, params: &mut RawObject, method: &str) -> bool {
        if method == "notifications/progress" {
            params.remove("message");
        }
        true
    }

    fn narrow_server(&self, capabilities: &mut RawObject) {
        capabilities.remove("completions");
    }

    /// What can be completed are prompts and resource templates; a server that has them and completes nothing says so when asked.
    fn widen_server(&self, capabilities: &mut RawObject) {
        let completes = capabilities.get("prompts").is_some() || capabilities.get("resources").is_some();
        if completes && capabilities.get("completions").is_none() {
            capabilities.set("completions", RawJson::from_static("{}"));
        }
    }

    fn narrow_question(&self, params: &mut RawObject, method: &str) -> Result<(), NoWord> {
        if method == "sampling/createMessage" {
            content::change_sampled(params, audio_to_text);
        }
        Ok(())
    }

    fn narrow_answer(&self, result: &mut RawObject, method: &str) {
        if method == "sampling/createMessage" {
            change_object(result, "content", audio_to_text);
        }
    }
}

/// The other side is told that there was audio, and of which type.
fn audio_to_text(block: &mut RawObject) -> bool {
    if !content::is(block, "audio") {
        return false;
    }
    let kind = block.get_str("mimeType").unwrap_or_else(|| "unknown type".into()).into_owned();
    *block = content::text(&format!("(audio, {kind}, which revision 2024-11-05 cannot carry)"));
    true
}
