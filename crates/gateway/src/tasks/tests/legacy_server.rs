//! A server of 2025-11-25 with tasks of its own, before clients of both eras.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::upstream::tests::scripted::{Answer, now, reply};

/// What the server was asked, and what its one task is at.
#[derive(Default)]
struct Job {
    requests: Mutex<Vec<String>>,
    asks: bool,
    is_answered: AtomicBool,
    is_cancelled: AtomicBool,
    looks: AtomicUsize,
}

const CREATED: &str =
    r#""taskId":"own-1","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:00Z","ttl":86400000,"pollInterval":100"#;

fn refusal(code: i64, text: &'static str) -> Answer {
    now(Err(Failure::upstream(NAME, FailureKind::Upstream(ErrorObject::new(code, text)), Retry::Never, text)))
}

impl Job {
    fn status(&self) -> &'static str {
        let looks = self.looks.fetch_add(1, Ordering::SeqCst);
        match (self.is_cancelled.load(Ordering::SeqCst), self.asks && !self.is_answered.load(Ordering::SeqCst)) {
            (true, _) => "cancelled",
            (false, true) => "input_required",
            (false, false) if looks < 2 => "working",
            (false, false) => "completed",
        }
    }

    fn described(&self) -> String {
        format!(r#"{CREATED},"status":"{}""#, self.status())
    }

    fn answer(self: &Arc<Self>, request: &Request, context: Context) -> Answer {
        self.requests.lock().unwrap().push(format!("{} {}", request.method.as_str(), request.params.to_json().as_str()));
        let is_known = request.params.get_str("taskId").is_none_or(|id| id == "own-1");
        match request.method {
            Method::ToolsList => now(reply(
                r#"{"tools":[{"name":"t","execution":{"taskSupport":"required"},"inputSchema":{}},{"name":"other","inputSchema":{}}]}"#,
            )),
            Method::ToolsCall if request.params.get("task").is_none() => refusal(-32601, "only as a task"),
            Method::ToolsCall => now(reply(&format!(r#"{{"task":{{{CREATED},"status":"working"}}}}"#))),
            _ if !is_known => refusal(-32602, "no such task"),
            Method::TasksGet => now(reply(&format!("{{{}}}", self.described()))),
            Method::TasksCancel if self.status() == "completed" => refusal(-32602, "it is over"),
            Method::TasksCancel => {
                self.is_cancelled.store(true, Ordering::SeqCst);
                now(reply(&format!("{{{}}}", self.described())))
            }
            _ => self.result(context),
        }
    }

    fn result(self: &Arc<Self>, context: Context) -> Answer {
        let this = self.clone();
        Box::pin(async move {
            let mut name = "nobody".to_owned();
            if this.asks && !this.is_answered.load(Ordering::SeqCst) {
                let question = form::related(object(r#"{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}"#), "own-1");
                let answer = context.asker.ask("elicitation/create", question).await.unwrap();
                name = text(&inner(&answer, "content"), "name");
                this.is_answered.store(true, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            let result = object(&format!(r#"{{"content":[{{"type":"text","text":"for {name}"}}]}}"#));
            Ok(Reply { result: form::related(result, "own-1"), revision: Revision::V2025_11_25 })
        })
    }
}

async fn house(asks: bool) -> (Gateway, Arc<Job>) {
    house_with(asks, "").await
}

async fn house_with(asks: bool, configuration: &str) -> (Gateway, Arc<Job>) {
    let job = Arc::new(Job { asks, ..Job::default() });
    let this = job.clone();
    let peer = Peer::new(move |request, context| this.answer(&request, context))
        .declaring(r#"{"tools":{},"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}}"#);
    (before_limited(&peer, plan(), configuration).await, job)
}

const CALL: &str = r#"{"name":"t","arguments":{}}"#;

#[tokio::test(start_paused = true)]
async fn a_modern_client_that_takes_tasks_gets_one_and_its_result_when_it_asks() {
    let (gateway, job) = house(false).await;
    let client = Program::new(&gateway, Revision::V2026_07_28, TAKES_TASKS);
    let made = client.ask(Method::ToolsCall, CALL).await.unwrap();
    let id = text(&made, "taskId");
    assert!(id.len() == 32 && !made.to_json().as_str().contains("own-1"), "an id of ours");
    assert_eq!((text(&made, "resultType"), text(&made, "status")), ("task".into(), "working".into()));
    assert_eq!((made.get("ttlMs").unwrap().as_str(), made.get("pollIntervalMs").unwrap().as_str()), ("86400000", "100"));
    assert!(job.requests.lock().unwrap().iter().any(|request| request.starts_with("tools/call") && request.contains(r#""ttl":86400000"#)));

    let over = client.until(&id, |status| status != "working").await;
    assert_eq!(
        (text(&over, "status"), text(&over, "resultType"), text(&over, "taskId")),
        ("completed".into(), "complete".into(), id.clone())
    );
    assert_eq!(inner(&over, "result").to_json().as_str(), r#"{"content":[{"type":"text","text":"for nobody"}],"resultType":"complete"}"#);

    client.about(Method::TasksCancel, &id).await.unwrap(); // over already, which is no error to it
    let failure = client.about(Method::TasksGet, "own-1").await.unwrap_err();
    assert_eq!(code(&failure), -32602, "the server's own id says nothing to a client of another form");
}

#[tokio::test(start_paused = true)]
async fn the_questions_of_a_task_wait_for_the_client() {
    let (gateway, _) = house(true).await;
    let client = Program::new(&gateway, Revision::V2026_07_28, TAKES_TASKS);
    let id = text(&client.ask(Method::ToolsCall, CALL).await.unwrap(), "taskId");
    let asking = client.until(&id, |status| status != "working").await;
    assert_eq!(text(&asking, "status"), "input_required");
    let requests = inner(&asking, "inputRequests");
    let (key, question) = requests.iter().next().map(|(key, value)| (key.to_owned(), value.object().unwrap())).unwrap();
    assert_eq!(text(&question, "method"), "elicitation/create");
    assert!(!requests.to_json().as_str().contains(form::RELATED));
    let again = client.about(Method::TasksGet, &id).await.unwrap();
    assert_eq!(inner(&again, "inputRequests").to_json(), requests.to_json(), "the same question under the same key");

    let update = |answers: String| format!(r#"{{"taskId":"{id}","inputResponses":{answers}}}"#);
    let unknown = client.ask(Method::TasksUpdate, &update(r#"{"other":{"x":1}}"#.into())).await.unwrap();
    assert_eq!(unknown.to_json().as_str(), r#"{"resultType":"complete"}"#);
    assert_eq!(text(&client.about(Method::TasksGet, &id).await.unwrap(), "status"), "input_required");
    assert_eq!(code(&client.ask(Method::TasksUpdate, &update("[]".into())).await.unwrap_err()), -32602);

    client.ask(Method::TasksUpdate, &update(format!(r#"{{"{key}":{{"action":"accept","content":{{"name":"Ada"}}}}}}"#))).await.unwrap();
    let over = client.until(&id, |status| matches!(status, "completed" | "failed")).await;
    assert!(inner(&over, "result").to_json().as_str().contains("for Ada"));
    assert!(client.person.asked.lock().unwrap().is_empty(), "nothing was put to it as a request");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_answers_does_not_hold_up_the_end() {
    let (gateway, _) = house(true).await;
    let client = Program::new(&gateway, Revision::V2026_07_28, TAKES_TASKS);
    let id = text(&client.ask(Method::ToolsCall, CALL).await.unwrap(), "taskId");
    client.until(&id, |status| status == "input_required").await;
    let begun = tokio::time::Instant::now();
    gateway.stop(Duration::from_secs(60)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_without_tasks_gets_the_result_of_a_hidden_one() {
    for (revision, capabilities) in [(Revision::V2026_07_28, "{}"), (Revision::V2025_11_25, "{}"), (Revision::V2024_11_05, "{}")] {
        let (gateway, _) = house(false).await;
        let client = Program::new(&gateway, revision, capabilities);
        let result = client.ask(Method::ToolsCall, CALL).await.unwrap();
        assert_eq!(result.to_json().as_str(), r#"{"content":[{"type":"text","text":"for nobody"}]}"#);
    }
    let (gateway, job) = house(true).await;
    let client = Program::new(&gateway, Revision::V2026_07_28, r#"{"elicitation":{}}"#);
    let asking = client.ask(Method::ToolsCall, CALL).await.unwrap();
    assert_eq!(text(&asking, "resultType"), "input_required", "what a hidden task asks is asked by its call");
    let key = inner(&asking, "inputRequests").iter().next().unwrap().0.to_owned();
    let retry = format!(
        r#"{{"name":"t","arguments":{{}},"requestState":{},"inputResponses":{{"{key}":{{"action":"accept","content":{{"name":"Ada"}}}}}}}}"#,
        asking.get("requestState").unwrap().as_str()
    );
    assert!(client.ask(Method::ToolsCall, &retry).await.unwrap().to_json().as_str().contains("for Ada"));
    let calls = job.requests.lock().unwrap().iter().filter(|request| request.starts_with("tools/call")).count();
    assert_eq!(calls, 1, "a tool is called once");
}

#[tokio::test(start_paused = true)]
async fn a_hidden_task_that_nobody_waits_for_is_cancelled() {
    let (gateway, job) = house(true).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, r#"{"elicitation":{}}"#);
    let cancel = client.cancel.clone();
    let (outcome, ()) = tokio::join!(client.ask(Method::ToolsCall, CALL), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    });
    assert!(matches!(outcome.unwrap_err().kind, FailureKind::Cancelled));
    assert!(job.is_cancelled.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn within_the_era_a_task_passes_and_is_its_owners_alone() {
    let (gateway, job) = house(true).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, r#"{"elicitation":{}}"#);
    let made = client.ask(Method::ToolsCall, r#"{"name":"t","task":{"ttl":5}}"#).await.unwrap();
    assert_eq!(text(&inner(&made, "task"), "taskId"), "own-1");
    assert!(job.requests.lock().unwrap().iter().any(|request| request.contains(r#""task":{"ttl":5}"#)));
    let listed = client.ask(Method::TasksList, "{}").await.unwrap();
    assert!(listed.to_json().as_str().contains(r#""taskId":"own-1""#) && listed.to_json().as_str().contains(r#""ttl":86400000"#));
    assert!(!job.requests.lock().unwrap().iter().any(|request| request.starts_with("tasks/list")), "the server lists everybody's");

    let result = client.about(Method::TasksResult, "own-1").await.unwrap();
    assert!(result.to_json().as_str().contains("for Ada") && result.to_json().as_str().contains(form::RELATED));
    assert!(client.person.asked.lock().unwrap()[0].contains(r#""io.modelcontextprotocol/related-task":{"taskId":"own-1"}"#));
    client.until("own-1", |status| status == "completed").await;
    assert_eq!(code(&client.about(Method::TasksCancel, "own-1").await.unwrap_err()), -32602);

    let stranger = gateway.0.tasks.store.find(&Principal::key("other"), "own-1");
    assert!(stranger.is_none());
}

#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl sallyport_protocol::Listener for Ear {
    fn hear(&self, event: &sallyport_protocol::Event) {
        if let sallyport_protocol::Event::Other(method, params) = event {
            self.0.lock().unwrap().push(format!("{method} {}", params.to_json().as_str()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_its_owner_hears_what_becomes_of_a_task() {
    let (gateway, _) = house(false).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, "{}");
    client.ask(Method::ToolsCall, r#"{"name":"t","task":{}}"#).await.unwrap();
    let ears: [Arc<Ear>; 2] = Default::default();
    let [owner, other] = ears.clone().map(|ear| ear as Arc<dyn sallyport_protocol::Listener>);
    let _heard = gateway.watch(&client.incoming(), &owner);
    gateway.0.news.listen(&client.endpoint, &Principal::key("other"), &other);
    let upstream = gateway.upstreams()[0].clone();
    for id in ["own-1", "own-2"] {
        let params = object(&format!(r#"{{"taskId":"{id}","status":"completed","ttl":null}}"#));
        upstream.listeners().tell(&sallyport_protocol::Event::Other("notifications/tasks/status".into(), params));
    }
    assert_eq!(*ears[0].0.lock().unwrap(), [r#"notifications/tasks/status {"taskId":"own-1","status":"completed","ttl":null}"#]);
    assert!(ears[1].0.lock().unwrap().is_empty());
    assert_eq!(text(&gateway.0.tasks.store.of(&Principal::local_user())[0].seen(), "status"), "completed");
}

#[tokio::test(start_paused = true)]
async fn an_owner_whom_policy_denies_the_tool_by_now_hears_no_more_of_its_task() {
    let (gateway, _) = house(false).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, "{}");
    client.ask(Method::ToolsCall, r#"{"name":"t","task":{}}"#).await.unwrap();
    let ear: Arc<Ear> = Arc::default();
    let _heard = gateway.watch(&client.incoming(), &(ear.clone() as Arc<dyn sallyport_protocol::Listener>));
    let before = gateway.0.parts.load_full();
    let tell = |status: &str| {
        let params = object(&format!(r#"{{"taskId":"own-1","status":"{status}","statusMessage":"m","ttl":null}}"#));
        let told = sallyport_protocol::Event::Other("notifications/tasks/status".into(), params);
        before.server(NAME).unwrap().upstream.listeners().tell(&told);
        std::mem::take(&mut *ear.0.lock().unwrap()).len()
    };
    assert_eq!(tell("working"), 1);
    let (denying, _) = house_with(false, "deny = [\"t\"]\n").await;
    gateway.0.parts.store(denying.0.parts.load_full());
    assert_eq!(tell("completed"), 0);
    gateway.0.parts.store(before.clone());
    assert_eq!(tell("completed"), 1, "it is the policy in force that says so");
}

#[tokio::test(start_paused = true)]
async fn a_toolset_knows_the_tasks_of_its_own_tools_alone() {
    let sets =
        "[toolsets.with]\ntools = [\"files__t\"]\nrename = { files__t = \"work\" }\n[toolsets.without]\ntools = [\"files__other\"]\n";
    let (gateway, _) = house_with(false, sets).await;
    let at = |name: &str| Program {
        endpoint: Endpoint::Toolset(name.into()),
        ..Program::new(&gateway, Revision::V2025_11_25, r#"{"elicitation":{}}"#)
    };
    let (with, without) = (at("with"), at("without"));
    let ears: [Arc<Ear>; 2] = Default::default();
    let listening = [&with, &without].into_iter().zip(&ears);
    let _heard: Vec<_> =
        listening.map(|(client, ear)| gateway.watch(&client.incoming(), &(ear.clone() as Arc<dyn sallyport_protocol::Listener>))).collect();
    with.ask(Method::ToolsCall, r#"{"name":"work","task":{}}"#).await.unwrap();
    for (client, knows) in [(&with, true), (&without, false)] {
        let listed = client.ask(Method::TasksList, "{}").await.unwrap().to_json();
        assert_eq!(listed.as_str().contains("own-1"), knows, "{}", client.endpoint);
        for method in [Method::TasksGet, Method::TasksResult] {
            let told = client.about(method, "own-1").await;
            assert_eq!(told.as_ref().err().map(code), (!knows).then_some(-32602), "{} at {}: {told:?}", method.as_str(), client.endpoint);
        }
    }
    assert_eq!(code(&without.about(Method::TasksCancel, "own-1").await.unwrap_err()), -32602);
    let params = object(r#"{"taskId":"own-1","status":"completed","ttl":null}"#);
    gateway.upstreams()[0].listeners().tell(&sallyport_protocol::Event::Other("notifications/tasks/status".into(), params));
    assert_eq!(ears.map(|ear| ear.0.lock().unwrap().len()), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_policy_denies_by_now_is_told_in_no_list_though_it_is_over() {
    let (gateway, _) = house(false).await;
    let client = Program::new(&gateway, Revision::V2025_11_25, "{}");
    client.ask(Method::ToolsCall, r#"{"name":"t","task":{}}"#).await.unwrap();
    client.until("own-1", |status| status == "completed").await;
    let listed = async || client.ask(Method::TasksList, "{}").await.unwrap().to_json().as_str().contains("own-1");
    assert!(listed().await);

    let (denying, _) = house_with(false, "deny = [\"t\"]\n").await;
    gateway.0.parts.store(denying.0.parts.load_full());
    let failure = client.about(Method::TasksGet, "own-1").await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Denied), "{failure}");
    assert!(!listed().await);
}

#[tokio::test(start_paused = true)]
async fn lists_say_how_a_tool_runs_to_those_who_know_the_word() {
    let (gateway, _) = house(false).await;
    for revision in Revision::ALL {
        let tools = Program::new(&gateway, revision, "{}").ask(Method::ToolsList, "{}").await.unwrap();
        let says = tools.to_json().as_str().contains(r#""execution":{"taskSupport":"required"}"#);
        assert_eq!(says, revision == Revision::V2025_11_25, "{revision}");
    }
}
