//! What a client wants of a call that its server may make a task of, and what the server is told of it.

use sallyport_protocol::{Client, Era, Method, RawJson, Request, Revision};

use super::support::{self, Support};

/// The parameter with which a request of 2025-11-25 asks for a task.
const TASK: &str = "task";

/// What a legacy server is asked for on behalf of a client whose revision has no word for it: a task that is kept for a day, so that
/// work left overnight is there in the morning, and the server need not keep it for ever.
const ASKED_FOR: RawJson = RawJson::from_static(r#"{"ttl":86400000}"#);

/// What a client wants of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) takes: Takes,
    /// The request asks its server for a task (2025-11-25).
    pub(crate) as_task: bool,
}

/// What a client takes for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Takes {
    /// The result alone: a task is seen to its end by the gateway.
    #[default]
    Result,
    /// A result or a task (the extension).
    Either,
    /// A task, as it asked for (2025-11-25).
    Task,
}

/// Finds out what a client wants of a call, and says so in the words of its server.
///
/// A tool that may run either way at a legacy server runs as a task for a client that takes tasks, as it would at a modern server
/// that thinks it long: so the call outlives the client's connection, and what the server asks meanwhile is known to be the task's.
/// For everybody else it is called plainly, which costs nothing but one exchange.
pub(crate) fn prepare(request: &mut Request, client: &Client, support: Support) -> Wish {
    if request.method != Method::ToolsCall {
        return Wish::default();
    }
    let asks = client.revision == Revision::V2025_11_25 && request.params.get(TASK).is_some();
    let takes = match (asks, support::takes(client)) {
        (true, _) => Takes::Task,
        (false, true) => Takes::Either,
        (false, false) => Takes::Result,
    };
    match (support, takes) {
        (_, Takes::Task) => {}
        (Support::Required, _) | (Support::Optional, Takes::Either) => request.params.set(TASK, ASKED_FOR),
        // A modern server looks after the parameter itself; a legacy one would take it for a wish that nobody has.
        (Support::ServerDecides, _) if client.revision.era() == Era::Modern => {}
        _ => _ = request.params.remove(TASK),
    }
    Wish { takes, as_task: request.params.get(TASK).is_some() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use sallyport_protocol::RawObject;

    fn object(text: &str) -> RawObject {
        RawJson::parse(text.to_owned()).unwrap().object().unwrap()
    }

    /// What is wanted of a call with these parameters, and what its server is sent.
    fn prepared(revision: Revision, params: &str, support: Support) -> (Takes, String) {
        let extension = revision.era() == Era::Modern && params.contains("extension");
        let capabilities = if extension { r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"# } else { "{}" };
        let client = Client { revision, capabilities: object(capabilities), info: None };
        let mut request = Request::new(Method::ToolsCall, object(params));
        let wish = prepare(&mut request, &client, support);
        assert_eq!(wish.as_task, request.params.get("task").is_some());
        (wish.takes, request.params.get("task").map_or_else(String::new, |task| task.as_str().to_owned()))
    }

    const DAY: &str = r#"{"ttl":86400000}"#;

    #[test]
    fn a_legacy_client_gets_what_it_asks_for() {
        let own = (Takes::Task, r#"{"ttl":5}"#.to_owned());
        for support in [Support::Never, Support::Optional, Support::Required, Support::ServerDecides] {
            assert_eq!(prepared(Revision::V2025_11_25, r#"{"name":"x","task":{"ttl":5}}"#, support), own);
        }
        for (support, sent) in [(Support::Never, ""), (Support::Optional, ""), (Support::Required, DAY), (Support::ServerDecides, "")] {
            assert_eq!(prepared(Revision::V2025_11_25, r#"{"name":"x"}"#, support), (Takes::Result, sent.into()));
            assert_eq!(prepared(Revision::V2025_06_18, r#"{"name":"x","task":{}}"#, support), (Takes::Result, sent.into()), "unknown then");
        }
    }

    #[test]
    fn a_modern_client_that_takes_tasks_gets_them_wherever_the_tool_can() {
        for (support, sent) in [(Support::Never, ""), (Support::Optional, DAY), (Support::Required, DAY), (Support::ServerDecides, "")] {
            assert_eq!(prepared(Revision::V2026_07_28, r#"{"extension":1}"#, support), (Takes::Either, sent.into()));
        }
        for (support, sent) in [(Support::Never, ""), (Support::Optional, ""), (Support::Required, DAY), (Support::ServerDecides, "{}")] {
            assert_eq!(prepared(Revision::V2026_07_28, r#"{"task":{}}"#, support), (Takes::Result, sent.into()), "the old parameter");
        }
    }
}
