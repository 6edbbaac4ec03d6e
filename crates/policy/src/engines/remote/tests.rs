#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use crate::rooms::Settled as _;
use serde_json::{Value, json};

use super::*;
use crate::{Action, Annotations, Arguments, Circumstances, Pin, Policy, Principal, Resource, ServerRules};

/// A decision point that answers from a list, and a clock that is set by hand.
#[derive(Debug, Default)]
struct Point {
    answers: Mutex<Vec<Result<Vec<u8>, String>>>,
    asked: Mutex<Vec<(String, Value)>>,
    milliseconds: AtomicU64,
}

impl World for Point {
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.milliseconds.load(Ordering::Relaxed))
    }

    fn post<'a>(&'a self, request: Outgoing<'a>) -> Later<'a, Result<Vec<u8>, String>> {
        assert_eq!((request.bearer, request.deadline), (Some("secret"), Duration::from_millis(1000)));
        self.asked.lock().unwrap().push((request.url.to_owned(), serde_json::from_slice(&request.body).unwrap()));
        Box::pin(std::future::ready(self.answers.lock().unwrap().remove(0)))
    }

    fn secret(&self, reference: &str) -> Result<String, String> {
        if reference == "env:TOKEN" { Ok("secret".into()) } else { Err("there is none".into()) }
    }
}

fn policy(point: &Arc<Point>, speaks: &str) -> Policy {
    let remote = json!({ "url": "http://127.0.0.1:1/x", "speaks": speaks, "token": "env:TOKEN", "roles": "cerbos.roles" });
    build(point, remote).unwrap()
}

fn build(point: &Arc<Point>, remote: Value) -> Result<Policy, Vec<InvalidPolicy>> {
    let config = serde_json::from_value(json!({ "engines": [{ "remote": remote }] })).unwrap();
    let world: Arc<dyn World> = point.clone();
    Policy::build_in(&config, &[("s".to_owned(), ServerRules::default())].into(), &world)
}

fn told(policy: &Policy, arguments: &str) -> String {
    let tool = Resource::tool("s", "t", None, false).with(Arguments::Given(arguments));
    let moment = Circumstances::local(UNIX_EPOCH);
    match policy.decide(&Principal::key("ci"), Action::Call, &tool, moment, ()).settled() {
        Ok(permitted) => permitted.decision().to_string(),
        Err(denied) => denied.decision.to_string(),
    }
}

fn answers(point: &Point, text: &str) {
    point.answers.lock().unwrap().push(Ok(text.into()));
}

#[test]
fn opa_is_asked_by_its_data_api() {
    let point = Arc::new(Point::default());
    let policy = policy(&point, "opa");
    answers(&point, r#"{"result":true,"decision_id":"x"}"#);
    assert!(told(&policy, r#"{"a":1}"#).starts_with("allowed by `policy.engines[0].remote`"));
    let (url, body) = point.asked.lock().unwrap().remove(0);
    assert_eq!(
        (url.as_str(), &body["input"]["args"], &body["input"]["action"]),
        ("http://127.0.0.1:1/x", &json!({ "a": 1 }), &json!("call"))
    );
    answers(&point, r#"{"result":false}"#);
    assert!(told(&policy, r#"{"a":2}"#).ends_with("a policy forbids it"));
}

#[test]
fn annotations_go_to_decision_points_as_far_as_they_are_believed() {
    let annotations = Annotations { idempotent: Some(true), open_world: Some(false), ..Annotations::default() };
    for (trusted, idempotent, open_world) in [(true, true, false), (false, false, true)] {
        for (speaks, at) in [("opa", "/input/resource"), ("authzen", "/resource/properties")] {
            let point = Arc::new(Point::default());
            let policy = policy(&point, speaks);
            answers(&point, r#"{"result":true,"decision":true}"#);
            let tool = Resource::tool("s", "t", annotations, trusted).with(Arguments::Given("{}"));
            policy.explain(&Principal::key("ci"), Action::Call, &tool, Circumstances::local(UNIX_EPOCH)).settled();
            let (_, body) = point.asked.lock().unwrap().remove(0);
            let told = body.pointer(at).unwrap();
            assert_eq!((&told["read_only"], &told["destructive"]), (&json!(false), &json!(true)), "{speaks}");
            assert_eq!((&told["idempotent"], &told["open_world"]), (&json!(idempotent), &json!(open_world)), "{speaks} {trusted}");
        }
    }
}

#[test]
fn decision_points_are_told_whether_a_tool_is_the_recorded_one() {
    for (speaks, at) in [("opa", "/input/resource/pin"), ("authzen", "/resource/properties/pin")] {
        for pin in Pin::ALL {
            let point = Arc::new(Point::default());
            let policy = policy(&point, speaks);
            answers(&point, r#"{"result":true,"decision":true}"#);
            let tool = Resource::tool("s", "t", None, false).pinned_as(pin).with(Arguments::Given("{}"));
            policy.explain(&Principal::key("ci"), Action::Call, &tool, Circumstances::local(UNIX_EPOCH)).settled();
            let (_, body) = point.asked.lock().unwrap().remove(0);
            assert_eq!(body.pointer(at).unwrap(), pin.as_str(), "{speaks}");
        }
    }
}

#[test]
fn what_is_no_answer_denies() {
    for speaks in ["opa", "authzen"] {
        for answer in ["", "{}", "[]", "true", r#"{"result":"true"}"#, r#"{"result":null}"#, r#"{"decision":"yes"}"#, "<html>"] {
            let point = Arc::new(Point::default());
            answers(&point, answer);
            assert_eq!(told(&policy(&point, speaks), "{}"), "denied by `remote`: the policy engine failed", "{speaks} {answer}");
        }
        let point = Arc::new(Point::default());
        point.answers.lock().unwrap().push(Err("no answer within 1000 ms".into()));
        assert_eq!(told(&policy(&point, speaks), "{}"), "denied by `remote`: the policy engine failed");
    }
}

#[test]
fn an_answer_is_used_again_for_a_second_and_a_failure_is_not() {
    let point = Arc::new(Point::default());
    let policy = policy(&point, "authzen");
    point.answers.lock().unwrap().push(Err("lost".into()));
    answers(&point, r#"{"decision":true}"#);
    assert!(told(&policy, "{}").starts_with("denied"));
    for at in [0, 999] {
        point.milliseconds.store(at, Ordering::Relaxed);
        assert!(told(&policy, "{}").starts_with("allowed"));
    }
    assert_eq!(point.asked.lock().unwrap().len(), 2);
    answers(&point, r#"{"decision":false}"#);
    assert!(told(&policy, r#"{"other":1}"#).starts_with("denied"), "other arguments are another question");
    point.milliseconds.store(1001, Ordering::Relaxed);
    answers(&point, r#"{"decision":false}"#);
    assert!(told(&policy, "{}").starts_with("denied"));
}

#[test]
fn a_list_is_one_batch_of_authzen() {
    let point = Arc::new(Point::default());
    let policy = policy(&point, "authzen");
    let names: Vec<String> = (0..60).map(|number| format!("t{number}")).collect();
    let tools: Vec<Resource<'_>> = names.iter().map(|name| Resource::tool("s", name, None, false)).collect();
    let decisions =
        |count: usize| json!({ "evaluations": (0..count).map(|at| json!({ "decision": at % 2 == 0 })).collect::<Vec<_>>() }).to_string();
    answers(&point, &decisions(50));
    answers(&point, &decisions(10));
    let allowed = policy.allows_each(&Principal::key("ci"), Circumstances::local(UNIX_EPOCH), &tools).settled();
    assert_eq!(allowed, (0..60).map(|at| at % 2 == 0).collect::<Vec<_>>());
    let asked = point.asked.lock().unwrap();
    assert_eq!((asked.len(), asked[0].0.as_str()), (2, "http://127.0.0.1:1/x/access/v1/evaluations"));
    assert_eq!(asked[0].1["action"], json!({ "name": "list" }));
    assert_eq!(asked[0].1["subject"]["properties"]["cerbos.roles"], json!(["key"]));
    assert_eq!(asked[1].1["evaluations"][0]["resource"]["id"], "s/t50");
    drop(asked);
    // Fewer answers than questions: nobody knows which are missing.
    point.milliseconds.store(5000, Ordering::Relaxed);
    answers(&point, &decisions(3));
    answers(&point, &decisions(10));
    let allowed = policy.allows_each(&Principal::key("ci"), Circumstances::local(UNIX_EPOCH), &tools).settled();
    assert_eq!(allowed.iter().filter(|allowed| **allowed).count(), 5);
}

#[test]
fn what_is_no_answer_in_a_batch_hides_its_own_tool_alone() {
    let tools = ["t0", "t1", "t2"].map(|name| Resource::tool("s", name, None, false));
    for noise in [r#"{"decision":"yes"}"#, r#"{"decision":true,"decision":false}"#, "{}", "7"] {
        let point = Arc::new(Point::default());
        answers(&point, &format!(r#"{{"evaluations":[{{"decision":true}},{noise},{{"decision":true}}]}}"#));
        let policy = policy(&point, "authzen");
        let allowed = policy.allows_each(&Principal::key("ci"), Circumstances::local(UNIX_EPOCH), &tools).settled();
        assert_eq!(allowed, [true, false, true], "{noise}");
    }
}

#[test]
fn an_address_or_a_deadline_that_cannot_be_is_refused() {
    let point = Arc::new(Point::default());
    for (key, value) in [
        ("url", json!("http://pdp.example.com/")),
        ("url", json!("ftp://127.0.0.1/")),
        ("url", json!("x")),
        ("cache_ms", json!(5001)),
        ("timeout_ms", json!(0)),
        ("timeout_ms", json!(30_001)),
        ("token", json!("env:NONE")),
    ] {
        let mut remote = json!({ "url": "https://pdp.example.com", "speaks": "opa" });
        remote[key] = value;
        let errors = build(&point, remote).map(drop).unwrap_err();
        assert_eq!(errors[0].place, format!("policy.engines[0].remote.{key}"));
    }
}

#[test]
fn a_decision_point_may_ask_for_a_person() {
    for (speaks, answer, held) in [
        ("opa", r#"{"result":"ask"}"#, true),
        ("authzen", r#"{"decision":false,"context":{"ask":true,"more":1}}"#, true),
        ("authzen", r#"{"decision":false,"context":{"ask":false}}"#, false),
        ("authzen", r#"{"decision":false,"context":{}}"#, false),
    ] {
        let point = Arc::new(Point::default());
        let policy = policy(&point, speaks);
        answers(&point, answer);
        for _ in 0..2 {
            let told = told(&policy, "{}"); // the second out of the cache
            assert_eq!(told.starts_with("held for a person's approval"), held, "{answer}: {told}");
            assert!(!told.starts_with("allowed"));
        }
    }
}
