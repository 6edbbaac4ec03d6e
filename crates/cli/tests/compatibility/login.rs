//! People log in at the gateway's own authorization server: with the SDKs' OAuth clients, with a real browser, with an identity provider
//! elsewhere, and with the conformance suite's `authorization` mode.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::harness::gateway::{Gateway, Project};
use crate::harness::http::Connection;
use crate::harness::{loopback, peers};
use crate::provider::{Provider, SECRET};

const PASSWORD: &str = "correct horse battery staple";

/// A gateway with an authorization server, and alice, who may log in there.
fn gateway(more: &str) -> (Project, Gateway) {
    let port = loopback::free_port();
    let project = Project::new(&format!(
        "public_url = \"http://127.0.0.1:{port}\"\n[policy]\ndefault = \"allow\"\n[identity.server]\n{more}\n[servers.files]\nbuiltin = {{ filesystem = {{}} }}\n"
    ));
    project.add_user(&["alice", "--admin"], PASSWORD);
    let gateway = project.up_at(port);
    (project, gateway)
}

fn said(program: &str, arguments: &[&str], gateway: &Gateway) -> Value {
    let run = Command::new(program).args(arguments).env("SALLYPORT_PEERS", peers::folder()).output().expect("the driver starts");
    let errors = String::from_utf8_lossy(&run.stderr);
    serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {errors}\n{}", gateway.log()))
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn typescripts_client_logs_in_through_a_real_browser() {
    let (_project, gateway) = gateway("");
    let url = gateway.url("/servers/files/mcp");
    let seen = said(&peers::node(), &[&peers::driver("login.mjs"), "sdk", &url, "alice", PASSWORD], &gateway);
    assert_eq!(seen["refused"], "UnauthorizedError", "{seen}");
    assert_eq!(seen["wrong"], "That name and password do not belong together.", "{seen}");
    for told in ["TypeScript's SDK", "nobody has checked this name", "alice", &url, "127.0.0.1:"] {
        assert!(seen["consent"].as_str().is_some_and(|text| text.contains(told)), "{told} in {seen}");
    }
    assert_eq!(seen["complaints"].as_array().map(Vec::len), Some(0), "{seen}");
    assert_ne!(seen["colour"], "rgba(0, 0, 0, 0)", "the page has its style: {seen}");
    assert_eq!(seen["iss"], gateway.url(""));
    assert!(seen["tools"].as_array().is_some_and(|tools| tools.contains(&"read_file".into())), "{seen}");
    assert_eq!((&seen["again"], &seen["rotated"]), (&seen["tools"], &true.into()), "it refreshed: {seen}");
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn pythons_client_logs_in() {
    let (_project, gateway) = gateway("");
    let url = gateway.url("/servers/files/mcp");
    let seen = said(&peers::pypi_mcp_2("python"), &[&peers::driver("login.py"), &url, "alice", PASSWORD], &gateway);
    assert!(seen["tools"].as_array().is_some_and(|tools| tools.contains(&"read_file".into())), "{seen}");
    assert_eq!((&seen["iss"], &seen["scope"], &seen["refreshes"]), (&gateway.url("").into(), &"files".into(), &true.into()));
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn the_conformance_suite_logs_in() {
    let back = loopback::free_port();
    let (_project, gateway) =
        gateway(&format!("[identity.server.clients.suite]\nredirect_uris = [\"http://127.0.0.1:{back}/callback\"]\n"));
    let (issuer, resource) = (gateway.url(""), gateway.url("/mcp"));
    let driver = peers::driver("login.mjs");
    let seen = said(&peers::node(), &[&driver, "suite", &issuer, &resource, "alice", PASSWORD, &back.to_string()], &gateway);
    let checks = seen["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    // Where something is missing the suite leaves out what it cannot do, and has nothing to complain of.
    assert!(checks.len() >= 3, "{seen}\n{}", gateway.log());
    assert!(checks.iter().all(|check| check["status"] == "SUCCESS"), "{seen}\n{}", gateway.log());
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn a_real_browser_logs_in_with_a_provider() {
    let port = loopback::free_port();
    let provider = Provider::for_people(&format!("http://127.0.0.1:{port}/oauth/callback/corp"));
    let project = Project::new(&format!(
        "public_url = \"http://127.0.0.1:{port}\"\n[policy]\ndefault = \"deny\"\n\
         [identity.server.login.corp]\nissuer = \"{}\"\ntitle = \"Corp\"\nclient = {{ id = \"web\", secret = \"file:secret\" }}\n\
         allowed_domains = [\"corp.example\"]\n[servers.files]\nbuiltin = {{ filesystem = {{}} }}\n",
        provider.issuer()
    ));
    fs::write(project.path("secret"), SECRET).unwrap();
    fs::set_permissions(project.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let gateway = project.up_at(port);
    let page = gateway.url("/connect");
    let seen = said(&peers::node(), &[&peers::driver("login.mjs"), "provider", &page, "Log in with Corp", "alice"], &gateway);
    assert_eq!(seen["url"], page, "{seen}");
    let shown = seen["shown"].as_str().unwrap_or_default();
    assert!(shown.contains(&format!("You are alice|{}", provider.issuer())), "{seen}\n{}", gateway.log());
    assert_eq!(seen["cookies"], serde_json::json!([{ "httpOnly": true, "sameSite": "Lax" }]));
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn a_real_browser_logs_in_and_approves_a_call() {
    let (project, gateway) = gateway(
        "[identity]\napi_keys = true\n[approvals]\napprovers = [\"group:admin\"]\n\
         [servers.held]\nbuiltin = { filesystem = {} }\nask = [\"list_directory\"]",
    );
    let made = project.sallyport().args(["key", "add", "agent", "--json"]).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let called = || {
        let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
        let call = format!(r#"{{"name":"list_directory","arguments":{{"path":"."}},"_meta":{meta}}}"#);
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{call}}}"#);
        let (version, name) = (("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Name", "list_directory"));
        let headers = [version, ("Mcp-Method", "tools/call"), name, ("Authorization", bearer.as_str())];
        let answer = Connection::open(gateway.port).post("/servers/held/mcp", &headers, &body);
        serde_json::from_str::<Value>(answer.message().unwrap_or_else(|| panic!("{answer:?}"))).unwrap()["result"].clone()
    };
    let held = called();
    let handle = held["_meta"]["dev.sallyport/failure"]["approval"].as_str().unwrap_or_else(|| panic!("{held}")).to_owned();
    let page = gateway.url(&format!("/approvals/{handle}"));
    let seen = said(&peers::node(), &[&peers::driver("login.mjs"), "approve", &page, "alice", PASSWORD], &gateway);
    let says = |member: &str, text: &str| seen[member].as_str().is_some_and(|shown| shown.contains(text));
    assert!(!says("before", "list_directory") && says("asked", "list_directory") && says("asked", "You are user:alice@"), "{seen}");
    assert_eq!((&seen["url"], seen["complaints"].as_array().map(Vec::len)), (&page.into(), Some(0)), "{seen}");
    assert!(says("after", "It is approved") && called()["isError"] != true, "{seen}");
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn a_real_browser_grants_access_to_a_server_elsewhere() {
    let (_tracker, tracker) = gateway("");
    let theirs = tracker.url("/servers/files/mcp");
    let (_project, own) = gateway(&format!("[servers.tracker]\nurl = \"{theirs}\"\ncredential = {{ per_user = {{}} }}"));
    let page = own.url("/connect");
    let seen = said(&peers::node(), &[&peers::driver("login.mjs"), "grant", &page, "tracker", "alice", "alice", PASSWORD], &own);
    assert!(seen["policy"].as_str().is_some_and(|policy| policy.contains("form-action 'self';")), "{seen}");
    assert!(seen["url"].as_str().is_some_and(|url| url.starts_with(&own.url("/connect/callback"))), "{seen}\n{}", own.log());
    assert_eq!(seen["complaints"], serde_json::json!([]), "{seen}");
}
