//! What sets the revisions apart in results and errors, and how an answer crosses from one to another.
//!
//! One file a revision, holding that revision's differences from its neighbour; 2025-06-18 has none that a result
//! of 2025-11-25 would have to lose (unknown members are tolerated there). The payload's bytes are never rebuilt:
//! members are added, taken out or replaced, the others stay the text they came in.

use crate::discovery::ServerIdentity;
use crate::failure::{Failure, FailureKind};
use crate::jsonrpc::ErrorObject;
use crate::method::Method;
use crate::raw::{RawJson, RawObject};
use crate::request::PROTOCOL_PREFIX;
use crate::revision::{Era, Revision};
use crate::server::Reply;

mod content;
mod v2024_11_05;
mod v2025_03_26;
mod v2025_11_25;
mod v2026_07_28;

/// Writes a server's answer as a client of revision `to` must see it. `identity` is who we say we are.
///
/// # Errors
/// [`FailureKind::CannotCross`] where a modern server asks something back (`input_required`), answers with a task or
/// with a kind of result that is not known, and the client is a legacy one.
pub fn reply_for(reply: Reply, method: Method, to: Revision, identity: &ServerIdentity) -> Result<RawObject, Failure> {
    let Reply { mut result, revision: from } = reply;
    match (from.era(), to.era()) {
        (Era::Legacy, Era::Modern) => v2026_07_28::widen(&mut result, method, identity),
        (Era::Modern, Era::Modern) => v2026_07_28::sign(&mut result, identity),
        (Era::Modern, Era::Legacy) => v2026_07_28::leave(&mut result, to)?,
        (Era::Legacy, Era::Legacy) => {}
    }
    let crosses = |revision| from > revision && to <= revision;
    if crosses(Revision::V2025_11_25) {
        v2025_11_25::narrow(&mut result, method);
    }
    if crosses(Revision::V2025_03_26) {
        v2025_03_26::narrow(&mut result, method);
    }
    if crosses(Revision::V2024_11_05) {
        v2024_11_05::narrow(&mut result, method);
    }
    Ok(result)
}

/// Writes an upstream's error as a client of that era must see it: a missing resource is -32002 up to 2025-11-25 and
/// -32602 from then on, and the codes that 2026-07-28 brought mean nothing to a legacy client.
#[must_use]
pub fn error_for(mut error: ErrorObject, method: Method, to: Era) -> ErrorObject {
    let names_resource = || error.data.as_ref().and_then(|data| data.object().ok()).is_some_and(|data| data.get("uri").is_some());
    error.code = match (to, error.code) {
        (Era::Modern, ErrorObject::RESOURCE_NOT_FOUND) => ErrorObject::INVALID_PARAMS,
        (Era::Legacy, ErrorObject::INVALID_PARAMS) if method == Method::ResourcesRead && names_resource() => {
            ErrorObject::RESOURCE_NOT_FOUND
        }
        (Era::Legacy, ErrorObject::UNSUPPORTED_VERSION..=ErrorObject::HEADER_MISMATCH) => ErrorObject::INVALID_REQUEST,
        (_, code) => code,
    };
    error
}

/// Takes the protocol's own keys out of `_meta`, and `_meta` itself where nothing else is in it.
fn strip_protocol_meta(object: &mut RawObject) {
    let Some(mut meta) = object.get("_meta").and_then(|meta| meta.object().ok()) else { return };
    let before = meta.len();
    meta.retain(|key| !key.starts_with(PROTOCOL_PREFIX));
    if meta.len() == before {
        return;
    }
    if meta.is_empty() {
        object.remove("_meta");
    } else {
        object.set("_meta", meta.to_json());
    }
}

/// Opens each object in the array `member`, lets `change` look at it, and writes the array anew only where one changed.
fn change_each(result: &mut RawObject, member: &str, mut change: impl FnMut(&mut RawObject) -> bool) {
    let Some(items) = result.get(member).and_then(|items| items.array().ok()) else { return };
    let mut changed = false;
    let mut out = Vec::with_capacity(result.get(member).map_or(0, |items| items.as_bytes().len()));
    for (at, item) in items.iter().enumerate() {
        out.push(if at == 0 { b'[' } else { b',' });
        let mut opened = item.object().ok();
        match opened.take_if(|object| change(object)) {
            Some(object) => {
                changed = true;
                object.write_to(&mut out);
            }
            None => out.extend_from_slice(item.as_bytes()),
        }
    }
    out.push(b']');
    if changed {
        // Built out of checked values, so it is JSON; should it ever not be, the old array stays.
        if let Ok(array) = RawJson::parse(out) {
            result.set(member, array);
        }
    }
}

/// The member that holds a list's entries.
const fn entries_of(method: Method) -> Option<&'static str> {
    match method {
        Method::ToolsList => Some("tools"),
        Method::PromptsList => Some("prompts"),
        Method::ResourcesList => Some("resources"),
        Method::ResourceTemplatesList => Some("resourceTemplates"),
        _ => None,
    }
}

fn cannot_cross(what: &str, to: Revision) -> Failure {
    Failure::client(FailureKind::CannotCross, format!("the server's answer ({what}) cannot cross to revision {to}"))
        .with_hint("use a client that speaks revision 2026-07-28")
}

#[cfg(test)]
mod tests;
