//! What of an approved call reaches its server: what a person was shown, and nothing beside it that its caller chooses.
//!
//! A request holds more than arguments: `_meta`, answers to questions that nobody has asked, parameters that no revision knows, what its client
//! says of itself. None of it was approved, and clients change it from one try to the next (ids of their own, traces), so it can neither be
//! bound nor be believed: a call that goes by an approval is sent without.

use std::sync::Arc;

use sallyport_protocol::input::{self, INPUT_RESPONSES, REQUEST_STATE};
use sallyport_protocol::{Client, Context, Meta, RawJson, RawObject, Request};
use sallyport_telemetry::TraceContext;

/// The parameters that an approval is bound to.
const APPROVED: [&str; 3] = ["name", "arguments", "uri"];
/// How a call is carried out, and not what it does: as a task (2025-11-25).
const TASK: &str = "task";
/// W3C Trace Context: an id of the right form, and nothing that can be read.
const TRACE: &str = "traceparent";
/// What a client can be asked, and the parts of it that have names of their own. Beyond these a server would be told words of the caller's.
const QUESTIONS: [(&str, &[&str]); 3] = [("elicitation", &["form", "url"]), ("sampling", &["tools", "context"]), ("roots", &[])];

/// Leaves of a call what was approved. One that goes on brings answers, of which those stay that belong to the `questions` of its server.
pub(super) fn call(request: &mut Request, questions: Option<&[String]>) {
    let task = request.params.get(TASK).map(life_of_task);
    request.params.retain(|key| APPROVED.contains(&key) || questions.is_some() && [REQUEST_STATE, INPUT_RESPONSES].contains(&key));
    if let Some(task) = task {
        request.params.set(TASK, task);
    }
    if let Some(questions) = questions {
        keep_answers(&mut request.params, |key| questions.iter().any(|asked| asked == key));
    }
    keep_trace(&mut request.meta);
}

/// The same for a request about the task of an approved call: which task it is, and answers where `was_asked` says so.
pub(crate) fn about_task(request: &mut Request, was_asked: impl Fn(&str) -> bool) {
    request.params.retain(|key| ["taskId", INPUT_RESPONSES].contains(&key));
    keep_answers(&mut request.params, was_asked);
    keep_trace(&mut request.meta);
}

/// What its server is told of the client: what it can be asked, and that it takes tasks.
pub(crate) fn context(context: Context) -> Context {
    let Client { revision, capabilities, info } = &*context.client;
    let mut bare = RawObject::new();
    for (name, parts) in QUESTIONS {
        if let Some(declared) = capabilities.get_object(name).ok().flatten() {
            bare.set(name, these(&declared, parts).to_json());
        }
    }
    if let Some(declared) = capabilities.get_object("extensions").ok().flatten() {
        bare.set("extensions", these(&declared, &[crate::tasks::EXTENSION]).to_json());
    }
    Context { client: Arc::new(Client { revision: *revision, capabilities: bare, info: info.clone() }), ..context }
}

/// Those of the members that have these names, as empty objects.
fn these(declared: &RawObject, names: &[&str]) -> RawObject {
    let mut these = RawObject::new();
    for name in names.iter().filter(|name| declared.get(name).is_some()) {
        these.set(name, RawJson::from_static("{}"));
    }
    these
}

/// For how long the task is to be kept, where the parameter says so by a number.
fn life_of_task(task: &RawJson) -> RawJson {
    let life = task.object().ok().and_then(|task| task.get("ttl").cloned()).filter(|life| life.decode::<u64>().is_ok());
    let mut task = RawObject::new();
    if let Some(life) = life {
        task.set("ttl", life);
    }
    task.to_json()
}

/// Answers that cannot be read go too: their questions are put again.
fn keep_answers(params: &mut RawObject, was_asked: impl Fn(&str) -> bool) {
    let Some(given) = params.get(INPUT_RESPONSES) else { return };
    let mut answers = input::read_answers(given).unwrap_or_default();
    answers.retain(|(key, _)| was_asked(key));
    input::set_answers(params, &answers);
}

fn keep_trace(meta: &mut Meta) {
    let trace = meta.other.get_str(TRACE).and_then(|trace| TraceContext::parse(&trace));
    meta.other = RawObject::new();
    if let Some(trace) = trace {
        meta.other.set(TRACE, RawJson::string(&trace.to_string()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::upstream::own_call::Nobody;
    use sallyport_protocol::{Cancel, Method, Revision};

    fn object(text: &str) -> RawObject {
        RawJson::parse(text.to_owned()).unwrap().object().unwrap()
    }

    fn request(params: &str) -> Request {
        let mut params = object(params);
        let meta = Meta::take_from(&mut params).unwrap();
        Request { method: Method::ToolsCall, params, meta }
    }

    #[test]
    fn nothing_of_a_call_crosses_but_what_was_approved() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let all = format!(
            r#"{{"name":"t","arguments":{{"n": 1.0}},"as":"root","task":{{"ttl":5,"note":"x"}},"requestState":"s","inputResponses":{{"a":{{"action":"accept"}}}},
            "_meta":{{"progressToken":7,"traceparent":"{trace}","tracestate":"x=y","baggage":"to=mallory","com.example/account":"other"}}}}"#
        );
        let mut request = request(&all);
        call(&mut request, None);
        assert_eq!(request.params.to_json().as_str(), r#"{"name":"t","arguments":{"n": 1.0},"task":{"ttl":5}}"#);
        assert_eq!(request.meta.other.to_json().as_str(), format!(r#"{{"traceparent":"{trace}"}}"#));
        assert!(request.meta.progress_token.is_some(), "progress is told all the same, under a token of the gateway's");
    }

    #[test]
    fn a_trace_that_is_none_does_not_cross() {
        let mut request = request(r#"{"uri":"u","_meta":{"traceparent":"pay mallory"}}"#);
        call(&mut request, None);
        assert!(request.meta.other.is_empty());
        assert_eq!(request.params.to_json().as_str(), r#"{"uri":"u"}"#);
    }

    #[test]
    fn a_call_goes_on_with_answers_to_what_was_asked_alone() {
        let answers = r#"{"requestState":"s","inputResponses":{"who":{"action":"accept"},"how much":{"action":"accept"}}}"#;
        let mut asked = request(answers);
        call(&mut asked, Some(&["who".to_owned()]));
        assert_eq!(asked.params.to_json().as_str(), r#"{"requestState":"s","inputResponses":{"who":{"action":"accept"}}}"#);
        let mut unreadable = request(r#"{"requestState":"s","inputResponses":[1]}"#);
        call(&mut unreadable, Some(&["who".to_owned()]));
        assert_eq!(unreadable.params.to_json().as_str(), r#"{"requestState":"s","inputResponses":{}}"#);
        let mut task = request(r#"{"taskId":"1","note":"x","inputResponses":{"who":{"action":"accept"},"b":{}},"_meta":{"a/b":1}}"#);
        about_task(&mut task, |key| key == "who");
        assert_eq!(task.params.to_json().as_str(), r#"{"taskId":"1","inputResponses":{"who":{"action":"accept"}}}"#);
        assert!(task.meta.other.is_empty());
    }

    #[test]
    fn a_client_says_what_it_can_be_asked_and_no_more() {
        let declared = r#"{"elicitation":{"url":{"x":1},"z":{}},"roots":{"listChanged":true},"extensions":{"io.modelcontextprotocol/tasks":{"a":1},
            "com.example/pay":{"to":"mallory"}},"experimental":{"to":"mallory"}}"#;
        let client = Client { revision: Revision::LATEST, capabilities: object(declared), info: None };
        let given = Context { client: Arc::new(client), asker: Arc::new(Nobody), cancel: Cancel::new(), credential: None };
        assert_eq!(
            context(given).client.capabilities.to_json().as_str(),
            r#"{"elicitation":{"url":{}},"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#
        );
    }
}
