//! 2025-03-26, as it differs from 2025-06-18: no structured output, no titles beside a tool's annotated one, no links to
//! resources, no time of last change, no context of completions, no elicitation.

use super::neighbour::{Neighbour, NoWord};
use super::payload::{change_each, change_object, entries_of, mentions, remove_all};
use super::{Method, RawObject, Revision, content};

pub(super) struct Differences;

impl Neighbour for Differences {
    fn narrow_reply(&self, result: &mut RawObject, method: Method) -> Result<(), NoWord> {
        if let Some(entries) = entries_of(method) {
            narrow_list(result, entries);
        }
        if method == Method::ToolsCall {
            content::structure_to_text(result);
        }
        content::change_blocks(result, method, &["resource_link", "\"lastModified\""], |block| {
            link_to_text(block) || forget_last_modified(block)
        });
        Ok(())
    }

    fn narrow_params(&self, params: &mut RawObject, method: Method) {
        if method == Method::Complete {
            params.remove("context");
            change_object(params, "ref", |reference| reference.remove("title").is_some());
        }
    }

    fn narrow_client(&self, capabilities: &mut RawObject) {
        capabilities.remove("elicitation");
    }

    fn widen_client(&self, capabilities: &mut RawObject) {
        capabilities.remove("elicitation");
    }

    fn narrow_implementation(&self, info: &mut RawObject) {
        info.remove("title");
    }

    fn narrow_question(&self, _params: &mut RawObject, method: &str) -> Result<(), NoWord> {
        if method == "elicitation/create" { Err(NoWord::new("an elicitation", Revision::V2025_06_18)) } else { Ok(()) }
    }
}

fn narrow_list(result: &mut RawObject, entries: &'static str) {
    if !mentions(result, entries, &["\"title\"", "\"outputSchema\"", "\"lastModified\""]) {
        return;
    }
    change_each(result, entries, |entry| {
        let titled = match entries {
            "tools" => annotate_title(entry),
            "prompts" => change_each(entry, "arguments", |argument| argument.remove("title").is_some()),
            _ => forget_last_modified(entry),
        };
        remove_all(entry, &["title", "outputSchema"]) || titled
    });
}

/// A tool's title moves to where 2025-03-26 has it (`ToolAnnotations`), unless there is another.
fn annotate_title(tool: &mut RawObject) -> bool {
    let Some(title) = tool.get("title").cloned() else { return false };
    let mut annotations = match tool.get_object("annotations") {
        Ok(annotations) => annotations.unwrap_or_default(),
        Err(_) => return false,
    };
    if annotations.get("title").is_some() {
        return false;
    }
    annotations.set("title", title);
    tool.set("annotations", annotations.to_json());
    true
}

/// A link becomes a text that names the resource: the client can still read it by its URI.
fn link_to_text(block: &mut RawObject) -> bool {
    if !content::is(block, "resource_link") {
        return false;
    }
    let uri = block.get_str("uri").unwrap_or_default().into_owned();
    let text = match block.get_str("title").or_else(|| block.get_str("name")) {
        Some(name) => format!("resource {name}: {uri}"),
        None => format!("resource {uri}"),
    };
    *block = content::text(&text);
    true
}

fn forget_last_modified(annotated: &mut RawObject) -> bool {
    change_object(annotated, "annotations", |annotations| annotations.remove("lastModified").is_some())
}
