//! What a hostile or broken client meets at the HTTP front door, and how the door closes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Response};
use sallyport_protocol::Revision;
use sallyport_testkit::{ScriptedFront, ScriptedServer};
use sallyport_transport::server::Hosts;
use sallyport_transport::server::http::Options;
use support::{Answer, Running, Stream, eventually, identity, initialize, modern_body};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn start(change: impl FnOnce(&mut Options)) -> Running {
    let server = ScriptedServer::new(Revision::LATEST);
    let front = Arc::new(ScriptedFront::open(Arc::clone(&server) as _));
    let mut options = Options::new(identity());
    change(&mut options);
    Running::with(server, front, options).await
}

/// Sends raw bytes and reads until the door closes the connection.
async fn raw(door: &Running, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    stream.write_all(text).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good as a close.
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn hostile_hosts_and_origins_are_refused_on_every_path() {
    let door = start(|options| {
        options.hosts = Hosts { names: vec!["gate.example.com".into()], origins: vec!["https://app.example.com".into()] };
        options.other = Arc::new(|request, _| Box::pin(std::future::ready(Response::new(Bytes::from(request.uri().path().to_owned())))));
    })
    .await;
    for path in ["/mcp", "/sse", "/messages", "/servers/scripted/mcp", "/healthz"] {
        let evil = [("host", "evil.example.com")];
        assert_eq!(door.send(Method::GET, path, &evil, "").await.status(), 403, "{path}");
        assert_eq!(door.send(Method::GET, path, &[("origin", "http://evil.example.com")], "").await.status(), 403, "{path}");
        assert_eq!(door.send(Method::OPTIONS, path, &[("origin", "http://evil.example.com")], "").await.status(), 403, "{path}");
    }
    assert_eq!(door.post("/mcp", &[("host", "gate.example.com")], &initialize("2025-06-18", "{}")).await.status, 200);
    let shown = door.post("/mcp", &[("origin", "https://app.example.com")], &initialize("2025-06-18", "{}")).await;
    assert_eq!((shown.status.as_u16(), shown.headers["access-control-allow-origin"].to_str().unwrap()), (200, "https://app.example.com"));
    assert_eq!(shown.headers["vary"], "Origin");
    assert!(shown.headers["access-control-expose-headers"].to_str().unwrap().contains("Mcp-Session-Id"));
    let other = Answer::read(door.send(Method::GET, "/healthz", &[], "").await).await;
    assert_eq!((other.status.as_u16(), other.text.as_str()), (200, "/healthz"));
}

#[tokio::test]
async fn a_page_may_ask_first() {
    let door = start(|_| {}).await;
    let asks = [
        ("origin", "http://localhost:5173"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type, mcp-method, mcp-param-region, x-other, authorization"),
    ];
    let answer = door.send(Method::OPTIONS, "/mcp", &asks, "").await;
    assert_eq!(answer.status(), 204);
    let headers = answer.headers();
    assert_eq!(headers["access-control-allow-origin"], "http://localhost:5173");
    assert_eq!(headers["access-control-allow-headers"], "content-type, mcp-method, mcp-param-region, authorization");
    assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("DELETE"));
}

#[tokio::test]
async fn callers_are_admitted_before_their_body_is_read() {
    let server = ScriptedServer::new(Revision::LATEST);
    let front = Arc::new(ScriptedFront::with_keys(Arc::clone(&server) as _, &["k"]));
    let door = Running::with(server, front, Options::new(identity())).await;
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    stream
        .write_all(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await.expect("answered without a body").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    assert_eq!(door.post("/servers/other/mcp", &[("authorization", "Bearer k")], "{}").await.status, 404);
}

#[tokio::test]
async fn bodies_are_bounded_whether_they_say_their_length_or_not() {
    let door = start(|options| options.bounds.body = 100_000).await;
    let ping = |size: usize| {
        format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"2025-06-18","x":"{}"}}}}"#,
            "x".repeat(size)
        )
    };
    assert_eq!(door.post("/mcp", &[], &ping(90_000)).await.status, 200);
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let declared = raw(&door, format!("{head}content-length: 100001\r\n\r\n").as_bytes()).await;
    assert!(declared.starts_with("HTTP/1.1 413"), "{declared}");
    let mut chunked = format!("{head}transfer-encoding: chunked\r\nconnection: close\r\n\r\n").into_bytes();
    for _ in 0..20 {
        chunked.extend_from_slice(format!("2000\r\n{}\r\n", "x".repeat(0x2000)).as_bytes());
    }
    let answer = raw(&door, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let mut small = format!("{head}transfer-encoding: chunked\r\nconnection: close\r\n\r\n").into_bytes();
    for piece in ping(10).as_bytes().chunks(7) {
        small.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        small.extend_from_slice(piece);
        small.extend_from_slice(b"\r\n");
    }
    small.extend_from_slice(b"0\r\n\r\n");
    let answer = raw(&door, &small).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn large_payloads_pass_both_ways() {
    let door = start(|_| {}).await;
    let text = "y".repeat(1_000_000);
    let params = format!(r#""name":"echo","arguments":{{"message":"{text}"}}"#);
    let answer = door.modern("tools/call", &params, &[]).await;
    assert_eq!(answer.headers["content-length"].to_str().unwrap().parse::<usize>().unwrap(), answer.text.len());
    assert_eq!(answer.json()["result"]["content"][0]["text"], text);
}

#[tokio::test]
async fn what_is_no_http_or_no_json_is_refused_without_harm() {
    let door = start(|options| options.bounds.head = 16 * 1024).await;
    let long = format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    assert!(raw(&door, long.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(500));
    assert!(raw(&door, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert!(raw(&door, b"\x16\x03\x01\x02\x00garbage\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    for (kind, status) in [("text/plain", 415), ("application/json; charset=utf-8", 200), ("APPLICATION/JSON", 200), ("", 415)] {
        let headers = [("content-type", kind)];
        assert_eq!(door.send(Method::POST, "/mcp", &headers, initialize("2025-06-18", "{}")).await.status(), status, "{kind}");
    }
    for body in
        ["", " ", "nul", "\"x\"", "{\"jsonrpc\":\"2.0\"}", "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"initialize\"}", &"[".repeat(100_000)]
    {
        assert_eq!(door.post("/mcp", &[], body).await.status, 400);
    }
}

#[tokio::test]
async fn slow_heads_and_bodies_are_cut_off_and_idle_connections_closed() {
    let door = start(|options| {
        options.patience.head = Duration::from_secs(1);
        options.patience.body = Duration::from_secs(1);
        options.patience.idle = Duration::from_secs(2);
    })
    .await;
    let began = Instant::now();
    let (head, body, idle) = tokio::join!(
        raw(&door, b"POST /mcp HTTP/1.1\r\nhost: lo"),
        raw(&door, b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"),
        raw(&door, b"GET /other HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    );
    assert!(began.elapsed() < Duration::from_secs(8));
    assert_eq!((head.as_str(), body.as_str()), ("", ""));
    assert!(idle.starts_with("HTTP/1.1 404"), "{idle}");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_their_turn() {
    let door = start(|options| options.bounds.connections = 1).await;
    let first = TcpStream::connect(door.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut second = TcpStream::connect(door.address).await.unwrap();
    second.write_all(b"GET /other HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    assert!(tokio::time::timeout(Duration::from_millis(200), second.read_to_end(&mut answer)).await.is_err());
    drop(first);
    tokio::time::timeout(Duration::from_secs(5), second.read_to_end(&mut answer)).await.expect("served in turn").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 404"));
}

#[tokio::test]
async fn a_closing_door_lets_requests_finish_and_streams_end() {
    let door = start(|_| {}).await;
    let id = door.open_session("2025-06-18", "{}").await;
    let mut stream =
        Stream::of(door.send(Method::GET, "/mcp", &[("mcp-session-id", id.as_str()), ("accept", "text/event-stream")], "").await);
    let (mut idle, mut busy) = (TcpStream::connect(door.address).await.unwrap(), TcpStream::connect(door.address).await.unwrap());
    let body = modern_body("tools/call", r#""name":"stall""#);
    let text = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: stall\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    busy.write_all(text.as_bytes()).await.unwrap();
    let server = Arc::clone(&door.server);
    eventually("the call begins", || server.record().contains(&"begun stall".to_owned())).await;
    let (address, closing) = (door.address, door.stop());
    assert!(stream.next().await.is_none(), "streams end");
    let mut nothing = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), idle.read_to_end(&mut nothing)).await.expect("idle connections close").unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody new is let in");
    assert!(!closing.is_finished());
    server.release();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("released"), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), closing).await.expect("the door closes").unwrap();
}

#[tokio::test]
async fn a_closing_door_does_not_wait_for_ever() {
    let door = start(|options| options.bounds.drain = Duration::from_millis(300)).await;
    let mut busy = TcpStream::connect(door.address).await.unwrap();
    let body = modern_body("tools/call", r#""name":"stall""#);
    let text = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: stall\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    busy.write_all(text.as_bytes()).await.unwrap();
    let server = Arc::clone(&door.server);
    eventually("the call begins", || server.record().contains(&"begun stall".to_owned())).await;
    tokio::time::timeout(Duration::from_secs(5), door.stop()).await.expect("the door closes").unwrap();
    eventually("what was given up is cancelled", || server.record().contains(&"cancelled stall".to_owned())).await;
}

#[tokio::test]
async fn tls_is_spoken_and_what_is_no_tls_is_cut_off() {
    let own = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let config = sallyport_transport::server::tls::from_pem(&certificate, &key).unwrap();
    let door = start(|options| {
        options.tls = Some(config);
        options.patience.head = Duration::from_secs(1);
    })
    .await;
    let mut trust = rustls::RootCertStore::empty();
    trust.add(own.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trust)
        .with_no_client_auth();
    let stream = TcpStream::connect(door.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(b"GET /other HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 404"));
    assert!(!raw(&door, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.starts_with("HTTP"));
    assert!(!raw(&door, b"\x16").await.starts_with("HTTP"), "a handshake that does not go on");
}

#[tokio::test]
async fn requests_one_behind_the_other_on_one_connection_are_answered_in_order() {
    let door = start(|_| {}).await;
    let body = initialize("2025-06-18", "{}");
    let one =
        format!("POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let last = "GET /other HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answers = raw(&door, format!("{one}{one}{last}").as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    assert!(answers.contains("HTTP/1.1 404"));
}

mod random {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is posted, the door answers with a status of HTTP and goes on.
        #[test]
        fn no_message_breaks_the_door(
            body in r#"[\[{]?("jsonrpc":"2.0",)?("id":(1|"a"|null|\{\}),)?("method":"(initialize|tools/call|ping|x)",)?("params":(\{\}|\[\]|\{"_meta":\{[a-z":{}]{0,9}\}\}))?[\]}]?"#,
            version in "(2025-06-18|2026-07-28|[0-9-]{0,11})",
            session in "[0-9a-f]{0,33}",
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let door = start(|_| {}).await;
                let headers = [("mcp-protocol-version", version.as_str()), ("mcp-session-id", session.as_str()), ("mcp-method", "ping")];
                let answer = door.post("/mcp", &headers, &body).await;
                assert!(matches!(answer.status.as_u16(), 200 | 202 | 400 | 404), "{answer:?}");
                assert_eq!(door.post("/mcp", &[], &initialize("2025-06-18", "{}")).await.status, 200);
            });
        }
    }
}
