//! Sessions that are lost, servers that change, tools whose headers change, connections that are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sallyport_protocol::{FailureKind, Listener, McpServer, Method, RawObject, Request, Retry, Revision};
use sallyport_transport::client::{Connection, Options, Target};
use serde_json::{Value, json};

use crate::asking::{Ears, call, object, options, quiet};
use crate::http_peer::{Asked, Peer, Said, initialized, legacy, modern};

async fn connect(peer: &Peer) -> (Arc<Connection>, Arc<Ears>) {
    let connection = Connection::to_url(Target::new(peer.url.clone()), options()).await.unwrap();
    let ears: Arc<Ears> = Arc::default();
    let listener: Arc<dyn Listener> = Arc::<Ears>::clone(&ears);
    connection.listeners().add(&listener);
    (connection, ears)
}

fn empty(asked: &Asked) -> Said {
    asked.result(json!({"content": []}))
}

/// A server that names each session by a number, and forgets them all when `restart` is called.
fn forgetful(lost: fn(&Asked) -> Said) -> (impl Fn(&Asked) -> Said + Send + Sync, Arc<AtomicUsize>) {
    let current = Arc::new(AtomicUsize::new(1));
    let number = Arc::clone(&current);
    let serve = legacy(empty);
    let script = move |asked: &Asked| {
        let session = format!("s{}", number.load(Ordering::SeqCst));
        match asked.method() {
            "initialize" => initialized(asked).with("mcp-session-id", &session),
            "tools/call" if asked.header("mcp-session-id") != session => lost(asked),
            _ => serve(asked),
        }
    };
    (script, current)
}

#[tokio::test]
async fn a_lost_session_is_opened_again_and_nobody_notices() {
    let ways: [fn(&Asked) -> Said; 3] = [
        |asked| asked.error(404, -32001, Value::Null),
        |_| Said::nothing(404),
        // server-everything
        |_| Said::json(400, json!({"jsonrpc": "2.0", "error": {"code": -32000, "message": "Bad Request: No valid session ID"}, "id": 77})),
    ];
    for lost in ways {
        let (script, current) = forgetful(lost);
        let peer = Peer::start(script).await;
        let (connection, ears) = connect(&peer).await;
        connection.handle(call("echo", "{}"), quiet()).await.unwrap();
        current.store(2, Ordering::SeqCst);
        connection.handle(call("echo", "{}"), quiet()).await.unwrap();
        assert_eq!(peer.last("tools/call").header("mcp-session-id"), "s2");
        assert_eq!(ears.heard(), ["ToolsChanged"]);
    }
}

#[tokio::test]
async fn subscriptions_are_taken_over_into_the_next_session() {
    let (script, current) = forgetful(|_| Said::nothing(404));
    let peer = Peer::start(script).await;
    let (connection, _) = connect(&peer).await;
    let subscribe = Request::new(Method::ResourcesSubscribe, object(r#"{"uri":"a:b"}"#));
    connection.handle(subscribe, quiet()).await.unwrap();
    current.store(2, Ordering::SeqCst);
    connection.handle(call("echo", "{}"), quiet()).await.unwrap();
    let again = peer.wait_for(|asked| asked.method() == "resources/subscribe" && asked.header("mcp-session-id") == "s2").await;
    assert_eq!(again.body["params"], json!({"uri": "a:b"}));
}

#[tokio::test]
async fn many_calls_that_lose_one_session_open_one_other() {
    let (script, current) = forgetful(|_| Said::nothing(404));
    let peer = Peer::start(script).await;
    let (connection, _) = connect(&peer).await;
    current.store(2, Ordering::SeqCst);
    let calls = (0..20).map(|_| connection.handle(call("echo", "{}"), quiet()));
    assert!(futures_util::future::join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(peer.posts().iter().filter(|text| *text == "POST initialize").count(), 2);
}

#[tokio::test]
async fn a_session_that_is_lost_again_at_once_is_a_failure_that_may_be_retried() {
    let peer = Peer::start(legacy(|_| Said::nothing(404))).await;
    let (connection, _) = connect(&peer).await;
    let failure = connection.handle(call("echo", "{}"), quiet()).await.unwrap_err();
    assert!(matches!((&failure.kind, failure.retry), (FailureKind::Unreachable, Retry::Safe)), "{failure:?}");
    assert_eq!(peer.posts().iter().filter(|text| *text == "POST tools/call").count(), 2);
}

#[tokio::test]
async fn a_server_that_was_replaced_by_one_of_the_other_era_is_healed_both_ways() {
    let is_modern = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&is_modern);
    let (old, new) = (legacy(empty), modern(empty));
    let peer = Peer::start(move |asked| match (now.load(Ordering::SeqCst), asked.header("mcp-method")) {
        (true, "") => asked.error(400, -32022, json!({"supported": ["2026-07-28"]})),
        (true, _) => new(asked),
        (false, "") => old(asked),
        (false, _) => Said::json(400, json!({"jsonrpc": "2.0", "error": {"code": -32000, "message": "not initialized"}, "id": null})),
    })
    .await;
    let (connection, ears) = connect(&peer).await;
    for (modern, revision) in [(false, Revision::V2025_11_25), (true, Revision::V2026_07_28), (false, Revision::V2025_11_25)] {
        is_modern.store(modern, Ordering::SeqCst);
        let reply = connection.handle(call("echo", "{}"), quiet()).await.unwrap();
        assert_eq!((reply.revision, connection.discovery().revision), (revision, revision));
    }
    assert_eq!(ears.heard(), ["ToolsChanged", "ToolsChanged"]);
}

#[tokio::test]
async fn a_modern_refusal_with_another_id_is_looked_into_once_and_then_believed() {
    let peer = Peer::start(modern(|_| Said::json(400, json!({"jsonrpc": "2.0", "error": {"code": -32600, "message": "bad"}})))).await;
    let (connection, _) = connect(&peer).await;
    let failure = connection.handle(call("echo", "{}"), quiet()).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Upstream(error) if error.code == -32600));
    assert_eq!(peer.posts(), ["POST server/discover", "POST tools/call", "POST server/discover"]);
}

#[tokio::test]
async fn a_tools_headers_are_learnt_from_the_list_and_again_when_they_were_wrong() {
    let renamed = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&renamed);
    let peer = Peer::start(modern(move |asked| {
        let header = if now.load(Ordering::SeqCst) { "Zone" } else { "Region" };
        match asked.method() {
            "tools/list" => asked.result(json!({"tools": [
                {"name": "deploy", "inputSchema": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": header}}}},
                {"name": "broken", "inputSchema": {"type": "object", "properties": {"n": {"type": "number", "x-mcp-header": "N"}}}},
            ], "ttlMs": 0, "cacheScope": "private"})),
            _ if asked.header(&format!("mcp-param-{}", header.to_lowercase())) == "eu" => empty(asked),
            _ => asked.error(400, -32020, Value::Null),
        }
    }))
    .await;
    let (connection, _) = connect(&peer).await;
    let list = connection.handle(Request::new(Method::ToolsList, RawObject::new()), quiet()).await.unwrap();
    assert_eq!(list.result.get("tools").unwrap().array().unwrap().len(), 1);
    connection.handle(call("deploy", r#"{"region":"eu"}"#), quiet()).await.unwrap();
    renamed.store(true, Ordering::SeqCst);
    connection.handle(call("deploy", r#"{"region":"eu"}"#), quiet()).await.unwrap();
    assert_eq!(peer.posts()[3..], ["POST tools/call", "POST tools/list", "POST tools/call"]);
    let failure = connection.handle(call("deploy", r#"{"region":"us"}"#), quiet()).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Upstream(error) if error.code == -32020));
}

#[tokio::test]
async fn closing_ends_the_session_and_refuses_what_comes_after() {
    let peer = Peer::start(legacy(empty)).await;
    let (connection, _) = connect(&peer).await;
    connection.close().await;
    assert_eq!(connection.closed().await.why, "it was closed");
    let farewell = peer.asked().into_iter().find(|asked| asked.verb == "DELETE").unwrap();
    assert_eq!(farewell.header("mcp-session-id"), "s1");
    let failure = connection.handle(call("echo", "{}"), quiet()).await.unwrap_err();
    assert!(matches!((&failure.kind, failure.retry), (FailureKind::Unreachable, Retry::Safe)));
}

#[tokio::test]
async fn connections_are_kept_and_a_streams_connection_too() {
    let peer = Peer::start(modern(|asked| {
        let result = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"content": []}});
        Said::events(format!("data: {result}\n\n"))
    }))
    .await;
    let (connection, _) = connect(&peer).await;
    for _ in 0..20 {
        connection.handle(call("echo", "{}"), quiet()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let used = peer.connections.load(Ordering::SeqCst);
    assert!(used <= 2, "{used} connections");
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_not_used() {
    let peer = Peer::start(modern(|asked| empty(asked).with("connection", "close"))).await;
    let (connection, _) = connect(&peer).await;
    for _ in 0..5 {
        connection.handle(call("echo", "{}"), quiet()).await.unwrap();
    }
    assert!(peer.connections.load(Ordering::SeqCst) >= 5);
}

#[tokio::test]
async fn a_server_that_is_gone_between_two_calls_was_not_asked() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap()).parse().unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = |request: http::Request<hyper::body::Incoming>| async move {
            let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let result = json!({"supportedVersions": ["2026-07-28"], "capabilities": {}});
            let body = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string();
            Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::new(bytes::Bytes::from(body))))
        };
        let service = hyper::service::service_fn(answer);
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
    });
    let connection = Connection::to_url(Target::new(url), options()).await.unwrap();
    serving.abort();
    let _ = serving.await;
    let failure = connection.handle(call("echo", "{}"), quiet()).await.unwrap_err();
    assert!(matches!((&failure.kind, failure.retry), (FailureKind::Unreachable, Retry::Safe)), "{failure:?}");
}

#[tokio::test]
async fn answers_that_are_none_are_named() {
    type Answer = fn(&Asked) -> Said;
    let answers: [(&str, Answer, &str); 6] = [
        ("no object", |asked| asked.result(json!("text")), "expected an object"),
        ("no JSON", |_| Said::text(200, "application/json", "{\"jsonrpc\":\"2.0\",\"id\":"), "not JSON"),
        ("nothing", |_| Said::nothing(202), "no answer"),
        ("another's answer", |_| Said::json(200, json!({"jsonrpc": "2.0", "id": 999, "result": {}})), "no answer"),
        ("a page", |_| Said::text(200, "text/html", "<html>"), "no answer"),
        ("an unknown kind of result", |asked| asked.result(json!({"resultType": "riddle"})), "resultType"),
    ];
    for (name, answer, what) in answers {
        let peer = Peer::start(modern(answer)).await;
        let (connection, _) = connect(&peer).await;
        let failure = connection.handle(call("echo", "{}"), quiet()).await.unwrap_err();
        assert!(matches!(failure.kind, FailureKind::Malformed), "{name}: {failure:?}");
        assert!(failure.public.contains(what), "{name}: {failure}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_whether_announced_or_not() {
    for announced in [true, false] {
        let peer = Peer::start(modern(move |asked| {
            let large = "x".repeat(10_000);
            let result = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"text": large}}).to_string();
            let said = Said::text(200, "application/json", result.clone());
            if announced { said.with("content-length", &result.len().to_string()) } else { said }
        }))
        .await;
        let limited = Options { body_limit: 5000, ..options() };
        let connection = Connection::to_url(Target::new(peer.url.clone()), limited).await.unwrap();
        let failure = connection.handle(call("echo", "{}"), quiet()).await.unwrap_err();
        assert!(matches!(failure.kind, FailureKind::TooLarge), "{failure:?}");
    }
}

#[tokio::test]
async fn methods_of_the_other_era_are_answered_here() {
    let peer = Peer::start(modern(empty)).await;
    let (connection, _) = connect(&peer).await;
    let ask = |method| connection.handle(Request::new(method, RawObject::new()), quiet());
    assert!(ask(Method::Ping).await.unwrap().result.is_empty());
    for method in [Method::SetLevel, Method::SubscriptionsListen, Method::Initialize] {
        assert!(matches!(ask(method).await.unwrap_err().kind, FailureKind::CannotCross));
    }
    assert_eq!(peer.posts(), ["POST server/discover"]);
}
