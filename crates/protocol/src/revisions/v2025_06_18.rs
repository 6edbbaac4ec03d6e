//! 2025-06-18, as it differs from 2025-11-25: no icons, no description of a program, no tasks, no elicitation by URL, no
//! defaults, titles and multiple choice in forms, no tools in sampling.

use super::neighbour::{Neighbour, NoWord};
use super::payload::{change_each, change_object, entries_of, mentions, remove_all, strip_related_task};
use super::{Method, RawJson, RawObject, Revision, content};

mod form;
mod sampling;

pub(super) struct Differences;

impl Neighbour for Differences {
    fn narrow_reply(&self, result: &mut RawObject, method: Method) -> Result<(), NoWord> {
        if let Some(entries) = entries_of(method)
            && mentions(result, entries, &["\"icons\"", "\"execution\""])
        {
            let gone: &[&str] = if method == Method::ToolsList { &["icons", "execution"] } else { &["icons"] };
            change_each(result, entries, |entry| remove_all(entry, gone));
        }
        content::change_blocks(result, method, &["\"icons\""], |block| {
            content::is(block, "resource_link") && block.remove("icons").is_some()
        });
        strip_related_task(result);
        Ok(())
    }

    fn narrow_params(&self, params: &mut RawObject, method: Method) {
        if method == Method::ToolsCall {
            params.remove("task");
        }
    }

    fn narrow_notification(&self, params: &mut RawObject, method: &str) -> bool {
        strip_related_task(params);
        !matches!(method, "notifications/elicitation/complete" | "notifications/tasks/status")
    }

    fn narrow_client(&self, capabilities: &mut RawObject) {
        narrow_sampling(capabilities);
        capabilities.remove("tasks");
        let forms = capabilities.get_object("elicitation").ok().flatten().map(|kinds| kinds.get("form").is_some() || kinds.is_empty());
        match forms {
            Some(true) => capabilities.set("elicitation", RawJson::from_static("{}")),
            Some(false) => drop(capabilities.remove("elicitation")),
            None => {}
        }
    }

    fn widen_client(&self, capabilities: &mut RawObject) {
        narrow_sampling(capabilities);
        capabilities.remove("tasks");
        if capabilities.get("elicitation").is_some() {
            capabilities.set("elicitation", RawJson::from_static(r#"{"form":{}}"#));
        }
    }

    fn narrow_server(&self, capabilities: &mut RawObject) {
        capabilities.remove("tasks");
    }

    fn widen_server(&self, capabilities: &mut RawObject) {
        capabilities.remove("tasks");
    }

    fn narrow_implementation(&self, info: &mut RawObject) {
        remove_all(info, &["icons", "description", "websiteUrl"]);
    }

    fn narrow_question(&self, params: &mut RawObject, method: &str) -> Result<(), NoWord> {
        params.remove("task");
        strip_related_task(params);
        match method {
            "elicitation/create" => match params.remove("mode").as_ref().and_then(RawJson::string_value).as_deref() {
                None | Some("form") => form::narrow(params),
                Some(_) => Err(NoWord::new("an elicitation by URL", Revision::V2025_11_25)),
            },
            "sampling/createMessage" => sampling::narrow(params),
            _ => Ok(()),
        }
    }

    fn narrow_answer(&self, result: &mut RawObject, method: &str) {
        strip_related_task(result);
        if method == "sampling/createMessage" {
            sampling::narrow_answer(result);
        }
    }

    fn widen_answer(&self, result: &mut RawObject, method: &str) {
        if method == "elicitation/create" {
            change_object(result, "content", form::gather);
        }
    }
}

/// `tools` and `context` came with 2025-11-25.
fn narrow_sampling(capabilities: &mut RawObject) {
    change_object(capabilities, "sampling", |sampling| remove_all(sampling, &["tools", "context"]));
}
