//! What calls count that go on behind their first answer.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::upstream::tests::scripted::{Answer, now, reply};

const AT_ONCE: &str = "[[limits]]\nat_once = 1\nacross = \"principal\"\n";
const FORM: &str = r#"{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}"#;

/// A legacy server whose tool asks who is there, if its argument says so.
fn asking() -> Arc<Peer> {
    Peer::calling(|request, context| {
        let asks = request.params.get("arguments").is_some_and(|arguments| arguments.as_str().contains("ask"));
        Box::pin(async move {
            if asks {
                tokio::select! {
                    answer = context.asker.ask("elicitation/create", object(FORM)) => drop(answer),
                    () = context.cancel.cancelled() => return Err(Failure::client(FailureKind::Cancelled, "cancelled")),
                }
            }
            reply(r#"{"content":[]}"#)
        })
    })
}

fn call(arguments: &str) -> String {
    format!(r#"{{"name":"t","arguments":{{"{arguments}":1}}}}"#)
}

/// The request that brings the answer to what `asked` asks.
fn answer(asked: &RawObject, arguments: &str) -> String {
    let (key, _) = inner(asked, "inputRequests").iter().next().map(|(key, value)| (key.to_owned(), value.clone())).unwrap();
    let mut params = object(&call(arguments));
    params.set("requestState", asked.get("requestState").unwrap().clone());
    params.set("inputResponses", object(&format!(r#"{{"{key}":{{"action":"accept","content":{{}}}}}}"#)).to_json());
    params.to_json().as_str().to_owned()
}

fn limit(outcome: Result<RawObject, Failure>) -> String {
    match outcome.unwrap_err().kind {
        FailureKind::Limited(limited) => limited.limit.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_caller_counts_and_is_gone_on_with() {
    let gateway = before_limited(&asking(), plan(), AT_ONCE).await;
    let client = Program::new(&gateway, Revision::LATEST, r#"{"elicitation":{}}"#);
    let asked = client.ask(Method::ToolsCall, &call("ask")).await.unwrap();
    assert_eq!(text(&asked, "resultType"), "input_required");
    assert_eq!(limit(client.ask(Method::ToolsCall, &call("other")).await), "limits[0].at_once", "the server is at it still");

    let done = client.ask(Method::ToolsCall, &answer(&asked, "ask")).await.unwrap();
    assert!(done.get("content").is_some(), "whoever answers needs no place of its own");
    client.ask(Method::ToolsCall, &call("other")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_answers_does_not_count_for_ever() {
    let gateway = before_limited(&asking(), plan(), AT_ONCE).await;
    let client = Program::new(&gateway, Revision::LATEST, r#"{"elicitation":{}}"#);
    client.ask(Method::ToolsCall, &call("ask")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(9 * 60)).await;
    assert_eq!(limit(client.ask(Method::ToolsCall, &call("other")).await), "limits[0].at_once");
    tokio::time::sleep(Duration::from_secs(2 * 60)).await;
    client.ask(Method::ToolsCall, &call("other")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_state_of_a_parked_call_lets_nothing_else_by() {
    let gateway = before_limited(&asking(), plan(), AT_ONCE).await;
    let client = Program::new(&gateway, Revision::LATEST, r#"{"elicitation":{}}"#);
    let asked = client.ask(Method::ToolsCall, &call("ask")).await.unwrap();
    let other = answer(&asked, "other");
    assert_eq!(limit(client.ask(Method::ToolsCall, &other).await), "limits[0].at_once", "it is another call");
    let legacy = Program::new(&gateway, Revision::V2025_11_25, "{}");
    assert_eq!(limit(legacy.ask(Method::ToolsCall, &answer(&asked, "ask")).await), "limits[0].at_once", "to it the state means nothing");
}

/// A modern server whose calls become one task each.
fn at_work(is_over: Arc<AtomicBool>, is_known: Arc<AtomicBool>) -> Arc<Peer> {
    const TASK: &str = r#""taskId":"own-1","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:00Z","ttlMs":null"#;
    let answer = |text: String| -> Answer { now(Ok(Reply { result: object(&text), revision: Revision::LATEST })) };
    Peer::modern(move |request, _| match (request.method, is_over.load(Ordering::SeqCst)) {
        (Method::ToolsList, _) => answer(r#"{"resultType":"complete","tools":[{"name":"t","inputSchema":{}}]}"#.into()),
        (Method::ToolsCall, _) => answer(format!(r#"{{"resultType":"task",{TASK},"status":"working"}}"#)),
        (_, _) if !is_known.load(Ordering::SeqCst) => {
            let error = ErrorObject::new(ErrorObject::INTERNAL, "out of order");
            now(Err(Failure::upstream(NAME, FailureKind::Upstream(error), Retry::Never, "out of order")))
        }
        (Method::TasksGet, true) => {
            let result = format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{}"}}]}}"#, "x".repeat(1000));
            answer(format!(r#"{{"resultType":"complete",{TASK},"status":"completed","result":{result}}}"#))
        }
        (Method::TasksGet, false) => answer(format!(r#"{{"resultType":"complete",{TASK},"status":"working"}}"#)),
        _ => answer(r#"{"resultType":"complete"}"#.into()),
    })
    .declaring(r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#)
}

#[tokio::test(start_paused = true)]
async fn a_task_counts_until_its_server_has_ended_it() {
    let (is_over, is_known) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let gateway = before_limited(&at_work(is_over.clone(), is_known), plan(), AT_ONCE).await;
    let client = Program::new(&gateway, Revision::LATEST, TAKES_TASKS);
    let id = text(&client.ask(Method::ToolsCall, &call("first")).await.unwrap(), "taskId");
    tokio::time::sleep(Duration::from_secs(60 * 60)).await;
    assert_eq!(limit(client.ask(Method::ToolsCall, &call("next")).await), "limits[0].at_once");
    client.about(Method::TasksCancel, &id).await.unwrap();
    assert_eq!(limit(client.ask(Method::ToolsCall, &call("next")).await), "limits[0].at_once", "cancelled, and still at it");

    is_over.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.ask(Method::ToolsCall, &call("next")).await.unwrap(); // though nobody has asked for the task
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_pushed_out_counts_all_the_same() {
    let (is_over, is_known) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let gateway = before_limited(&at_work(is_over.clone(), is_known), plan(), AT_ONCE).await;
    let client = Program::new(&gateway, Revision::LATEST, TAKES_TASKS);
    client.ask(Method::ToolsCall, &call("first")).await.unwrap();
    let store = &gateway.0.tasks.store;
    store.all(|_| true).iter().for_each(|task| store.forget(task));
    tokio::time::sleep(Duration::from_secs(60 * 60)).await;
    assert_eq!(limit(client.ask(Method::ToolsCall, &call("next")).await), "limits[0].at_once");
    is_over.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.ask(Method::ToolsCall, &call("next")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_of_which_nothing_is_heard_does_not_count_for_ever() {
    let (is_over, is_known) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let gateway = before_limited(&at_work(is_over, is_known), plan(), AT_ONCE).await;
    let client = Program::new(&gateway, Revision::LATEST, TAKES_TASKS);
    client.ask(Method::ToolsCall, &call("first")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(9 * 60)).await;
    assert_eq!(limit(client.ask(Method::ToolsCall, &call("next")).await), "limits[0].at_once");
    tokio::time::sleep(Duration::from_secs(3 * 60)).await;
    client.ask(Method::ToolsCall, &call("next")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_task_ends_with_is_charged() {
    let (is_over, is_known) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let budget = "[[limits]]\nacross = \"principal\"\nbudget = { seconds = 3600, bytes = 900 }\n";
    let gateway = before_limited(&at_work(is_over, is_known), plan(), budget).await;
    let client = Program::new(&gateway, Revision::LATEST, TAKES_TASKS);
    client.ask(Method::ToolsCall, &call("first")).await.unwrap();
    let id = text(&client.ask(Method::ToolsCall, &call("second")).await.unwrap(), "taskId");
    client.until(&id, |status| status == "completed").await;
    assert_eq!(limit(client.ask(Method::ToolsCall, &call("third")).await), "limits[0].budget.bytes");
}

#[tokio::test(start_paused = true)]
async fn a_hidden_task_counts_until_its_server_has_ended_it_though_its_call_was_cancelled() {
    let (is_over, is_known) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let gateway = before_limited(&at_work(is_over.clone(), is_known), plan(), AT_ONCE).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, "{}");
    let cancel = client.cancel.clone();
    let first = call("first");
    let (outcome, ()) = tokio::join!(client.ask(Method::ToolsCall, &first), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cancel.cancel();
    });
    assert!(matches!(outcome.unwrap_err().kind, FailureKind::Cancelled));
    let next = Program::new(&gateway, Revision::LATEST, TAKES_TASKS);
    for _ in 0..3 {
        assert_eq!(limit(next.ask(Method::ToolsCall, &call("next")).await), "limits[0].at_once", "cancelled, and still at it");
        tokio::time::sleep(Duration::from_secs(20 * 60)).await;
    }
    is_over.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    next.ask(Method::ToolsCall, &call("next")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_ends_with_its_server() {
    let (is_over, is_known) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let gateway = before_limited(&at_work(is_over, is_known), plan(), AT_ONCE).await;
    let client = Program::new(&gateway, Revision::LATEST, TAKES_TASKS);
    client.ask(Method::ToolsCall, &call("first")).await.unwrap();
    assert_eq!(limit(client.ask(Method::ToolsCall, &call("next")).await), "limits[0].at_once");
    let parts = gateway.0.parts.load_full();
    parts.server(NAME).unwrap().upstream.stop(Duration::ZERO).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcome = client.ask(Method::ToolsCall, &call("next")).await.unwrap_err();
    assert!(matches!(outcome.kind, FailureKind::Unreachable), "no limit is in its way: {outcome}");
}
