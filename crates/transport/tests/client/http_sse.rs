//! HTTP+SSE: the stream is the session.

use std::sync::{Arc, Mutex};

use sallyport_protocol::{FailureKind, McpServer, Retry, Revision};
use sallyport_transport::client::{Connection, Kind, Target};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::asking::{call, options, quiet};
use crate::http_peer::{Asked, Peer, Said, event};

type Stream = Arc<Mutex<Option<mpsc::UnboundedSender<String>>>>;

/// A server of 2024-11-05 that refuses POSTs to its stream's URL with `status`.
fn old(status: u16, endpoint: &'static str) -> (impl Fn(&Asked) -> Said + Send + Sync, Stream) {
    let stream: Stream = Arc::default();
    let open = Arc::clone(&stream);
    let script = move |asked: &Asked| match (asked.verb.as_str(), asked.method()) {
        ("GET", _) => {
            let (sender, said) = Said::stream();
            sender.send(format!(": ping\n\nevent: endpoint\ndata: {endpoint}\n\n")).unwrap();
            *open.lock().unwrap() = Some(sender);
            said
        }
        ("POST", _) if asked.path == "/mcp" => Said::text(status, "text/html", "<html>"),
        (_, method) => {
            let result = match method {
                "initialize" => json!({"protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": {"name": "old", "version": "1"}}),
                "tools/call" if asked.body["params"]["name"] == "hang" => Value::Null,
                "tools/call" => json!({"content": []}),
                _ => Value::Null,
            };
            if result != Value::Null {
                let message = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": result});
                open.lock().unwrap().as_ref().unwrap().send(event(&message)).unwrap();
            }
            Said::text(202, "text/plain", "Accepted")
        }
    };
    (script, stream)
}

#[tokio::test]
async fn a_url_that_refuses_posts_is_asked_for_a_stream() {
    for status in [400, 404, 405] {
        let (script, _stream) = old(status, "/messages/?session_id=7");
        let peer = Peer::start(script).await;
        let connection = Connection::to_url(Target::new(peer.url.clone()), options()).await.unwrap();
        assert_eq!(connection.discovery().revision, Revision::V2024_11_05);
        connection.handle(call("echo", "{}"), quiet()).await.unwrap();
        assert_eq!(peer.last("tools/call").path, "/messages/?session_id=7");
        let expected = ["POST server/discover", "POST initialize", "POST initialize", "POST notifications/initialized", "POST tools/call"];
        assert_eq!(peer.posts(), expected);
    }
}

#[tokio::test]
async fn an_endpoint_of_another_origin_gets_nothing() {
    let (script, _stream) = old(405, "http://localhost:1/messages");
    let peer = Peer::start(script).await;
    let target = Target { kind: Kind::Sse, ..Target::new(peer.url.clone()) };
    let failure = Connection::to_url(target, options()).await.unwrap_err();
    assert!(failure.public.contains("another origin"), "{failure}");
    assert!(peer.posts().is_empty());
}

#[tokio::test]
async fn the_end_of_the_stream_is_the_end_of_the_connection() {
    let (script, stream) = old(405, "/messages");
    let peer = Peer::start(script).await;
    let target = Target { kind: Kind::Sse, ..Target::new(peer.url.clone()) };
    let connection = Connection::to_url(target, options()).await.unwrap();
    let hanging = connection.handle(call("hang", "{}"), quiet());
    let ending = async {
        peer.wait_for(|asked| asked.method() == "tools/call").await;
        stream.lock().unwrap().take();
    };
    let (outcome, ()) = futures_util::join!(hanging, ending);
    let failure = outcome.unwrap_err();
    assert!(matches!((&failure.kind, failure.retry), (FailureKind::Unreachable, Retry::Unknown)), "{failure:?}");
    assert_eq!(connection.closed().await.why, "its stream ended");
    let failure = connection.handle(call("echo", "{}"), quiet()).await.unwrap_err();
    assert!(matches!((&failure.kind, failure.retry), (FailureKind::Unreachable, Retry::Safe)), "{failure:?}");
}

#[tokio::test]
async fn what_refused_the_newer_transport_is_what_is_told() {
    let peer = Peer::start(|_| Said::text(404, "text/html", "<html>")).await;
    let failure = Connection::to_url(Target::new(peer.url.clone()), options()).await.unwrap_err();
    assert!(failure.public.contains("HTTP 404"), "{failure}");
    assert_eq!(peer.asked().last().unwrap().verb, "GET");
}
