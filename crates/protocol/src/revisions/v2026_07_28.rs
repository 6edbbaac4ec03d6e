//! 2026-07-28: results say of which kind they are, for how long they hold, and who answered.

use super::{cannot_cross, strip_protocol_meta};
use crate::discovery::ServerIdentity;
use crate::failure::Failure;
use crate::method::Method;
use crate::raw::{RawJson, RawObject};
use crate::revision::Revision;

const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
const COMPLETE: RawJson = RawJson::from_static("\"complete\"");

/// Adds what a modern result must have and a legacy one lacks.
pub(super) fn widen(result: &mut RawObject, method: Method, identity: &ServerIdentity) {
    result.set("resultType", COMPLETE);
    if method.is_cacheable() {
        // A legacy server says nothing about how long it holds, and its lists may depend on who asks.
        set_default(result, "ttlMs", RawJson::from_static("0"));
        set_default(result, "cacheScope", RawJson::from_static("\"private\""));
    }
    sign(result, identity);
}

/// Puts our identity where the server's stands: the client talks with the gateway.
pub(super) fn sign(result: &mut RawObject, identity: &ServerIdentity) {
    set_default(result, "resultType", COMPLETE);
    let mut meta = result.get_object("_meta").ok().flatten().unwrap_or_default();
    if meta.get(SERVER_INFO) != Some(&identity.info) {
        meta.set(SERVER_INFO, identity.info.clone());
        result.set("_meta", meta.to_json());
    }
}

/// Takes out what no legacy client knows.
///
/// # Errors
/// Where the result is not a complete one.
pub(super) fn leave(result: &mut RawObject, to: Revision) -> Result<(), Failure> {
    match result.remove("resultType") {
        None => {}
        Some(kind) if kind.string_value().as_deref() == Some("complete") => {}
        Some(kind) => return Err(cannot_cross(&kind.string_value().unwrap_or_else(|| "a result of no known kind".into()), to)),
    }
    result.remove("ttlMs");
    result.remove("cacheScope");
    strip_protocol_meta(result);
    Ok(())
}

fn set_default(result: &mut RawObject, key: &str, value: RawJson) {
    if result.get(key).is_none() {
        result.set(key, value);
    }
}
