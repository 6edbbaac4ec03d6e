//! Streamable HTTP of 2026-07-28: every rung of the ladder, streams, subscriptions, and what a disconnect means.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::string_slice, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use http::Method;
use sallyport_protocol::{Event, McpServer as _, Revision};
use sallyport_testkit::{ScriptedFront, ScriptedServer, object};
use sallyport_transport::server::http::Options;
use support::{Running, Stream, eventually, identity, modern_body};

const CALL: &str = r#""name":"echo","arguments":{"message":"hi"}"#;

#[tokio::test]
async fn a_call_is_answered_with_one_json_message_in_the_modern_form() {
    let door = Running::start(Revision::V2025_06_18).await;
    let answer = door.modern("tools/call", CALL, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(!answer.headers.contains_key("mcp-session-id"));
    let json = answer.json();
    assert_eq!(json["id"], "one");
    assert_eq!(json["result"]["content"][0]["text"], "hi");
    assert_eq!(json["result"]["resultType"], "complete");
    assert_eq!(json["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "gate");
    let request = door.server.requests().pop().unwrap();
    assert!(request.params.get("_meta").is_none());
    assert_eq!(request.meta.progress_token.unwrap().as_str(), "7");
}

#[tokio::test]
async fn discover_names_what_is_spoken() {
    let door = Running::start(Revision::LATEST).await;
    let result = &door.modern("server/discover", "", &[]).await.json()["result"];
    assert_eq!(result["supportedVersions"][0], "2026-07-28");
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "scripted", "as `initialize` says it");
    assert_eq!(result["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(result["instructions"], "a server for tests");
    assert_eq!((result["ttlMs"].as_i64(), result["cacheScope"].as_str()), (Some(0), Some("private")));
}

#[tokio::test]
async fn every_rung_of_the_ladder_refuses_with_its_own_code() {
    let door = Running::start(Revision::LATEST).await;
    type Change<'a> = (&'a str, Option<&'a str>);
    let rungs: [(&str, &str, &[Change<'_>], u16, i64); 9] = [
        ("tools/call", CALL, &[("mcp-protocol-version", None)], 400, -32020),
        ("tools/call", CALL, &[("mcp-protocol-version", Some("2025-06-18"))], 400, -32020),
        ("tools/call", CALL, &[("mcp-method", None)], 400, -32020),
        ("tools/call", CALL, &[("mcp-method", Some("Tools/Call"))], 400, -32020),
        ("tools/call", CALL, &[("mcp-name", None)], 400, -32020),
        ("tools/call", CALL, &[("mcp-name", Some("other"))], 400, -32020),
        ("tools/call", CALL, &[("mcp-name", Some("=?base64?!!?="))], 400, -32020),
        ("nosuch", "", &[], 404, -32601),
        ("initialize", "", &[], 404, -32601),
    ];
    for (method, params, changes, status, code) in rungs {
        let answer = door.modern(method, params, changes).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{method} {changes:?} {answer:?}");
        assert_eq!(answer.json()["id"], "one");
    }
    for gone in ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/list", "tasks/result"] {
        let answer = door.modern(gone, "", &[]).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, -32601), "{gone}");
    }
    assert!(door.server.requests().is_empty(), "nothing that was refused reached the server");
}

#[tokio::test]
async fn a_method_that_nobody_here_knows_is_for_the_front_to_judge() {
    let door = Running::start(Revision::LATEST).await;
    door.modern("vendor/thing", r#""x":1"#, &[]).await;
    let asked = door.server.requests();
    assert_eq!((asked[0].method.as_str(), asked[0].params.get("x").unwrap().as_str()), ("vendor/thing", "1"));
}

#[tokio::test]
async fn a_name_may_come_in_base64_and_with_spaces_around() {
    let door = Running::start(Revision::LATEST).await;
    assert_eq!(door.modern("tools/call", CALL, &[("mcp-name", Some("=?base64?ZWNobw==?="))]).await.status, 200);
    assert_eq!(door.modern("tools/call", CALL, &[("mcp-method", Some("  tools/call\t"))]).await.status, 200);
}

#[tokio::test]
async fn an_envelope_that_lacks_a_key_is_an_invalid_request_and_a_foreign_version_is_named() {
    let door = Running::start(Revision::LATEST).await;
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    for meta in [
        "",
        r#","params":{}"#,
        r#","params":{"_meta":[]}"#,
        r#","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
        r#","params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}"#,
        r#","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}}"#,
    ] {
        let answer = door.post("/mcp", &headers, &format!(r#"{{"jsonrpc":"2.0","id":5,"method":"tools/list"{meta}}}"#)).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, -32602), "{meta} {answer:?}");
        assert_eq!(answer.json()["id"], 5);
    }
    let body = modern_body("tools/list", "").replace("2026-07-28", "2031-01-01");
    let answer = door.post("/mcp", &[("mcp-protocol-version", "2031-01-01"), ("mcp-method", "tools/list")], &body).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, -32022));
    assert_eq!(answer.json()["error"]["data"]["requested"], "2031-01-01");
    // Headers are compared before the version is judged.
    let answer = door.post("/mcp", &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")], &body).await;
    assert_eq!(answer.code(), -32020);
}

#[tokio::test]
async fn a_routing_header_that_is_there_twice_is_refused() {
    let door = Running::start(Revision::LATEST).await;
    for twice in [("mcp-method", "tools/call"), ("mcp-name", "echo"), ("mcp-protocol-version", "2026-07-28")] {
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "echo"), twice];
        let answer = door.post("/mcp", &headers, &modern_body("tools/call", CALL)).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, -32020), "{twice:?}");
    }
}

#[tokio::test]
async fn arguments_that_the_schema_wants_in_headers_are_compared() {
    let server = ScriptedServer::new(Revision::LATEST);
    let front = ScriptedFront::open(Arc::clone(&server) as _)
        .with_input_schema(r#"{"type":"object","properties":{"message":{"type":"string","x-mcp-header":"Message"}}}"#);
    let door = Running::with(server, Arc::new(front), Options::new(identity())).await;
    assert_eq!(door.modern("tools/call", CALL, &[]).await.code(), -32020);
    assert_eq!(door.modern("tools/call", CALL, &[("mcp-param-message", Some("ho"))]).await.code(), -32020);
    assert_eq!(door.modern("tools/call", CALL, &[("mcp-param-message", Some("hi")), ("mcp-param-other", Some("x"))]).await.status, 200);
    assert_eq!(door.modern("tools/call", r#""name":"echo""#, &[("mcp-param-message", Some("hi"))]).await.code(), -32020);
}

#[tokio::test]
async fn what_is_said_on_the_way_makes_the_answer_a_stream() {
    let door = Running::start(Revision::LATEST).await;
    let answer = door.modern("tools/call", r#""name":"progress""#, &[]).await;
    assert_eq!(answer.headers["x-accel-buffering"], "no");
    let events = answer.events();
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!((events[0]["params"]["progressToken"].as_i64(), events[0]["params"]["progress"].as_i64()), (Some(7), Some(50)));
    assert_eq!(events[1]["params"]["progress"], 100);
    assert_eq!((events[2]["id"].as_str(), events[2]["result"]["resultType"].as_str()), (Some("one"), Some("complete")));
}

#[tokio::test]
async fn a_client_that_takes_no_stream_gets_the_answer_alone() {
    let door = Running::start(Revision::LATEST).await;
    let answer = door.modern("tools/call", r#""name":"progress""#, &[("accept", Some("application/json"))]).await;
    // Both `accept` headers count; only the second was changed by this test, so the first is taken out by hand.
    assert_eq!(answer.status, 200);
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "progress"),
    ];
    let alone =
        support::Answer::read(door.send(Method::POST, "/mcp", &headers, modern_body("tools/call", r#""name":"progress""#)).await).await;
    assert_eq!(alone.json()["result"]["content"][0]["text"], "done");
    for (accept, status) in [("text/html", 406), ("text/event-stream", 200), ("*/*", 200)] {
        let mut headers = headers;
        headers[1] = ("accept", accept);
        let answer =
            support::Answer::read(door.send(Method::POST, "/mcp", &headers, modern_body("tools/call", r#""name":"progress""#)).await).await;
        assert_eq!(answer.status, status, "{accept}");
    }
}

#[tokio::test]
async fn logs_pass_from_the_wanted_level_on() {
    let door = Running::start(Revision::LATEST).await;
    let loud = door.modern("tools/call", r#""name":"log","arguments":{"level":"error"}"#, &[]).await;
    assert_eq!(loud.events()[0]["params"]["level"], "error");
    let quiet = door.modern("tools/call", r#""name":"log","arguments":{"level":"info"}"#, &[]).await;
    assert_eq!(quiet.json()["result"]["content"][0]["text"], "logged");
}

#[tokio::test]
async fn a_question_cannot_cross_and_says_so() {
    let door = Running::start(Revision::V2025_06_18).await;
    let answer = door.modern("tools/call", r#""name":"ask""#, &[]).await;
    let text = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(text.contains("2026-07-28") && text.contains("elicitation/create"), "{text}");
}

#[tokio::test]
async fn what_a_modern_server_asks_back_passes() {
    let door = Running::start(Revision::LATEST).await;
    let result = &door.modern("tools/call", r#""name":"asks_back""#, &[]).await.json()["result"];
    assert_eq!((result["resultType"].as_str(), result["requestState"].as_str()), (Some("input_required"), Some("s")));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_and_the_call_runs_to_its_end() {
    let door = Running::start(Revision::LATEST).await;
    let call = {
        let headers = [
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "stall"),
        ];
        let body = modern_body("tools/call", r#""name":"stall""#);
        let mut raw = tokio::net::TcpStream::connect(door.address).await.unwrap();
        let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!("POST /mcp HTTP/1.1\r\nhost: localhost\r\n{head}content-length: {}\r\n\r\n{body}", body.len());
        tokio::io::AsyncWriteExt::write_all(&mut raw, text.as_bytes()).await.unwrap();
        raw
    };
    eventually("the call begins", || door.server.record().contains(&"begun stall".to_owned())).await;
    drop(call);
    eventually("the call is cancelled", || door.server.record().contains(&"cancelled stall".to_owned())).await;
}

#[tokio::test]
async fn get_and_delete_are_not_for_modern_clients() {
    let door = Running::start(Revision::LATEST).await;
    for method in [Method::GET, Method::DELETE, Method::PUT] {
        let response = door.send(method, "/mcp", &[("mcp-protocol-version", "2026-07-28"), ("accept", "text/event-stream")], "").await;
        assert_eq!(response.status(), 405);
    }
}

#[tokio::test]
async fn notifications_are_taken_and_dropped_and_answers_refused() {
    let door = Running::start(Revision::LATEST).await;
    let headers = [("mcp-protocol-version", "2026-07-28")];
    let notification = door.post("/mcp", &headers, r#"{"jsonrpc":"2.0","method":"notifications/whatever"}"#).await;
    assert_eq!((notification.status.as_u16(), notification.text.as_str()), (202, ""));
    assert_eq!(door.post("/mcp", &headers, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await.status, 400);
    assert_eq!(door.post("/mcp", &headers, "[]").await.status, 400);
    assert_eq!(door.post("/mcp", &headers, "{").await.code(), -32700);
}

#[tokio::test]
async fn a_subscription_tells_what_it_honours_and_what_changes_until_it_ends() {
    let door = Running::start(Revision::LATEST).await;
    let wishes = r#""notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["test://a"]}"#;
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
    ];
    let response = door.send(Method::POST, "/mcp", &headers, modern_body("subscriptions/listen", wishes)).await;
    let mut stream = Stream::of(response);
    let first = stream.json().await;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    // The scripted server does not announce that its prompts change.
    assert_eq!(first["params"]["notifications"], serde_json::json!({"toolsListChanged": true, "resourceSubscriptions": ["test://a"]}));
    let listeners = door.server.listeners();
    listeners.tell(&Event::PromptsChanged);
    listeners.tell(&Event::ResourceUpdated { uri: "test://b".into(), params: object(r#"{"uri":"test://b"}"#), by: None });
    listeners.tell(&Event::ResourceUpdated { uri: "test://a".into(), params: object(r#"{"uri":"test://a"}"#), by: None });
    let updated = stream.json().await;
    assert_eq!(
        (updated["method"].as_str(), updated["params"]["uri"].as_str()),
        (Some("notifications/resources/updated"), Some("test://a"))
    );
    assert_eq!(updated["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "one");
    listeners.tell(&Event::ToolsChanged);
    assert_eq!(stream.json().await["method"], "notifications/tools/list_changed");
    let server = Arc::clone(&door.server);
    let stopping = door.stop();
    let last = stream.json().await;
    assert_eq!((last["id"].as_str(), last["result"]["resultType"].as_str()), (Some("one"), Some("complete")));
    assert!(stream.next().await.is_none());
    stopping.await.unwrap();
    assert_eq!(server.record(), ["subscribed test://a", "unsubscribed test://a"]);
}

#[tokio::test]
async fn tasks_are_told_of_to_those_who_declared_the_extension_and_named_them() {
    let door = Running::start(Revision::LATEST).await;
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
    ];
    let wishes = r#""notifications":{"taskIds":["t1","t2"]}"#;
    let undeclared = door.post("/mcp", &headers[2..], &modern_body("subscriptions/listen", wishes)).await;
    assert_eq!((undeclared.status.as_u16(), undeclared.code()), (400, -32021));
    let required = &undeclared.json()["error"]["data"]["requiredCapabilities"];
    assert_eq!(*required, serde_json::json!({"extensions": {"io.modelcontextprotocol/tasks": {}}}));
    let declared = |wishes: &str| {
        modern_body("subscriptions/listen", wishes).replace(
            r#""io.modelcontextprotocol/clientCapabilities":{}"#,
            r#""io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
        )
    };
    assert_eq!(door.post("/mcp", &headers[2..], &declared(r#""notifications":{"taskIds":"t1"}"#)).await.code(), -32602);
    let mut stream = Stream::of(door.send(Method::POST, "/mcp", &headers, declared(wishes)).await);
    let first = stream.json().await;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["notifications"], serde_json::json!({"taskIds": ["t1"]}), "the other is not the caller's");
    let tell = |method: &str, params: &'static str| door.server.listeners().tell(&Event::Other(method.into(), object(params)));
    tell("notifications/tasks", r#"{"taskId":"t2","status":"working"}"#);
    tell("notifications/tasks/status", r#"{"taskId":"t1","status":"working"}"#);
    tell("notifications/elicitation/complete", r#"{"elicitationId":"e1"}"#);
    tell("notifications/tasks", r#"{"taskId":"t1","status":"completed","result":{"content":[]}}"#);
    let told = stream.json().await;
    assert_eq!((told["method"].as_str(), told["params"]["status"].as_str()), (Some("notifications/tasks"), Some("completed")));
    assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "one");
}

#[tokio::test]
async fn a_task_is_looked_at_for_those_who_listen_to_it_until_it_ends() {
    let door = Running::start(Revision::LATEST).await;
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
    ];
    let body = modern_body("subscriptions/listen", r#""notifications":{"taskIds":["brief"]}"#).replace(
        r#""io.modelcontextprotocol/clientCapabilities":{}"#,
        r#""io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
    );
    let mut stream = Stream::of(door.send(Method::POST, "/mcp", &headers, body).await);
    assert_eq!(stream.json().await["params"]["notifications"], serde_json::json!({"taskIds": ["brief"]}));
    let told = stream.json().await;
    assert_eq!(told["method"], "notifications/tasks");
    assert_eq!(told["params"]["status"], "completed", "that it still works is no news");
    assert!(told["params"]["result"].is_object() && told["params"].get("resultType").is_none());
    assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "one");
}
