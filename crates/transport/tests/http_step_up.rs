//! A legacy session whose client got a token that is good for more, after the session had begun.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::sync::{Arc, Weak};

use http::Method;
use sallyport_protocol::{
    Admission, Answer, BoxFuture, CallerToken, Context, Discovery, Era, Event, Failure, Front, Incoming, Listener, McpServer as _, Reply,
    Request, Revision,
};
use sallyport_testkit::{ScriptedFront, ScriptedServer, object};
use sallyport_transport::server::http::Options;
use support::{Running, Stream, eventually, identity, initialize};

/// A front that lets everybody do everything, and hear of resources by the token `broad` alone, as a gateway's policy does.
struct Scoped {
    inner: ScriptedFront,
    server: Arc<ScriptedServer>,
}

struct Heard {
    listener: Weak<dyn Listener>,
    is_broad: bool,
}

impl Listener for Heard {
    fn hear(&self, event: &Event) {
        if self.is_broad || !matches!(event, Event::ResourceUpdated { .. }) {
            self.listener.upgrade().into_iter().for_each(|listener| listener.hear(event));
        }
    }
}

impl Front for Scoped {
    fn admit(&self, incoming: &Incoming) -> Admission {
        self.inner.admit(incoming)
    }

    fn discover(&self, incoming: &Incoming) -> BoxFuture<'static, Result<Discovery, Failure>> {
        self.inner.discover(incoming)
    }

    fn serve(&self, request: Request, incoming: Incoming, context: Context) -> BoxFuture<'static, Result<Reply, Failure>> {
        self.inner.serve(request, incoming, context)
    }

    fn watch(&self, incoming: &Incoming, listener: &Arc<dyn Listener>) -> Option<Arc<dyn Listener>> {
        let shown = incoming.credential.as_ref().map(|token| token.digest());
        let is_broad = shown == Some(CallerToken::new("broad").digest());
        let heard: Arc<dyn Listener> = Arc::new(Heard { listener: Arc::downgrade(listener), is_broad });
        self.server.listeners().add(&heard);
        Some(heard)
    }

    fn answer(&self, failure: &Failure, method: Option<sallyport_protocol::Method>, era: Era) -> Answer {
        self.inner.answer(failure, method, era)
    }
}

#[tokio::test]
async fn a_session_hears_by_the_token_that_was_let_subscribe() {
    let server = ScriptedServer::new(Revision::LATEST);
    let front = Scoped { inner: ScriptedFront::open(Arc::clone(&server) as _), server: Arc::clone(&server) };
    let door = Running::with(server, Arc::new(front), Options::new(identity())).await;
    let greeting = door.post("/mcp", &[("authorization", "Bearer narrow")], &initialize("2025-06-18", "{}")).await;
    let id = greeting.headers["mcp-session-id"].to_str().unwrap();
    let headers = |bearer| [("authorization", bearer), ("accept", "text/event-stream"), ("mcp-session-id", id)];
    let mut stream = Stream::of(door.send(Method::GET, "/mcp", &headers("Bearer narrow"), "").await);

    let subscribe = r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"test://a"}}"#;
    let subscribed = door.post("/mcp", &[("authorization", "Bearer broad"), ("mcp-session-id", id)], subscribe).await;
    assert_eq!(subscribed.json()["result"], serde_json::json!({}));
    // All that is told is told once, though the session has begun to hear twice.
    let updated = Event::ResourceUpdated { uri: "test://a".into(), params: object(r#"{"uri":"test://a"}"#), by: None };
    [Event::ToolsChanged, updated, Event::PromptsChanged].iter().for_each(|event| door.server.listeners().tell(event));
    for told in ["notifications/tools/list_changed", "notifications/resources/updated", "notifications/prompts/list_changed"] {
        assert_eq!(stream.json().await["method"], told);
    }
}

#[tokio::test]
async fn who_subscribes_again_by_another_token_hears_by_that_one_alone() {
    let door = Running::start(Revision::LATEST).await;
    let id = door.open_session("2025-06-18", "{}").await;
    let headers = |bearer| [("authorization", bearer), ("accept", "text/event-stream"), ("mcp-session-id", id.as_str())];
    let mut stream = Stream::of(door.send(Method::GET, "/mcp", &headers("Bearer narrow"), "").await);
    let subscribe = r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"test://a"}}"#;
    let tell = |of: &str| {
        let params = if of == "broad" { r#"{"uri":"test://a","of":"broad"}"# } else { r#"{"uri":"test://a","of":"narrow"}"# };
        let params = object(params);
        door.server.listeners().tell(&Event::ResourceUpdated { uri: "test://a".into(), params, by: Some(CallerToken::new(of).digest()) });
    };
    for (bearer, own, other) in [("Bearer narrow", "narrow", "broad"), ("Bearer broad", "broad", "narrow")] {
        let subscribed = door.post("/mcp", &[("authorization", bearer), ("mcp-session-id", &id)], subscribe).await;
        assert_eq!(subscribed.json()["result"], serde_json::json!({}));
        tell(other);
        tell(own);
        assert_eq!(stream.json().await["params"]["of"], own);
    }
    let ended = || door.server.record().iter().filter(|what| *what == "unsubscribed test://a").count();
    eventually("the first is ended", || ended() == 1).await;
    assert_eq!(door.server.record().iter().filter(|what| *what == "subscribed test://a").count(), 2);
    assert!(door.send(Method::DELETE, "/mcp", &headers("Bearer broad"), "").await.status().is_success());
    eventually("so is the second", || ended() == 2).await;
}
