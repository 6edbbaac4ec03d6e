//! Streams of 2025-03-26 to 2025-11-25 that break and are resumed with `Last-Event-ID`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response};
use hyper::body::Incoming;
use sallyport_protocol::{Event, McpServer as _, RawObject, Revision};
use sallyport_testkit::{ScriptedFront, ScriptedServer};
use sallyport_transport::server::http::Options;
use support::{Answer, Running, Stream, eventually, identity, modern_body};

const CAPABILITIES: &str = r#"{"elicitation":{}}"#;

/// A client with one session.
struct Client {
    door: Running,
    session: String,
}

impl Client {
    async fn open(version: &str) -> Self {
        let door = Running::start(Revision::V2025_06_18).await;
        let session = door.open_session(version, CAPABILITIES).await;
        Self { door, session }
    }

    /// Calls a tool and gives the response as it comes.
    async fn call(&self, tool: &str) -> Response<Incoming> {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}},"_meta":{{"progressToken":1}}}}}}"#
        );
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-session-id", self.session.as_str()),
        ];
        self.door.send(Method::POST, "/mcp", &headers, body).await
    }

    async fn get(&self, more: &[(&str, &str)]) -> Response<Incoming> {
        let mut headers = vec![("accept", "text/event-stream"), ("mcp-session-id", self.session.as_str())];
        headers.extend_from_slice(more);
        self.door.send(Method::GET, "/mcp", &headers, "").await
    }

    async fn resume(&self, id: &str) -> Stream {
        Stream::of(self.get(&[("last-event-id", id)]).await)
    }

    async fn answer(&self, question: &serde_json::Value, text: &str) {
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"{text}"}}}}"#, question["id"]);
        assert_eq!(self.door.post("/mcp", &[("mcp-session-id", self.session.as_str())], &answer).await.status, 202);
    }
}

#[tokio::test]
async fn the_answer_of_a_call_whose_stream_broke_is_had_by_resuming_it() {
    let client = Client::open("2025-11-25").await;
    let mut stream = Stream::of(client.call("ask").await);
    let first = stream.event().await.unwrap();
    assert_eq!((first.data.as_deref(), first.retry.as_deref()), (Some(""), Some("1000")), "the stream is primed");
    let question = stream.event().await.unwrap();
    assert_eq!(question.json()["method"], "elicitation/create");
    drop(stream);
    // What was lost on the way comes again, under the same id.
    let mut again = client.resume(first.id()).await;
    assert_eq!(again.event().await.unwrap().data.as_deref(), Some(""));
    let repeated = again.event().await.unwrap();
    assert_eq!((repeated.id(), repeated.json()), (question.id(), question.json()));
    drop(again);
    client.answer(&question.json(), "decline").await;
    let server = &client.door.server;
    eventually("the call ends", || server.record().last().is_some_and(|what| what == "ended ask")).await;
    // What arrived does not come again.
    let mut last = client.resume(question.id()).await;
    assert_eq!(last.event().await.unwrap().id(), question.id());
    let answer = last.event().await.unwrap();
    assert_eq!(answer.json()["result"]["content"][0]["text"], r#"{"action":"decline"}"#);
    assert!(last.event().await.is_none());
    // The answer may be had once more, until the client says that it has it.
    assert_eq!(client.resume(question.id()).await.event().await.unwrap().id(), question.id());
    assert_eq!(client.get(&[("last-event-id", answer.id())]).await.status(), 400);
}

#[tokio::test]
async fn a_stream_that_is_resumed_goes_on_while_the_call_runs_and_its_elder_ends() {
    let client = Client::open("2025-11-25").await;
    let mut stream = Stream::of(client.call("ask").await);
    let first = stream.event().await.unwrap();
    let question = stream.event().await.unwrap();
    let mut newer = client.resume(question.id()).await;
    assert!(stream.event().await.is_none(), "each message goes to one stream");
    assert_eq!(newer.event().await.unwrap().data.as_deref(), Some(""));
    client.answer(&question.json(), "accept").await;
    let answer = newer.event().await.unwrap();
    assert_eq!(answer.json()["id"], 1);
    assert_ne!(answer.id(), first.id());
    assert!(newer.event().await.is_none());
}

#[tokio::test]
async fn elder_clients_get_ids_and_no_event_without_data() {
    for version in ["2025-03-26", "2025-06-18"] {
        let client = Client::open(version).await;
        let mut stream = Stream::of(client.call("progress").await);
        let mut ids = Vec::new();
        while let Some(event) = stream.event().await {
            assert!(event.json()["jsonrpc"] == "2.0" && event.retry.is_none(), "{event:?}");
            ids.push(event.id().to_owned());
        }
        assert_eq!(ids, ["1-1", "1-2", "1-3"], "{version}");
        let mut again = client.resume("1-2").await;
        assert_eq!(again.event().await.unwrap().json()["id"], 1);
        assert!(again.event().await.is_none());
    }
}

#[tokio::test]
async fn modern_streams_have_no_ids() {
    let door = Running::start(Revision::LATEST).await;
    let answer = door.modern("tools/call", r#""name":"progress""#, &[]).await;
    assert!(!answer.text.lines().any(|line| line.starts_with("id") || line.starts_with("retry")), "{answer:?}");
}

#[tokio::test]
async fn batches_can_be_resumed() {
    let client = Client::open("2025-03-26").await;
    let session = [("mcp-session-id", client.session.as_str())];
    let call = r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"progress","_meta":{"progressToken":1}}}]"#;
    assert_eq!(client.door.post("/mcp", &session, call).await.events().len(), 3);
    assert_eq!(client.resume("1-2").await.event().await.unwrap().json()[0]["id"], 1);
}

#[tokio::test]
async fn news_go_on_from_behind_the_last_one_that_arrived() {
    let client = Client::open("2025-11-25").await;
    let listeners = client.door.server.listeners();
    let mut stream = Stream::of(client.get(&[]).await);
    let first = stream.event().await.unwrap();
    assert_eq!((first.id(), first.data.as_deref()), ("0-0", Some("")));
    listeners.tell(&log("a"));
    listeners.tell(&log("b"));
    let arrived = stream.event().await.unwrap();
    assert_eq!((arrived.id(), stream.event().await.unwrap().id()), ("0-1", "0-2"));
    drop(stream);
    listeners.tell(&Event::ToolsChanged);
    let mut again = client.resume(arrived.id()).await;
    assert_eq!(again.event().await.unwrap().id(), "0-1");
    assert_eq!(again.event().await.unwrap().json()["params"]["data"], "b");
    let changed = again.event().await.unwrap();
    assert_eq!((changed.id(), changed.json()["method"].as_str()), ("0-3", Some("notifications/tools/list_changed")));
    listeners.tell(&log("c"));
    assert_eq!(again.event().await.unwrap().json()["params"]["data"], "c");
}

#[tokio::test]
async fn ids_that_are_hostile_foreign_or_old_resume_nothing() {
    let client = Client::open("2025-11-25").await;
    let mut stream = Stream::of(client.call("ask").await);
    assert_eq!(stream.event().await.unwrap().id(), "1-0");
    let question = stream.event().await.unwrap();
    assert_eq!(question.id(), "1-1");
    for hostile in ["", "1", "-", "1-", "-1", "1-2", "2-0", "0-1", "+1-0", "1-+1", "1-0-0", "x", "1-18446744073709551616", "1 -0"] {
        assert_eq!(client.get(&[("last-event-id", hostile)]).await.status(), 400, "{hostile:?}");
    }
    assert_eq!(client.get(&[("last-event-id", "1-1"), ("last-event-id", "1-1")]).await.status(), 400);
    let other = client.door.open_session("2025-11-25", CAPABILITIES).await;
    let headers = [("accept", "text/event-stream"), ("mcp-session-id", other.as_str()), ("last-event-id", "1-0")];
    assert_eq!(client.door.send(Method::GET, "/mcp", &headers, "").await.status(), 400, "another session's");
    client.answer(&question.json(), "cancel").await;
    assert_eq!(stream.event().await.unwrap().json()["id"], 1, "none of them disturbed the stream");
    assert_eq!(Answer::read(client.door.send(Method::DELETE, "/mcp", &headers[1..2], "").await).await.status, 204);
    assert_eq!(client.door.send(Method::GET, "/mcp", &headers, "").await.status(), 404);
}

fn log(text: &str) -> Event {
    Event::Log(RawObject::parse(&format!(r#"{{"level":"info","data":"{text}"}}"#).into()).unwrap())
}

/// A door that waits a second for the first word of an answer.
async fn impatient() -> Running {
    let server = ScriptedServer::new(Revision::LATEST);
    let front = Arc::new(ScriptedFront::open(Arc::clone(&server) as _));
    let mut options = Options::new(identity());
    options.patience.silent = Duration::from_secs(1);
    Running::with(server, front, options).await
}

#[tokio::test]
async fn a_call_that_says_nothing_for_long_becomes_a_stream_that_can_be_resumed() {
    let door = impatient().await;
    let session = door.open_session("2025-11-25", "{}").await;
    let client = Client { door, session };
    let mut stream = Stream::of(client.call("stall").await);
    let first = stream.event().await.unwrap();
    assert_eq!((first.id(), first.data.as_deref()), ("1-0", Some("")));
    drop(stream);
    client.door.server.release();
    let mut again = client.resume("1-0").await;
    assert_eq!(again.event().await.unwrap().id(), "1-0");
    assert_eq!(again.event().await.unwrap().json()["result"]["content"][0]["text"], "released");
}

#[tokio::test]
async fn a_modern_call_that_says_nothing_for_long_becomes_a_stream_for_those_who_take_one() {
    for (accept, kind) in [("application/json, text/event-stream", "text/event-stream"), ("application/json", "application/json")] {
        let door = impatient().await;
        let headers = [
            ("content-type", "application/json"),
            ("accept", accept),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "stall"),
        ];
        let calling = door.send(Method::POST, "/mcp", &headers, modern_body("tools/call", r#""name":"stall""#));
        let released_late = async {
            tokio::time::sleep(Duration::from_millis(3500)).await;
            door.server.release();
        };
        let (response, ()) = tokio::join!(calling, released_late);
        assert_eq!(response.headers()["content-type"], kind);
        let text = Answer::read(response).await.text;
        assert!(text.contains("released") && !text.contains("id: "), "{text}");
    }
}
