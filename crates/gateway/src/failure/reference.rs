//! Generates `docs/reference/errors.md` from the failures themselves.

use std::fmt::Write as _;

use sallyport_protocol::ApprovalNeeded;

use super::*;

/// One failure of each kind, with what it means.
fn kinds() -> Vec<(FailureKind, &'static str)> {
    let own = ErrorObject::new(-32001, "");
    vec![
        (FailureKind::Upstream(own.clone()), "The server answered with an error of its own; it passes with its code, message and data."),
        (FailureKind::NotAMessage(ErrorObject::new(ErrorObject::PARSE, "")), "The body is no JSON, or no JSON-RPC message (then -32600)."),
        (FailureKind::InvalidParams, "A parameter or `_meta` is missing or wrong."),
        (FailureKind::MethodNotFound, "There is no such method at this endpoint."),
        (FailureKind::NotFound, "There is no such tool, prompt or task, or it is not the caller's to see."),
        (FailureKind::ResourceNotFound("a:b".into()), "There is no such resource; `data.uri` names it."),
        (FailureKind::HeaderMismatch, "A header says something else than the body."),
        (FailureKind::MissingCapability(RawJson::from_static("{}")), "The client did not declare what this needs."),
        (FailureKind::UnsupportedVersion("x".into()), "A revision that is not spoken here; `data.supported` lists those that are."),
        (FailureKind::UnknownSession, "The session is over or was never there: open a new one."),
        (FailureKind::Http(405), "Only HTTP was wrong: 404 no such endpoint, 405 method, 406 accept, 415 content type, and so on."),
        (FailureKind::Unauthenticated, "The key or token is missing or not taken; over HTTP `WWW-Authenticate` says where one is had."),
        (FailureKind::Denied, "Policy says no; the text names the rule."),
        (
            FailureKind::ApprovalNeeded(Box::new(ApprovalNeeded { handle: String::new(), expires: 0, opens: None })),
            "A person has to approve this very call: `approval` is the handle, `expires` until when. A client of 2025-11-25 that can be asked to open \
             an address gets -32042.",
        ),
        (
            FailureKind::InsufficientScope("files:read".into()),
            "The token is not good for this; `scope` names what it lacks, and over HTTP `WWW-Authenticate` too.",
        ),
        (FailureKind::Unreachable, "The server is not there: not started, crashed, or it refused the connection."),
        (
            FailureKind::LimitExceeded("memory_mb"),
            "The server was ended because it went beyond one of its `limits`; `limit` names it. Also told beside a failure that the server tells itself, \
             where it had as many files open as it may: in `_meta`, or in the error's `data`, under the same key.",
        ),
        (
            FailureKind::Limited(Limited { limit: "limits[0].rate".into(), most: 1, used: 1, retry_after: Duration::ZERO }),
            "The caller's calls are beyond one of `[[limits]]`: `limit` names it, `used` of `most` are used, `retry_after` are the seconds to wait.",
        ),
        (FailureKind::TimedOut(Duration::ZERO), "No answer within the limit; `limitMs` names it."),
        (FailureKind::Cancelled, "The client took the request back."),
        (FailureKind::Malformed, "The server's answer is none; the text says what is wrong with it."),
        (FailureKind::TooLarge, "A message is larger than its bound."),
        (FailureKind::Overloaded, "Too much at once: try again later."),
        (FailureKind::CannotCross, "A question, subscription or task that the client's and the server's revision cannot both express."),
        (FailureKind::Internal, "A fault of the gateway; its log says more."),
    ]
}

fn shown(kind: &FailureKind, era: Era) -> String {
    let failure = Failure::new(kind.clone(), FailureSource::Gateway, Retry::Never, "x");
    match answer(&failure, Some(Method::PromptsGet), era) {
        Answer::Error { status, error } => format!("{status}, {}", error.code),
        Answer::Result(_) => "a result".to_owned(),
    }
}

fn page() -> String {
    let mut page = String::from(
        "# Errors\n\nGenerated from `crates/gateway/src/failure.rs`.\n\nWhat a request that failed is answered with: HTTP status and JSON-RPC code, \
         for clients with a handshake (up to 2025-11-25)\nand without (from 2026-07-28). Where a tool call could not be carried out, the answer is a result \
         with `isError` instead, for the model\nto read; `_meta[\"dev.sallyport/failure\"]` has `kind`, `server` and `retry` (`safe`: it was not carried \
         out; `unsafe`: it may have been;\n`never`: it will fail again).\n\n| kind | up to 2025-11-25 | from 2026-07-28 | `tools/call` | what it means |\n| --- | --- | --- | --- | --- |\n",
    );
    for (kind, meaning) in kinds() {
        let failure = Failure::new(kind.clone(), FailureSource::Gateway, Retry::Never, "x");
        let called = if is_for_the_model(&failure) { "result with `isError`" } else { "the same" };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {called} | {meaning} |",
            failure.label(),
            shown(&kind, Era::Legacy),
            shown(&kind, Era::Modern)
        );
    }
    page
}

#[test]
fn the_page_of_errors_is_up_to_date() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/errors.md");
    if std::env::var_os("SALLYPORT_BLESS").is_some() {
        std::fs::write(&file, page()).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == page(), "docs/reference/errors.md is stale: run `cargo xtask bless`");
}
