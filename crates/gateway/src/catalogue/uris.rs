//! URIs that clients see on a merged endpoint: the server's own with the server's name before it.
//!
//! `file:///a` of server `files` is offered as `files.mcp:file:///a`, and `ui://panel/x` as `ui://files.mcp/panel/x`, since
//! hosts of MCP Apps know their resources by that scheme. Both ways are plain text operations, so a template stays a
//! template and the last path segment stays what it was.

use std::borrow::Cow;

use memchr::memmem;
use sallyport_protocol::{RawJson, RawObject};

/// Ends the server's part of an exposed URI.
const MARK: &str = ".mcp";
const UI: &str = "ui://";

/// The label that stands for a server in URIs. Schemes know no case, no `_` and start with a letter.
#[must_use]
pub(crate) fn label(server: &str) -> String {
    let lower: String = server.chars().map(|character| if character == '_' { '.' } else { character.to_ascii_lowercase() }).collect();
    match lower.starts_with(|first: char| first.is_ascii_digit()) {
        true => format!("s.{lower}"),
        false => lower,
    }
}

/// The URI (or template) under which `uri` of the server with that label is offered.
#[must_use]
pub(crate) fn expose(label: &str, uri: &str) -> String {
    match uri.strip_prefix(UI) {
        Some(rest) => format!("{UI}{label}{MARK}/{rest}"),
        None => format!("{label}{MARK}:{uri}"),
    }
}

/// The label and the server's own URI in an exposed one; `None` where it is none of ours.
#[must_use]
pub(crate) fn split(exposed: &str) -> Option<(&str, Cow<'_, str>)> {
    if let Some(rest) = exposed.strip_prefix(UI) {
        let (host, own) = rest.split_once('/')?;
        return Some((host.strip_suffix(MARK)?, Cow::Owned(format!("{UI}{own}"))));
    }
    let (scheme, own) = exposed.split_once(':')?;
    Some((scheme.strip_suffix(MARK)?, Cow::Borrowed(own)))
}

/// Rewrites the member `key` of `object` from the server's own URI to the exposed one.
pub(crate) fn expose_member(object: &mut RawObject, key: &str, label: &str) {
    if let Some(uri) = object.get_str(key).map(|uri| expose(label, &uri)) {
        object.set(key, RawJson::string(&uri));
    }
}

/// Rewrites the references to `ui://` resources in a tool's or result's `_meta` (MCP Apps: `ui.resourceUri`, and the older `ui/resourceUri`).
pub(crate) fn expose_ui_reference(object: &mut RawObject, label: &str) {
    let Ok(Some(mut meta)) = object.get_object("_meta") else { return };
    let before = meta.clone();
    expose_member(&mut meta, "ui/resourceUri", label);
    if let Ok(Some(mut ui)) = meta.get_object("ui")
        && ui.get("resourceUri").is_some()
    {
        expose_member(&mut ui, "resourceUri", label);
        meta.set("ui", ui.to_json());
    }
    if meta != before {
        object.set("_meta", meta.to_json());
    }
}

/// Rewrites every URI in a result of `tools/call`, `prompts/get` or `resources/read`. A payload without any is not opened.
pub(crate) fn expose_in_result(result: &mut RawObject, label: &str) {
    for list in ["content", "contents", "messages"] {
        let Some(items) = result.get(list).filter(|text| mentions_uri(text)) else { continue };
        let Ok(items) = items.array() else { continue };
        let rewritten: Vec<RawJson> = items.into_iter().map(|item| expose_in_item(item, label)).collect();
        result.set(list, RawJson::of_array(&rewritten));
    }
    if result.get("_meta").is_some_and(mentions_uri) {
        expose_ui_reference(result, label);
    }
}

/// One content block, one resource contents, or one prompt message (whose `content` is a block or a list of them).
fn expose_in_item(item: RawJson, label: &str) -> RawJson {
    let Ok(mut object) = item.object() else { return item };
    if !mentions_uri(&item) {
        return item;
    }
    expose_member(&mut object, "uri", label);
    if let Ok(Some(mut resource)) = object.get_object("resource") {
        expose_member(&mut resource, "uri", label);
        object.set("resource", resource.to_json());
    }
    if let Some(content) = object.get("content").cloned() {
        let content = match content.array() {
            Ok(blocks) => RawJson::of_array(&blocks.into_iter().map(|block| expose_in_item(block, label)).collect::<Vec<_>>()),
            Err(_) => expose_in_item(content, label),
        };
        object.set("content", content);
    }
    expose_ui_reference(&mut object, label);
    object.to_json()
}

fn mentions_uri(text: &RawJson) -> bool {
    memmem::find(text.as_bytes(), b"uri\"").or_else(|| memmem::find(text.as_bytes(), b"resourceUri\"")).is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn result(text: &str) -> RawObject {
        RawJson::parse(text.to_owned()).unwrap().object().unwrap()
    }

    #[test]
    fn a_uri_comes_back_as_it_went() {
        for server in ["files", "My_Server", "9lives", "a-b"] {
            for own in ["file:///a b", "ui://panel/x?y=1", "test://t/{id}/data", "skill://a/SKILL.md", "memo:1", "weird"] {
                let label = label(server);
                let exposed = expose(&label, own);
                assert_eq!(split(&exposed).map(|(label, uri)| (label.to_owned(), uri.into_owned())), Some((label, own.to_owned())));
            }
        }
        assert_eq!(split("file:///a"), None);
        assert_eq!(split("ui://panel/x"), None);
    }

    #[test]
    fn uris_are_rewritten_wherever_they_occur() {
        let mut called = result(
            r#"{"content":[{"type":"text","text":"my uri"},{"type":"resource_link","uri":"a:1","name":"n"},{"type":"resource","resource":{"uri":"a:2","text":"t"}}],"_meta":{"ui":{"resourceUri":"ui://p/1"}}}"#,
        );
        expose_in_result(&mut called, "s");
        assert_eq!(
            called.to_json().as_str(),
            r#"{"content":[{"type":"text","text":"my uri"},{"type":"resource_link","uri":"s.mcp:a:1","name":"n"},{"type":"resource","resource":{"uri":"s.mcp:a:2","text":"t"}}],"_meta":{"ui":{"resourceUri":"ui://s.mcp/p/1"}}}"#
        );
        let mut prompt = result(r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a:2","text":"t"}}}]}"#);
        expose_in_result(&mut prompt, "s");
        assert!(prompt.to_json().as_str().contains(r#""uri":"s.mcp:a:2""#));
    }

    #[test]
    fn a_payload_without_uris_stays_byte_for_byte() {
        let text = r#"{ "content" : [ {"type":"text","text":"x"} ] }"#;
        let mut called = result(text);
        expose_in_result(&mut called, "s");
        assert_eq!(called.to_bytes(), text.as_bytes());
    }
}
