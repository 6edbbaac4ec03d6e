//! Requests that do not go to the server as they are.

use std::sync::{Mutex, PoisonError};

use sallyport_protocol::{Discovery, Era, FailureKind, LogLevel, Method, RawJson, RawObject, Request};

use super::fault::Fault;

/// The way of a request.
pub(crate) enum Way {
    /// To the server.
    Send,
    /// Nowhere: the answer is an empty result.
    Empty,
    /// A legacy subscription at a modern server: a stream of its own.
    Subscribe,
    /// The end of that stream.
    Unsubscribe,
}

/// The way of a request to a server of that era, whichever its client is of.
pub(crate) fn way(request: &Request, server: Era) -> Result<Way, Fault> {
    let method = request.method;
    let refused = |why: &str| Err(Fault::Refused(FailureKind::CannotCross, format!("{}: {why}", method.as_str())));
    match (method, server) {
        (Method::Initialize, _) => refused("the connection has had its handshake"),
        (Method::SubscriptionsListen, _) => refused("streams of changes belong to the connection"),
        // What the eras' tasks do not share, the gateway serves by what they do.
        (Method::Discover | Method::TasksUpdate, Era::Legacy) => refused("the server's revision has no such method"),
        (Method::SetLevel | Method::TasksList | Method::TasksResult, Era::Modern) => refused("the server's revision has no such method"),
        (Method::Ping, Era::Modern) => Ok(Way::Empty),
        (Method::ResourcesSubscribe, Era::Modern) => Ok(Way::Subscribe),
        (Method::ResourcesUnsubscribe, Era::Modern) => Ok(Way::Unsubscribe),
        _ => Ok(Way::Send),
    }
}

/// Checks the kind of a modern server's result. An unknown kind is an invalid answer (2026-07-28, `resultType`), but to a method of
/// an extension, which may have kinds of its own.
pub(crate) fn check_kind(result: RawObject, method: Method, era: Era) -> Result<RawObject, Fault> {
    if era == Era::Legacy || matches!(method, Method::Extension(_)) {
        return Ok(result);
    }
    let known = result.get("resultType").is_none_or(|kind| matches!(kind.as_str(), r#""complete""# | r#""input_required""# | r#""task""#));
    if known { Ok(result) } else { Err(Fault::Malformed("its result has an unknown `resultType`".to_owned())) }
}

/// From which level on a legacy server logs: one level for the whole session, so the lowest that anybody wanted.
#[derive(Debug, Default)]
pub(crate) struct Logging(Mutex<Option<LogLevel>>);

impl Logging {
    /// The request that must go first so that `request` gets the log messages it wants.
    pub(crate) fn before(&self, request: &Request, discovery: &Discovery) -> Option<Request> {
        if request.method == Method::SetLevel {
            self.set(request.params.get_str("level").and_then(|name| LogLevel::from_name(&name)));
            return None;
        }
        let level = request.meta.log_level?;
        if discovery.revision.era() == Era::Modern || !discovery.has("logging") || !self.lower(level) {
            return None;
        }
        let mut params = RawObject::new();
        params.set("level", RawJson::string(level.as_str()));
        Some(Request::new(Method::SetLevel, params))
    }

    /// Forgets the level: the session is a new one.
    pub(crate) fn reset(&self) {
        self.set(None);
    }

    fn set(&self, level: Option<LogLevel>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = level;
    }

    fn lower(&self, level: LogLevel) -> bool {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lower = current.is_none_or(|current| level < current);
        if lower {
            *current = Some(level);
        }
        lower
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use sallyport_protocol::{Revision, ServerIdentity};

    #[test]
    fn the_level_is_set_once_and_only_ever_lowered() {
        let capabilities = RawJson::from_static(r#"{"logging":{}}"#).object().unwrap();
        let discovery =
            Discovery { revision: Revision::V2025_11_25, capabilities, identity: ServerIdentity::new("x", "1"), instructions: None };
        let logging = Logging::default();
        let before = |level| {
            let mut request = Request::new(Method::ToolsCall, RawObject::new());
            request.meta.log_level = level;
            logging.before(&request, &discovery).map(|first| first.params.to_json().as_str().to_owned())
        };
        assert_eq!(before(None), None);
        assert_eq!(before(Some(LogLevel::Warning)).as_deref(), Some(r#"{"level":"warning"}"#));
        assert_eq!(before(Some(LogLevel::Error)), None);
        assert_eq!(before(Some(LogLevel::Info)).as_deref(), Some(r#"{"level":"info"}"#));
        logging.reset();
        assert!(before(Some(LogLevel::Error)).is_some());
    }

    #[test]
    fn results_of_unknown_kind_are_none() {
        let result = |text| RawJson::from_static(text).object().unwrap();
        let check = |text, method, era| check_kind(result(text), method, era).is_ok();
        assert!(check(r#"{"resultType":"input_required"}"#, Method::ToolsCall, Era::Modern));
        assert!(check("{}", Method::ToolsCall, Era::Modern));
        assert!(!check(r#"{"resultType":"surprise"}"#, Method::ToolsCall, Era::Modern));
        assert!(check(r#"{"resultType":"surprise"}"#, Method::ToolsCall, Era::Legacy));
        assert!(check(r#"{"resultType":"surprise"}"#, Method::of_extension("vendor/thing").unwrap(), Era::Modern));
    }
}
