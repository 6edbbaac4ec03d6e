//! What two callers' calls may come to, through the real program.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::gateway::{Gateway, Project};
use crate::harness::http::Connection;
use crate::harness::loopback;
use crate::harness::processes::eventually;

const KEYS: [&str; 2] = ["alice-0123456789abcdef0123456789abcdef", "bobby-0123456789abcdef0123456789abcdef"];

/// A gateway with a key for each of two callers, over a database.
fn gateway(limits: &str) -> (Project, Gateway) {
    let server = "builtin = { database = { sqlite = \"shop.db\", limits = { seconds = 5 } } }";
    let text = format!("keys = [\"file:alice\", \"file:bobby\"]\n[policy]\ndefault = \"allow\"\n[servers.shop]\n{server}\n{limits}");
    let project = Project::new(&text);
    rusqlite::Connection::open(project.path("shop.db")).unwrap().execute_batch(crate::SHOP).unwrap();
    for (name, key) in ["alice", "bobby"].into_iter().zip(KEYS) {
        let file = project.path(name);
        fs::write(&file, key).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let gateway = project.up();
    (project, gateway)
}

fn message(method: &str, params: &Value) -> String {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
}

fn post(connection: &mut Connection, key: &str, method: &str, name: &str, params: &Value) -> Value {
    let authorization = format!("Bearer {key}");
    let headers = [("Authorization", &*authorization), ("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method), ("Mcp-Name", name)];
    let body = message(method, params);
    let response = connection.post("/servers/shop/mcp", &headers, &body);
    serde_json::from_str(response.message().unwrap()).unwrap()
}

fn call(gateway: &Gateway, key: &str, sql: &str) -> Value {
    let params = json!({ "name": "query", "arguments": { "sql": sql } });
    post(&mut Connection::open(gateway.port), key, "tools/call", "query", &params)["result"].clone()
}

/// A call that is under way, whose answer nobody reads.
fn hang(gateway: &Gateway, key: &str) -> TcpStream {
    let body = message("tools/call", &json!({ "name": "query", "arguments": { "sql": ENDLESS } }));
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    let fixed = "Host: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
                 MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: query\r\n";
    let length = body.len();
    write!(stream, "POST /servers/shop/mcp HTTP/1.1\r\n{fixed}Authorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    stream
}

fn failure(result: &Value) -> &Value {
    &result["_meta"]["dev.sallyport/failure"]
}

const QUICK: &str = "SELECT 1";
const ENDLESS: &str = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";

#[test]
fn a_rate_is_each_callers_own_and_outlives_a_reload() {
    let (project, gateway) = gateway("[[limits]]\ntools = [\"query\"]\nrate = { calls = 2, seconds = 3600 }\n");
    for _ in 0..2 {
        assert_ne!(call(&gateway, KEYS[0], QUICK)["isError"], true, "{}", gateway.log());
    }
    let refused = call(&gateway, KEYS[0], QUICK);
    assert_eq!(refused["isError"], true);
    let told = failure(&refused);
    assert_eq!((&told["kind"], &told["limit"], &told["retry"]), (&json!("limited"), &json!("limits[0].rate"), &json!("safe")), "{refused}");
    assert_eq!((&told["used"], &told["most"]), (&json!(2), &json!(2)));
    assert!((1700..=1800).contains(&told["retry_after"].as_u64().unwrap()), "{told}");
    assert!(refused["content"][0]["text"].as_str().unwrap().contains("hint: try again in"), "{refused}");
    assert_ne!(call(&gateway, KEYS[1], QUICK)["isError"], true, "the other caller has calls of their own");

    let more = fs::read_to_string(project.configuration()).unwrap() + "\n[servers.more]\nbuiltin = { filesystem = {} }\n";
    let as_bobby = format!("Authorization: Bearer {}\r\n", KEYS[1]);
    project.configure(&more);
    gateway.signal("HUP");
    eventually("the configuration is read again", Duration::from_secs(30), || {
        loopback::get_as(gateway.port, "/servers/more/mcp", &as_bobby).is_ok_and(|answer| !answer.starts_with("HTTP/1.1 404"))
    });
    assert_eq!(failure(&call(&gateway, KEYS[0], QUICK))["kind"], "limited", "reading the configuration again forgives nothing");
    let metrics = loopback::get_as(gateway.port, "/metrics", &as_bobby).unwrap();
    assert!(metrics.contains("sallyport_limited_calls_total{server=\"shop\",limit=\"rate\"} 2"), "{metrics}");
}

#[test]
fn a_call_at_work_holds_its_place_until_it_ends_however_it_ends() {
    let (_project, gateway) = gateway("[[limits]]\nat_once = 1\nacross = \"principal\"\n");
    let gateway = &gateway;
    let busy = |key: &str| failure(&call(gateway, key, QUICK))["limit"] == "limits[0].at_once";
    std::thread::scope(|scope| {
        // One of the calls below may hold the place when it comes.
        let slow = scope.spawn(|| {
            loop {
                let answered = call(gateway, KEYS[0], ENDLESS);
                if failure(&answered)["limit"] != "limits[0].at_once" {
                    return answered;
                }
            }
        });
        eventually("the first call holds its place", Duration::from_secs(4), || busy(KEYS[0]));
        assert!(!busy(KEYS[1]), "it is the caller's own");
        assert_eq!(slow.join().unwrap()["isError"], true, "it was ended by its time");
    });
    assert!(!busy(KEYS[0]));
    // Who hangs up gives the place back too.
    let at_work = |_: &TcpStream| (0..25).any(|_| busy(KEYS[0]));
    let gone = (0..20).map(|_| hang(gateway, KEYS[0])).find(at_work).expect("a call is at work");
    drop(gone);
    eventually("its place is free", Duration::from_secs(4), || !busy(KEYS[0]));
}

#[test]
fn a_budget_of_bytes_ends_with_the_call_that_goes_beyond_it() {
    let (_project, gateway) = gateway("[[limits]]\nbudget = { seconds = 3600, bytes = 3000 }\n");
    let large = format!("SELECT '{}' AS x", "y".repeat(1000));
    assert_ne!(call(&gateway, KEYS[0], &large)["isError"], true);
    let refused = call(&gateway, KEYS[0], QUICK);
    assert_eq!(failure(&refused)["limit"], "limits[0].budget.bytes", "{refused}");
    assert!(failure(&refused)["used"].as_u64().unwrap() > 3000);
    assert_ne!(call(&gateway, KEYS[1], &large)["isError"], true);
}

#[test]
fn budgets_of_calls_and_of_cost_end_when_they_are_spent() {
    let budgets = "[[limits]]\ntools = [\"list_tables\"]\nbudget = { seconds = 3600, calls = 2 }\n\
                   [[limits]]\nacross = \"principal\"\nbudget = { seconds = 3600, cost = 10, costs = { query = 4, list_tables = 1 } }\n";
    let (_project, gateway) = gateway(budgets);
    let list = |key: &str| {
        let params = json!({ "name": "list_tables", "arguments": {} });
        post(&mut Connection::open(gateway.port), key, "tools/call", "list_tables", &params)["result"].clone()
    };
    let is_done = |result: &Value| result["content"].is_array() && result["isError"] != true;
    assert!(is_done(&list(KEYS[0])) && is_done(&list(KEYS[0])), "{}", gateway.log());
    let refused = list(KEYS[0]);
    let told = failure(&refused);
    assert_eq!((&told["kind"], &told["limit"]), (&json!("limited"), &json!("limits[0].budget.calls")), "{refused}");
    assert_eq!((&told["used"], &told["most"]), (&json!(2), &json!(2)), "{refused}");

    // Two of ten are spent: one query more costs four, two cost eight, and a third is too much.
    assert!(is_done(&call(&gateway, KEYS[0], QUICK)) && is_done(&call(&gateway, KEYS[0], QUICK)), "{}", gateway.log());
    let refused = call(&gateway, KEYS[0], QUICK);
    let told = failure(&refused);
    assert_eq!((&told["kind"], &told["limit"]), (&json!("limited"), &json!("limits[1].budget.cost")), "{refused}");
    assert_eq!((&told["used"], &told["most"]), (&json!(10), &json!(10)), "what was refused before cost nothing: {refused}");
    assert!(is_done(&call(&gateway, KEYS[1], QUICK)) && is_done(&list(KEYS[1])), "the other caller has a budget of their own");
}
