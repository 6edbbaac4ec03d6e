//! Which way a server speaks over HTTP: what real servers answer, and what must not be taken for a verdict.

use std::time::Duration;

use sallyport_protocol::{FailureKind, McpServer, Retry, Revision};
use sallyport_transport::client::{Connection, Kind, Options, Target};
use serde_json::{Value, json};

use crate::asking::{call, options, quiet};
use crate::http_peer::{Asked, Peer, Said, discovered, initialized, legacy, modern, not_initialized};

const LEGACY_START: [&str; 3] = ["POST server/discover", "POST initialize", "POST notifications/initialized"];

fn echo(asked: &Asked) -> Said {
    asked.result(json!({"content": [], "structuredContent": asked.body["params"]["arguments"]}))
}

async fn refused(peer: &Peer, options: Options) -> sallyport_protocol::Failure {
    Connection::to_url(Target::new(peer.url.clone()), options).await.unwrap_err()
}

#[tokio::test]
async fn a_modern_request_says_everything_in_headers_and_meta() {
    let peer = Peer::start(modern(echo)).await;
    let connection = Connection::to_url(Target::new(peer.url.clone()), options()).await.unwrap();
    assert_eq!(connection.discovery().revision, Revision::V2026_07_28);
    let reply = connection.handle(call("écho", r#"{"n":1.50}"#), quiet()).await.unwrap();
    assert_eq!(reply.result.get("structuredContent").unwrap().as_str(), r#"{"n":1.5}"#);
    assert_eq!(reply.revision, Revision::V2026_07_28);
    let asked = peer.last("tools/call");
    assert_eq!(asked.header("mcp-protocol-version"), "2026-07-28");
    assert_eq!(asked.header("mcp-method"), "tools/call");
    assert_eq!(asked.header("mcp-name"), "=?base64?w6ljaG8=?=");
    assert_eq!(asked.header("accept"), "application/json, text/event-stream");
    assert_eq!(asked.header("host"), peer.url.authority());
    assert_eq!(asked.header("mcp-session-id"), "");
    let meta = &asked.body["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "tests");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({"sampling": {}}));
    assert_eq!(peer.posts(), ["POST server/discover", "POST tools/call"]);
}

#[tokio::test]
async fn whatever_a_legacy_server_says_to_the_probe_it_is_then_initialized() {
    let id = json!({"jsonrpc": "2.0"});
    let error = |id: Value, code: i64| json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "Bad Request"}});
    let answers = [
        ("ts session server", 400, "application/json", error(Value::Null, -32000).to_string()),
        ("py stateful", 400, "application/json", error(json!("server-error"), -32600).to_string()),
        ("py stateless", 400, "application/json", error(json!("server-error"), -32600).to_string()),
        ("a stateless one", 200, "application/json", error(json!(1), -32601).to_string()),
        ("strict about parameters", 400, "application/json", error(json!(1), -32602).to_string()),
        ("not a message", 400, "application/json", id.to_string()),
        ("prose", 400, "text/plain", "Missing session".to_owned()),
        ("no such path for it", 404, "text/html", "<html>".to_owned()),
        ("empty", 406, "text/plain", String::new()),
        ("a crash", 500, "text/plain", "Internal Server Error".to_owned()),
        (
            "go, stateful",
            200,
            "application/json",
            json!({"jsonrpc": "2.0", "id": 1, "result": {"supportedVersions": ["2025-11-25"]}}).to_string(),
        ),
    ];
    for (name, status, kind, body) in answers {
        let serve = legacy(echo);
        let peer = Peer::start(move |asked| match asked.method() {
            "server/discover" => Said::text(status, kind, body.clone()),
            _ => serve(asked),
        })
        .await;
        let connection =
            Connection::to_url(Target::new(peer.url.clone()), options()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(connection.discovery().revision, Revision::V2025_11_25, "{name}");
        assert_eq!(peer.posts(), LEGACY_START, "{name}");
        connection.handle(call("echo", "{}"), quiet()).await.unwrap();
        let asked = peer.last("tools/call");
        assert_eq!((asked.header("mcp-session-id"), asked.header("mcp-protocol-version")), ("s1", "2025-11-25"), "{name}");
        assert_eq!(asked.body["params"], json!({"name": "echo", "arguments": {}}), "{name}");
        assert_eq!(peer.last("initialize").header("mcp-protocol-version"), "", "{name}");
        assert_eq!(peer.last("initialize").body["params"]["capabilities"], json!({"elicitation": {}}), "{name}");
    }
}

#[tokio::test]
async fn a_modern_refusal_is_no_reason_to_fall_back_unless_it_lists_legacy_versions_only() {
    for code in [-32020, -32021, -32022] {
        let peer = Peer::start(move |asked| asked.error(400, code, json!({"supported": ["2099-01-01"]}))).await;
        let failure = refused(&peer, options()).await;
        assert!(matches!(failure.kind, FailureKind::Upstream(error) if error.code == code), "{code}");
        assert_eq!(peer.posts(), ["POST server/discover"], "{code}");
    }
    let serve = legacy(echo);
    let peer = Peer::start(move |asked| match asked.method() {
        "server/discover" => asked.error(400, -32022, json!({"supported": ["2025-06-18"], "requested": "2026-07-28"})),
        _ => serve(asked),
    })
    .await;
    Connection::to_url(Target::new(peer.url.clone()), options()).await.unwrap();
    assert_eq!(peer.posts(), LEGACY_START);
}

#[tokio::test]
async fn an_outage_says_nothing_of_the_era() {
    let closed = Target::new("http://127.0.0.1:1/mcp".parse().unwrap());
    let failure = Connection::to_url(closed, options()).await.unwrap_err();
    assert!(matches!((&failure.kind, failure.retry), (FailureKind::Unreachable, Retry::Safe)), "{failure:?}");
    assert_eq!(failure.public, "server `peer` cannot be reached: connection refused");

    let (_open, silence) = Said::stream();
    let silence = std::sync::Mutex::new(Some(silence));
    let peer = Peer::start(move |_| silence.lock().unwrap().take().unwrap()).await;
    let failure = refused(&peer, Options { probe_timeout: Duration::from_millis(100), ..options() }).await;
    assert!(matches!(failure.kind, FailureKind::TimedOut(_)), "{failure:?}");
    assert_eq!(peer.posts(), ["POST server/discover"]);

    for status in [502, 503, 504] {
        let peer = Peer::start(move |_| Said::text(status, "text/html", "<html>")).await;
        refused(&peer, options()).await;
        assert_eq!(peer.posts(), ["POST server/discover"], "{status}");
    }
}

#[tokio::test]
async fn a_missing_credential_is_named_and_nothing_else_is_tried() {
    for status in [401, 403] {
        let peer = Peer::start(move |_| Said::nothing(status)).await;
        let failure = refused(&peer, options()).await;
        assert!(matches!((&failure.kind, failure.retry), (FailureKind::Unreachable, Retry::Never)), "{failure:?}");
        assert!(failure.hint.is_some());
        assert_eq!(peer.posts(), ["POST server/discover"]);
    }
}

#[tokio::test]
async fn redirects_are_named_and_not_followed() {
    let peer = Peer::start(|_| Said::nothing(307).with("location", "http://127.0.0.1:1/elsewhere")).await;
    let failure = refused(&peer, options()).await;
    assert!(failure.public.contains("redirects are not followed"), "{failure}");
    assert_eq!(peer.posts(), ["POST server/discover"]);
}

#[tokio::test]
async fn what_the_server_spoke_last_time_is_tried_first_and_the_other_way_where_that_fails() {
    let known = |revision| Options { known: Some(revision), ..options() };
    let peer = Peer::start(legacy(echo)).await;
    Connection::to_url(Target::new(peer.url.clone()), known(Revision::V2025_06_18)).await.unwrap();
    assert_eq!(peer.posts(), ["POST initialize", "POST notifications/initialized"]);

    let answers = [("says so", 400, -32022), ("wants `_meta`", 400, -32602), ("knows no such method", 404, -32601)];
    for (name, status, code) in answers {
        let peer = Peer::start(move |asked| match asked.method() {
            "initialize" => asked.error(status, code, Value::Null),
            _ => discovered(asked),
        })
        .await;
        let connection = Connection::to_url(Target::new(peer.url.clone()), known(Revision::V2025_06_18)).await.unwrap();
        assert_eq!(connection.discovery().revision, Revision::V2026_07_28, "{name}");
        assert_eq!(peer.posts(), ["POST initialize", "POST server/discover"], "{name}");
    }
    let peer = Peer::start(legacy(echo)).await;
    Connection::to_url(Target::new(peer.url.clone()), known(Revision::V2026_07_28)).await.unwrap();
    assert_eq!(peer.posts(), LEGACY_START);
}

#[tokio::test]
async fn a_server_of_a_revision_that_nobody_knows_is_refused() {
    let peer = Peer::start(|asked| match asked.method() {
        "server/discover" => not_initialized(),
        _ => asked.result(json!({"protocolVersion": "2031-01-01", "capabilities": {}})),
    })
    .await;
    let target = Target { kind: Kind::StreamableHttp, ..Target::new(peer.url.clone()) };
    let failure = Connection::to_url(target, options()).await.unwrap_err();
    assert!(failure.public.contains("2031-01-01"), "{failure}");
}

#[tokio::test]
async fn headers_of_the_configuration_go_with_every_request() {
    let peer = Peer::start(modern(echo)).await;
    let mut target = Target::new(peer.url.clone());
    target.headers = vec![(http::header::AUTHORIZATION, http::HeaderValue::from_static("Bearer x"))];
    assert!(!format!("{target:?}").contains("Bearer"));
    let connection = Connection::to_url(target, options()).await.unwrap();
    connection.handle(call("echo", "{}"), quiet()).await.unwrap();
    assert!(peer.asked().iter().all(|asked| asked.header("authorization") == "Bearer x"));
}

#[tokio::test]
async fn a_session_that_cannot_be_announced_is_no_session() {
    let peer = Peer::start(|asked| match asked.method() {
        "server/discover" => not_initialized(),
        "initialize" => initialized(asked).with("mcp-session-id", &"x".repeat(5000)),
        _ => Said::nothing(202),
    })
    .await;
    let failure = refused(&peer, options()).await;
    assert!(matches!(failure.kind, FailureKind::Malformed), "{failure}");
}

#[tokio::test]
async fn tls_needs_a_certificate_that_is_trusted() {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let certificate = issued.cert.der().clone();
    let config = rustls::ServerConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let peer = Peer::start_tls(modern(echo), std::sync::Arc::new(config)).await;
    let failure = refused(&peer, options()).await;
    assert!(matches!((&failure.kind, failure.retry), (FailureKind::Unreachable, Retry::Safe)), "{failure:?}");
    assert!(failure.public.contains("no TLS connection"), "{failure}");
    assert!(peer.posts().is_empty());

    let trusting = Target { trust: vec![certificate], ..Target::new(peer.url.clone()) };
    let connection = Connection::to_url(trusting.clone(), options()).await.unwrap();
    connection.handle(call("echo", "{}"), quiet()).await.unwrap();

    let mut by_address = peer.url.clone();
    by_address.set_host(Some("127.0.0.1")).unwrap();
    Connection::to_url(Target { url: by_address.clone(), ..trusting.clone() }, options()).await.expect("known itself, whatever its name");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.der().clone();
    assert!(Connection::to_url(Target { url: by_address, trust: vec![other], ..trusting }, options()).await.is_err());
}
