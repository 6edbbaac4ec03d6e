//! A server of 2026-07-28 with the tasks extension, before clients of both eras.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sallyport_protocol::{FailureSource, Retry};

use super::*;
use crate::plan::ServerPlan;
use crate::upstream::tests::scripted::{Answer, now, plan};

/// What the server was asked, and what its one task is at.
#[derive(Default)]
struct Job {
    requests: Mutex<Vec<String>>,
    /// The members of `tasks/get` when the task is over.
    ending: &'static str,
    asks: bool,
    is_endless: bool,
    is_immediate: bool,
    is_answered: AtomicBool,
    is_cancelled: AtomicBool,
    looks: AtomicUsize,
    /// It answers nothing about the task.
    is_busy: bool,
}

const COMPLETED: &str = r#""status":"completed","result":{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;
const MADE: &str =
    r#""taskId":"own-1","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:00Z","ttlMs":60000,"pollIntervalMs":1000"#;

fn answer(text: &str) -> Answer {
    now(Ok(Reply { result: object(text), revision: Revision::LATEST }))
}

impl Job {
    fn state(&self) -> String {
        let looks = self.looks.fetch_add(1, Ordering::SeqCst);
        if self.is_cancelled.load(Ordering::SeqCst) {
            return r#""status":"cancelled""#.into();
        }
        if self.asks && !self.is_answered.load(Ordering::SeqCst) {
            let question =
                r#"{"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}}"#;
            return format!(r#""status":"input_required","inputRequests":{{"who":{question}}}"#);
        }
        if self.is_endless || looks < 3 { r#""status":"working","statusMessage":"busy""#.into() } else { self.ending.into() }
    }

    fn answer(&self, request: &Request) -> Answer {
        self.requests.lock().unwrap().push(format!("{} {}", request.method.as_str(), request.params.to_json().as_str()));
        match request.method {
            Method::ToolsList => answer(r#"{"resultType":"complete","tools":[{"name":"t","inputSchema":{}}]}"#),
            Method::ToolsCall if self.is_immediate => answer(r#"{"resultType":"complete","content":[{"type":"text","text":"at once"}]}"#),
            Method::ToolsCall => answer(&format!(r#"{{"resultType":"task",{MADE},"status":"working"}}"#)),
            Method::TasksGet if self.is_busy => {
                now(Err(Failure::new(FailureKind::Overloaded, FailureSource::Gateway, Retry::Safe, "it is busy")))
            }
            Method::TasksGet => answer(&format!(r#"{{"resultType":"complete",{MADE},{}}}"#, self.state())),
            Method::TasksUpdate => {
                assert!(request.params.to_json().as_str().contains("Ada"));
                self.is_answered.store(true, Ordering::SeqCst);
                answer(r#"{"resultType":"complete"}"#)
            }
            _ => {
                self.is_cancelled.store(true, Ordering::SeqCst);
                answer(r#"{"resultType":"complete"}"#)
            }
        }
    }

    fn asked_for(&self, method: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|request| request.starts_with(method)).count()
    }
}

async fn house(job: Job) -> (Gateway, Arc<Job>) {
    let job = Arc::new(job);
    let this = job.clone();
    let peer = Peer::modern(move |request, _| this.answer(&request))
        .declaring(r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
    (before(&peer).await, job)
}

fn completing() -> Job {
    Job { ending: COMPLETED, ..Job::default() }
}

const CALL: &str = r#"{"name":"t","arguments":{}}"#;
const AS_TASK: &str = r#"{"name":"t","arguments":{},"task":{"ttl":60000}}"#;

#[tokio::test(start_paused = true)]
async fn a_legacy_client_gets_the_task_that_it_asked_for_in_its_own_form() {
    let (gateway, _) = house(Job { asks: true, ..completing() }).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, r#"{"elicitation":{}}"#);
    let made = inner(&client.ask(Method::ToolsCall, AS_TASK).await.unwrap(), "task");
    let id = text(&made, "taskId");
    assert_ne!(id, "own-1");
    assert_eq!((made.get("ttl").unwrap().as_str(), made.get("pollInterval").unwrap().as_str()), ("60000", "1000"));
    let task = client.about(Method::TasksGet, &id).await.unwrap();
    assert_eq!((text(&task, "status"), text(&task, "taskId")), ("input_required".into(), id.clone()));
    assert!(task.get("inputRequests").is_none() && task.get("resultType").is_none() && task.get("ttlMs").is_none());

    let result = client.about(Method::TasksResult, &id).await.unwrap();
    assert_eq!(
        result.to_json().as_str(),
        format!(
            r#"{{"content":[{{"type":"text","text":"done"}}],"_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":"{id}"}}}}}}"#
        )
    );
    let asked = client.person.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("elicitation/create") && asked[0].contains(&id));
    assert_eq!(code(&client.about(Method::TasksCancel, &id).await.unwrap_err()), -32602, "it is over");
    let listed = client.ask(Method::TasksList, "{}").await.unwrap();
    assert!(listed.to_json().as_str().contains(&format!(r#""taskId":"{id}","createdAt""#)) && listed.get("nextCursor").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_nobody_asked_for_is_hidden_behind_its_call() {
    for revision in [Revision::V2025_11_25, Revision::V2024_11_05] {
        let asks = revision == Revision::V2025_11_25; // the elder cannot be asked, and is not said to be
        let (gateway, job) = house(Job { asks, ..completing() }).await;
        let client = Program::new(&gateway, revision, r#"{"elicitation":{}}"#);
        let outcome = client.gateway.serve(
            Request::new(Method::ToolsCall, object(CALL)),
            client.incoming(),
            Context { client: client.client.clone(), asker: client.person.clone(), cancel: Cancel::new(), credential: None },
        );
        let reply = timeout(LONG, outcome).await.unwrap().unwrap();
        assert_eq!(text(&reply.result.get("content").unwrap().array().unwrap()[0].object().unwrap(), "text"), "done");
        assert_eq!(client.person.asked.lock().unwrap().len(), usize::from(asks));
        assert!(client.person.heard.lock().unwrap().iter().any(|heard| heard.contains("busy")), "it hears that somebody works");
        assert!((3..=6).contains(&job.asked_for("tasks/get")), "no oftener than the server wants");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_task_ends_with_is_what_its_call_ends_with() {
    for (ending, expected) in [
        (r#""status":"failed","error":{"code":-32603,"message":"broken"}"#, "broken"),
        (r#""status":"cancelled""#, "cancelled"),
        (r#""status":"completed","result":{}"#, "malformed"),
        (r#""status":"completed""#, "malformed"),
        (r#""status":"lost""#, "malformed"),
    ] {
        let (gateway, _) = house(Job { ending, ..Job::default() }).await;
        let client = Program::new(&gateway, Revision::V2025_11_25, "{}");
        let failure = client.ask(Method::ToolsCall, CALL).await.unwrap_err();
        assert!(failure.public.contains(expected), "{ending}: {failure}");
    }
    let is_error = r#""status":"completed","result":{"content":[],"isError":true}"#;
    let (gateway, _) = house(Job { ending: is_error, ..Job::default() }).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, "{}");
    let id = text(&inner(&client.ask(Method::ToolsCall, AS_TASK).await.unwrap(), "task"), "taskId");
    assert!(client.about(Method::TasksResult, &id).await.unwrap().get("isError").is_some());
    assert_eq!(text(&client.about(Method::TasksGet, &id).await.unwrap(), "status"), "failed", "as that revision calls it");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_sent_is_not_safe_to_send_again_when_its_task_is_lost_sight_of() {
    let (gateway, _) = house(Job { is_busy: true, ..completing() }).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, "{}");
    let failure = client.ask(Method::ToolsCall, CALL).await.unwrap_err();
    assert_eq!((failure.retry, failure.public.contains("busy")), (Retry::Unknown, true), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_hidden_task_ends_with_its_call() {
    let (gateway, job) = house(Job { is_endless: true, ..Job::default() }).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, "{}");
    let begun = tokio::time::Instant::now();
    let failure = client.ask(Method::ToolsCall, CALL).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::TimedOut(limit) if limit == Duration::from_secs(600)), "{failure}");
    assert!(begun.elapsed() <= Duration::from_secs(600) && job.is_cancelled.load(Ordering::SeqCst));

    let (gateway, job) = house(Job { is_endless: true, ..Job::default() }).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, "{}");
    let cancel = client.cancel.clone();
    let (outcome, ()) = tokio::join!(client.ask(Method::ToolsCall, CALL), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cancel.cancel();
    });
    assert!(matches!(outcome.unwrap_err().kind, FailureKind::Cancelled));
    assert!(job.is_cancelled.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_cancelled_stays_so() {
    let (gateway, job) = house(completing()).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, "{}");
    let id = text(&inner(&client.ask(Method::ToolsCall, AS_TASK).await.unwrap(), "task"), "taskId");
    assert_eq!(text(&client.about(Method::TasksCancel, &id).await.unwrap(), "status"), "cancelled");
    job.is_cancelled.store(false, Ordering::SeqCst); // it was too late for the server
    assert_eq!(text(&client.about(Method::TasksGet, &id).await.unwrap(), "status"), "cancelled");
    assert_eq!(code(&client.about(Method::TasksResult, &id).await.unwrap_err()), -32602);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_at_once_is_a_task_all_the_same_for_who_asked_for_one() {
    let (gateway, job) = house(Job { is_immediate: true, ..Job::default() }).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, "{}");
    let made = inner(&client.ask(Method::ToolsCall, AS_TASK).await.unwrap(), "task");
    let id = text(&made, "taskId");
    assert_eq!(text(&made, "status"), "working");
    let task = client.about(Method::TasksGet, &id).await.unwrap();
    assert_eq!((text(&task, "status"), text(&task, "taskId")), ("completed".into(), id.clone()));
    assert!(client.about(Method::TasksResult, &id).await.unwrap().to_json().as_str().contains("at once"));
    assert_eq!(code(&client.about(Method::TasksCancel, &id).await.unwrap_err()), -32602);
    assert_eq!(job.asked_for("tasks/"), 0, "the server knows nothing of it");
}

#[tokio::test(start_paused = true)]
async fn within_the_era_a_task_passes_as_it_is() {
    let (gateway, job) = house(Job { asks: true, ..completing() }).await;
    let client = Program::new(&gateway, Revision::V2026_07_28, TAKES_TASKS);
    let made = client.ask(Method::ToolsCall, CALL).await.unwrap();
    assert_eq!(made.to_json().as_str(), format!(r#"{{"resultType":"task",{MADE},"status":"working"}}"#));
    let asking = client.about(Method::TasksGet, "own-1").await.unwrap();
    assert!(inner(&asking, "inputRequests").get("who").is_some());
    let update = r#"{"taskId":"own-1","inputResponses":{"who":{"action":"accept","content":{"name":"Ada"}}}}"#;
    assert_eq!(client.ask(Method::TasksUpdate, update).await.unwrap().to_json().as_str(), r#"{"resultType":"complete"}"#);
    assert!(job.is_answered.load(Ordering::SeqCst));
    assert!(gateway.0.tasks.store.find(&Principal::key("other"), "own-1").is_none());
}

#[tokio::test(start_paused = true)]
async fn at_the_merged_endpoint_a_tasks_result_has_the_uris_of_that_endpoint() {
    let ending = r#""status":"completed","result":{"content":[{"type":"resource_link","uri":"a:1","name":"n"}]}"#;
    for (revision, capabilities) in [(Revision::V2025_11_25, "{}"), (Revision::V2026_07_28, TAKES_TASKS)] {
        let (gateway, _) = house(Job { ending, ..Job::default() }).await;
        let client = Program { endpoint: Endpoint::All, ..Program::new(&gateway, revision, capabilities) };
        let made = client.ask(Method::ToolsCall, r#"{"name":"files__t","task":{}}"#).await.unwrap();
        let id = text(&made.get_object("task").unwrap().unwrap_or(made), "taskId");
        client.until(&id, |status| status == "completed").await;
        let look = if revision == Revision::V2026_07_28 { Method::TasksGet } else { Method::TasksResult };
        let result = client.about(look, &id).await.unwrap().to_json();
        assert!(result.as_str().contains(r#""uri":"files.mcp:a:1""#), "{revision}: {}", result.as_str());
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_is_refused() {
    let (gateway, _) = house(completing()).await;
    let failure = Program::new(&gateway, Revision::V2026_07_28, "{}").ask(Method::ToolsCall, CALL).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Malformed), "a task for a client that takes none: {failure}");

    let job = Arc::new(Job { asks: true, ..completing() });
    let this = job.clone();
    let peer = Peer::modern(move |request, _| this.answer(&request)).declaring(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
    let gateway = before_plan(&peer, ServerPlan { questions: false, ..plan() }).await;
    for (revision, capabilities) in [(Revision::V2025_11_25, r#"{"elicitation":{}}"#), (Revision::V2026_07_28, TAKES_TASKS)] {
        let client = Program::new(&gateway, revision, capabilities);
        let made = client.ask(Method::ToolsCall, AS_TASK).await.unwrap();
        let made = made.get_object("task").unwrap().unwrap_or(made);
        let look = if revision == Revision::V2026_07_28 { Method::TasksGet } else { Method::TasksResult };
        let failure = client.about(look, &text(&made, "taskId")).await.unwrap_err();
        assert!(matches!(failure.kind, FailureKind::CannotCross) && failure.public.contains("does not let it"), "{failure}");
        assert!(client.person.asked.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_tools_of_a_server_that_decides_may_be_asked_for_as_tasks() {
    let (gateway, _) = house(completing()).await;
    for revision in Revision::ALL {
        let tools = Program::new(&gateway, revision, "{}").ask(Method::ToolsList, "{}").await.unwrap();
        let says = tools.to_json().as_str().contains(r#""execution":{"taskSupport":"optional"}"#);
        assert_eq!(says, revision == Revision::V2025_11_25, "{revision}");
    }
}
