//! What every failure looks like to a client. The complete list: no other file makes a wire answer out of a failure.

use std::borrow::Cow;
use std::time::Duration;

use sallyport_protocol::revisions::error_for;
use sallyport_protocol::{
    Answer, Era, ErrorObject, Failure, FailureKind, FailureSource, Limited, Method, RawJson, RawObject, Retry, Revision,
};

mod added;
mod consent;

pub(crate) use added::{add_to_error, add_to_result};
pub(crate) use consent::consent_needed;

/// Where a tool's result says for machines what went wrong.
const META_KEY: &str = "dev.sallyport/failure";

/// The answer to a request that failed.
///
/// A tool that could not be used is a result that says so (`isError`), for the model to read and act on. Everything else is a JSON-RPC
/// error; its HTTP status is fixed by the specification only where a comment says so (2026-07-28, error codes).
#[must_use]
pub(crate) fn answer(failure: &Failure, method: Option<Method>, era: Era) -> Answer {
    if method == Some(Method::ToolsCall) && is_for_the_model(failure) {
        return Answer::Result(tool_result(failure, era));
    }
    let (status, code) = status_and_code(&failure.kind, era);
    let error = match &failure.kind {
        FailureKind::Upstream(error) => error_for(error.clone(), method.unwrap_or(Method::ToolsCall), era),
        FailureKind::NotAMessage(error) => error.clone(),
        _ => ErrorObject { code, message: text(failure), data: data(failure, era) },
    };
    Answer::Error { status, error }
}

/// What a model can understand and work around, as opposed to what the client program did wrong.
fn is_for_the_model(failure: &Failure) -> bool {
    if let FailureKind::ApprovalNeeded(needed) = &failure.kind {
        return needed.opens.is_none(); // else its client opens the page
    }
    matches!(
        failure.kind,
        FailureKind::Denied
            | FailureKind::Unreachable
            | FailureKind::LimitExceeded(_)
            | FailureKind::Limited(_)
            | FailureKind::TimedOut(_)
            | FailureKind::Malformed
            | FailureKind::TooLarge
            | FailureKind::Overloaded
            | FailureKind::CannotCross
    )
}

fn status_and_code(kind: &FailureKind, era: Era) -> (u16, i64) {
    let modern = era == Era::Modern;
    match kind {
        FailureKind::Upstream(error) => (upstream_status(error.code, modern), error.code), // the code is the upstream's own
        FailureKind::NotAMessage(error) => (400, error.code),
        // Missing or wrong `_meta` is 400 in the modern revisions; legacy clients read errors out of a 200.
        FailureKind::InvalidParams => (if modern { 400 } else { 200 }, ErrorObject::INVALID_PARAMS),
        // An unknown method is 404 in the modern revisions.
        FailureKind::MethodNotFound => (if modern { 404 } else { 200 }, ErrorObject::METHOD_NOT_FOUND),
        FailureKind::NotFound => (200, ErrorObject::INVALID_PARAMS),
        FailureKind::ResourceNotFound(_) if modern => (200, ErrorObject::INVALID_PARAMS),
        FailureKind::ResourceNotFound(_) => (200, ErrorObject::RESOURCE_NOT_FOUND),
        // These three are 400 by the specification.
        FailureKind::HeaderMismatch => (400, ErrorObject::HEADER_MISMATCH),
        FailureKind::MissingCapability(_) => (400, ErrorObject::MISSING_CAPABILITY),
        FailureKind::UnsupportedVersion(_) if modern => (400, ErrorObject::UNSUPPORTED_VERSION),
        FailureKind::UnsupportedVersion(_) => (400, ErrorObject::INVALID_REQUEST),
        // A legacy client opens a new session on 404.
        FailureKind::UnknownSession => (404, -32001),
        FailureKind::Http(status) => (*status, ErrorObject::INVALID_REQUEST),
        FailureKind::Unauthenticated => (401, ErrorObject::INVALID_REQUEST),
        FailureKind::Denied => (200, ErrorObject::INVALID_PARAMS),
        FailureKind::ApprovalNeeded(needed) if needed.opens.is_some() => (200, ErrorObject::URL_ELICITATION_REQUIRED),
        FailureKind::ApprovalNeeded(_) => (200, ErrorObject::INVALID_REQUEST),
        // The client, not the model, gets a token that is good for more (authorization, "scope challenge handling").
        FailureKind::InsufficientScope(_) => (403, ErrorObject::INVALID_REQUEST),
        FailureKind::TooLarge => (413, ErrorObject::INVALID_REQUEST),
        FailureKind::Overloaded => (503, ErrorObject::INTERNAL),
        FailureKind::CannotCross => (200, ErrorObject::INVALID_REQUEST),
        FailureKind::Unreachable
        | FailureKind::LimitExceeded(_)
        | FailureKind::Limited(_)
        | FailureKind::TimedOut(_)
        | FailureKind::Cancelled
        | FailureKind::Malformed
        | FailureKind::Internal => (200, ErrorObject::INTERNAL),
    }
}

fn upstream_status(code: i64, modern: bool) -> u16 {
    match code {
        ErrorObject::METHOD_NOT_FOUND if modern => 404,
        ErrorObject::MISSING_CAPABILITY if modern => 400,
        _ => 200,
    }
}

fn text(failure: &Failure) -> String {
    match &failure.hint {
        Some(hint) => format!("{}; hint: {hint}", failure.public),
        None => failure.public.clone().into_owned(),
    }
}

fn data(failure: &Failure, era: Era) -> Option<RawJson> {
    let mut data = RawObject::new();
    match &failure.kind {
        FailureKind::ResourceNotFound(uri) => data.set("uri", RawJson::string(uri)),
        FailureKind::MissingCapability(required) => data.set("requiredCapabilities", required.clone()),
        FailureKind::UnsupportedVersion(requested) => {
            let supported: Vec<&str> = Revision::ALL.into_iter().filter(|revision| revision.era() == era).map(Revision::as_str).collect();
            data.set("supported", RawJson::encode(&supported).ok()?);
            data.set("requested", RawJson::string(requested));
        }
        FailureKind::ApprovalNeeded(needed) if needed.opens.is_some() => {
            data.set("elicitations", RawJson::of_array(needed.opens.as_slice()));
        }
        _ => data = describe(failure)?,
    }
    Some(data.to_json())
}

/// The failure for machines; `None` for what the client itself did wrong, where the code says all.
fn describe(failure: &Failure) -> Option<RawObject> {
    let mut told = RawObject::new();
    told.set("kind", RawJson::string(failure.label()));
    match &failure.source {
        FailureSource::Client => return None,
        FailureSource::Gateway => {}
        FailureSource::Upstream(server) => told.set("server", RawJson::string(server)),
    }
    let retry = match failure.retry {
        Retry::Safe => "safe",
        Retry::Unknown => "unsafe",
        Retry::Never => "never",
    };
    told.set("retry", RawJson::string(retry));
    match &failure.kind {
        FailureKind::TimedOut(limit) => {
            told.set("limitMs", RawJson::encode(&u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)).ok()?);
        }
        FailureKind::InsufficientScope(scope) => told.set("scope", RawJson::string(scope)),
        FailureKind::ApprovalNeeded(needed) => {
            told.set("approval", RawJson::string(&needed.handle));
            told.set("expires", RawJson::encode(&needed.expires).ok()?);
        }
        FailureKind::LimitExceeded(key) => told.set("limit", RawJson::string(key)),
        FailureKind::Limited(limited) => set_limit(&mut told, limited)?,
        _ => {}
    }
    Some(told)
}

/// Which limit, where it stands, and when to try again: whole seconds, never too early.
fn set_limit(told: &mut RawObject, limited: &Limited) -> Option<()> {
    told.set("limit", RawJson::string(&limited.limit));
    told.set("most", RawJson::encode(&limited.most).ok()?);
    told.set("used", RawJson::encode(&limited.used).ok()?);
    told.set("retry_after", RawJson::encode(&whole_seconds(limited.retry_after)).ok()?);
    Some(())
}

/// So many seconds, and at least one.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1)
}

fn tool_result(failure: &Failure, era: Era) -> RawObject {
    let mut result = RawObject::new();
    if era == Era::Modern {
        result.set("resultType", RawJson::from_static("\"complete\""));
    }
    result.set("content", RawJson::of_array(&[words(&for_the_model(failure))]));
    result.set("isError", RawJson::from_static("true"));
    if let Some(told) = describe(failure) {
        let mut meta = RawObject::new();
        meta.set(META_KEY, told.to_json());
        result.set("_meta", meta.to_json());
    }
    result
}

/// A block of content.
fn words(text: &str) -> RawJson {
    let mut block = RawObject::new();
    block.set("type", RawJson::from_static("\"text\""));
    block.set("text", RawJson::string(text));
    block.to_json()
}

fn for_the_model(failure: &Failure) -> String {
    let retry: Cow<'_, str> = match failure.retry {
        _ if matches!(failure.kind, FailureKind::Denied) => "".into(),
        Retry::Safe => " It was not carried out, so trying again is safe.".into(),
        Retry::Unknown => " It may have been carried out: do not repeat it without checking.".into(),
        Retry::Never => " Trying again will not help.".into(),
    };
    format!("{}.{retry}", text(failure))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod reference;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use sallyport_protocol::ApprovalNeeded;

    fn error(failure: &Failure, era: Era) -> (u16, i64) {
        match answer(failure, Some(Method::ResourcesRead), era) {
            Answer::Error { status, error } => (status, error.code),
            Answer::Result(_) => (0, 0),
        }
    }

    #[test]
    fn a_tool_that_timed_out_tells_the_model_and_the_machine() {
        let kind = FailureKind::TimedOut(Duration::from_secs(60));
        let failure = Failure::upstream("files", kind, Retry::Unknown, "server `files`: tool `slow` gave no answer within 60 s");
        let Answer::Result(result) = answer(&failure, Some(Method::ToolsCall), Era::Legacy) else { panic!("an error") };
        assert_eq!(
            result.to_json().as_str(),
            r#"{"content":[{"type":"text","text":"server `files`: tool `slow` gave no answer within 60 s. It may have been carried out: do not repeat it without checking."}],"isError":true,"_meta":{"dev.sallyport/failure":{"kind":"timed_out","server":"files","retry":"unsafe","limitMs":60000}}}"#
        );
    }

    #[test]
    fn a_missing_resource_has_the_code_of_the_clients_era() {
        let ours = Failure::client(FailureKind::ResourceNotFound("a:b".into()), "there is no such resource");
        assert_eq!(error(&ours, Era::Legacy), (200, -32002));
        assert_eq!(error(&ours, Era::Modern), (200, -32602));
        let theirs = Failure::upstream("s", FailureKind::Upstream(ErrorObject::new(-32002, "none")), Retry::Never, "none");
        assert_eq!(error(&theirs, Era::Modern), (200, -32602));
    }

    #[test]
    fn codes_of_the_modern_wire_never_reach_a_legacy_client() {
        for code in [-32020, -32021, -32022] {
            let theirs = Failure::upstream("s", FailureKind::Upstream(ErrorObject::new(code, "x")), Retry::Never, "x");
            assert!(!(-32022..=-32020).contains(&error(&theirs, Era::Legacy).1));
        }
    }

    #[test]
    fn a_call_that_waits_is_for_the_model_or_for_who_opens_the_page() {
        let needed = |opens| FailureKind::ApprovalNeeded(Box::new(ApprovalNeeded { handle: "ab".into(), expires: 7, opens }));
        let told = |opens| {
            let failure = Failure::new(needed(opens), FailureSource::Gateway, Retry::Safe, "it waits");
            answer(&failure, Some(Method::ToolsCall), Era::Legacy)
        };
        let Answer::Result(result) = told(None) else { panic!("an error") };
        assert!(result.to_json().as_str().contains(r#""kind":"approval_needed","retry":"safe","approval":"ab","expires":7"#));
        let Answer::Error { error, .. } = told(Some(RawJson::from_static(r#"{"mode":"url"}"#))) else { panic!("a result") };
        assert_eq!((error.code, error.data.unwrap().as_str()), (-32042, r#"{"elicitations":[{"mode":"url"}]}"#));
    }

    #[test]
    fn an_unsupported_version_lists_what_is_spoken() {
        let failure = Failure::client(FailureKind::UnsupportedVersion("2030-01-01".into()), "revision 2030-01-01 is not spoken here");
        let Answer::Error { error, .. } = answer(&failure, None, Era::Modern) else { panic!("a result") };
        assert_eq!(error.data.unwrap().as_str(), r#"{"supported":["2026-07-28"],"requested":"2030-01-01"}"#);
    }
}
