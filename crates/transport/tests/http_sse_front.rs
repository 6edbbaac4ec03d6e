//! HTTP+SSE of 2024-11-05.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use http::Method;
use sallyport_protocol::{Event, McpServer as _, Revision};
use support::{Running, Stream, eventually, initialize, modern_body};

async fn open(door: &Running, path: &str) -> (Stream, String) {
    let mut stream = Stream::of(door.send(Method::GET, path, &[("accept", "text/event-stream")], "").await);
    let endpoint = stream.next().await.unwrap();
    (stream, endpoint)
}

#[tokio::test]
async fn messages_are_posted_beside_and_answered_on_the_stream() {
    let door = Running::start(Revision::LATEST).await;
    for (path, beside) in [("/sse", "/messages?session="), ("/servers/scripted/sse", "/servers/scripted/messages?session=")] {
        let (mut stream, endpoint) = open(&door, path).await;
        assert!(endpoint.starts_with(beside), "{endpoint}");
        let answer = door.post(&endpoint, &[], &initialize("2024-11-05", "{}")).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (202, ""));
        assert_eq!(stream.json().await["result"]["protocolVersion"], "2024-11-05");
        door.post(&endpoint, &[], r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        let call = r#"{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"progress","_meta":{"progressToken":1}}}"#;
        assert_eq!(door.post(&endpoint, &[], call).await.status, 202);
        assert_eq!(stream.json().await["params"], serde_json::json!({"progress": 50, "total": 100, "progressToken": 1}));
        assert_eq!(stream.json().await["params"]["progress"], 100);
        assert_eq!(stream.json().await["result"]["content"][0]["text"], "done");
        door.server.listeners().tell(&Event::ToolsChanged);
        assert_eq!(stream.json().await["method"], "notifications/tools/list_changed");
    }
}

#[tokio::test]
async fn a_question_goes_both_ways() {
    let door = Running::start(Revision::V2025_06_18).await;
    let (mut stream, endpoint) = open(&door, "/sse").await;
    door.post(&endpoint, &[], &initialize("2024-11-05", r#"{"sampling":{}}"#)).await;
    stream.json().await;
    door.post(&endpoint, &[], r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sample"}}"#).await;
    let question = stream.json().await;
    assert_eq!(question["method"], "sampling/createMessage");
    door.post(&endpoint, &[], &format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"model":"m"}}}}"#, question["id"])).await;
    assert_eq!(stream.json().await["result"]["content"][0]["text"], r#"{"model":"m"}"#);
}

#[tokio::test]
async fn what_does_not_belong_there_is_refused() {
    let door = Running::start(Revision::LATEST).await;
    assert_eq!(door.post("/sse", &[], &initialize("2025-06-18", "{}")).await.status, 405);
    for path in ["/messages", "/messages?session=", "/messages?session=00000000000000000000000000000000"] {
        assert_eq!(door.post(path, &[], "{}").await.status, 404, "{path}");
    }
    let (stream, endpoint) = open(&door, "/sse").await;
    assert_eq!(door.post(&endpoint, &[], "{").await.code(), -32700);
    assert_eq!(door.post(&endpoint, &[], &modern_body("tools/list", "")).await.status, 400);
    assert_eq!(door.post(&endpoint.replace("/messages", "/servers/scripted/messages"), &[], "{}").await.status, 404, "another endpoint's");
    assert_eq!(door.send(Method::GET, &endpoint, &[], "").await.status(), 405);
    drop(stream);
    // The session ends with its stream, as soon as the door notices.
    while door.post(&endpoint, &[], r#"{"jsonrpc":"2.0","method":"x"}"#).await.status != 404 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_call_goes_on_when_its_stream_is_lost() {
    let door = Running::start(Revision::LATEST).await;
    let (mut stream, endpoint) = open(&door, "/sse").await;
    door.post(&endpoint, &[], &initialize("2024-11-05", "{}")).await;
    stream.json().await;
    door.post(&endpoint, &[], r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"stall"}}"#).await;
    eventually("the call begins", || door.server.record().len() == 1).await;
    drop(stream);
    door.server.release();
    eventually("it ends", || door.server.record().last().unwrap() == "ended stall").await;
}

#[tokio::test]
async fn a_batch_is_answered_with_one_event_and_its_stream_has_no_ids() {
    let door = Running::start(Revision::LATEST).await;
    let (mut stream, endpoint) = open(&door, "/sse").await;
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo"}}]"#;
    assert_eq!(door.post(&endpoint, &[], batch).await.code(), -32600, "before `initialize`");
    door.post(&endpoint, &[], &initialize("2025-03-26", "{}")).await;
    assert!(stream.event().await.unwrap().id.is_none());
    assert_eq!(door.post(&endpoint, &[], batch).await.status, 202);
    let answers = stream.json().await;
    assert_eq!((answers[0]["id"].as_i64(), answers[1]["id"].as_i64()), (Some(1), Some(2)));
    assert_eq!(door.post(&endpoint, &[], r#"[{"jsonrpc":"2.0","method":"x"}]"#).await.status, 202);
}
