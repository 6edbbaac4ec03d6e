//! Whose credential goes with what: all that is part of a call goes with its caller's.

use std::sync::{Arc, Mutex};

use http::HeaderValue;
use sallyport_protocol::{BoxFuture, CallerToken, Cancel, Context, Failure, Listener, LogLevel, McpServer, Method, Request};
use sallyport_transport::client::{Connection, Credentials, Kind, Refusal, Target};
use serde_json::json;
use tokio::sync::mpsc;

use crate::asking::{Ears, call, context, object, options};
use crate::http_peer::{Asked, Peer, Said, event, legacy, not_initialized};

/// Shows `caller` for whatever is a caller's, `narrow` where its token is that, and `own` for what nobody asked for.
struct Whose;

impl Credentials for Whose {
    fn authorization<'a>(&'a self, caller: Option<&'a Arc<CallerToken>>) -> BoxFuture<'a, Result<Option<HeaderValue>, Failure>> {
        let whose = match caller {
            None => "own",
            Some(caller) if caller.digest() == CallerToken::new("narrow").digest() => "narrow",
            Some(_) => "caller",
        };
        Box::pin(async move { Ok(Some(HeaderValue::from_static(whose))) })
    }

    fn refused<'a>(&'a self, _: Refusal, _: Option<&'a Arc<CallerToken>>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

async fn connect(peer: &Peer, kind: Kind) -> Arc<Connection> {
    let target = Target { kind, credentials: Some(Arc::new(Whose)), ..Target::new(peer.url.clone()) };
    Connection::to_url(target, options()).await.unwrap()
}

/// The context of one who showed a token.
fn shown(cancel: &Cancel) -> Context {
    Context { credential: Some(Arc::new(CallerToken::new("token"))), ..context(&Arc::default(), cancel) }
}

/// The questions that a server asks in the middle of a call.
fn questions() -> String {
    let asked = ["elicitation/create", "ping", "surprise/me"];
    let message = |method: &&str| event(&json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": { "message": "?" } }));
    asked.iter().map(message).collect()
}

/// A legacy server that asks in the middle of each call, and never answers it.
async fn asking(kind: Kind) -> Peer {
    let open = Mutex::new(Vec::new());
    let stream = Arc::new(Mutex::new(None));
    let capabilities = json!({ "tools": {}, "logging": {} });
    Peer::start(move |asked: &Asked| {
        let greeting =
            json!({ "protocolVersion": "2024-11-05", "capabilities": capabilities, "serverInfo": { "name": "x", "version": "1" } });
        let result = match asked.method() {
            "initialize" => Some(greeting),
            "logging/setLevel" => Some(json!({})),
            _ => None,
        };
        let is_call = asked.method() == "tools/call";
        match (kind, asked.verb.as_str()) {
            (Kind::Sse, "GET") => {
                let (sender, said) = Said::stream();
                sender.send("event: endpoint\ndata: /messages\n\n".to_owned()).unwrap();
                *stream.lock().unwrap() = Some(sender);
                said
            }
            (Kind::Sse, _) => {
                let answer = result.map(|result| event(&json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": result })));
                let text = answer.or_else(|| is_call.then(questions));
                text.into_iter().for_each(|text| stream.lock().unwrap().as_ref().unwrap().send(text).unwrap());
                Said::nothing(202)
            }
            (_, "GET") => Said::nothing(405),
            _ if asked.method() == "server/discover" => not_initialized(),
            _ if is_call => {
                let (sender, said) = Said::stream();
                sender.send(questions()).unwrap();
                open.lock().unwrap().push(sender);
                said
            }
            _ => result.map_or_else(|| Said::nothing(202), |result| asked.result(result)),
        }
    })
    .await
}

#[tokio::test]
async fn what_is_part_of_a_call_goes_with_its_callers_credential() {
    for kind in [Kind::StreamableHttp, Kind::Sse] {
        let peer = asking(kind).await;
        let connection = connect(&peer, kind).await;
        let cancel = Cancel::new();
        let mut request = call("slow", "{}");
        request.meta.log_level = Some(LogLevel::Info);
        let calling = connection.handle(request, shown(&cancel));
        let during = async {
            for id in ["elicitation/create", "ping", "surprise/me"] {
                let answered = peer.wait_for(|asked| asked.body["id"] == id).await;
                assert_eq!(answered.header("authorization"), "caller", "{kind:?}: the answer to {id}");
            }
            cancel.cancel();
        };
        let (outcome, ()) = futures_util::join!(calling, during);
        assert!(outcome.is_err());
        for (method, whose) in [
            ("initialize", "own"),
            ("notifications/initialized", "own"),
            ("logging/setLevel", "caller"),
            ("tools/call", "caller"),
            ("notifications/cancelled", "caller"),
        ] {
            let sent = peer.wait_for(|asked| asked.method() == method).await;
            assert_eq!(sent.header("authorization"), whose, "{kind:?}: {method}");
        }
    }
}

/// A modern server that lets whoever shows `caller` hear of resources, and whoever shows `narrow` of none; and its open streams.
async fn announcing() -> (Peer, Arc<Mutex<Vec<mpsc::UnboundedSender<String>>>>) {
    let streams = Arc::new(Mutex::new(Vec::new()));
    let open = Arc::clone(&streams);
    let peer = Peer::start(move |asked: &Asked| match asked.method() {
        "server/discover" => asked.result(json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "resources": { "subscribe": true } },
            "ttlMs": 0, "cacheScope": "private"
        })),
        _ if asked.header("authorization") == "narrow" => asked.error(404, -32602, json!(null)),
        _ => {
            let (sender, said) = Said::stream();
            let filter = &asked.body["params"]["notifications"];
            let params = json!({
                "_meta": { "io.modelcontextprotocol/subscriptionId": asked.body["id"] }, "notifications": filter
            });
            sender
                .send(event(&json!({ "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params })))
                .unwrap();
            open.lock().unwrap().push(sender);
            said
        }
    })
    .await;
    (peer, streams)
}

/// The context of one who showed that token, and waits.
fn by(token: &str) -> Context {
    Context { credential: Some(Arc::new(CallerToken::new(token))), ..shown(&Cancel::new()) }
}

fn about_a(method: Method) -> Request {
    Request::new(method, object(r#"{"uri":"a:b"}"#))
}

/// Whose streams of changes were opened, in order.
fn opened(peer: &Peer) -> Vec<String> {
    let asked = peer.asked();
    let listening = asked.iter().filter(|asked| asked.method() == "subscriptions/listen");
    listening.map(|asked| asked.header("authorization").to_owned()).collect()
}

#[tokio::test]
async fn a_subscription_goes_with_the_credential_of_who_subscribes_also_when_it_is_opened_again() {
    let (peer, streams) = announcing().await;
    let connection = connect(&peer, Kind::StreamableHttp).await;
    connection.handle(about_a(Method::ResourcesSubscribe), by("token")).await.unwrap();
    let first = peer.last("subscriptions/listen");
    streams.lock().unwrap().clear();
    let again = peer.wait_for(|asked| asked.method() == "subscriptions/listen" && asked.body["id"] != first.body["id"]).await;
    assert_eq!([&first, &again].map(|asked| asked.header("authorization")), ["caller", "caller"]);
    assert_eq!(again.body["params"]["notifications"], json!({ "resourceSubscriptions": ["a:b"] }));
}

#[tokio::test]
async fn nobody_hears_by_a_stream_that_anothers_credential_opened() {
    let (peer, streams) = announcing().await;
    let connection = connect(&peer, Kind::StreamableHttp).await;
    let ears: Arc<Ears> = Arc::default();
    let listener: Arc<dyn Listener> = Arc::<Ears>::clone(&ears);
    connection.listeners().add(&listener);
    let ask = |method, token| connection.handle(about_a(method), by(token));
    for turn in 0..2 {
        ask(Method::ResourcesSubscribe, "token").await.unwrap();
        assert!(ask(Method::ResourcesSubscribe, "narrow").await.is_err(), "{turn}: its server has not let it");
        ask(Method::ResourcesUnsubscribe, "narrow").await.unwrap();
    }
    assert_eq!(opened(&peer), ["caller", "narrow", "narrow"], "the same credential's is shared");
    let stream = streams.lock().unwrap().pop().unwrap();
    assert!(!stream.is_closed(), "who has none ends no other");
    let updated = json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": "a:b" } });
    stream.send(event(&updated)).unwrap();
    ears.wait_for(&format!("by: Some({:?})", CallerToken::new("token").digest())).await;
}

#[tokio::test]
async fn of_two_who_subscribe_at_once_neither_ends_what_the_other_waits_for() {
    for (other, streams) in [("token", vec!["caller"]), ("narrow", vec!["caller", "narrow"])] {
        let (peer, _streams) = announcing().await;
        let connection = connect(&peer, Kind::StreamableHttp).await;
        let subscribe = |token| connection.handle(about_a(Method::ResourcesSubscribe), by(token));
        let (one, another) = futures_util::join!(subscribe("token"), subscribe(other));
        assert_eq!((one.is_ok(), another.is_ok()), (true, other == "token"), "{other}");
        let mut opened = opened(&peer);
        opened.sort_unstable();
        assert_eq!(opened, streams);
    }
}

#[tokio::test]
async fn a_legacy_server_that_has_one_session_for_all_ends_a_subscription_with_the_last() {
    let peer = Peer::start(legacy(|asked| asked.result(json!({})))).await;
    let connection = connect(&peer, Kind::StreamableHttp).await;
    for (method, token) in [
        (Method::ResourcesSubscribe, "token"),
        (Method::ResourcesSubscribe, "narrow"),
        (Method::ResourcesUnsubscribe, "token"),
        (Method::ResourcesUnsubscribe, "narrow"),
    ] {
        connection.handle(about_a(method), by(token)).await.unwrap();
    }
    let asked = peer.asked();
    let told = asked.iter().filter(|asked| asked.method().starts_with("resources/"));
    let told: Vec<_> = told.map(|asked| (asked.method(), asked.header("authorization"))).collect();
    assert_eq!(told, [("resources/subscribe", "caller"), ("resources/subscribe", "narrow"), ("resources/unsubscribe", "own")]);
}
