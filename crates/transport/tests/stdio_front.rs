//! The stdio front door: both eras in one process, concurrency, cancellation, the end of input.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use sallyport_protocol::{Event, McpServer as _, Revision};
use sallyport_testkit::{ScriptedFront, ScriptedServer};
use sallyport_transport::server::stdio::{Options, serve};
use serde_json::Value;
use support::{eventually, identity, initialize, modern_body};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

struct Client {
    server: Arc<ScriptedServer>,
    write: WriteHalf<DuplexStream>,
    read: Lines<BufReader<ReadHalf<DuplexStream>>>,
    task: JoinHandle<()>,
}

impl Client {
    fn start(revision: Revision) -> Self {
        let server = ScriptedServer::new(revision);
        let front = Arc::new(ScriptedFront::open(Arc::clone(&server) as _));
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (far_read, far_write) = tokio::io::split(far);
        let task = tokio::spawn(async move {
            serve(far_read, far_write, front, Options::new(identity()), std::future::pending()).await.unwrap();
        });
        let (read, write) = tokio::io::split(near);
        Self { server, write, read: BufReader::new(read).lines(), task }
    }

    async fn say(&mut self, line: &str) {
        self.write.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(10), self.read.next_line()).await.expect("a line in time").unwrap();
        serde_json::from_str(&line.expect("a line")).unwrap()
    }

    async fn ask(&mut self, line: &str) -> Value {
        self.say(line).await;
        self.hear().await
    }
}

fn call(id: &str, tool: &str, arguments: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#)
}

#[tokio::test]
async fn both_eras_are_spoken_message_by_message() {
    let mut client = Client::start(Revision::V2025_11_25);
    let modern = client.ask(&modern_body("tools/call", r#""name":"echo","arguments":{"message":"new"}"#)).await;
    assert_eq!((modern["id"].as_str(), modern["result"]["resultType"].as_str()), (Some("one"), Some("complete")));
    assert_eq!(client.ask(&call("1", "echo", "{}")).await["error"]["code"], -32602, "before `initialize`");
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).await["result"], serde_json::json!({}));
    let opened = client.ask(&initialize("2025-06-18", "{}")).await;
    assert_eq!(opened["result"]["protocolVersion"], "2025-06-18");
    let old = client.ask(&call("3", "echo", r#"{"message":"old"}"#)).await;
    assert_eq!(old, serde_json::json!({"jsonrpc": "2.0", "id": 3, "result": {"content": [{"type": "text", "text": "old"}]}}));
    let modern = client.ask(&modern_body("server/discover", "")).await;
    assert_eq!(modern["result"]["supportedVersions"][0], "2026-07-28");
    assert_eq!(client.ask(&modern_body("ping", "")).await["error"]["code"], -32601);
    assert_eq!(client.ask(&modern_body("tools/list", "").replace("2026-07-28", "2030-01-01")).await["error"]["code"], -32022);
}

#[tokio::test]
async fn lines_that_are_no_messages_are_answered_and_the_next_one_is_read() {
    let mut client = Client::start(Revision::LATEST);
    for (line, code) in [("{", -32700), ("[]", -32600), (r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, -32600), ("\u{1}", -32700)] {
        assert_eq!(client.ask(line).await["error"]["code"], code, "{line}");
    }
    client.say(&format!(r#"{{"jsonrpc":"2.0","id":1,"x":"{}"}}"#, "y".repeat(17 * 1024 * 1024))).await;
    assert_eq!(client.hear().await["error"]["code"], -32600);
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).await["id"], 2);
}

#[tokio::test]
async fn requests_run_side_by_side_and_a_cancelled_one_is_never_answered() {
    let mut client = Client::start(Revision::LATEST);
    client.ask(&initialize("2025-06-18", "{}")).await;
    client.say(&call("\"slow\"", "stall", "{}")).await;
    client.say(&modern_body("tools/call", r#""name":"stall""#)).await;
    assert_eq!(client.ask(&call("5", "echo", "{}")).await["id"], 5);
    let server = Arc::clone(&client.server);
    eventually("both begin", || server.record().iter().filter(|what| *what == "begun stall").count() == 2).await;
    for id in ["slow", "one"] {
        client.say(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":"{id}"}}}}"#)).await;
    }
    eventually("both are cancelled", || server.record().iter().filter(|what| *what == "cancelled stall").count() == 2).await;
    assert_eq!(client.ask(&call("6", "echo", "{}")).await["id"], 6, "no answer to what was cancelled came before");
}

#[tokio::test]
async fn questions_and_news_reach_the_client() {
    let mut client = Client::start(Revision::V2025_06_18);
    client.ask(&initialize("2025-11-25", r#"{"elicitation":{"form":{}}}"#)).await;
    client.say(&call("1", "ask", "{}")).await;
    let question = client.hear().await;
    assert_eq!(question["method"], "elicitation/create");
    client.say(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"cancel"}}}}"#, question["id"])).await;
    assert_eq!(client.hear().await["result"]["content"][0]["text"], r#"{"action":"cancel"}"#);
    client.server.listeners().tell(&Event::ToolsChanged);
    assert_eq!(client.hear().await["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn a_subscription_runs_beside_calls_until_it_is_cancelled() {
    let mut client = Client::start(Revision::LATEST);
    let wishes = r#""notifications":{"toolsListChanged":true}"#;
    let first = client.ask(&modern_body("subscriptions/listen", wishes)).await;
    assert_eq!(first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "one");
    client.server.listeners().tell(&Event::ToolsChanged);
    assert_eq!(client.hear().await["method"], "notifications/tools/list_changed");
    client.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"one"}}"#).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.server.listeners().tell(&Event::ToolsChanged);
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).await["id"], 2);
}

#[tokio::test]
async fn a_subscription_that_the_door_tears_down_ends_with_its_result_and_says_so() {
    let mut client = Client::start(Revision::LATEST);
    client.ask(&modern_body("subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#)).await;
    client.write.shutdown().await.unwrap();
    let last = client.hear().await;
    assert_eq!((last["id"].as_str(), last["result"]["resultType"].as_str()), (Some("one"), Some("complete")));
    assert_eq!(last["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "one");
    let torn_down = client.hear().await;
    assert_eq!((torn_down["method"].as_str(), torn_down["params"]["requestId"].as_str()), (Some("notifications/cancelled"), Some("one")));
    assert!(client.read.next_line().await.unwrap().is_none());
    client.task.await.unwrap();
}

#[tokio::test]
async fn batches_are_for_2025_03_26_alone() {
    let mut client = Client::start(Revision::LATEST);
    let batch = format!(
        r#"[{},{{"jsonrpc":"2.0","method":"notifications/initialized"}},{},{{"jsonrpc":"2.0","id":"p","method":"ping"}},7]"#,
        call("1", "echo", r#"{"message":"a"}"#),
        initialize("2025-03-26", "{}")
    );
    assert_eq!(client.ask(&batch).await["error"]["code"], -32600, "before `initialize`");
    client.ask(&initialize("2025-03-26", "{}")).await;
    let answers = client.ask(&batch).await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 4, "{answers:?}");
    assert_eq!((answers[0]["id"].as_i64(), answers[0]["result"]["content"][0]["text"].as_str()), (Some(1), Some("a")));
    assert_eq!((answers[1]["error"]["code"].as_i64(), &answers[2]["result"]), (Some(-32600), &serde_json::json!({})));
    assert!(answers[3]["error"].is_object());
    client.say(r#"[{"jsonrpc":"2.0","method":"notifications/initialized"}]"#).await;
    for bad in ["[]", "[", &format!("[{}1]", "1,".repeat(64))] {
        assert!(client.ask(bad).await["error"]["code"].as_i64().unwrap() <= -32600, "{bad}");
    }
    client.ask(&initialize("2025-06-18", "{}")).await;
    assert_eq!(client.ask(&batch).await["error"]["code"], -32600);
}

#[tokio::test]
async fn the_calls_of_a_batch_run_side_by_side_beside_others() {
    let mut client = Client::start(Revision::LATEST);
    client.ask(&initialize("2025-03-26", "{}")).await;
    client.say(&format!("[{},{}]", call("1", "stall", "{}"), call("2", "stall", "{}"))).await;
    assert_eq!(client.ask(&call("3", "echo", "{}")).await["id"], 3);
    let server = Arc::clone(&client.server);
    eventually("both begin", || server.record().iter().filter(|what| *what == "begun stall").count() == 2).await;
    client.say(r#"[{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}]"#).await;
    eventually("one is cancelled", || server.record().contains(&"cancelled stall".to_owned())).await;
    server.release();
    let answers = client.hear().await;
    assert_eq!(answers.as_array().unwrap().len(), 1, "what was cancelled is not answered: {answers}");
    assert_eq!((answers[0]["id"].as_i64(), answers[0]["result"]["content"][0]["text"].as_str()), (Some(1), Some("released")));
}

#[tokio::test]
async fn the_end_of_input_lets_what_runs_finish_and_ends_the_door() {
    let mut client = Client::start(Revision::LATEST);
    client.ask(&initialize("2025-06-18", "{}")).await;
    client.say(&call("1", "stall", "{}")).await;
    client.say(&call("2", "large", r#"{"bytes":1000000}"#)).await;
    let server = Arc::clone(&client.server);
    eventually("the call begins", || server.record().contains(&"begun stall".to_owned())).await;
    client.write.shutdown().await.unwrap();
    assert_eq!(client.hear().await["result"]["content"][0]["text"].as_str().unwrap().len(), 1_000_000);
    server.release();
    assert_eq!(client.hear().await["id"], 1);
    assert!(client.read.next_line().await.unwrap().is_none());
    client.task.await.unwrap();
}
