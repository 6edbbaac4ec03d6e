//! The client and the fixture speak every revision with each other, over every transport that the revision has.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking and says why")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sallyport_protocol::Revision;
use sallyport_testkit::wire_client::{Fault, Person, Way, WireClient};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sallyport-fixture");

/// A fixture that listens, killed when dropped.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn listen(mode: &str, revision: Revision) -> (Listening, u16) {
    let port = sallyport_testkit::free_port().unwrap();
    let mut command = Command::new(PROGRAM);
    command.args([mode, "--listen", &format!("127.0.0.1:{port}"), "--revision", revision.as_str()]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    (Listening(child), port)
}

fn stdio(revision: Revision) -> Way {
    let command = [PROGRAM, "stdio", "--revision", revision.as_str()].map(str::to_owned).to_vec();
    Way::Stdio { command, environment: Vec::new() }
}

#[tokio::test]
async fn over_stdio() {
    for revision in Revision::ALL {
        converse(stdio(revision), revision).await;
    }
}

#[tokio::test]
async fn over_http_sse() {
    let (_fixture, port) = listen("sse", Revision::V2024_11_05);
    converse(Way::HttpSse(format!("http://127.0.0.1:{port}/sse")), Revision::V2024_11_05).await;
}

#[tokio::test]
async fn over_streamable_http() {
    for revision in Revision::ALL.into_iter().skip(1) {
        let (_fixture, port) = listen("http", revision);
        converse(Way::StreamableHttp(format!("http://127.0.0.1:{port}/mcp")), revision).await;
    }
}

/// A call, a question, a log message, a resource that changes, a call that is cancelled.
async fn converse(way: Way, revision: Revision) {
    let name = revision.as_str();
    let client = WireClient::connect(&way, revision, Person::obliging()).await.expect(name);
    assert!(client.list("resources/list").await.unwrap().len() > 2, "{revision}: more than a page");
    let said = client.call("echo", json!({ "message": "héllo" })).await.unwrap();
    assert_eq!(said["content"][0]["text"], "héllo", "{revision}");

    let asked = client.call("test_sampling", json!({ "prompt": "six times seven" })).await.unwrap();
    assert_eq!(asked["content"][0]["text"], "LLM response: forty-two", "{revision}");
    assert!(client.heard(0).iter().any(|heard| heard.is_question && heard.method == "sampling/createMessage"), "{revision}");

    client.set_log_level("debug").await.unwrap();
    let mark = client.mark();
    client.call("test_tool_with_logging", json!({})).await.unwrap();
    client.wait(mark, |heard| heard.method == "notifications/message").await.expect(name);

    let subscription = client.subscribe(&["test://watched-resource"]).await.expect(name);
    client.call("test_trigger_resource_update", json!({})).await.unwrap();
    client.wait(mark, |heard| heard.method == "notifications/resources/updated").await.expect(name);
    subscription.end().await.unwrap();

    let flight = client.begin("tools/call", json!({ "name": "slow", "arguments": { "seconds": 30 } })).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let flight = flight.cancel().await.unwrap();
    let answer = flight.answer_within(Duration::from_millis(100)).await;
    // Over HTTP with a handshake the stream ends without it.
    assert!(matches!(answer, None | Some(Err(Fault::Closed(_)))), "{revision}: an answer to what was cancelled: {answer:?}");
    let count = client.call("cancelled_count", json!({})).await.unwrap();
    assert_eq!(count["content"][0]["text"], "1", "{revision}");
    client.close().await;
}
