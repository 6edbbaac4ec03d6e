#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
//! Clients and servers of both eras in this process; time stands still but for the waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sallyport_policy::Principal;
use sallyport_protocol::{Asker, BoxFuture, RawJson};
use tokio::time::timeout;

use super::*;
use crate::gateway::Parts;
use crate::tasks::tests::{line, parts};
use crate::upstream::Upstream;
use crate::upstream::tests::scripted::{Caller, NAME, Peer, object, plan, reply, running, upstream};

const LONG: Duration = Duration::from_secs(3600);
const ALL: &str = r#"{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}"#;
const FORM: &str = r#"{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}"#;

/// A gateway's questions, one upstream, and one caller.
struct Bench {
    questions: Questions,
    upstream: Arc<Upstream>,
    parts: Arc<Parts>,
    caller: &'static str,
}

impl Bench {
    async fn before(peer: &Arc<Peer>) -> Self {
        Self::of(running(peer)).await
    }

    async fn of(upstream: Arc<Upstream>) -> Self {
        upstream.listed(LONG).await;
        Self { questions: Questions::new().unwrap(), upstream, parts: parts(), caller: "me" }
    }

    fn line(&self) -> Line {
        line(&self.parts, &self.upstream, &Principal::key(self.caller))
    }

    async fn send(&self, params: &RawObject, context: Context) -> Result<Reply, Failure> {
        let line = self.line();
        let call = line.permit(Request::new(Method::ToolsCall, params.clone())).await.unwrap();
        timeout(LONG, self.questions.exchange(&line, call, context)).await.unwrap()
    }

    /// A tools/call of a modern client that can be asked everything.
    async fn call(&self, params: &RawObject) -> Result<Reply, Failure> {
        self.send(params, client(Revision::LATEST, ALL, Arc::new(Caller::default()))).await
    }
}

fn client(revision: Revision, capabilities: &str, asker: Arc<dyn Asker>) -> Context {
    let client = Client { revision, capabilities: object(capabilities), info: None };
    Context { client: Arc::new(client), asker, cancel: Cancel::new(), credential: None }
}

fn params() -> RawObject {
    object(r#"{"name":"t","arguments":{"a":1}}"#)
}

/// What a result asks: the keys, and the parameters of the retry with `answer` to each.
fn retry(asked: &Reply, answer: &str) -> (Vec<String>, RawObject) {
    let asked = InputRequired::read(&asked.result).unwrap();
    let keys: Vec<String> = asked.questions.iter().map(|(key, _)| key.clone()).collect();
    let mut params = params();
    input::set_answers(&mut params, &keys.iter().map(|key| (key.clone(), object(answer))).collect());
    params.set(REQUEST_STATE, asked.state.unwrap());
    (keys, params)
}

fn text(reply: &Reply) -> String {
    reply.result.to_json().as_str().to_owned()
}

/// A legacy server whose tool asks `method` once and says what it was answered; counts how often it was called and cancelled.
fn asking_once(method: &'static str, question: &'static str) -> (Arc<Peer>, Arc<[AtomicUsize; 2]>) {
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counted = counts.clone();
    let peer = Peer::calling(move |_, context| {
        let counted = counted.clone();
        counted[0].fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let answer = tokio::select! {
                answer = context.asker.ask(method, object(question)) => answer,
                () = context.cancel.cancelled() => {
                    counted[1].fetch_add(1, Ordering::SeqCst);
                    return reply(r#"{"content":[]}"#);
                }
            };
            match answer {
                Ok(answer) => reply(&format!(r#"{{"content":[],"answer":{}}}"#, answer.to_json().as_str())),
                Err(error) => reply(&format!(r#"{{"content":[],"isError":true,"code":{}}}"#, error.code)),
            }
        })
    });
    (peer, counts)
}

#[tokio::test(start_paused = true)]
async fn a_legacy_servers_question_waits_for_the_next_request() {
    let (peer, counts) = asking_once("elicitation/create", FORM);
    let bench = Bench::before(&peer).await;
    let asked = bench.call(&params()).await.unwrap();
    assert_eq!(bench.questions.waiting(), 1);
    let (keys, params) = retry(&asked, r#"{"action":"accept","content":{"name":"Ada"}}"#);
    assert_eq!(keys, ["question-1"]);
    let done = bench.call(&params).await.unwrap();
    assert_eq!(text(&done), r#"{"content":[],"answer":{"action":"accept","content":{"name":"Ada"}}}"#);
    assert_eq!(bench.questions.waiting(), 0);

    let again = bench.call(&params).await.unwrap();
    assert_eq!(text(&again), text(&done), "the outcome is kept");
    tokio::time::sleep(Duration::from_secs(61)).await;
    let late = bench.call(&params).await.unwrap_err();
    assert_eq!(late.label(), "invalid_params", "and forgotten");
    assert_eq!(counts[0].load(Ordering::SeqCst), 1, "the tool ran once");
}

#[tokio::test(start_paused = true)]
async fn a_state_is_good_for_its_caller_and_call_alone() {
    let (peer, _) = asking_once("roots/list", "{}");
    let mut bench = Bench::before(&peer).await;
    let (_, good) = retry(&bench.call(&params()).await.unwrap(), r#"{"roots":[]}"#);
    let mut other_arguments = good.clone();
    other_arguments.set("arguments", RawJson::from_static(r#"{"a":2}"#));
    assert!(bench.call(&other_arguments).await.is_err());
    bench.caller = "somebody else";
    assert!(bench.call(&good).await.is_err());
    bench.caller = "me";
    assert!(bench.call(&good).await.is_ok(), "no attempt used it up");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_goes_on_with_is_ended() {
    let (peer, counts) = asking_once("roots/list", "{}");
    let bench = Bench::before(&peer).await;
    let (_, params) = retry(&bench.call(&params()).await.unwrap(), r#"{"roots":[]}"#);
    tokio::time::sleep(parked::WAITS + Duration::from_secs(1)).await;
    assert_eq!(bench.questions.waiting(), 0);
    assert_eq!(counts[1].load(Ordering::SeqCst), 1, "the server was told");
    assert!(bench.call(&params).await.is_err());
    assert_eq!(counts[0].load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn one_caller_cannot_leave_calls_behind_without_end() {
    let (peer, counts) = asking_once("roots/list", "{}");
    let bench = Bench::before(&peer).await;
    for _ in 0..70 {
        bench.call(&params()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.questions.waiting(), 64);
    assert_eq!(counts[1].load(Ordering::SeqCst), 6);
    bench.questions.abandon(|server| **server.name() == *NAME);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.questions.waiting(), counts[1].load(Ordering::SeqCst)), (0, 70));
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_at_once_is_one_round_and_what_is_left_open_is_asked_again() {
    let peer = Peer::calling(|_, context| {
        Box::pin(async move {
            let named = |key: &str| object(&format!(r#"{{"_meta":{{"dev.sallyport/inputKey":"{key}"}}}}"#));
            let (one, two) = tokio::join!(context.asker.ask("roots/list", named("one")), context.asker.ask("roots/list", named("two")));
            reply(&format!(r#"{{"content":[],"both":[{},{}]}}"#, one.unwrap().to_json().as_str(), two.unwrap().to_json().as_str()))
        })
    });
    let bench = Bench::before(&peer).await;
    let asked = bench.call(&params()).await.unwrap();
    assert!(!text(&asked).contains("inputKey"), "the server's key is for the gateway alone");
    let (keys, mut half) = retry(&asked, r#"{"roots":[]}"#);
    assert_eq!(keys, ["one", "two"]);
    half.set("inputResponses", RawJson::from_static(r#"{"two":{"roots":[2]},"other":{}}"#));
    let asked = bench.call(&half).await.unwrap();
    let (keys, rest) = retry(&asked, r#"{"roots":[1]}"#);
    assert_eq!(keys, ["one"]);
    let done = bench.call(&rest).await.unwrap();
    assert_eq!(text(&done), r#"{"content":[],"both":[{"roots":[1]},{"roots":[2]}]}"#);
    assert_eq!(text(&bench.call(&rest).await.unwrap()), text(&done));
    assert!(bench.call(&half).await.is_err(), "an older round is past");
}

#[tokio::test(start_paused = true)]
async fn answers_that_come_along_are_used_and_nonsense_is_refused() {
    let named = r#"{"message":"Who?","_meta":{"dev.sallyport/inputKey":"user"}}"#;
    let (peer, _) = asking_once("elicitation/create", named);
    let bench = Bench::before(&peer).await;
    let with = |answers: &str| {
        let mut params = params();
        params.set("inputResponses", RawJson::parse(answers.to_owned()).unwrap());
        params
    };
    let done = bench.call(&with(r#"{"user":{"action":"decline"},"more":{}}"#)).await.unwrap();
    assert!(text(&done).contains(r#""answer":{"action":"decline"}"#));
    let asked = bench.call(&with(r#"{"wrong":{"action":"decline"}}"#)).await.unwrap();
    assert!(input::is_input_required(&asked.result));
    for bad in ["null", r#"{"user":5}"#, "[]"] {
        assert_eq!(bench.call(&with(bad)).await.unwrap_err().label(), "invalid_params", "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_cannot_be_asked_is_told_what_it_lacks() {
    let (peer, _) = asking_once("sampling/createMessage", r#"{"messages":[],"maxTokens":5}"#);
    let bench = Bench::before(&peer).await;
    let context = client(Revision::LATEST, r#"{"elicitation":{}}"#, Arc::new(Caller::default()));
    let failure = bench.send(&params(), context).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::MissingCapability(required) if required.as_str() == r#"{"sampling":{}}"#));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_it_waits_cancels_the_call() {
    let peer = Peer::calling(|_, context| {
        Box::pin(async move {
            let _ = context.asker.ask("roots/list", RawObject::new()).await;
            context.cancel.cancelled().await;
            Err(Failure::client(FailureKind::Cancelled, "told"))
        })
    });
    let bench = Bench::before(&peer).await;
    let (_, params) = retry(&bench.call(&params()).await.unwrap(), r#"{"roots":[]}"#);
    let context = client(Revision::LATEST, ALL, Arc::new(Caller::default()));
    let cancel = context.cancel.clone();
    let (outcome, ()) = tokio::join!(bench.send(&params, context), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    });
    assert_eq!(outcome.unwrap_err().label(), "cancelled");
    assert_eq!(bench.call(&params).await.unwrap_err().label(), "cancelled", "whoever comes again learns the same");
}

#[tokio::test(start_paused = true)]
async fn two_that_bring_the_same_answers_do_not_both_go_on() {
    let peer = Peer::calling(|_, context| {
        Box::pin(async move {
            let _ = context.asker.ask("roots/list", RawObject::new()).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            reply(r#"{"content":[]}"#)
        })
    });
    let bench = Bench::before(&peer).await;
    let (_, params) = retry(&bench.call(&params()).await.unwrap(), r#"{"roots":[]}"#);
    let (first, second) = tokio::join!(bench.call(&params), bench.call(&params));
    assert!(first.is_ok());
    assert!(second.unwrap_err().public.contains("another request"));
}

#[tokio::test(start_paused = true)]
async fn an_address_to_be_opened_is_asked_for_and_the_call_made_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let peer = Peer::calling(move |request, _| {
        assert!(request.params.get(REQUEST_STATE).is_none() && request.params.get(INPUT_RESPONSES).is_none());
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move {
            if !first {
                return reply(r#"{"content":[]}"#);
            }
            let mut error = ErrorObject::new(ErrorObject::URL_ELICITATION_REQUIRED, "open it");
            error.data = Some(RawJson::from_static(
                r#"{"elicitations":[{"mode":"url","url":"https://a.example/","message":"m","elicitationId":"e"}]}"#,
            ));
            Err(Failure::upstream(NAME, FailureKind::Upstream(error), Retry::Never, "open it"))
        })
    });
    let bench = Bench::before(&peer).await;
    let asked = bench.call(&params()).await.unwrap();
    assert!(text(&asked).contains(r#""url":"https://a.example/""#) && !text(&asked).contains("elicitationId"));
    assert!(bench.call(&retry(&asked, r#"{"action":"decline"}"#).1).await.is_err());
    assert!(bench.call(&retry(&asked, r#"{"action":"accept"}"#).1).await.is_ok());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn an_older_client_is_told_in_words_which_address_to_open() {
    let peer = Peer::calling(|_, _| {
        let mut error = ErrorObject::new(ErrorObject::URL_ELICITATION_REQUIRED, "open it");
        error.data = Some(RawJson::from_static(r#"{"elicitations":[{"mode":"url","url":"https://a.example/","message":"log in"}]}"#));
        Box::pin(async { Err(Failure::upstream(NAME, FailureKind::Upstream(error), Retry::Never, "open it")) })
    });
    let bench = Bench::before(&peer).await;
    let of = |revision| client(revision, ALL, Arc::new(Caller::default()));
    let told = bench.send(&params(), of(Revision::V2025_06_18)).await.unwrap_err();
    assert_eq!(told.label(), "cannot_cross");
    assert!(told.public.ends_with("https://a.example/ (log in)"), "{told}");
    let told = bench.send(&params(), of(Revision::V2025_11_25)).await.unwrap_err();
    assert!(matches!(told.kind, FailureKind::Upstream(error) if error.code == ErrorObject::URL_ELICITATION_REQUIRED));
}

/// A modern server that asks twice and keeps a state of its own.
fn asking_twice() -> Arc<Peer> {
    Peer::modern(|request, _| {
        let outcome = match (request.method, request.params.get_str(REQUEST_STATE).as_deref()) {
            (Method::ToolsList, _) => r#"{"tools":[{"name":"t"}]}"#.to_owned(),
            (_, None) => r#"{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"1"}}},"requestState":"one"}"#.to_owned(),
            (_, Some("one")) => r#"{"resultType":"input_required","inputRequests":{"b":{"method":"roots/list","params":{}}},"requestState":"two"}"#.to_owned(),
            (_, Some(state)) => format!(r#"{{"resultType":"complete","content":[],"state":"{state}","got":{}}}"#, request.params.get(INPUT_RESPONSES).unwrap().as_str()),
        };
        Box::pin(async move { Ok(Reply { result: object(&outcome), revision: Revision::LATEST }) })
    })
}

#[tokio::test(start_paused = true)]
async fn a_modern_servers_state_is_sealed_on_its_way() {
    let bench = Bench::before(&asking_twice()).await;
    let asked = bench.call(&params()).await.unwrap();
    assert!(!text(&asked).contains(r#""one""#));
    let asked = bench.call(&retry(&asked, r#"{"action":"accept"}"#).1).await.unwrap();
    let done = bench.call(&retry(&asked, r#"{"roots":[]}"#).1).await.unwrap();
    assert_eq!(text(&done), r#"{"resultType":"complete","content":[],"state":"two","got":{"b":{"roots":[]}}}"#);
    let mut forged = params();
    forged.set(REQUEST_STATE, RawJson::string("two"));
    assert_eq!(bench.call(&forged).await.unwrap_err().label(), "invalid_params");
}

/// A legacy client that answers what it is asked.
struct Session(std::sync::Mutex<Vec<String>>);

impl Asker for Session {
    fn notify(&self, method: &str, _: RawObject) {
        self.0.lock().unwrap().push(method.to_owned());
    }

    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        Box::pin(async move {
            self.0.lock().unwrap().push(format!("{method} {}", params.get_str("mode").unwrap_or_default()));
            match method {
                "roots/list" => Ok(object(r#"{"roots":[7]}"#)),
                "elicitation/create" => Ok(object(r#"{"action":"accept"}"#)),
                _ => Err(ErrorObject::new(-1, "no model here")),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_legacy_client_is_asked_by_requests_until_a_modern_server_is_content() {
    let bench = Bench::before(&asking_twice()).await;
    let session = Arc::new(Session(Default::default()));
    let done = bench.send(&params(), client(Revision::V2025_11_25, ALL, session.clone())).await.unwrap();
    assert!(text(&done).contains(r#""state":"two","got":{"b":{"roots":[7]}}"#), "{}", text(&done));
    assert_eq!(*session.0.lock().unwrap(), ["elicitation/create ", "roots/list "]);
}

#[tokio::test(start_paused = true)]
async fn an_address_is_asked_for_once_and_its_end_is_told() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let peer = Peer::modern(move |request, _| {
        let call = if request.method == Method::ToolsCall { counted.fetch_add(1, Ordering::SeqCst) } else { 0 };
        let outcome = match request.method {
            Method::ToolsList => r#"{"tools":[{"name":"t"}]}"#,
            _ if call < 4 => {
                r#"{"resultType":"input_required","inputRequests":{"u":{"method":"elicitation/create","params":{"mode":"url","url":"https://a.example/","message":"m"}}}}"#
            }
            _ => r#"{"resultType":"complete","content":[]}"#,
        };
        Box::pin(async move { Ok(Reply { result: object(outcome), revision: Revision::LATEST }) })
    });
    let bench = Bench::before(&peer).await;
    let session = Arc::new(Session(Default::default()));
    bench.send(&params(), client(Revision::V2025_11_25, ALL, session.clone())).await.unwrap();
    assert_eq!(*session.0.lock().unwrap(), ["elicitation/create url", "notifications/elicitation/complete"]);
    assert_eq!(calls.load(Ordering::SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_cannot_sample_ends_the_call() {
    let peer = Peer::modern(|request, _| {
        let outcome = match request.method {
            Method::ToolsList => r#"{"tools":[{"name":"t"}]}"#,
            _ => {
                r#"{"resultType":"input_required","inputRequests":{"s":{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}}}"#
            }
        };
        Box::pin(async move { Ok(Reply { result: object(outcome), revision: Revision::LATEST }) })
    });
    let bench = Bench::before(&peer).await;
    let failure = bench.send(&params(), client(Revision::V2025_11_25, ALL, Arc::new(Session(Default::default())))).await.unwrap_err();
    assert!(failure.public.contains("no model here"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_may_not_ask_does_not_reach_the_client() {
    let mut plan = plan();
    plan.questions = false;
    let (upstream, _) = upstream(plan, crate::upstream::tests::scripted::Starts::of([Ok(asking_twice())]));
    let bench = Bench::of(upstream).await;
    assert_eq!(bench.call(&params()).await.unwrap_err().label(), "cannot_cross");
}
