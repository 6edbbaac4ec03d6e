//! Over pipes, against servers that are scripted line by line.

use std::sync::Arc;
use std::time::Duration;

use sallyport_protocol::{Cancel, FailureKind, FailureSource, Listener, McpServer, RawJson, Retry, Revision};
use sallyport_transport::client::{Connection, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, duplex, split};

use crate::asking::{Ears, call, context, options, quiet};

/// The server's end of the pipes.
struct Child {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    write: WriteHalf<DuplexStream>,
}

impl Child {
    /// The next message, which must be of this method.
    async fn expect(&mut self, method: &str) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(10), self.lines.next_line()).await.expect(method).unwrap();
        let message: Value = serde_json::from_str(&line.unwrap_or_else(|| panic!("closed, not {method}"))).unwrap();
        assert_eq!(message["method"].as_str().unwrap_or(""), method, "{message}");
        message
    }

    async fn say(&mut self, text: impl std::fmt::Display) {
        self.write.write_all(format!("{text}\n").as_bytes()).await.unwrap();
    }

    async fn answer(&mut self, request: &Value, result: Value) {
        self.say(json!({"jsonrpc": "2.0", "id": request["id"], "result": result})).await;
    }

    async fn refuse(&mut self, request: &Value, code: i64) {
        self.say(json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": "no"}})).await;
    }

    async fn initialized(&mut self) {
        let request = self.expect("initialize").await;
        self.answer(
            &request,
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "child", "version": "1"}}),
        )
        .await;
        self.expect("notifications/initialized").await;
    }

    async fn discovered(&mut self) {
        let request = self.expect("server/discover").await;
        self.answer(&request, json!({"supportedVersions": ["2026-07-28"], "capabilities": {}})).await;
    }
}

type Opened = Result<Arc<Connection>, sallyport_protocol::Failure>;

fn start(options: Options) -> (impl Future<Output = Opened>, Child) {
    let (near, far) = duplex(64 * 1024);
    let (read, write) = split(near);
    let (their_read, their_write) = split(far);
    (Connection::over_stdio(read, write, options), Child { lines: BufReader::new(their_read).lines(), write: their_write })
}

/// A legacy child, connected to.
async fn legacy(options: Options) -> (Arc<Connection>, Child) {
    let known = Options { known: Some(Revision::LATEST_LEGACY), ..options };
    let (opening, mut child) = start(known);
    let (connection, ()) = futures_util::join!(opening, child.initialized());
    (connection.unwrap(), child)
}

#[tokio::test]
async fn any_error_to_the_probe_leads_to_initialize() {
    for code in [-32601, -32602, -32600, -32000, 7] {
        let (opening, mut child) = start(options());
        let serving = async {
            let probe = child.expect("server/discover").await;
            assert_eq!(probe["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
            child.refuse(&probe, code).await;
            child.initialized().await;
        };
        let (connection, ()) = futures_util::join!(opening, serving);
        assert_eq!(connection.unwrap().discovery().revision, Revision::V2025_11_25, "{code}");
    }
}

#[tokio::test]
async fn a_server_that_answers_the_probe_too_late_has_latched_and_is_asked_again() {
    let (opening, mut child) = start(Options { probe_timeout: Duration::from_millis(300), ..options() });
    let serving = async {
        let probe = child.expect("server/discover").await;
        let initialize = child.expect("initialize").await; // the probe has timed out
        child.answer(&probe, json!({"supportedVersions": ["2026-07-28"], "capabilities": {}})).await;
        child.refuse(&initialize, -32022).await;
        child.discovered().await;
    };
    let (connection, ()) = futures_util::join!(opening, serving);
    assert_eq!(connection.unwrap().discovery().revision, Revision::V2026_07_28);
}

#[tokio::test]
async fn a_server_that_ends_at_the_probe_is_told_from_one_that_ends_otherwise() {
    let (opening, mut child) = start(options());
    let ending = async move {
        child.expect("server/discover").await;
    };
    let (connection, ()) = futures_util::join!(opening, ending);
    let failure = connection.unwrap_err();
    assert!(matches!((&failure.kind, failure.retry), (FailureKind::UnsupportedVersion(_), Retry::Safe)), "{failure:?}");
    assert_eq!(failure.source, FailureSource::Upstream("peer".to_owned()));

    let (opening, mut child) = start(Options { known: Some(Revision::LATEST_LEGACY), ..options() });
    let ending = async move {
        child.expect("initialize").await;
    };
    let (connection, ()) = futures_util::join!(opening, ending);
    assert!(matches!(connection.unwrap_err().kind, FailureKind::Unreachable));
}

#[tokio::test]
async fn a_wrong_verdict_of_last_time_is_healed() {
    let (opening, mut child) = start(Options { known: Some(Revision::V2025_06_18), ..options() });
    let serving = async {
        let request = child.expect("initialize").await;
        child.refuse(&request, -32601).await;
        child.discovered().await;
    };
    let (connection, ()) = futures_util::join!(opening, serving);
    assert_eq!(connection.unwrap().discovery().revision, Revision::V2026_07_28);
}

#[tokio::test]
async fn calls_are_answered_in_any_order_between_lines_that_are_no_messages() {
    let (connection, mut child) = legacy(options()).await;
    let serving = async {
        let (first, second) = (child.expect("tools/call").await, child.expect("tools/call").await);
        child.say("listening on stdio…").await;
        child.say("{\"level\":\"info\",\"msg\":\"hello\"}").await;
        child.answer(&second, json!({"n": 2})).await;
        child.answer(&json!({"id": 999}), json!({})).await;
        child.answer(&first, json!({"n": 1})).await;
    };
    let calls = async { futures_util::join!(connection.handle(call("a", "{}"), quiet()), connection.handle(call("b", "{}"), quiet())) };
    let ((one, two), ()) = futures_util::join!(calls, serving);
    assert_eq!(one.unwrap().result.get("n").unwrap().as_str(), "1");
    assert_eq!(two.unwrap().result.get("n").unwrap().as_str(), "2");
}

#[tokio::test]
async fn malformed_answers_are_named_and_end_the_call_they_belong_to() {
    let (connection, mut child) = legacy(options()).await;
    for (text, what) in [
        (r#"{"jsonrpc":"2.0","id":ID,"result":"text"}"#, "expected an object"),
        (r#"{"result":[1],"jsonrpc":"2.0","id":ID}"#, "expected an object"),
        (r#"{"jsonrpc":"2.0","id":ID,"result":{"content":["#, "not JSON"),
        (r#"{"jsonrpc":"2.0","id":ID}"#, "one of"),
    ] {
        let serving = async {
            let request = child.expect("tools/call").await;
            child.say(text.replace("ID", &request["id"].to_string())).await;
        };
        let (outcome, ()) = futures_util::join!(connection.handle(call("a", "{}"), quiet()), serving);
        let failure = outcome.unwrap_err();
        assert!(matches!(failure.kind, FailureKind::Malformed), "{text}: {failure:?}");
        assert!(failure.public.contains(what), "{text}: {failure}");
    }
}

#[tokio::test]
async fn a_line_without_end_fails_the_call_and_not_the_connection() {
    let (connection, mut child) = legacy(Options { line_limit: 100_000, ..options() }).await;
    let serving = async {
        child.expect("tools/call").await;
        child.say("x".repeat(1_000_000)).await;
        let next = child.expect("tools/call").await;
        child.answer(&next, json!({})).await;
    };
    let calling = async {
        let failure = connection.handle(call("a", "{}"), quiet()).await.unwrap_err();
        assert!(matches!(failure.kind, FailureKind::TooLarge), "{failure:?}");
        connection.handle(call("b", "{}"), quiet()).await.unwrap();
    };
    futures_util::join!(calling, serving);
}

#[tokio::test]
async fn a_child_that_ends_in_a_call_loses_it_and_the_connection_is_over() {
    let (connection, mut child) = legacy(options()).await;
    let dying = async move {
        child.expect("tools/call").await;
    };
    let (outcome, ()) = futures_util::join!(connection.handle(call("a", "{}"), quiet()), dying);
    let failure = outcome.unwrap_err();
    assert!(matches!((&failure.kind, failure.retry), (FailureKind::Unreachable, Retry::Unknown)), "{failure:?}");
    assert_eq!(connection.closed().await.why, "its output ended");
    let failure = connection.handle(call("b", "{}"), quiet()).await.unwrap_err();
    assert!(matches!((&failure.kind, failure.retry), (FailureKind::Unreachable, Retry::Safe)), "{failure:?}");
}

#[tokio::test]
async fn cancelling_sends_word_and_a_late_answer_harms_nobody() {
    let (connection, mut child) = legacy(options()).await;
    let cancel = Cancel::new();
    let serving = async {
        let request = child.expect("tools/call").await;
        cancel.cancel();
        let told = child.expect("notifications/cancelled").await;
        assert_eq!(told["params"]["requestId"], request["id"]);
        child.answer(&request, json!({})).await;
        let next = child.expect("tools/call").await;
        child.answer(&next, json!({})).await;
    };
    let calling = async {
        let failure = connection.handle(call("a", "{}"), context(&Arc::default(), &cancel)).await.unwrap_err();
        assert!(matches!(failure.kind, FailureKind::Cancelled));
        connection.handle(call("b", "{}"), quiet()).await.unwrap();
    };
    futures_util::join!(calling, serving);
}

#[tokio::test]
async fn a_question_belongs_to_the_one_call_in_flight_or_to_none() {
    let (connection, mut child) = legacy(options()).await;
    let question = |id: &str| json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"});
    let ears: Arc<Ears> = Arc::default();
    let serving = async {
        child.say(question("before")).await;
        assert_eq!(child.expect("").await["error"]["code"], -32601);
        let first = child.expect("tools/call").await;
        child.say(question("alone")).await;
        let answer = child.expect("").await;
        assert_eq!((&answer["id"], &answer["result"]), (&json!("alone"), &json!({"action": "decline"})));
        let second = child.expect("tools/call").await;
        child.say(question("ambiguous")).await;
        assert_eq!(child.expect("").await["error"]["code"], -32601);
        child.say(json!({"jsonrpc": "2.0", "id": 5, "method": "ping"})).await;
        assert_eq!(child.expect("").await["result"], json!({}));
        child.answer(&first, json!({})).await;
        child.answer(&second, json!({})).await;
    };
    let calling = async {
        let second = async {
            ears.wait_for("asked roots/list").await;
            connection.handle(call("b", "{}"), quiet()).await.unwrap();
        };
        let (first, ()) = futures_util::join!(connection.handle(call("a", "{}"), context(&ears, &Cancel::new())), second);
        first.unwrap();
    };
    // The question before any call must come before the call.
    futures_util::join!(serving, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        calling.await;
    });
}

#[tokio::test]
async fn progress_goes_by_its_token_and_news_to_the_listeners() {
    let (connection, mut child) = legacy(options()).await;
    let news: Arc<Ears> = Arc::default();
    let listener: Arc<dyn Listener> = Arc::<Ears>::clone(&news);
    connection.listeners().add(&listener);
    let ears: Arc<Ears> = Arc::default();
    let serving = async {
        let request = child.expect("tools/call").await;
        let token = &request["params"]["_meta"]["progressToken"];
        assert_eq!(token, &request["id"]);
        child.say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})).await;
        child.say(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})).await;
        child.answer(&request, json!({})).await;
        child.say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})).await;
    };
    let mut request = call("a", "{}");
    request.meta.progress_token = Some(RawJson::from_static("1"));
    let (outcome, ()) = futures_util::join!(connection.handle(request, context(&ears, &Cancel::new())), serving);
    outcome.unwrap();
    news.wait_for("Log").await;
    assert_eq!(ears.heard(), [r#"notifications/progress {"progress":1}"#]);
    assert_eq!(news.heard()[0], "ToolsChanged");
}

#[tokio::test]
async fn closing_closes_the_childs_input_after_what_was_queued() {
    let (connection, mut child) = legacy(options()).await;
    connection.close().await;
    assert_eq!(child.lines.next_line().await.unwrap(), None);
    assert_eq!(connection.closed().await.why, "it was closed");
}

#[tokio::test]
async fn dropping_the_connection_closes_the_childs_input() {
    let (connection, mut child) = legacy(options()).await;
    drop(connection);
    let closed = tokio::time::timeout(Duration::from_secs(5), child.lines.next_line()).await;
    assert_eq!(closed.unwrap().unwrap(), None);
}

#[tokio::test]
async fn a_modern_childs_changes_are_listened_to() {
    let (opening, mut child) = start(options());
    let serving = async {
        let probe = child.expect("server/discover").await;
        child.answer(&probe, json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {"listChanged": true}}})).await;
        child.expect("subscriptions/listen").await
    };
    let (connection, listening) = futures_util::join!(opening, serving);
    let connection = connection.unwrap();
    let ears: Arc<Ears> = Arc::default();
    let listener: Arc<dyn Listener> = Arc::<Ears>::clone(&ears);
    connection.listeners().add(&listener);
    let meta = json!({"io.modelcontextprotocol/subscriptionId": listening["id"]});
    child.say(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"_meta": meta}})).await;
    ears.wait_for("ToolsChanged").await;
}
