//! Tokens of a real authorization server, and keys of the gateway's own: who gets in where, and what they may do there.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod behind_proxy;
mod browser;
mod caller;
mod certificates;
mod connect;
mod credential;
mod entra;
#[path = "../tenants/fixture.rs"]
mod fixture;
mod forged;
#[path = "../harness/mod.rs"]
mod harness;
mod keys;
mod limits;
mod matrix;
mod news;
mod onward;
mod per_user;
mod provider;
mod relay;
mod resources;
mod routes;
mod sign_in;
mod signing_keys;
mod tenant_certificates;
mod visitor;
mod withdrawn;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use harness::gateway::{Gateway, Project};
use provider::{Provider, SECRET};

/// Where the gateways of these tests say that they are. Nothing listens there: what is said counts, not what is reached.
const PUBLIC: &str = "https://mcp.example.com";

fn resource(endpoint: &str) -> String {
    format!("{PUBLIC}{endpoint}")
}

/// An authorization server with a resource for each endpoint, and a project that trusts it.
fn trusting() -> (Provider, Project) {
    let resources = [
        (resource("/mcp"), "jwt:RS256"),
        (resource("/servers/files/mcp"), "jwt:ES256"),
        (resource("/servers/notes/mcp"), "opaque"),
        (resource("/toolsets/look/mcp"), "jwt:EdDSA"),
        (resource("/toolsets/keep/mcp"), "jwt:ES256"),
    ];
    let provider = Provider::start(&resources);
    let project = Project::new(&configuration(&provider.issuer()));
    for folder in ["files", "notes"] {
        fs::create_dir(project.path(folder)).unwrap();
        fs::write(project.path(folder).join("a.txt"), "a").unwrap();
    }
    write_private(&project, "secret", SECRET);
    write_private(&project, "key", KEY);
    (provider, project)
}

const KEY: &str = "k-0123456789abcdef0123456789abcdef";

fn write_private(project: &Project, name: &str, text: &str) {
    fs::write(project.path(name), text).unwrap();
    fs::set_permissions(project.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

fn configuration(issuer: &str) -> String {
    format!(
        r#"
public_url = "{PUBLIC}"
keys = ["file:key"]

[identity]
api_keys = true

[identity.issuers.op]
issuer = "{issuer}"
introspection = {{ client_id = "gateway", client_secret = "file:secret" }}

[policy]
default = "allow"

[toolsets.look]
tools = ["files__list_*", "notes__list_*"]

[toolsets.keep]
tools = ["files__*"]

[servers.files]
builtin = {{ filesystem = {{ root = "files", write = true }} }}

[servers.notes]
builtin = {{ filesystem = {{ root = "notes" }} }}
"#
    )
}

/// The value of a parameter of `WWW-Authenticate`.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

/// How many times the log of a gateway's standard error says something.
fn says(gateway: &Gateway, text: &str) -> bool {
    gateway.log().contains(text)
}
