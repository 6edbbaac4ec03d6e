//! 2026-07-28, the newest: results say of which kind they are, for how long they hold, and who answered.

use super::neighbour::NoWord;
use super::payload::{change_each, mentions};
use super::{Method, RawJson, RawObject, Revision, ServerIdentity};

const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
const COMPLETE: RawJson = RawJson::from_static("\"complete\"");

/// Adds what a result of this revision must have, and puts our identity where the server's stands: the client talks with us.
pub(super) fn finish(result: &mut RawObject, method: Method, identity: &ServerIdentity) {
    set_default(result, "resultType", COMPLETE);
    let complete = result.get("resultType") == Some(&COMPLETE);
    if method.is_cacheable() && complete {
        // A server that says nothing about how long it holds promises nothing, and its lists may depend on who asks.
        set_default(result, "ttlMs", RawJson::from_static("0"));
        set_default(result, "cacheScope", RawJson::from_static("\"private\""));
    }
    if method == Method::ToolsList && mentions(result, "tools", &["\"execution\""]) {
        // 2025-11-25 alone has it. A list may hold entries of several servers, whichever the newest of them speaks.
        change_each(result, "tools", |tool| tool.remove("execution").is_some());
    }
    let mut meta = result.get_object("_meta").ok().flatten().unwrap_or_default();
    if meta.get(SERVER_INFO) != Some(&identity.info) {
        meta.set(SERVER_INFO, identity.info.clone());
        result.set("_meta", meta.to_json());
    }
}

/// Takes out what [`finish`] adds and no older revision knows.
///
/// # Errors
/// Where the result is not a complete one.
pub(super) fn unfinish(result: &mut RawObject) -> Result<(), NoWord> {
    match result.remove("resultType") {
        None => {}
        Some(kind) if kind.string_value().as_deref() == Some("complete") => {}
        Some(kind) => {
            let kind = kind.string_value().map_or_else(|| "a result of no known kind".to_owned(), |kind| kind.into_owned());
            return Err(NoWord::new(kind, Revision::V2026_07_28));
        }
    }
    result.remove("ttlMs");
    result.remove("cacheScope");
    Ok(())
}

fn set_default(result: &mut RawObject, key: &str, value: RawJson) {
    if result.get(key).is_none() {
        result.set(key, value);
    }
}
