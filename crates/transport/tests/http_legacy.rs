//! Streamable HTTP of 2025-03-26 to 2025-11-25: sessions, streams, batches, questions.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use sallyport_protocol::{Event, McpServer as _, RawObject, Revision};
use sallyport_telemetry::Metrics;
use sallyport_testkit::{ScriptedFront, ScriptedServer, object};
use sallyport_transport::server::http::Options;
use sallyport_transport::session::SessionBounds;
use support::{Answer, Running, Stream, eventually, identity, initialize};

fn call(id: &str, tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{{"progressToken":"t"}}}}}}"#
    )
}

#[tokio::test]
async fn the_handshake_makes_a_session_and_the_session_answers() {
    let door = Running::start(Revision::LATEST).await;
    let answer = door.post("/mcp", &[], &initialize("2025-06-18", "{}")).await;
    let result = &answer.json()["result"];
    assert_eq!((result["protocolVersion"].as_str(), result["serverInfo"]["name"].as_str()), (Some("2025-06-18"), Some("scripted")));
    let id = answer.headers["mcp-session-id"].to_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let session = [("mcp-session-id", id), ("mcp-protocol-version", "2025-06-18")];
    let initialized = door.post("/mcp", &session, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    assert_eq!((initialized.status.as_u16(), initialized.text.as_str()), (202, ""));
    let ping = door.post("/mcp", &session, r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).await;
    assert_eq!(ping.text, r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
    for id in ["1", "-7", "\"a\\u0062\"", "\"\"", "9007199254740993"] {
        let answer = door.post("/mcp", &session, &call(id, "echo", r#"{"message":"hi"}"#)).await;
        assert_eq!(answer.text, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"hi"}}]}}}}"#));
    }
    let unknown = door.post("/mcp", &session, r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (200, -32601));
}

#[tokio::test]
async fn versions_are_negotiated_and_never_2026() {
    let door = Running::start(Revision::LATEST).await;
    for (wanted, agreed) in
        [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2026-07-28", "2025-11-25"), ("1999-01-01", "2025-11-25")]
    {
        let answer = door.post("/mcp", &[], &initialize(wanted, "{}")).await;
        assert_eq!(answer.json()["result"]["protocolVersion"], agreed);
    }
    let bad = door.post("/mcp", &[], r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#).await;
    assert_eq!(bad.code(), -32602);
    assert!(!bad.headers.contains_key("mcp-session-id"));
}

#[tokio::test]
async fn sessions_that_are_missing_unknown_or_foreign_are_told_apart_only_as_far_as_is_safe() {
    let server = ScriptedServer::new(Revision::LATEST);
    let front = Arc::new(ScriptedFront::with_keys(Arc::clone(&server) as _, &["alice", "bob"]));
    let door = Running::with(server, front, Options::new(identity())).await;
    let alice = ("authorization", "Bearer alice");
    let opened = door.post("/mcp", &[alice], &initialize("2025-06-18", "{}")).await;
    let id = opened.headers["mcp-session-id"].to_str().unwrap().to_owned();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let session = ("mcp-session-id", id.as_str());
    assert_eq!(door.post("/mcp", &[alice, session], ping).await.status, 200);
    assert_eq!(door.post("/mcp", &[alice], ping).await.status, 400);
    assert_eq!(door.post("/mcp", &[alice, session, session], ping).await.status, 400);
    assert_eq!(door.post("/mcp", &[alice, session, ("mcp-protocol-version", "1.0")], ping).await.status, 400);
    for unknown in ["00000000000000000000000000000000", "x", &id.to_uppercase(), &format!("0{id}")] {
        assert_eq!(door.post("/mcp", &[alice, ("mcp-session-id", unknown)], ping).await.status, 404, "{unknown}");
    }
    assert_eq!(door.post("/mcp", &[("authorization", "bearer bob"), session], ping).await.status, 404, "another caller's");
    let bob = [("authorization", "Bearer bob"), session, ("accept", "text/event-stream"), ("last-event-id", "0-0")];
    for (method, headers) in [(Method::GET, &bob[..3]), (Method::GET, &bob[..]), (Method::DELETE, &bob[..2])] {
        assert_eq!(door.send(method, "/mcp", headers, "").await.status(), 404, "another caller's");
    }
    assert_eq!(door.post("/servers/scripted/mcp", &[alice, session], ping).await.status, 404, "another endpoint's");
    assert_eq!(door.post("/mcp", &[alice, session], ping).await.status, 200, "nobody else has ended it");
    let unknown_caller = door.post("/mcp", &[("authorization", "Bearer eve"), session], ping).await;
    assert_eq!((unknown_caller.status.as_u16(), unknown_caller.headers["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
    assert_eq!(door.post("/mcp", &[("authorization", "Basic alice"), session], ping).await.status, 401);
    assert_eq!(door.post("/mcp?key=alice", &[session], ping).await.status, 401, "no keys in the address");
}

#[tokio::test]
async fn delete_ends_a_session_and_its_stream() {
    let door = Running::start(Revision::LATEST).await;
    let id = door.open_session("2025-11-25", "{}").await;
    let session = [("mcp-session-id", id.as_str()), ("accept", "text/event-stream")];
    let mut stream = Stream::of(door.send(Method::GET, "/mcp", &session, "").await);
    assert!(door.send(Method::DELETE, "/mcp", &session, "").await.status().is_success());
    assert!(stream.next().await.is_none());
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(door.send(method, "/mcp", &session, "").await.status(), 404);
    }
    assert_eq!(door.send(Method::GET, "/mcp", &[], "").await.status(), 400);
    assert_eq!(door.send(Method::GET, "/mcp", &[("accept", "application/json")], "").await.status(), 406);
}

#[tokio::test]
async fn news_come_on_the_stream_also_those_from_before_it_was_open_and_each_once() {
    let door = Running::start(Revision::LATEST).await;
    let id = door.open_session("2025-11-25", "{}").await;
    let session = [("mcp-session-id", id.as_str()), ("accept", "text/event-stream")];
    let listeners = door.server.listeners();
    (0..5).for_each(|_| listeners.tell(&Event::ToolsChanged));
    listeners.tell(&Event::Log(object(r#"{"level":"info","data":"nobody listens"}"#)));
    let mut stream = Stream::of(door.send(Method::GET, "/mcp", &session, "").await);
    assert_eq!(stream.json().await["method"], "notifications/tools/list_changed");
    listeners.tell(&Event::Log(object(r#"{"level":"info","data":"heard"}"#)));
    assert_eq!(stream.json().await["params"]["data"], "heard");
    let updated = Event::ResourceUpdated { uri: "test://a".into(), params: object(r#"{"uri":"test://a"}"#), by: None };
    listeners.tell(&updated);
    for _ in 0..2 {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"test://a"}}"#;
        assert_eq!(door.post("/mcp", &session[..1], body).await.json()["result"], serde_json::json!({}));
    }
    listeners.tell(&updated);
    assert_eq!(stream.json().await["params"]["uri"], "test://a");
    // A second stream takes the place of the first.
    let mut second = Stream::of(door.send(Method::GET, "/mcp", &session, "").await);
    assert!(stream.next().await.is_none());
    listeners.tell(&Event::PromptsChanged);
    assert_eq!(second.json().await["method"], "notifications/prompts/list_changed");
    assert!(door.send(Method::DELETE, "/mcp", &session, "").await.status().is_success());
    eventually("the subscription is ended", || door.server.record().contains(&"unsubscribed test://a".to_owned())).await;
    assert_eq!(door.server.record().iter().filter(|what| *what == "subscribed test://a").count(), 1);
}

#[tokio::test]
async fn progress_and_logs_come_before_the_answer_and_levels_are_kept() {
    let door = Running::start(Revision::LATEST).await;
    let id = door.open_session("2025-03-26", "{}").await;
    let session = [("mcp-session-id", id.as_str())];
    let events = door.post("/mcp", &session, &call("1", "progress", "{}")).await.events();
    assert_eq!(events[0]["params"], serde_json::json!({"progress": 50, "total": 100, "message": "half", "progressToken": "t"}));
    assert_eq!(events[2]["id"], 1);
    assert_eq!(
        door.post("/mcp", &session, &call("1", "log", r#"{"level":"debug"}"#)).await.events().len(),
        2,
        "all levels until one is set"
    );
    let set = r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"LEVEL"}}"#;
    assert_eq!(door.post("/mcp", &session, &set.replace("LEVEL", "loud")).await.code(), -32602);
    assert_eq!(door.post("/mcp", &session, &set.replace("LEVEL", "error")).await.json()["result"], serde_json::json!({}));
    assert_eq!(door.post("/mcp", &session, &call("1", "log", r#"{"level":"warning"}"#)).await.json()["id"], 1);
    assert_eq!(door.post("/mcp", &session, &call("1", "log", r#"{"level":"alert"}"#)).await.events().len(), 2);
    assert!(door.server.requests().last().unwrap().meta.log_level.is_some(), "a modern server is told the level");
}

#[tokio::test]
async fn the_oldest_clients_get_no_progress_message() {
    let door = Running::start(Revision::LATEST).await;
    let id = door.open_session("2024-11-05", "{}").await;
    let events = door.post("/mcp", &[("mcp-session-id", id.as_str())], &call("1", "progress", "{}")).await.events();
    assert_eq!(events[0]["params"], serde_json::json!({"progress": 50, "total": 100, "progressToken": "t"}));
}

#[tokio::test]
async fn a_question_is_put_on_the_calls_stream_and_its_answer_posted() {
    let door = Running::start(Revision::V2025_06_18).await;
    let id = door.open_session("2025-06-18", r#"{"elicitation":{}}"#).await;
    let session =
        [("content-type", "application/json"), ("accept", "application/json, text/event-stream"), ("mcp-session-id", id.as_str())];
    let mut stream = Stream::of(door.send(Method::POST, "/mcp", &session, call("1", "ask", "{}")).await);
    let question = stream.json().await;
    assert_eq!((question["method"].as_str(), question["params"]["message"].as_str()), (Some("elicitation/create"), Some("who?")));
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"decline"}}}}"#, question["id"]);
    assert_eq!(door.post("/mcp", &session[2..], &answer).await.status, 202);
    let last = stream.json().await;
    assert_eq!(last["result"]["content"][0]["text"], r#"{"action":"decline"}"#);
    assert!(stream.next().await.is_none());
    // What was not declared is not asked.
    let refused = door.post("/mcp", &session[2..], &call("2", "sample", "{}")).await.json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("did not declare"), "{refused}");
}

#[tokio::test]
async fn a_question_answered_with_an_error_reaches_the_one_who_asked() {
    let door = Running::start(Revision::V2025_06_18).await;
    let id = door.open_session("2025-11-25", r#"{"sampling":{}}"#).await;
    let session = [("content-type", "application/json"), ("accept", "*/*"), ("mcp-session-id", id.as_str())];
    let mut stream = Stream::of(door.send(Method::POST, "/mcp", &session, call("1", "sample", "{}")).await);
    let question = stream.json().await;
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-1,"message":"user said no"}}}}"#, question["id"]);
    assert_eq!(door.post("/mcp", &session[2..], &answer).await.status, 202);
    assert_eq!(stream.json().await["error"]["message"], "user said no");
}

#[tokio::test]
async fn a_question_to_a_client_that_has_left_is_refused_at_once() {
    let door = Running::start(Revision::V2025_06_18).await;
    let id = door.open_session("2025-06-18", r#"{"elicitation":{}}"#).await;
    let body = call("1", "stall_and_ask", "{}");
    let mut raw = tokio::net::TcpStream::connect(door.address).await.unwrap();
    let text = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nmcp-session-id: {id}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut raw, text.as_bytes()).await.unwrap();
    eventually("the call begins", || door.server.record().len() == 1).await;
    drop(raw);
    tokio::time::sleep(Duration::from_millis(100)).await;
    door.server.release();
    eventually("it ends", || door.server.record().last().unwrap() == "ended stall_and_ask").await;
}

#[tokio::test]
async fn a_call_is_cancelled_by_its_id_and_not_by_a_lost_connection() {
    let door = Arc::new(Running::start(Revision::LATEST).await);
    let id = door.open_session("2025-06-18", "{}").await;
    let session = [("content-type", "application/json"), ("mcp-session-id", id.as_str())];
    let calling = {
        let (door, id) = (Arc::clone(&door), id.clone());
        tokio::spawn(async move {
            let session = [("content-type", "application/json"), ("mcp-session-id", id.as_str())];
            Answer::read(door.send(Method::POST, "/mcp", &session, call("\"c\"", "stall", "{}")).await).await
        })
    };
    eventually("the call begins", || door.server.record().len() == 1).await;
    for other in ["\"d\"", "5", "null"] {
        let cancel = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{other}}}}}"#);
        assert_eq!(door.post("/mcp", &session[1..], &cancel).await.status, 202);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(door.server.record().len(), 1);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c","reason":"why not"}}"#;
    assert_eq!(door.post("/mcp", &session[1..], cancel).await.status, 202);
    assert!(calling.await.unwrap().text.contains("cancelled"));
    // The connection of the next call is cut: the call goes on.
    let mut raw = tokio::net::TcpStream::connect(door.address).await.unwrap();
    let body = call("9", "stall", "{}");
    let text = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nmcp-session-id: {id}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut raw, text.as_bytes()).await.unwrap();
    eventually("the second call begins", || door.server.record().len() == 3).await;
    drop(raw);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(door.server.record().len(), 3, "still running");
    door.server.release();
    eventually("it ends by itself", || door.server.record().last().unwrap() == "ended stall").await;
}

#[tokio::test]
async fn batches_are_for_2025_03_26_alone() {
    let door = Running::start(Revision::LATEST).await;
    let id = door.open_session("2025-03-26", "{}").await;
    let session = [("mcp-session-id", id.as_str())];
    let batch = format!(
        r#"[{},{{"jsonrpc":"2.0","method":"notifications/initialized"}},{},{{"jsonrpc":"2.0","id":3,"method":"ping"}},7]"#,
        call("1", "echo", r#"{"message":"a"}"#),
        initialize("2025-03-26", "{}")
    );
    let answers = door.post("/mcp", &session, &batch).await.json();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 4, "{answers:?}");
    assert_eq!((answers[0]["id"].as_i64(), answers[0]["result"]["content"][0]["text"].as_str()), (Some(1), Some("a")));
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!(answers[2]["result"], serde_json::json!({}));
    assert!(answers[3]["error"].is_object());
    let streamed = door.post("/mcp", &session, &format!("[{}]", call("1", "progress", "{}"))).await.events();
    assert!(streamed.len() == 3 && streamed[2][0]["id"] == 1, "{streamed:?}");
    let quiet = door.post("/mcp", &session, r#"[{"jsonrpc":"2.0","method":"x"}]"#).await;
    assert_eq!((quiet.status.as_u16(), quiet.text.as_str()), (202, ""));
    for bad in ["[]", "[", &format!("[{}1]", "1,".repeat(64))] {
        assert_eq!(door.post("/mcp", &session, bad).await.status, 400, "{bad}");
    }
    let newer = door.open_session("2025-06-18", "{}").await;
    assert_eq!(door.post("/mcp", &[("mcp-session-id", newer.as_str())], &batch).await.code(), -32600);
}

#[tokio::test]
async fn what_cannot_cross_to_an_elder_says_so() {
    let door = Running::start(Revision::LATEST).await;
    let id = door.open_session("2025-06-18", "{}").await;
    let answer = door.post("/mcp", &[("mcp-session-id", id.as_str())], &call("1", "asks_back", "{}")).await;
    let result = &answer.json()["result"];
    assert!(result["isError"] == true && result["content"][0]["text"].as_str().unwrap().contains("input_required"), "{result}");
}

#[tokio::test]
async fn the_oldest_sessions_go_when_there_are_too_many_and_idle_ones_expire() {
    let server = ScriptedServer::new(Revision::LATEST);
    let front = Arc::new(ScriptedFront::open(Arc::clone(&server) as _));
    let mut options = Options::new(identity());
    options.sessions = SessionBounds { total: 16, per_caller: 8, idle: Duration::from_millis(900) };
    let door = Running::with(server, front, options).await;
    let mut ids = Vec::new();
    for _ in 0..9 {
        ids.push(door.open_session("2025-06-18", "{}").await);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(door.post("/mcp", &[("mcp-session-id", ids[0].as_str())], ping).await.status, 404, "the oldest went");
    assert_eq!(door.post("/mcp", &[("mcp-session-id", ids[8].as_str())], ping).await.status, 200);
    let held = [("mcp-session-id", ids[8].as_str()), ("accept", "text/event-stream")];
    let stream = Stream::of(door.send(Method::GET, "/mcp", &held, "").await);
    tokio::time::sleep(Duration::from_millis(2300)).await;
    assert_eq!(door.post("/mcp", &[("mcp-session-id", ids[7].as_str())], ping).await.status, 404, "expired");
    assert_eq!(door.post("/mcp", &held[..1], ping).await.status, 200, "its stream is open");
    drop(stream);
}

#[tokio::test]
async fn that_an_address_was_dealt_with_is_told_to_the_client_that_was_asked_to_open_it() {
    let done = |id: &str| {
        let params = RawObject::parse(&format!(r#"{{"elicitationId":"{id}"}}"#).into()).unwrap();
        Event::Other("notifications/elicitation/complete".into(), params)
    };
    let door = Running::start(Revision::V2025_11_25).await;
    let capabilities = r#"{"elicitation":{"form":{},"url":{}}}"#;
    let [asked, failed, other, elder] = [
        door.open_session("2025-11-25", capabilities).await,
        door.open_session("2025-11-25", capabilities).await,
        door.open_session("2025-11-25", capabilities).await,
        door.open_session("2025-06-18", r#"{"elicitation":{}}"#).await,
    ];
    let session = |id: &str| [("accept".to_owned(), "*/*".to_owned()), ("mcp-session-id".to_owned(), id.to_owned())];
    let listen = async |id: &str| {
        let headers = session(id);
        let headers = headers.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
        Stream::of(door.send(Method::GET, "/mcp", &headers, "").await)
    };
    let (mut asked_hears, mut failed_hears) = (listen(&asked).await, listen(&failed).await);
    let (mut other_hears, mut elder_hears) = (listen(&other).await, listen(&elder).await);
    let headers = [("content-type", "application/json"), ("accept", "*/*"), ("mcp-session-id", asked.as_str())];
    let mut calling = Stream::of(door.send(Method::POST, "/mcp", &headers, call("1", "ask_url", "{}")).await);
    let question = calling.json().await;
    assert_eq!(question["params"]["elicitationId"], "e1");
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"accept"}}}}"#, question["id"]);
    assert_eq!(door.post("/mcp", &headers[2..], &answer).await.status, 202);
    assert_eq!(calling.json().await["id"], 1);
    let required = door.post("/mcp", &[("mcp-session-id", failed.as_str())], &call("1", "needs_url", "{}")).await;
    assert_eq!(required.code(), -32042);
    let listeners = door.server.listeners();
    for event in [done("e2"), done("e1"), done("e1"), Event::ToolsChanged] {
        listeners.tell(&event);
    }
    for hears in [&mut asked_hears, &mut failed_hears] {
        let told = hears.json().await;
        assert_eq!(
            (told["method"].as_str(), told["params"]["elicitationId"].as_str()),
            (Some("notifications/elicitation/complete"), Some("e1"))
        );
        assert_eq!(hears.json().await["method"], "notifications/tools/list_changed", "it is told once");
    }
    for hears in [&mut other_hears, &mut elder_hears] {
        assert_eq!(hears.json().await["method"], "notifications/tools/list_changed", "nobody else is told");
    }
}

#[tokio::test]
async fn other_notifications_reach_those_whose_revision_has_them() {
    let door = Running::start(Revision::V2025_11_25).await;
    let tell = |method: &str| door.server.listeners().tell(&Event::Other(method.into(), object(r#"{"taskId":"t1","status":"working"}"#)));
    let (newest, elder) = (door.open_session("2025-11-25", "{}").await, door.open_session("2025-06-18", "{}").await);
    ["notifications/tasks", "notifications/tasks/status", "notifications/com.example/news"].into_iter().for_each(tell);
    for (id, expected) in
        [(newest, vec!["notifications/tasks/status", "notifications/com.example/news"]), (elder, vec!["notifications/com.example/news"])]
    {
        let headers = [("accept", "text/event-stream"), ("mcp-session-id", id.as_str())];
        let mut stream = Stream::of(door.send(Method::GET, "/mcp", &headers, "").await);
        for method in expected {
            assert_eq!(stream.json().await["method"], method);
        }
    }
}

#[tokio::test]
async fn open_sessions_and_streams_are_counted() {
    let metrics = Metrics::new();
    let server = ScriptedServer::new(Revision::V2025_06_18);
    let front = Arc::new(ScriptedFront::open(Arc::clone(&server) as _));
    let mut options = Options::new(identity());
    options.figures = metrics.door();
    options.sessions.per_caller = 32;
    let door = Running::with(server, front, options).await;
    let shows = |sessions: usize, streams: usize| {
        let page = metrics.encode();
        [format!("sallyport_sessions {sessions}\n"), format!("sallyport_open_streams {streams}\n")].iter().all(|line| page.contains(line))
    };
    assert!(shows(0, 0));
    let refused = door.post("/mcp", &[], r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#).await;
    assert!(refused.code() == -32602 && shows(0, 0), "a handshake that failed leaves nothing");
    let first = door.open_session("2025-06-18", "{}").await;
    let second = door.open_session("2025-11-25", r#"{"elicitation":{}}"#).await;
    let [first, second] = [&first, &second].map(|id| [("accept", "text/event-stream, application/json"), ("mcp-session-id", id.as_str())]);
    let news = Stream::of(door.send(Method::GET, "/mcp", &first, "").await);
    let headers = [first[0], second[1], ("content-type", "application/json")];
    let asking = Stream::of(door.send(Method::POST, "/mcp", &headers, call("1", "ask", "{}")).await);
    assert!(shows(2, 2), "{}", metrics.encode());
    drop((news, asking));
    eventually("streams that broke are not counted", || shows(2, 0)).await;
    assert_eq!(door.send(Method::DELETE, "/mcp", &first[1..], "").await.status(), 204);
    assert!(shows(1, 0));
    for _ in 0..40 {
        door.open_session("2025-06-18", "{}").await;
    }
    assert!(shows(32, 0) || shows(31, 0), "sessions that were pushed out are not counted: {}", metrics.encode());
}
