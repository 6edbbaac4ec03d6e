//! Whose credential goes with what: all that is part of a call goes with its caller's.

use std::sync::{Arc, Mutex};

use http::HeaderValue;
use sallyport_protocol::{BoxFuture, CallerToken, Cancel, Context, Failure, LogLevel, McpServer, Method, Request};
use sallyport_transport::client::{Connection, Credentials, Kind, Refusal, Target};
use serde_json::json;

use crate::asking::{call, context, object, options};
use crate::http_peer::{Asked, Peer, Said, event, not_initialized};

/// Shows `caller` for whatever is a caller's, and `own` for what nobody asked for.
struct Whose;

impl Credentials for Whose {
    fn authorization<'a>(&'a self, caller: Option<&'a Arc<CallerToken>>) -> BoxFuture<'a, Result<Option<HeaderValue>, Failure>> {
        Box::pin(async move { Ok(Some(HeaderValue::from_static(if caller.is_some() { "caller" } else { "own" }))) })
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

#[tokio::test]
async fn a_subscription_is_opened_with_the_credential_of_who_subscribes() {
    let streams = Arc::new(Mutex::new(Vec::new()));
    let open = Arc::clone(&streams);
    let peer = Peer::start(move |asked: &Asked| match asked.method() {
        "server/discover" => asked.result(json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "resources": { "subscribe": true } },
            "ttlMs": 0, "cacheScope": "private"
        })),
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
    let connection = connect(&peer, Kind::StreamableHttp).await;
    let request = Request::new(Method::ResourcesSubscribe, object(r#"{"uri":"a:b"}"#));
    connection.handle(request, shown(&Cancel::new())).await.unwrap();
    assert_eq!(peer.last("subscriptions/listen").header("authorization"), "caller");
    // It outlasts the token: once it was open it is the connection's to open again.
    streams.lock().unwrap().clear();
    let again = peer.wait_for(|asked| asked.method() == "subscriptions/listen" && asked.header("authorization") == "own").await;
    assert_eq!(again.body["params"]["notifications"], json!({ "resourceSubscriptions": ["a:b"] }));
}
