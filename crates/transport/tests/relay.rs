//! The relay: a stdio client before a gateway's HTTP endpoint.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sallyport_protocol::{Event, McpServer as _, Revision};
use sallyport_telemetry::Metrics;
use sallyport_testkit::{ScriptedFront, ScriptedServer};
use sallyport_transport::client::CertificateDer;
use sallyport_transport::relay::relay_stdio;
use sallyport_transport::server::http::{Options, serve};
use sallyport_transport::server::tls;
use serde_json::Value;
use support::{Running, eventually, identity, initialize, modern_body};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use url::Url;

struct Client {
    write: WriteHalf<DuplexStream>,
    read: Lines<BufReader<ReadHalf<DuplexStream>>>,
    /// Tells the relay to end, as a signal does.
    patience: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Client {
    fn start(address: SocketAddr, bearer: Option<&'static str>) -> Self {
        Self::at(&format!("http://{address}/mcp"), bearer, Vec::new())
    }

    fn at(url: &str, bearer: Option<&'static str>, trust: Vec<CertificateDer<'static>>) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (far_read, far_write) = tokio::io::split(far);
        let url = Url::parse(url).unwrap();
        let (patience, told) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let told = async { told.await.unwrap_or_else(|_| unreachable!("the client keeps its end")) };
            relay_stdio(far_read, far_write, &url, bearer, &trust, told).await.unwrap();
        });
        let (read, write) = tokio::io::split(near);
        Self { write, read: BufReader::new(read).lines(), patience, task }
    }

    async fn say(&mut self, line: &str) {
        self.write.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(20), self.read.next_line()).await.expect("a line in time").unwrap();
        serde_json::from_str(&line.expect("a line")).unwrap()
    }

    async fn ask(&mut self, line: &str) -> Value {
        self.say(line).await;
        self.hear().await
    }

    async fn open(&mut self, capabilities: &str) {
        assert_eq!(self.ask(&initialize("2025-11-25", capabilities)).await["result"]["protocolVersion"], "2025-11-25");
        self.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    }
}

fn call(id: &str, tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{{"progressToken":"t"}}}}}}"#
    )
}

#[tokio::test]
async fn a_batch_is_answered_with_one_line_behind_what_its_calls_say() {
    let door = Running::start(Revision::LATEST).await;
    let mut client = Client::start(door.address, None);
    let batch = format!(r#"[{},{}]"#, call("1", "echo", r#"{"message":"hi"}"#), call("2", "progress", "{}"));
    assert_eq!(client.ask(&batch).await["error"]["code"], -32600, "before `initialize`");
    client.ask(&initialize("2025-03-26", "{}")).await;
    for progress in [50, 100] {
        let told = if progress == 50 { client.ask(&batch).await } else { client.hear().await };
        assert_eq!(told["params"]["progress"], progress);
    }
    let answers = client.hear().await;
    assert_eq!((answers[0]["id"].as_i64(), answers[1]["id"].as_i64()), (Some(1), Some(2)));
    let ping = client.ask(r#"[{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":3,"method":"ping"}]"#).await;
    assert_eq!(ping, serde_json::json!([{"jsonrpc": "2.0", "id": 3, "result": {}}]));
    client.say(r#"[{"jsonrpc":"2.0","method":"x"}]"#).await;
    assert_eq!(client.ask(&call("4", "echo", "{}")).await["id"], 4, "nothing is said to notifications");
}

#[tokio::test]
async fn a_legacy_client_has_calls_progress_questions_and_news() {
    let door = Running::start(Revision::V2025_06_18).await;
    let mut client = Client::start(door.address, None);
    client.open(r#"{"elicitation":{}}"#).await;
    assert_eq!(client.ask(&call("1", "echo", r#"{"message":"hi"}"#)).await["result"]["content"][0]["text"], "hi");
    assert_eq!(client.ask(&call("2", "progress", "{}")).await["params"]["progressToken"], "t");
    assert_eq!(client.hear().await["params"]["progress"], 100);
    assert_eq!(client.hear().await["id"], 2);
    let question = client.ask(&call("3", "ask", "{}")).await;
    client.say(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"accept"}}}}"#, question["id"])).await;
    assert_eq!(client.hear().await["id"], 3);
    // The stream may not be open yet, but news wait for it.
    door.server.listeners().tell(&Event::ToolsChanged);
    assert_eq!(client.hear().await["method"], "notifications/tools/list_changed");
    client.say(&call("\"s\"", "stall", "{}")).await;
    eventually("the call begins", || door.server.record().contains(&"begun stall".to_owned())).await;
    client.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"s"}}"#).await;
    eventually("the call is cancelled", || door.server.record().contains(&"cancelled stall".to_owned())).await;
}

#[tokio::test]
async fn a_modern_client_is_relayed_with_all_headers_and_cancels_by_notification() {
    let server = ScriptedServer::new(Revision::LATEST);
    let schema = r#"{"type":"object","properties":{"message":{"type":"string","x-mcp-header":"Message"}}}"#;
    let front = ScriptedFront::with_keys(Arc::clone(&server) as _, &["key"]).with_input_schema(schema);
    let door = Running::with(server, Arc::new(front), Options::new(identity())).await;
    let mut client = Client::start(door.address, Some("key"));
    let echoed = client.ask(&modern_body("tools/call", r#""name":"echo","arguments":{"message":"grüß"}"#)).await;
    assert_eq!(echoed["result"]["content"][0]["text"], "grüß", "the relay learnt which argument goes into a header: {echoed}");
    assert_eq!(client.ask(&modern_body("no/such", "")).await["error"]["code"], -32601);
    assert_eq!(client.ask(&modern_body("resources/read", r#""uri":"test://a""#)).await["result"]["contents"][0]["text"], "A");
    let first = client.ask(&modern_body("subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#)).await;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    door.server.listeners().tell(&Event::ToolsChanged);
    assert_eq!(client.hear().await["method"], "notifications/tools/list_changed");
    client.say(&modern_body("tools/call", r#""name":"stall""#).replace("\"one\"", "\"two\"")).await;
    eventually("the call begins", || door.server.record().contains(&"begun stall".to_owned())).await;
    client.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"two"}}"#).await;
    eventually("the call is cancelled", || door.server.record().contains(&"cancelled stall".to_owned())).await;
    client.write.shutdown().await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), client.task).await.expect("the subscription does not keep the relay").unwrap();
}

#[tokio::test]
async fn a_wrong_key_is_told_under_the_requests_id() {
    let server = ScriptedServer::new(Revision::LATEST);
    let front = Arc::new(ScriptedFront::with_keys(Arc::clone(&server) as _, &["key"]));
    let door = Running::with(server, front, Options::new(identity())).await;
    let mut client = Client::start(door.address, Some("other"));
    let answer = client.ask(&initialize("2025-06-18", "{}")).await;
    assert!(answer["id"] == 0 && answer["error"]["message"].as_str().unwrap().contains("key"), "{answer}");
}

#[tokio::test]
async fn a_gateway_is_known_by_its_own_certificate_whatever_name_is_in_it() {
    let own = rcgen::generate_simple_self_signed(["gateway.example".into()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let server = ScriptedServer::new(Revision::LATEST);
    let front = Arc::new(ScriptedFront::open(Arc::clone(&server) as _));
    let options = Options { tls: Some(tls::from_pem(&certificate, &key).unwrap()), ..Options::new(identity()) };
    let door = Running::with(server, front, options).await;
    let mut client = Client::at(&format!("https://{}/mcp", door.address), None, tls::chain_from_pem(&certificate).unwrap());
    client.open("{}").await;
}

#[tokio::test]
async fn a_gateway_that_restarts_is_found_again_and_the_session_with_it() {
    let first = Running::start(Revision::LATEST).await;
    let address = first.address;
    let mut client = Client::start(address, None);
    client.open("{}").await;
    assert_eq!(client.ask(&call("1", "echo", "{}")).await["id"], 1);
    first.stop().await.unwrap();
    client.say(&call("2", "echo", r#"{"message":"again"}"#)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let server = ScriptedServer::new(Revision::LATEST);
    let front = Arc::new(ScriptedFront::open(Arc::clone(&server) as _));
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(serve(listener, front, Options::new(identity()), std::future::pending()));
    let answer = client.hear().await;
    assert_eq!((answer["id"].as_i64(), answer["result"]["content"][0]["text"].as_str()), (Some(2), Some("again")));
    server.listeners().tell(&Event::ToolsChanged);
    assert_eq!(client.hear().await["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn the_end_of_input_lets_calls_finish() {
    let door = Running::start(Revision::LATEST).await;
    let mut client = Client::start(door.address, None);
    client.open("{}").await;
    client.say(&call("1", "stall", "{}")).await;
    eventually("the call begins", || door.server.record().contains(&"begun stall".to_owned())).await;
    client.write.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    door.server.release();
    assert_eq!(client.hear().await["id"], 1);
    assert!(client.read.next_line().await.unwrap().is_none());
    client.task.await.unwrap();
}

#[tokio::test]
async fn a_client_without_patience_leaves_no_session_behind() {
    let metrics = Metrics::new();
    let server = ScriptedServer::new(Revision::LATEST);
    let front = Arc::new(ScriptedFront::open(Arc::clone(&server) as _));
    let door = Running::with(server, front, Options { figures: metrics.door(), ..Options::new(identity()) }).await;
    let mut client = Client::start(door.address, None);
    client.open("{}").await;
    client.say(&call("1", "stall", "{}")).await;
    eventually("the call begins", || door.server.record().contains(&"begun stall".to_owned())).await;
    assert!(metrics.encode().contains("sallyport_sessions 1\n"));
    client.write.shutdown().await.unwrap();
    client.patience.send(()).unwrap();
    client.task.await.unwrap();
    assert!(metrics.encode().contains("sallyport_sessions 0\n"));
    eventually("nobody waits for the call", || door.server.record().contains(&"cancelled stall".to_owned())).await;
}
