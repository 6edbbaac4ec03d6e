//! URIs that clients see on a merged endpoint: the server's own with the server's name before it.
//!
//! `file:///a` of server `files` is offered as `files.mcp:file:///a`; `ui://panel/x` as `ui://files.mcp/panel/x`, since hosts of MCP
//! Apps know their resources by that scheme, and `skill://a/SKILL.md` as `skill://files.mcp/a/SKILL.md`, where what comes before
//! the skill's name is a path of the publisher's choice. All are plain text operations, so a template stays a template, the last
//! path segments stay what they were, and what is below a URI stays below it.

use std::borrow::Cow;

use memchr::memmem;
use sallyport_protocol::{ErrorObject, Method, RawJson, RawObject};

/// Ends the server's part of an exposed URI.
const MARK: &str = ".mcp";
/// Schemes that a URI keeps: those who read it know it by them.
const KEPT: [&str; 2] = ["ui://", "skill://"];

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
    match kept_scheme(uri) {
        Some((scheme, rest)) => format!("{scheme}{label}{MARK}/{rest}"),
        None => format!("{label}{MARK}:{uri}"),
    }
}

/// The label and the server's own URI in an exposed one; `None` where it is none of ours.
#[must_use]
pub(crate) fn split(exposed: &str) -> Option<(&str, Cow<'_, str>)> {
    if let Some((scheme, rest)) = kept_scheme(exposed) {
        let (host, own) = rest.split_once('/')?;
        return Some((host.strip_suffix(MARK)?, Cow::Owned(format!("{scheme}{own}"))));
    }
    let (scheme, own) = exposed.split_once(':')?;
    Some((scheme.strip_suffix(MARK)?, Cow::Borrowed(own)))
}

fn kept_scheme(uri: &str) -> Option<(&'static str, &str)> {
    KEPT.into_iter().find_map(|scheme| Some((scheme, uri.strip_prefix(scheme)?)))
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

/// The `ui://` resources that a tool's `_meta` refers to.
pub(crate) fn ui_references(tool: &RawObject) -> Vec<String> {
    let Ok(Some(meta)) = tool.get_object("_meta") else { return Vec::new() };
    let newer = meta.get_object("ui").ok().flatten().and_then(|ui| Some(ui.get_str("resourceUri")?.into_owned()));
    let older = meta.get_str("ui/resourceUri").map(Cow::into_owned);
    newer.into_iter().chain(older).filter(|uri| uri.starts_with("ui://")).collect()
}

/// Rewrites every URI in a result of that method.
pub(crate) fn expose_in_reply(result: &mut RawObject, method: Method, label: &str) {
    match method {
        Method::SkillsGet => {
            if let Some(skill) = result.get("skill").and_then(|skill| exposed_skill(skill, label)) {
                result.set("skill", skill);
            }
        }
        Method::DirectoryRead => {
            if let Some(Ok(entries)) = result.get("resources").map(RawJson::array) {
                let entries: Vec<RawJson> = entries.into_iter().map(|entry| exposed_entry(entry, label)).collect();
                result.set("resources", RawJson::of_array(&entries));
            }
        }
        _ => expose_in_result(result, label),
    }
}

/// An entry of `skills/list` or `skills/get` with exposed URIs: the skill's own and those of its files. What the author wrote, the
/// digests and the sizes stay the text they are. `None` where it is no object.
pub(crate) fn exposed_skill(skill: &RawJson, label: &str) -> Option<RawJson> {
    let mut skill = skill.object().ok()?;
    expose_member(&mut skill, "uri", label);
    if let Some(Ok(files)) = skill.get("resources").map(RawJson::array) {
        let files: Vec<RawJson> = files.into_iter().map(|file| exposed_entry(file, label)).collect();
        skill.set("resources", RawJson::of_array(&files));
    }
    Some(skill.to_json())
}

/// An entry of a list of resources or files with exposed URIs.
fn exposed_entry(entry: RawJson, label: &str) -> RawJson {
    let Ok(mut object) = entry.object() else { return entry };
    expose_member(&mut object, "uri", label);
    expose_ui_reference(&mut object, label);
    object.to_json()
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

/// Rewrites the URI in an error's data: that of a resource which is not there (2026-07-28, resources).
pub(crate) fn expose_in_error(error: &mut ErrorObject, label: &str) {
    let Some(mut data) = error.data.as_ref().and_then(|data| data.object().ok()) else { return };
    if data.get("uri").is_some() {
        expose_member(&mut data, "uri", label);
        error.data = Some(data.to_json());
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
        for foreign in ["file:///a", "ui://panel/x", "skill://a/SKILL.md", "skill://a.mcp"] {
            assert_eq!(split(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_skill_keeps_its_scheme_its_name_and_all_that_its_author_wrote() {
        let own = r#"{ "uri":"skill://acme/pay/SKILL.md", "frontmatter":{"name":"pay","uri":"skill://x","n": 1.0}, "resources":[{"uri":"skill://acme/pay/SKILL.md","digest":"sha256:00","size":2},{"uri":"git://o/f.md","digest":"sha256:11","size":3}],"_meta":{"a/b":1} }"#;
        let exposed = own
            .replacen("skill://acme", "skill://s.mcp/acme", 1)
            .replace(r#"[{"uri":"skill://acme"#, r#"[{"uri":"skill://s.mcp/acme"#)
            .replace("git://", "s.mcp:git://");
        let mut got = result(&format!(r#"{{"skill":{own},"ttlMs":5}}"#));
        expose_in_reply(&mut got, Method::SkillsGet, "s");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(got.get("skill").unwrap().as_str()), value(&exposed));
        assert!(got.get("skill").unwrap().as_str().contains(r#"{"name":"pay","uri":"skill://x","n": 1.0}"#));
        let dynamic = RawJson::from_static(r#"{"uri":"skill://a/SKILL.md","resources":"dynamic"}"#);
        assert_eq!(exposed_skill(&dynamic, "s").unwrap().as_str(), r#"{"uri":"skill://s.mcp/a/SKILL.md","resources":"dynamic"}"#);
        assert_eq!(exposed_skill(&RawJson::from_static("1"), "s"), None);
    }

    #[test]
    fn what_is_in_a_directory_is_rewritten() {
        let mut listed =
            result(r#"{"resources":[{"uri":"skill://a/b","mimeType":"inode/directory"},{"uri":"x:1","name":"n"}],"nextCursor":"c"}"#);
        expose_in_reply(&mut listed, Method::DirectoryRead, "s");
        assert_eq!(
            listed.to_json().as_str(),
            r#"{"resources":[{"uri":"skill://s.mcp/a/b","mimeType":"inode/directory"},{"uri":"s.mcp:x:1","name":"n"}],"nextCursor":"c"}"#
        );
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
    fn an_error_names_what_was_asked_for() {
        let mut error = ErrorObject::new(ErrorObject::INVALID_PARAMS, "not found");
        error.data = Some(RawJson::from_static(r#"{"uri":"a:1","more":1}"#));
        expose_in_error(&mut error, "s");
        assert_eq!(error.data.unwrap().as_str(), r#"{"uri":"s.mcp:a:1","more":1}"#);
    }

    #[test]
    fn a_payload_without_uris_stays_byte_for_byte() {
        let text = r#"{ "content" : [ {"type":"text","text":"x"} ] }"#;
        let mut called = result(text);
        expose_in_result(&mut called, "s");
        assert_eq!(called.to_bytes(), text.as_bytes());
    }
}
