//! The whole way: an agent's token allows SELECT on two tables, for fifteen minutes, and nothing else anywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sallyport_testkit::Postgres;
use serde_json::{Value, json};

use crate::SHOP;
use crate::browser::Browser;
use crate::caller::Caller;
use crate::harness::gateway::{Gateway, Project};
use crate::harness::loopback::free_port;
use crate::harness::processes::eventually;

const SHOP_ENDPOINT: &str = "/servers/shop/mcp";
const SECRET: &str = "a-secret-of-thirty-two-characters";
/// Longer than what a token's end may be off by, for clocks that differ.
const PATIENCE: Duration = Duration::from_secs(60);

/// The database's own login could read every table: what keeps the agent from that here is its token and the policy.
fn configuration(port: u16) -> String {
    format!(
        r#"
public_url = "http://127.0.0.1:{port}"
[identity.server]
access_token_lives = {{ "/mcp" = "1s" }}
[identity.server.clients.agent]
secret = "file:agent-secret"
scopes = ["shop:query"]
[servers.shop]
builtin = {{ database = {{ postgres = "file:address" }} }}
[[servers.shop.arguments]]
tools = ["query", "explain"]
argument = "sql"
kind = {{ sql = "postgresql" }}
[servers.files]
builtin = {{ filesystem = {{ root = "." }} }}
[policy]
engines = [{{ cedar = {{ files = ["shop.cedar"] }} }}]
"#
    )
}

fn policy(port: u16) -> String {
    format!(
        r#"permit (principal == User::"client:agent@http://127.0.0.1:{port}", action in [Action::"shop/query", Action::"shop/explain"], resource)
when {{ context.args.sql.kind == "select" && ["orders", "items"].containsAll(context.args.sql.tables) }};
"#
    )
}

fn write_private(project: &Project, name: &str, text: &str) {
    fs::write(project.path(name), text).unwrap();
    fs::set_permissions(project.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

/// What the agent gets for its secret at one endpoint.
fn ask_token(gateway: &Gateway, endpoint: &str, scope: &str) -> Value {
    let resource = gateway.url(endpoint);
    let fields = [("grant_type", "client_credentials"), ("client_id", "agent"), ("client_secret", SECRET)];
    let answer =
        Browser::default().post(&gateway.url("/oauth/token"), &[&fields[..], &[("resource", &resource), ("scope", scope)]].concat());
    serde_json::from_str(&answer.html).unwrap_or_else(|_| panic!("{answer:?}"))
}

fn token(gateway: &Gateway, endpoint: &str) -> String {
    let answer = ask_token(gateway, endpoint, "shop:query");
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer} {}", gateway.log())).to_owned()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn message(agent: &Caller, method: &str, params: Value) -> Value {
    let answer = agent.ask(SHOP_ENDPOINT, method, params);
    serde_json::from_str(answer.message().unwrap_or_else(|| panic!("{answer:?}"))).unwrap()
}

fn query(agent: &Caller, sql: &str) -> Value {
    message(agent, "tools/call", json!({ "name": "query", "arguments": { "sql": sql } }))
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn a_token_allows_two_tables_for_fifteen_minutes() {
    let postgres = Postgres::start();
    let _nothing = postgres.sql(&format!("{SHOP} CREATE ROLE agent LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO agent"));
    let port = free_port();
    let project = Project::new(&configuration(port));
    write_private(&project, "address", &postgres.url("agent"));
    write_private(&project, "agent-secret", SECRET);
    fs::write(project.path("shop.cedar"), policy(port)).unwrap();
    let gateway = project.up_at(port);

    let shown = token(&gateway, SHOP_ENDPOINT);
    let claims = claims(&shown);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 15 * 60, "{claims}");
    assert_eq!((&claims["aud"], &claims["scope"]), (&json!(gateway.url(SHOP_ENDPOINT)), &json!("shop:query")));
    let agent = Caller::new(port, &shown);
    reads_two_tables_and_nothing_else(&agent, &gateway);
    is_good_for_nothing_else(&agent, &gateway);

    // One that was given for a second ends, wherever it was good before.
    let brief = Caller::new(port, &token(&gateway, "/mcp"));
    assert_eq!(brief.knock("/mcp"), 200, "{}", gateway.log());
    eventually("the token has ended", PATIENCE, || brief.knock("/mcp") == 401);
    assert_eq!(agent.knock(SHOP_ENDPOINT), 200);
}

fn reads_two_tables_and_nothing_else(agent: &Caller, gateway: &Gateway) {
    let listed = message(agent, "tools/list", json!({}));
    let names: Vec<&str> = listed["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["query"]);

    let joined = query(agent, "SELECT o.id, i.price FROM orders o JOIN items i ON i.name = o.item");
    assert!(joined["result"]["content"].to_string().contains("[[1,2.5]]"), "{joined} {}", gateway.log());
    for sql in [
        "SELECT * FROM secrets",
        "SELECT (SELECT token FROM secrets) FROM orders",
        "SELECT id FROM orders UNION SELECT token FROM public.secrets",
        "WITH orders AS (SELECT * FROM secrets) SELECT * FROM orders",
        "SELECT pg_read_file('/etc/passwd')",
        "DELETE FROM orders",
        "SELECT 1; DELETE FROM orders",
    ] {
        let refused = query(agent, sql);
        assert_eq!(refused["result"]["isError"], true, "{sql}: {refused}");
        assert!(!refused.to_string().contains("hunter2"), "{sql}: {refused}");
    }
}

fn is_good_for_nothing_else(agent: &Caller, gateway: &Gateway) {
    let explain = json!({ "name": "explain", "arguments": { "sql": "SELECT id FROM orders" } });
    let beyond = agent.ask(SHOP_ENDPOINT, "tools/call", explain);
    assert_eq!(beyond.status, 403, "{beyond:?}");
    let challenge = beyond.header("www-authenticate").unwrap_or_default();
    assert!(challenge.contains("insufficient_scope") && challenge.contains("shop:explain"), "{challenge}");
    for endpoint in ["/mcp", "/servers/files/mcp"] {
        assert_eq!(agent.knock(endpoint), 401, "{endpoint}");
    }
    // Nor does the agent get a token for more than its configuration says.
    for scope in ["shop:explain", "shop", "files:read", "mcp"] {
        let answer = ask_token(gateway, SHOP_ENDPOINT, scope);
        assert!(answer["error"].is_string() && answer["access_token"].is_null(), "{scope}: {answer}");
    }
}
