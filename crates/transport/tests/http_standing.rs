//! Streams end when who opened them may not come in any more.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use http::Method;
use sallyport_protocol::{Event, McpServer as _, Revision};
use sallyport_testkit::{ScriptedFront, ScriptedServer};
use sallyport_transport::server::http::Options;
use support::{Running, Stream, identity, initialize, modern_body};

/// A door that lets in `gone` and `stays`.
async fn start() -> (Running, Arc<ScriptedFront>) {
    let server = ScriptedServer::new(Revision::LATEST);
    let front = Arc::new(ScriptedFront::with_keys(Arc::clone(&server) as _, &["gone", "stays"]));
    (Running::with(server, Arc::clone(&front) as _, Options::new(identity())).await, front)
}

async fn listen(door: &Running, key: &str) -> Stream {
    let bearer = format!("Bearer {key}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
    ];
    let body = modern_body("subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#);
    let mut stream = Stream::of(door.send(Method::POST, "/mcp", &headers, body).await);
    assert_eq!(stream.json().await["method"], "notifications/subscriptions/acknowledged");
    stream
}

async fn session(door: &Running, key: &str) -> Stream {
    let bearer = format!("Bearer {key}");
    let greeting = door.post("/mcp", &[("authorization", &bearer)], &initialize("2025-06-18", "{}")).await;
    let id = greeting.headers["mcp-session-id"].to_str().unwrap();
    let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream"), ("mcp-session-id", id)];
    Stream::of(door.send(Method::GET, "/mcp", &headers, "").await)
}

async fn sse(door: &Running, key: &str) -> Stream {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream")];
    let mut stream = Stream::of(door.send(Method::GET, "/sse", &headers, "").await);
    let endpoint = stream.next().await.unwrap();
    door.post(&endpoint, &[("authorization", &bearer)], &initialize("2024-11-05", "{}")).await;
    stream.json().await;
    stream
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_open_it_at_every_door() {
    let (door, front) = start().await;
    let mut gone = [session(&door, "gone").await, sse(&door, "gone").await];
    let mut listening = listen(&door, "gone").await;
    let mut stay = [session(&door, "stays").await, sse(&door, "stays").await, listen(&door, "stays").await];

    front.revoke("gone");
    let end = listening.json().await;
    assert_eq!(end["result"]["resultType"], "complete", "who listens is told: {end}");
    assert_eq!(listening.next().await, None);
    for stream in &mut gone {
        assert_eq!(stream.next().await, None);
    }
    door.server.listeners().tell(&Event::ToolsChanged);
    for stream in &mut stay {
        assert_eq!(stream.json().await["method"], "notifications/tools/list_changed");
    }
}
