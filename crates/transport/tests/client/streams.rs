//! What comes on streams: a call's own, and those for news.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sallyport_protocol::{Cancel, FailureKind, Listener, McpServer, Method, RawJson, Retry};
use sallyport_transport::client::{Connection, Target};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::asking::{Ears, call, context, object, options, quiet};
use crate::http_peer::{Asked, Peer, Said, discovered, event, legacy, modern, not_initialized};

/// The test's end of an open stream.
type Stream = mpsc::UnboundedSender<String>;

async fn connect(peer: &Peer) -> Arc<Connection> {
    Connection::to_url(Target::new(peer.url.clone()), options()).await.unwrap()
}

fn listen(connection: &Connection) -> Arc<Ears> {
    let ears: Arc<Ears> = Arc::default();
    let listener: Arc<dyn Listener> = Arc::<Ears>::clone(&ears);
    connection.listeners().add(&listener);
    ears
}

fn notification(method: &str, params: Value) -> String {
    event(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

fn answer(id: &Value) -> String {
    event(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}))
}

#[tokio::test]
async fn progress_logs_and_questions_of_a_call_reach_the_one_who_asked() {
    let peer = Peer::start(legacy(|asked| {
        let id = &asked.body["id"];
        let token = &asked.body["params"]["_meta"]["progressToken"];
        let progress = |value: f64| notification("notifications/progress", json!({"progressToken": token, "progress": value, "total": 9}));
        Said::events(
            [
                progress(1.0),
                progress(1.0),
                progress(0.5),
                notification("notifications/progress", json!({"progressToken": "another", "progress": 8})),
                notification("notifications/message", json!({"level": "debug", "data": "quiet"})),
                notification("notifications/message", json!({"level": "error", "data": "loud"})),
                event(&json!({"jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": {"message": "?"}})),
                event(&json!({"jsonrpc": "2.0", "id": 2, "method": "ping"})),
                event(&json!({"jsonrpc": "2.0", "id": 3, "method": "surprise/me"})),
                progress(2.5),
                ": keep-alive\n\n".to_owned(),
                answer(id),
            ]
            .concat(),
        )
    }))
    .await;
    let connection = connect(&peer).await;
    let ears = Arc::default();
    let mut request = call("echo", "{}");
    request.meta.progress_token = Some(RawJson::from_static("\"theirs\""));
    request.meta.log_level = Some(sallyport_protocol::LogLevel::Warning);
    connection.handle(request, context(&ears, &Cancel::new())).await.unwrap();
    let heard = ears.heard();
    let told: Vec<&String> = heard.iter().filter(|text| !text.starts_with("asked")).collect();
    assert_eq!(
        told,
        [
            r#"notifications/progress {"progress":1.0,"total":9}"#,
            r#"notifications/message {"level":"error","data":"loud"}"#,
            r#"notifications/progress {"progress":2.5,"total":9}"#
        ]
    );
    let refused = peer.wait_for(|asked| asked.body["id"] == 3 && asked.method().is_empty()).await;
    assert_eq!(refused.body["error"]["code"], -32601);
    let pong = peer.wait_for(|asked| asked.body["id"] == 2 && asked.method().is_empty()).await;
    assert_eq!((pong.body["result"].clone(), pong.header("mcp-session-id")), (json!({}), "s1"));
}

#[tokio::test]
async fn the_stream_for_questions_is_open_before_the_first_call() {
    let (_open, stream) = Said::stream();
    let stream = Mutex::new(Some(stream));
    let serve = legacy(|asked| asked.result(json!({"content": []})));
    let peer = Peer::start(move |asked| match asked.verb.as_str() {
        "GET" => stream.lock().unwrap().take().unwrap_or_else(|| Said::nothing(405)),
        _ => serve(asked),
    })
    .await;
    let _connection = connect(&peer).await;
    assert!(peer.asked().iter().any(|asked| asked.verb == "GET"), "{:?}", peer.posts());
}

#[tokio::test]
async fn a_question_is_answered_while_the_call_waits() {
    let waiting: Arc<Mutex<Option<(Stream, Value)>>> = Arc::default();
    let open = Arc::clone(&waiting);
    let serve = legacy(move |asked| {
        let (sender, said) = Said::stream();
        sender.send(event(&json!({"jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": {"message": "?"}}))).unwrap();
        *open.lock().unwrap() = Some((sender, asked.body["id"].clone()));
        said
    });
    let peer = Peer::start(move |asked| {
        if asked.body["id"] == "q1"
            && let Some((sender, id)) = waiting.lock().unwrap().take()
        {
            sender.send(answer(&id)).unwrap();
        }
        serve(asked)
    })
    .await;
    let connection = connect(&peer).await;
    let ears = Arc::default();
    connection.handle(call("echo", "{}"), context(&ears, &Cancel::new())).await.unwrap();
    assert_eq!(ears.heard(), ["asked elicitation/create"]);
    let answered = peer.wait_for(|asked| asked.body["id"] == "q1").await;
    assert_eq!(answered.body["result"], json!({"action": "decline"}));
}

#[tokio::test]
async fn a_modern_server_may_not_ask() {
    let peer = Peer::start(modern(|asked| {
        let question = event(&json!({"jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": {}}));
        Said::events(question + &answer(&asked.body["id"]))
    }))
    .await;
    let connection = connect(&peer).await;
    let ears = Arc::default();
    connection.handle(call("echo", "{}"), context(&ears, &Cancel::new())).await.unwrap();
    assert!(ears.heard().is_empty());
    assert_eq!(peer.posts(), ["POST server/discover", "POST tools/call"]);
}

#[tokio::test]
async fn a_stream_that_breaks_loses_the_call() {
    let ways: [fn(&Asked) -> Said; 3] =
        [|_| Said::events(": hello\n\n"), |_| Said::events("").broken(), |_| Said::text(200, "application/json", "{").broken()];
    for broken in ways {
        let peer = Peer::start(modern(broken)).await;
        let connection = connect(&peer).await;
        let failure = connection.handle(call("echo", "{}"), quiet()).await.unwrap_err();
        assert!(matches!((&failure.kind, failure.retry), (FailureKind::Unreachable, Retry::Unknown)), "{failure:?}");
    }
}

#[tokio::test]
async fn a_legacy_stream_with_ids_is_gone_on_with() {
    let id = Arc::new(Mutex::new(Value::Null));
    let serve = legacy(|_| Said::nothing(500));
    let peer = Peer::start(move |asked| match (asked.verb.as_str(), asked.method(), asked.header("last-event-id")) {
        ("POST", "tools/call", _) => {
            *id.lock().unwrap() = asked.body["id"].clone();
            Said::events("id: e1\nretry: 20\ndata: \n\n")
        }
        ("GET", _, "e1") => Said::events(format!("id: e2\n{}", notification("notifications/tools/list_changed", json!({})))),
        ("GET", _, "e2") => Said::events(answer(&id.lock().unwrap())),
        _ => serve(asked),
    })
    .await;
    let connection = connect(&peer).await;
    let ears = listen(&connection);
    connection.handle(call("echo", "{}"), quiet()).await.unwrap();
    assert_eq!(ears.heard(), ["ToolsChanged"]);
    assert_eq!(peer.posts().iter().filter(|text| *text == "POST tools/call").count(), 1);
}

#[tokio::test]
async fn cancelling_a_legacy_call_sends_word_and_cancelling_a_modern_one_closes_its_stream() {
    for is_modern in [false, true] {
        let open: Arc<Mutex<Vec<Stream>>> = Arc::default();
        let kept = Arc::clone(&open);
        let hang = move |_: &Asked| {
            let (sender, said) = Said::stream();
            kept.lock().unwrap().push(sender);
            said
        };
        let peer = if is_modern { Peer::start(modern(hang)).await } else { Peer::start(legacy(hang)).await };
        let connection = connect(&peer).await;
        let cancel = Cancel::new();
        let calling = connection.handle(call("slow", "{}"), context(&Arc::default(), &cancel));
        let cancelling = async {
            peer.wait_for(|asked| asked.method() == "tools/call").await;
            cancel.cancel();
        };
        let (outcome, ()) = futures_util::join!(calling, cancelling);
        assert!(matches!(outcome.unwrap_err().kind, FailureKind::Cancelled));
        if is_modern {
            let sender = open.lock().unwrap().pop().unwrap();
            tokio::time::timeout(Duration::from_secs(5), sender.closed()).await.unwrap();
            assert_eq!(peer.posts(), ["POST server/discover", "POST tools/call"]);
        } else {
            let told = peer.wait_for(|asked| asked.method() == "notifications/cancelled").await;
            assert_eq!(told.body["params"]["requestId"], peer.last("tools/call").body["id"]);
        }
    }
}

#[tokio::test]
async fn a_legacy_servers_stream_is_kept_open_and_gone_on_with() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let serve = legacy(|_| Said::nothing(500));
    let peer = Peer::start(move |asked| match asked.verb.as_str() {
        "GET" if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            Said::events(format!("id: 41\n{}", notification("notifications/resources/updated", json!({"uri": "a:b"}))))
        }
        "GET" => Said::events(notification("notifications/prompts/list_changed", json!({}))),
        _ => serve(asked),
    })
    .await;
    let connection = connect(&peer).await;
    let ears = listen(&connection);
    ears.wait_for("PromptsChanged").await;
    let asked = peer.asked();
    let gets: Vec<&Asked> = asked.iter().filter(|asked| asked.verb == "GET").collect();
    assert_eq!((gets[0].header("last-event-id"), gets[1].header("last-event-id")), ("", "41"));
    assert_eq!((gets[0].header("accept"), gets[0].header("mcp-session-id")), ("text/event-stream", "s1"));
}

/// A modern server that announces changes, and its open streams of changes.
fn announcing() -> (impl Fn(&Asked) -> Said + Send + Sync, Arc<Mutex<Vec<Stream>>>) {
    let open: Arc<Mutex<Vec<Stream>>> = Arc::default();
    let streams = Arc::clone(&open);
    let script = move |asked: &Asked| match asked.method() {
        "server/discover" => asked.result(json!({"supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {"listChanged": true}, "prompts": {}, "resources": {"subscribe": true}}})),
        "subscriptions/listen" => {
            let (sender, said) = Said::stream();
            let meta = json!({"io.modelcontextprotocol/subscriptionId": asked.body["id"]});
            let filter = &asked.body["params"]["notifications"];
            sender.send(notification("notifications/subscriptions/acknowledged", json!({"notifications": filter, "_meta": meta}))).unwrap();
            streams.lock().unwrap().push(sender);
            said
        }
        _ => Said::nothing(500),
    };
    (script, open)
}

#[tokio::test]
async fn a_modern_servers_changes_are_listened_to_and_again_after_a_loss() {
    let (script, streams) = announcing();
    let peer = Peer::start(script).await;
    let connection = connect(&peer).await;
    let ears = listen(&connection);
    let asked = peer.wait_for(|asked| asked.method() == "subscriptions/listen").await;
    assert_eq!(asked.body["params"]["notifications"], json!({"toolsListChanged": true}));
    let first = streams.lock().unwrap().pop().unwrap();
    first.send(notification("notifications/tools/list_changed", json!({}))).unwrap();
    ears.wait_for("ToolsChanged").await;
    drop(first);
    ears.wait_for("PromptsChanged").await; // whatever may have been missed
    assert_eq!(peer.posts().iter().filter(|text| *text == "POST subscriptions/listen").count(), 2);
}

#[tokio::test]
async fn a_subscription_to_a_modern_resource_is_a_stream_of_its_own() {
    let (script, streams) = announcing();
    let peer = Peer::start(script).await;
    let connection = connect(&peer).await;
    let ears = listen(&connection);
    let request = |method| sallyport_protocol::Request::new(method, object(r#"{"uri":"a:b"}"#));
    connection.handle(request(Method::ResourcesSubscribe), quiet()).await.unwrap();
    connection.handle(request(Method::ResourcesSubscribe), quiet()).await.unwrap();
    let asked = peer.last("subscriptions/listen");
    assert_eq!(asked.body["params"]["notifications"], json!({"resourceSubscriptions": ["a:b"]}));
    let stream = streams.lock().unwrap().pop().unwrap();
    stream.send(notification("notifications/resources/updated", json!({"uri": "a:b"}))).unwrap();
    ears.wait_for("ResourceUpdated").await;
    connection.handle(request(Method::ResourcesUnsubscribe), quiet()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), stream.closed()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_sends_no_updates_of_a_resource_says_so() {
    let peer = Peer::start(|asked| match asked.method() {
        "server/discover" => discovered(asked),
        _ => asked.error(404, -32601, Value::Null),
    })
    .await;
    let connection = connect(&peer).await;
    let request = sallyport_protocol::Request::new(Method::ResourcesSubscribe, object(r#"{"uri":"a:b"}"#));
    let failure = connection.handle(request, quiet()).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::CannotCross), "{failure:?}");
}

#[tokio::test]
async fn a_legacy_server_is_told_the_lowest_level_once() {
    let peer = Peer::start(|asked| match asked.method() {
        "server/discover" => not_initialized(),
        "initialize" => asked
            .result(json!({"protocolVersion": "2025-06-18", "capabilities": {"logging": {}}, "serverInfo": {"name": "x", "version": "1"}})),
        "notifications/initialized" => Said::nothing(202),
        "" => Said::nothing(405),
        _ => asked.result(json!({})),
    })
    .await;
    let connection = connect(&peer).await;
    for _ in 0..2 {
        let mut request = call("echo", "{}");
        request.meta.log_level = Some(sallyport_protocol::LogLevel::Info);
        connection.handle(request, quiet()).await.unwrap();
    }
    assert_eq!(peer.posts()[3..], ["POST logging/setLevel", "POST tools/call", "POST tools/call"]);
}
