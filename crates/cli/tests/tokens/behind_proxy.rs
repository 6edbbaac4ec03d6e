//! Where a request comes from, when it comes through a proxy.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::gateway::{Gateway, Project};
use crate::harness::http::Connection;
use crate::harness::processes::eventually;
use crate::{KEY, write_private};

const CONFIGURATION: &str = r#"
behind_proxy = true
keys = ["file:key"]

[policy]
engines = [{ cedar = { files = ["main.cedar"] } }, { rego = { files = ["main.rego"] } }]

[servers.files]
builtin = { filesystem = { root = "files" } }
"#;

const CEDAR: &str = r#"
permit (principal, action, resource) when { context has address && context.address.isInRange(ip("192.0.2.0/24")) };
permit (principal, action, resource) when { context.loopback };
"#;

const REGO: &str = r#"package sallyport
import rego.v1

deny contains "not for this one" if input.origin.address == "192.0.2.66"
deny contains "nobody is at this machine" if input.origin.loopback
"#;

/// Sends `tools/call` with those lines of a proxy; whether it was let through.
fn is_let_through(port: u16, forwarded: &[&str]) -> bool {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": "list_directory", "arguments": { "path": "." }, "_meta": meta });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    let bearer = format!("Bearer {KEY}");
    let mut headers = vec![
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "list_directory"),
        ("Authorization", &*bearer),
    ];
    headers.extend(forwarded.iter().map(|value| ("X-Forwarded-For", *value)));
    let answer = Connection::open(port).post("/servers/files/mcp", &headers, &body);
    let message: Value = serde_json::from_str(answer.message().unwrap()).unwrap();
    let result = &message["result"];
    assert!(result.is_object(), "{message}");
    result["isError"] != json!(true)
}

#[test]
fn policy_sees_the_caller_and_never_the_proxy() {
    let project = Project::new(CONFIGURATION);
    fs::create_dir(project.path("files")).unwrap();
    fs::write(project.path("main.cedar"), CEDAR).unwrap();
    fs::write(project.path("main.rego"), REGO).unwrap();
    write_private(&project, "key", KEY);
    let gateway = project.up();
    let tried: [(&[&str], bool, &str); 8] = [
        (&["192.0.2.7"], true, "192.0.2.7"),
        (&["198.51.100.1, 192.0.2.8:4711"], true, "192.0.2.8"),
        (&["198.51.100.1", "192.0.2.9"], true, "192.0.2.9"),
        (&["192.0.2.7, 198.51.100.1"], false, "198.51.100.1"),
        (&["192.0.2.7", "198.51.100.2"], false, "198.51.100.2"),
        (&["192.0.2.66"], false, "192.0.2.66"),
        (&[], false, "unknown"),
        (&["192.0.2.7, unknown"], false, "unknown"),
    ];
    for (forwarded, expected, _) in tried {
        assert_eq!(is_let_through(gateway.port, forwarded), expected, "{forwarded:?}\n{}", gateway.log());
    }
    assert_eq!(recorded(&project, tried.len()), tried.map(|(_, _, address)| json!(address)));
}

/// The addresses that the records tell of so many calls.
fn recorded(project: &Project, calls: usize) -> Vec<Value> {
    let recorded = || -> Vec<Value> {
        let files = fs::read_dir(project.state().join("sallyport/audit")).into_iter().flatten().flatten();
        let text: String = files.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect();
        let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.filter(|record| record["method"] == "tools/call").map(|record| record["asked"]["address"].clone()).collect()
    };
    eventually("the calls are recorded", Duration::from_secs(20), || recorded().len() == calls);
    recorded()
}

/// A gateway that lets addresses of 192.0.2.0/24 in, before which there are proxies at these addresses.
fn behind(proxies: &str) -> (Project, Gateway) {
    let project = Project::new(&CONFIGURATION.replace("behind_proxy = true", &format!("behind_proxy = true\ntrusted_proxies = {proxies}")));
    fs::create_dir(project.path("files")).unwrap();
    fs::write(project.path("main.cedar"), CEDAR).unwrap();
    fs::write(project.path("main.rego"), REGO).unwrap();
    write_private(&project, "key", KEY);
    let gateway = project.up();
    (project, gateway)
}

#[test]
fn who_reaches_the_port_without_being_a_proxy_speaks_for_nobody() {
    let (project, gateway) = behind("[\"10.0.0.5\"]");
    for forwarded in [&["192.0.2.7"][..], &["192.0.2.7, 10.0.0.5"], &["127.0.0.1"], &[]] {
        assert!(!is_let_through(gateway.port, forwarded), "{forwarded:?}\n{}", gateway.log());
    }
    assert_eq!(recorded(&project, 4), ["unknown"; 4].map(|address| json!(address)));
}

#[test]
fn proxies_in_a_row_are_looked_through_as_far_as_they_are_named() {
    let (project, gateway) = behind("[\"127.0.0.1\", \"10.1.0.0/16\"]");
    let tried: [(&[&str], bool, &str); 4] = [
        (&["192.0.2.7, 10.1.0.5"], true, "192.0.2.7"),
        (&["198.51.100.1, 192.0.2.8", "10.1.0.5, 10.1.0.6"], true, "192.0.2.8"),
        (&["192.0.2.7, 198.51.100.1, 10.1.0.5"], false, "198.51.100.1"),
        (&["192.0.2.7, 10.2.0.5"], false, "10.2.0.5"),
    ];
    for (forwarded, expected, _) in tried {
        assert_eq!(is_let_through(gateway.port, forwarded), expected, "{forwarded:?}\n{}", gateway.log());
    }
    assert_eq!(recorded(&project, tried.len()), tried.map(|(_, _, address)| json!(address)));
}

#[test]
fn a_caller_who_names_this_machine_is_not_its_user() {
    let project =
        Project::new(&CONFIGURATION.replace("keys = [\"file:key\"]\n", "").replace(", { rego = { files = [\"main.rego\"] } }", ""));
    fs::create_dir(project.path("files")).unwrap();
    fs::write(project.path("main.cedar"), "permit (principal, action, resource);").unwrap();
    let gateway = project.up();
    for forwarded in [&["127.0.0.1"][..], &["::1"], &[]] {
        let headers: Vec<(&str, &str)> = forwarded.iter().map(|value| ("X-Forwarded-For", *value)).collect();
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
        assert_eq!(Connection::open(gateway.port).post("/mcp", &headers, body).status, 401, "{forwarded:?}");
    }
}
