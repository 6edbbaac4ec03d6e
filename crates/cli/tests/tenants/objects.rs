//! What a tenant has begun or offers, tried by another at its own endpoint: it is as what there never was.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fixture::Fixture;
use crate::harness::http::{Connection, Response};
use crate::{ACME_KEY, OWN, TENANTS, UMBRELLA_KEY, project, result, told};

/// A client with a session (2025-11-25).
pub(crate) struct Legacy {
    port: u16,
    key: &'static str,
    endpoint: String,
    pub(crate) session: String,
    next: u64,
}

impl Legacy {
    pub(crate) fn open(port: u16, key: &'static str, endpoint: &str) -> Self {
        let mut client = Self { port, key, endpoint: endpoint.to_owned(), session: String::new(), next: 1 };
        let greeting = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let answer = client.ask("initialize", greeting);
        client.session = answer.header("mcp-session-id").expect("a session was made").to_owned();
        client
    }

    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Response {
        let bearer = format!("Bearer {}", self.key);
        let mut headers = vec![("Authorization", bearer.as_str())];
        if !self.session.is_empty() {
            headers.extend([("Mcp-Session-Id", self.session.as_str()), ("MCP-Protocol-Version", "2025-11-25")]);
        }
        let body = json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params }).to_string();
        Connection::open(self.port).post(&self.endpoint, &headers, &body)
    }
}

fn with_fixture(fixture: &Fixture) -> String {
    let server = |tenant: &str| format!("[tenants.{tenant}.servers.work]\nurl = \"http://127.0.0.1:{}/mcp\"\n", fixture.port);
    format!("{OWN}{TENANTS}{}{}", server("acme"), server("umbrella"))
}

#[test]
fn servers_tools_prompts_and_resources_of_another_are_not_there() {
    let project = project(&format!("{OWN}{TENANTS}"));
    let gateway = project.up();
    let umbrella = Caller::new(gateway.port, UMBRELLA_KEY);
    // `secret` is a server of acme alone; `absent` is nobody's, and as long.
    let requests = |server: &str| {
        [
            ("tools/call", json!({ "name": format!("{server}__list_directory"), "arguments": { "path": "." } })),
            ("prompts/get", json!({ "name": format!("{server}__prompt") })),
            ("resources/read", json!({ "uri": format!("{server}.mcp:file:///whose.txt") })),
            (
                "completion/complete",
                json!({ "ref": { "type": "ref/prompt", "name": format!("{server}__prompt") }, "argument": { "name": "a", "value": "" } }),
            ),
        ]
    };
    for ((method, foreign), (_, unknown)) in requests("secret").into_iter().zip(requests("absent")) {
        for endpoint in ["/t/umbrella/mcp", "/t/umbrella/servers/files/mcp", "/t/umbrella/toolsets/look/mcp"] {
            let names = [("secret", "absent")];
            let answers = [foreign.clone(), unknown.clone()].map(|params| told(&umbrella.ask(endpoint, method, params), &names));
            assert_eq!(answers[0], answers[1], "{method} at {endpoint}");
        }
    }
    let answers = ["secret", "absent"]
        .map(|server| told(&umbrella.ask(&format!("/t/umbrella/servers/{server}/mcp"), "tools/list", json!({})), &[("secret", "absent")]));
    assert_eq!(answers[0], answers[1]);
    for key in [ACME_KEY, UMBRELLA_KEY] {
        let tenant = if key == ACME_KEY { "acme" } else { "umbrella" };
        let tools = result(&Caller::new(gateway.port, key).ask(&format!("/t/{tenant}/mcp"), "tools/list", json!({})));
        assert_eq!(tools.to_string().contains("secret__"), key == ACME_KEY, "{tools}");
    }
}

#[test]
fn a_session_of_another_is_not_there() {
    let project = project(&format!("{OWN}{TENANTS}"));
    let gateway = project.up();
    let mut acme = Legacy::open(gateway.port, ACME_KEY, "/t/acme/mcp");
    let stolen = |session: &str, endpoint: &str| Legacy {
        port: gateway.port,
        key: UMBRELLA_KEY,
        endpoint: endpoint.into(),
        session: session.into(),
        next: 1,
    };
    for endpoint in ["/t/umbrella/mcp", "/t/acme/mcp", "/t/umbrella/servers/files/mcp"] {
        for (method, params) in
            [("tools/list", json!({})), ("ping", json!({})), ("resources/unsubscribe", json!({ "uri": "files.mcp:file:///whose.txt" }))]
        {
            let foreign = told(&stolen(&acme.session, endpoint).ask(method, params.clone()), &[]);
            let unknown = told(&stolen("0123456789abcdef0123456789abcdef", endpoint).ask(method, params), &[]);
            assert_eq!(foreign, unknown, "{method} at {endpoint}");
            assert!(foreign.starts_with(if endpoint.starts_with("/t/umbrella") { "404" } else { "401" }), "{foreign}");
        }
    }
    assert_eq!(acme.ask("tools/list", json!({})).status, 200, "it goes on");
}

/// What a client declares that can be asked and waits for tasks.
fn able(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/clientCapabilities": {
            "elicitation": { "form": {} }, "extensions": { "io.modelcontextprotocol/tasks": {} },
        },
    });
    params
}

#[test]
fn a_task_of_another_is_not_there() {
    let fixture = Fixture::start();
    let project = project(&with_fixture(&fixture));
    let gateway = project.up();
    let (acme, umbrella) = (Caller::new(gateway.port, ACME_KEY), Caller::new(gateway.port, UMBRELLA_KEY));
    let begin = able(json!({ "name": "work__slow_compute", "arguments": { "seconds": 20, "label": "seven" } }));
    let begun = result(&acme.ask("/t/acme/mcp", "tools/call", begin));
    let task = begun["taskId"].as_str().unwrap_or_else(|| panic!("no task: {begun}\n{}", gateway.log())).to_owned();
    let unknown: String = task.chars().map(|letter| if letter.is_ascii_alphanumeric() { 'x' } else { letter }).collect();
    for (caller, endpoint) in [(&umbrella, "/t/umbrella/mcp"), (&umbrella, "/t/umbrella/servers/work/mcp")] {
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            let ask =
                |id: &str| told(&caller.ask(endpoint, method, able(json!({ "taskId": id, "inputResponses": {} }))), &[(&task, &unknown)]);
            assert_eq!(ask(&task), ask(&unknown), "{method} at {endpoint}");
            assert!(ask(&task).contains("task"), "it is refused for the task and for nothing else: {}", ask(&task));
        }
    }
    let now = result(&acme.ask("/t/acme/mcp", "tasks/get", able(json!({ "taskId": task }))));
    assert_eq!(now["status"], "working", "nobody has cancelled it: {now}");
}

#[test]
fn what_another_was_asked_cannot_be_answered() {
    let fixture = Fixture::start();
    let project = project(&with_fixture(&fixture));
    let gateway = project.up();
    let (acme, umbrella) = (Caller::new(gateway.port, ACME_KEY), Caller::new(gateway.port, UMBRELLA_KEY));
    let call = || able(json!({ "name": "work__test_input_required_result_request_state", "arguments": {} }));
    let asked = result(&acme.ask("/t/acme/mcp", "tools/call", call()));
    let state = asked["requestState"].as_str().unwrap_or_else(|| panic!("no state: {asked}\n{}", gateway.log())).to_owned();
    let questions: Vec<&String> = asked["inputRequests"].as_object().unwrap().keys().collect();
    let answer = json!({ "action": "accept", "content": { "ok": true, "confirm": true, "confirmed": true, "name": "a" } });
    let responses: Value = questions.into_iter().map(|id| (id.clone(), answer.clone())).collect::<serde_json::Map<_, _>>().into();
    let retry = |caller: &Caller, endpoint: &str, state: &str| {
        let mut params = call();
        params["requestState"] = json!(state);
        params["inputResponses"] = responses.clone();
        caller.ask(endpoint, "tools/call", params)
    };
    let foreign = told(&retry(&umbrella, "/t/umbrella/mcp", &state), &[]);
    let mut changed = state.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let unknown = told(&retry(&umbrella, "/t/umbrella/mcp", &String::from_utf8(changed).unwrap()), &[]);
    assert_eq!(foreign, unknown);
    let own = retry(&acme, "/t/acme/mcp", &state);
    assert!(result(&own).get("content").is_some(), "whose question it was goes on: {}", own.body);
}

#[test]
fn news_of_another_are_not_heard_and_figures_not_seen() {
    let project = project(&format!("{OWN}{TENANTS}"));
    let gateway = project.up();
    let acme = Caller::new(gateway.port, ACME_KEY);
    let list = json!({ "name": "secret__list_directory", "arguments": { "path": "." } });
    assert_eq!(acme.ask("/t/acme/mcp", "tools/call", list).status, 200);
    let figures =
        |path: &str, key: &str| crate::harness::loopback::get_as(gateway.port, path, &format!("Authorization: Bearer {key}\r\n")).unwrap();
    assert!(figures("/t/acme/metrics", ACME_KEY).contains("secret"));
    for (path, key) in [("/t/umbrella/metrics", UMBRELLA_KEY), ("/metrics", crate::OWN_KEY)] {
        let figures = figures(path, key);
        assert!(figures.starts_with("HTTP/1.1 200") && !figures.contains("secret") && !figures.contains("acme"), "{figures}");
    }
}
