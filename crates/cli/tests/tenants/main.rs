//! Tenants: each has everything of its own, and whatever one asks of another is answered as if it were not there.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod approvals;
mod begun;
#[path = "../tokens/browser.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of this")]
mod browser;
#[path = "../tokens/caller.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of this")]
mod caller;
mod commands;
mod decided;
mod fixture;
#[path = "../harness/mod.rs"]
mod harness;
mod login;
mod neighbours;
mod objects;
#[path = "../tokens/provider.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of this")]
mod provider;
mod reload;
mod servers;
mod tried;
mod views;
#[path = "../tokens/visitor.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of this")]
mod visitor;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use caller::Caller;
use harness::gateway::{Gateway, Project};
use harness::http::Response;
use serde_json::Value;

/// Where the gateways of these tests say that they are.
const PUBLIC: &str = "https://mcp.example.com";

/// The configured keys: of the gateway itself, and of two tenants.
const OWN_KEY: &str = "o-0123456789abcdef0123456789abcdef";
const ACME_KEY: &str = "a-0123456789abcdef0123456789abcdef";
const UMBRELLA_KEY: &str = "u-0123456789abcdef0123456789abcdef";

/// What both tenants have: a server of the same name, each with a folder of its own.
const TENANTS: &str = r#"
[tenants.acme]
keys = ["file:acme.key"]
policy = { default = "allow" }
[tenants.acme.toolsets.look]
tools = ["files__list_*"]
[tenants.acme.servers.files]
builtin = { filesystem = { root = "acme", write = true } }
[tenants.acme.servers.secret]
builtin = { filesystem = { root = "acme" } }

[tenants.umbrella]
keys = ["file:umbrella.key"]
policy = { default = "allow" }
[tenants.umbrella.toolsets.look]
tools = ["files__list_*"]
[tenants.umbrella.servers.files]
builtin = { filesystem = { root = "umbrella", write = true } }
"#;

/// What the gateway itself has.
const OWN: &str = r#"
keys = ["file:own.key"]
policy = { default = "allow" }
[servers.files]
builtin = { filesystem = { root = "own" } }
"#;

/// A project with keys and folders, and this configuration.
fn project(configuration: &str) -> Project {
    let project = Project::new(configuration);
    for (name, key) in [("own", OWN_KEY), ("acme", ACME_KEY), ("umbrella", UMBRELLA_KEY)] {
        fs::create_dir(project.path(name)).unwrap();
        fs::write(project.path(name).join("whose.txt"), name).unwrap();
        let file = project.path(format!("{name}.key"));
        fs::write(&file, key).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    project
}

/// Everyone who might try: nobody, somebody, and whoever is known somewhere.
fn everyone(gateway: &Gateway, others: &[&str]) -> Vec<Caller> {
    let shown = [OWN_KEY, UMBRELLA_KEY, "nonsense", "sp_nonsense", "e30.e30.e30"].iter().chain(others);
    let known = shown.map(|token| Caller::new(gateway.port, token));
    known.chain([Caller { port: gateway.port, token: None }]).collect()
}

/// An answer to the last byte, but for its date and for the names that the question had in it.
fn told(answer: &Response, names: &[(&str, &str)]) -> String {
    let text = answer.text();
    names.iter().fold(text, |text, (name, in_its_place)| text.replace(name, in_its_place))
}

/// The result of an answer.
fn result(answer: &Response) -> Value {
    let message: Value = serde_json::from_str(answer.message().unwrap_or_default()).unwrap_or_default();
    message["result"].clone()
}
