//! Which way a server speaks, and how that is found out.
//!
//! `server/discover` is asked first; only its success proves the modern way and only the success of `initialize` the legacy one.
//! What servers answer to a question they do not know is no ground to judge by: error codes, HTTP statuses and ids of real servers
//! differ too much.

use std::future::Future;

use sallyport_protocol::{Discovery, Era, ErrorObject, Failure, Method, RawJson, RawObject, Request, Revision, ServerIdentity};

use super::fault::Fault;
use super::outgoing;
use super::shared::Shared;

/// What a server says to `server/discover`.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It speaks the modern way.
    Modern(Discovery),
    /// It speaks the modern way and refuses this: another way would not help.
    ModernError(ErrorObject),
    /// It does not, or said nothing.
    NotModern,
}

/// What a server says to `initialize`.
#[derive(Debug)]
pub(crate) enum Handshake {
    /// It speaks the legacy way.
    Done(Discovery),
    /// It speaks the modern way alone, or settled for it on this connection.
    Modern,
    /// It refuses, or has no such thing.
    Refused(Fault),
}

/// A transport over which a server can be asked how it speaks.
pub(crate) trait Negotiable: Sync {
    fn shared(&self) -> &Shared;

    /// Sends `server/discover`. A failure is an outage, which says nothing of the era.
    fn discover(&self, request: Request) -> impl Future<Output = Result<Verdict, Failure>> + Send;

    /// Sends `initialize` and, where it succeeds, `notifications/initialized`.
    fn initialize(&self, request: Request) -> impl Future<Output = Result<Handshake, Failure>> + Send;
}

/// How a negotiation ended.
#[derive(Debug)]
pub(crate) enum Agreed {
    /// The server's own account of itself.
    On(Discovery),
    /// Neither way is known there.
    Nothing(Fault),
}

/// Finds out how a server speaks. What it spoke last time, if known, is tried first and the other way where that fails.
pub(crate) async fn negotiate(transport: &impl Negotiable, known: Option<Revision>) -> Result<Agreed, Failure> {
    let discover = || discover(transport);
    let initialize = || initialize_alone(transport);
    if known.is_some_and(|revision| revision.era() == Era::Legacy) {
        return match initialize().await? {
            Handshake::Done(discovery) => Ok(Agreed::On(discovery)),
            Handshake::Modern => settle(transport.shared(), discover().await?, None),
            Handshake::Refused(fault) => settle(transport.shared(), discover().await?, Some(fault)),
        };
    }
    match discover().await? {
        Verdict::NotModern => {}
        verdict => return settle(transport.shared(), verdict, None),
    }
    match initialize().await? {
        Handshake::Done(discovery) => Ok(Agreed::On(discovery)),
        Handshake::Refused(fault) => Ok(Agreed::Nothing(fault)),
        // It answered the probe too late, and has settled for the modern way since: ask once more.
        Handshake::Modern => settle(transport.shared(), discover().await?, None),
    }
}

/// Asks how the server speaks in the modern way. Where it refuses our version and yet names it among those that it supports, it is
/// asked once more: a server that is being replaced says so, and its successor answers (2026-07-28, version negotiation).
async fn discover(transport: &impl Negotiable) -> Result<Verdict, Failure> {
    let ask = || transport.discover(Request::new(Method::Discover, RawObject::new()));
    match ask().await? {
        Verdict::ModernError(error) if error.code == ErrorObject::UNSUPPORTED_VERSION && offers_modern(supported(&error).as_ref()) => {
            ask().await
        }
        verdict => Ok(verdict),
    }
}

/// Shakes hands in the legacy way, without asking whether there is another one.
pub(crate) async fn initialize_alone(transport: &impl Negotiable) -> Result<Handshake, Failure> {
    let options = &transport.shared().options;
    let params = outgoing::initialize_params(&options.identity, &options.capabilities);
    transport.initialize(Request::new(Method::Initialize, params)).await
}

fn settle(shared: &Shared, verdict: Verdict, refused: Option<Fault>) -> Result<Agreed, Failure> {
    match verdict {
        Verdict::Modern(discovery) => Ok(Agreed::On(discovery)),
        Verdict::ModernError(error) => Err(shared.failure(Fault::Error(error))),
        Verdict::NotModern => {
            let contradiction = || Fault::Malformed("it answers neither `initialize` nor `server/discover`".to_owned());
            Ok(Agreed::Nothing(refused.unwrap_or_else(contradiction)))
        }
    }
}

/// Whether only a modern server answers with this error (2026-07-28, error codes).
pub(crate) fn is_modern(error: &ErrorObject) -> bool {
    matches!(error.code, ErrorObject::HEADER_MISMATCH | ErrorObject::MISSING_CAPABILITY | ErrorObject::UNSUPPORTED_VERSION)
}

/// Judges the answer to `server/discover`.
pub(crate) fn judge_discover(answer: Result<RawObject, ErrorObject>) -> Verdict {
    match answer {
        Ok(result) if offers_modern(result.get("supportedVersions")) => Verdict::Modern(of_discover(&result)),
        Ok(_) => Verdict::NotModern, // some stateful servers answer, and name legacy revisions only
        Err(error) if error.code == ErrorObject::UNSUPPORTED_VERSION => {
            let supported = supported(&error);
            let legacy_too = names(supported.as_ref()).iter().any(|name| legacy_of_name(name).is_some());
            if legacy_too && !offers_modern(supported.as_ref()) { Verdict::NotModern } else { Verdict::ModernError(error) }
        }
        Err(error) if is_modern(&error) => Verdict::ModernError(error),
        Err(_) => Verdict::NotModern,
    }
}

/// Judges the answer to `initialize`.
pub(crate) fn judge_initialize(answer: Result<RawObject, Fault>) -> Handshake {
    match answer {
        Ok(result) => match of_initialize(&result) {
            Ok(discovery) => Handshake::Done(discovery),
            Err(what) => Handshake::Refused(Fault::Malformed(what)),
        },
        Err(Fault::Error(error)) if is_modern(&error) => Handshake::Modern,
        Err(fault) => Handshake::Refused(fault),
    }
}

/// The versions that a refusal names.
fn supported(refusal: &ErrorObject) -> Option<RawJson> {
    refusal.data.as_ref().and_then(|data| data.object().ok()?.get("supported").cloned())
}

fn names(list: Option<&RawJson>) -> Vec<String> {
    list.and_then(|list| list.decode().ok()).unwrap_or_default()
}

fn offers_modern(supported: Option<&RawJson>) -> bool {
    names(supported).iter().any(|name| Revision::from_name(name) == Some(Revision::LATEST))
}

/// The legacy revision of that name. `2024-10-07` came before the first published one and is spoken like it.
fn legacy_of_name(name: &str) -> Option<Revision> {
    match name {
        "2024-10-07" => Some(Revision::V2024_11_05),
        name => Revision::from_name(name).filter(|revision| revision.era() == Era::Legacy),
    }
}

fn of_discover(result: &RawObject) -> Discovery {
    let meta = result.get_object("_meta").ok().flatten().unwrap_or_default();
    discovery(Revision::LATEST, result, meta.get("io.modelcontextprotocol/serverInfo"))
}

fn of_initialize(result: &RawObject) -> Result<Discovery, String> {
    let version = result.get_str("protocolVersion").ok_or("its answer to `initialize` names no protocol version")?;
    let revision = legacy_of_name(&version)
        .ok_or_else(|| format!("its answer to `initialize` is in revision {version:?}, which is not spoken here"))?;
    Ok(discovery(revision, result, result.get("serverInfo")))
}

fn discovery(revision: Revision, result: &RawObject, info: Option<&RawJson>) -> Discovery {
    Discovery {
        revision,
        capabilities: result.get_object("capabilities").ok().flatten().unwrap_or_default(),
        identity: info.map_or_else(|| ServerIdentity::new("", ""), |info| ServerIdentity { info: info.clone() }),
        instructions: result.get_str("instructions").map(std::borrow::Cow::into_owned),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::sync::{Arc, Mutex};

    use super::super::Options;
    use super::*;

    fn result(text: &'static str) -> RawObject {
        RawJson::from_static(text).object().unwrap()
    }

    fn error(code: i64, data: Option<&'static str>) -> ErrorObject {
        ErrorObject { data: data.map(RawJson::from_static), ..ErrorObject::new(code, "no") }
    }

    #[test]
    fn only_a_modern_version_in_the_list_makes_a_modern_server() {
        let modern = result(
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":"use it","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"x","version":"1"}}}"#,
        );
        let Verdict::Modern(discovery) = judge_discover(Ok(modern)) else { panic!() };
        assert_eq!((discovery.identity.name().as_str(), discovery.revision), ("x", Revision::V2026_07_28));
        assert!(discovery.has("tools"));
        assert_eq!(discovery.instructions.as_deref(), Some("use it"));
        for other in [r#"{"supportedVersions":["2025-11-25"]}"#, "{}", r#"{"supportedVersions":"2026-07-28"}"#, r#"{"tools":[]}"#] {
            assert!(matches!(judge_discover(Ok(result(other))), Verdict::NotModern), "{other}");
        }
    }

    #[test]
    fn errors_that_only_modern_servers_have_are_no_reason_to_fall_back() {
        for code in [ErrorObject::HEADER_MISMATCH, ErrorObject::MISSING_CAPABILITY, ErrorObject::UNSUPPORTED_VERSION] {
            assert!(matches!(judge_discover(Err(error(code, None))), Verdict::ModernError(_)), "{code}");
        }
        for code in [ErrorObject::METHOD_NOT_FOUND, ErrorObject::INVALID_PARAMS, ErrorObject::INVALID_REQUEST, -32000, 0] {
            assert!(matches!(judge_discover(Err(error(code, None))), Verdict::NotModern), "{code}");
        }
    }

    #[test]
    fn a_list_of_versions_decides_for_the_way_in_it() {
        let judge = |supported| judge_discover(Err(error(ErrorObject::UNSUPPORTED_VERSION, Some(supported))));
        assert!(matches!(judge(r#"{"supported":["2025-11-25","2025-06-18"]}"#), Verdict::NotModern));
        assert!(matches!(judge(r#"{"supported":["2099-01-01"]}"#), Verdict::ModernError(_)));
        assert!(matches!(judge(r#"{"supported":["2026-07-28","2025-11-25"]}"#), Verdict::ModernError(_)));
        assert!(matches!(judge(r#"{"supported":7}"#), Verdict::ModernError(_)));
    }

    /// A server that gives these verdicts on `server/discover`, one after the other.
    struct Scripted(Arc<Shared>, Mutex<Vec<Verdict>>);

    impl Negotiable for Scripted {
        fn shared(&self) -> &Shared {
            &self.0
        }

        async fn discover(&self, _: Request) -> Result<Verdict, Failure> {
            Ok(self.1.lock().unwrap().remove(0))
        }

        async fn initialize(&self, _: Request) -> Result<Handshake, Failure> {
            Ok(Handshake::Refused(Fault::Malformed("it knows no `initialize`".to_owned())))
        }
    }

    #[tokio::test]
    async fn a_refusal_that_names_our_version_is_asked_about_once() {
        let refusal = || judge_discover(Err(error(ErrorObject::UNSUPPORTED_VERSION, Some(r#"{"supported":["2026-07-28"]}"#))));
        let account = || judge_discover(Ok(result(r#"{"supportedVersions":["2026-07-28"],"capabilities":{}}"#)));
        let agreed = async |verdicts| {
            let shared = Shared::new(Options::new("x", ServerIdentity::new("us", "1")));
            negotiate(&Scripted(shared, Mutex::new(verdicts)), None).await
        };
        assert!(matches!(agreed(vec![refusal(), account()]).await, Ok(Agreed::On(_))));
        assert!(agreed(vec![refusal(), refusal(), account()]).await.is_err());
    }

    #[test]
    fn initialize_is_believed_in_legacy_revisions_only() {
        let judge = |text| judge_initialize(Ok(result(text)));
        let Handshake::Done(discovery) = judge(r#"{"protocolVersion":"2024-10-07","capabilities":{},"serverInfo":{"name":"old"}}"#) else {
            panic!()
        };
        assert_eq!((discovery.revision, discovery.identity.name().as_str()), (Revision::V2024_11_05, "old"));
        assert!(matches!(judge(r#"{"protocolVersion":"2026-07-28"}"#), Handshake::Refused(Fault::Malformed(_))));
        assert!(matches!(judge(r#"{}"#), Handshake::Refused(Fault::Malformed(_))));
        let latched = judge_initialize(Err(Fault::Error(error(ErrorObject::UNSUPPORTED_VERSION, None))));
        assert!(matches!(latched, Handshake::Modern));
    }
}
