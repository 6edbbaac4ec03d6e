//! 2024-11-05: no audio.

use super::{change_each, content};
use crate::method::Method;
use crate::raw::{RawJson, RawObject};

/// Makes a result of 2025-03-26 one of 2024-11-05. Annotations stay: unknown members are tolerated.
pub(super) fn narrow(result: &mut RawObject, method: Method) {
    match method {
        Method::ToolsCall => change_each(result, "content", audio_to_text),
        Method::PromptsGet => content::change_messages(result, audio_to_text),
        _ => {}
    }
}

/// The client is told that there was audio, and of which type.
fn audio_to_text(block: &mut RawObject) -> bool {
    if block.get_str("type").as_deref() != Some("audio") {
        return false;
    }
    let kind = block.get_str("mimeType").unwrap_or_else(|| "unknown type".into()).into_owned();
    *block = content::text(&RawJson::string(&format!("(audio, {kind}, which revision 2024-11-05 cannot carry)")));
    true
}
