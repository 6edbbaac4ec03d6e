//! What sets the revisions apart, and how a payload crosses from one to another.
//!
//! One file a revision, holding that revision's differences from its newer neighbour, both ways; a payload crosses from
//! neighbour to neighbour, so the files compose to all pairs. What is written is never rebuilt: members are added, taken out
//! or replaced, the others stay the text they came in, and members that nobody here knows survive. A file takes out what its
//! revision has no word for, and says the same in that revision's words where there are some.

use std::borrow::Cow;

use crate::discovery::ServerIdentity;
use crate::failure::Failure;
use crate::jsonrpc::ErrorObject;
use crate::method::Method;
use crate::raw::{RawJson, RawObject};
use crate::revision::{Era, Revision};
use crate::server::Reply;

mod content;
mod neighbour;
mod payload;
mod v2024_11_05;
mod v2025_03_26;
mod v2025_06_18;
mod v2025_11_25;
mod v2026_07_28;

use neighbour::{Neighbour, Step, way};

/// Each revision's differences from its newer neighbour, in the order of [`Revision::ALL`]; the newest has none.
static NEIGHBOURS: [&dyn Neighbour; Revision::ALL.len() - 1] =
    [&v2024_11_05::Differences, &v2025_03_26::Differences, &v2025_06_18::Differences, &v2025_11_25::Differences];

/// Writes a server's answer as a client of revision `to` must see it (each schema's `ServerResult`). `identity` is who we say
/// we are. A result of the client's own legacy revision passes as it is.
///
/// # Errors
/// [`CannotCross`](crate::FailureKind::CannotCross) where a modern server asks something back (`input_required`), answers with a
/// task or with a kind of result that is not known, and the client is a legacy one.
pub fn reply_for(reply: Reply, method: Method, to: Revision, identity: &ServerIdentity) -> Result<RawObject, Failure> {
    let Reply { mut result, revision: from } = reply;
    for step in way(from, to) {
        match step {
            Step::Down(older) => older.narrow_reply(&mut result, method).map_err(|no_word| no_word.of("answer", to))?,
            Step::Up(older) => older.widen_reply(&mut result, method),
        }
    }
    if to.era() == Era::Modern {
        v2026_07_28::finish(&mut result, method, identity);
    }
    Ok(result)
}

/// Writes a request's parameters as a server of revision `to` must see them (each schema's `ClientRequest`): the context of a
/// completion is there from 2025-06-18 on, `task` in 2025-11-25 alone, answers to questions from 2026-07-28 on. `_meta` is left
/// to [`Meta`](crate::Meta).
#[must_use]
pub fn params_for(method: Method, params: &RawObject, from: Revision, to: Revision) -> Cow<'_, RawObject> {
    if from == to {
        return Cow::Borrowed(params);
    }
    let mut copy = params.clone();
    for step in way(from, to) {
        match step {
            Step::Down(older) => older.narrow_params(&mut copy, method),
            Step::Up(older) => older.widen_params(&mut copy, method),
        }
    }
    Cow::Owned(copy)
}

/// Writes a notification's parameters, whichever side tells it, as the other side of revision `to` must see them (each schema's
/// `ServerNotification` and `ClientNotification`); `None` where that revision has no such notification. Methods that no
/// revision names pass as they are.
#[must_use]
pub fn notification_for(method: &str, mut params: RawObject, from: Revision, to: Revision) -> Option<RawObject> {
    for step in way(from, to) {
        let known = match step {
            Step::Down(older) => older.narrow_notification(&mut params, method),
            Step::Up(older) => older.widen_notification(&mut params, method),
        };
        if !known {
            return None;
        }
    }
    Some(params)
}

/// Writes an upstream's error as a client of that era must see it: a missing resource is -32002 up to 2025-11-25 and
/// -32602 from then on; the codes that 2026-07-28 brought mean nothing to a legacy client; -32042 of 2025-11-25 (an URL is to
/// be visited first) must not reach a modern one, so where nobody made a question of it the call has simply failed.
#[must_use]
pub fn error_for(mut error: ErrorObject, method: Method, to: Era) -> ErrorObject {
    let names_resource = || error.data.as_ref().and_then(|data| data.object().ok()).is_some_and(|data| data.get("uri").is_some());
    error.code = match (to, error.code) {
        (Era::Modern, ErrorObject::RESOURCE_NOT_FOUND) => ErrorObject::INVALID_PARAMS,
        (Era::Modern, ErrorObject::URL_ELICITATION_REQUIRED) => ErrorObject::INTERNAL,
        (Era::Legacy, ErrorObject::INVALID_PARAMS) if method == Method::ResourcesRead && names_resource() => {
            ErrorObject::RESOURCE_NOT_FOUND
        }
        (Era::Legacy, ErrorObject::UNSUPPORTED_VERSION..=ErrorObject::HEADER_MISMATCH) => ErrorObject::INVALID_REQUEST,
        (_, code) => code,
    };
    error
}

/// Writes a client's capabilities as a server of revision `to` reads them (each schema's `ClientCapabilities`): `elicitation` is
/// there from 2025-06-18 on and told apart into `form` and `url` from 2025-11-25 on, like `sampling.tools` and `.context`;
/// `roots.listChanged` and `tasks` have gone in 2026-07-28. A word that the client's own revision lacks declares nothing.
///
/// `extensions` cross to every revision: they were negotiated so before the schema had the member. Only the tasks extension
/// needs 2026-07-28.
#[must_use]
pub fn capabilities_for(client_caps: &RawObject, from: Revision, to: Revision) -> Cow<'_, RawObject> {
    translated(client_caps, from, to, |step, capabilities| match step {
        Step::Down(older) => older.narrow_client(capabilities),
        Step::Up(older) => older.widen_client(capabilities),
    })
}

/// Writes a server's capabilities, as the results of `initialize` and `server/discover` hold them, as a client of revision `to`
/// reads them (each schema's `ServerCapabilities`): `completions` is implied in 2024-11-05 and said from 2025-03-26 on;
/// tasks are the capability `tasks` in 2025-11-25, an extension in 2026-07-28 and unknown before.
#[must_use]
pub fn server_capabilities_for(server_caps: &RawObject, from: Revision, to: Revision) -> Cow<'_, RawObject> {
    translated(server_caps, from, to, |step, capabilities| match step {
        Step::Down(older) => older.narrow_server(capabilities),
        Step::Up(older) => older.widen_server(capabilities),
    })
}

/// Writes a `clientInfo` or `serverInfo` as revision `to` has it (each schema's `Implementation`): `title` is there from
/// 2025-06-18 on, `icons`, `description` and `websiteUrl` from 2025-11-25 on.
#[must_use]
pub fn implementation_for(info: &RawJson, to: Revision) -> RawJson {
    let Ok(object) = info.object() else { return info.clone() };
    let written = translated(&object, Revision::LATEST, to, |step, info| {
        if let Step::Down(older) = step {
            older.narrow_implementation(info);
        }
    });
    written.to_json()
}

/// Writes a server's question (`elicitation/create`, `sampling/createMessage`, `roots/list`) as a client of revision `to` must
/// see it (each schema's `ServerRequest`, since 2026-07-28 `InputRequest`). Towards 2025-11-25 an elicitation by URL without
/// `elicitationId` gets one: the same for the same question.
///
/// # Errors
/// [`CannotCross`](crate::FailureKind::CannotCross) where that revision cannot ask it: any elicitation before 2025-06-18;
/// elicitation by URL and sampling with tools before 2025-11-25.
pub fn question_for(method: &str, mut params: RawObject, from: Revision, to: Revision) -> Result<RawObject, Failure> {
    for step in way(from, to) {
        match step {
            Step::Down(older) => older.narrow_question(&mut params, method).map_err(|no_word| no_word.of("question", to))?,
            Step::Up(older) => older.widen_question(&mut params, method),
        }
    }
    Ok(params)
}

/// Writes a client's answer to the question `method` as a server of revision `to` must see it (each schema's `ClientResult`,
/// since 2026-07-28 `InputResponse`): before 2025-11-25 a sampled message has one block, and what was asked as several fields
/// because 2025-06-18 has no multiple choice becomes one again.
#[must_use]
pub fn answer_for(method: &str, mut result: RawObject, from: Revision, to: Revision) -> RawObject {
    for step in way(from, to) {
        match step {
            Step::Down(older) => older.narrow_answer(&mut result, method),
            Step::Up(older) => older.widen_answer(&mut result, method),
        }
    }
    result
}

/// Changes a copy along the way; borrows where nothing had to be changed.
fn translated(original: &RawObject, from: Revision, to: Revision, change: impl Fn(Step, &mut RawObject)) -> Cow<'_, RawObject> {
    if from == to {
        return Cow::Borrowed(original);
    }
    let mut copy = original.clone();
    way(from, to).for_each(|step| change(step, &mut copy));
    if copy == *original { Cow::Borrowed(original) } else { Cow::Owned(copy) }
}

#[cfg(test)]
mod tests;
