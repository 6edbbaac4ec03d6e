//! Who is told what by the pages beside MCP.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use harness::gateway::Project;
use harness::loopback;

const KEY: &str = "k-0123456789abcdef0123456789abcdef";

#[test]
fn figures_are_for_those_who_hold_a_key() {
    let project = Project::new("keys = [\"file:key\"]\n[servers.here]\nbuiltin = { filesystem = { root = \".\" } }\n");
    fs::write(project.path("key"), KEY).unwrap();
    fs::set_permissions(project.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let gateway = project.up();

    let stranger = loopback::get(gateway.port, "/metrics").unwrap();
    assert!(stranger.starts_with("HTTP/1.1 401"), "{stranger}");
    assert!(stranger.contains("www-authenticate: Bearer") && !stranger.contains("here"), "{stranger}");

    let holder = loopback::get_as(gateway.port, "/metrics", &format!("Authorization: Bearer {KEY}\r\n")).unwrap();
    assert!(holder.starts_with("HTTP/1.1 200"), "{holder}");
    assert!(holder.contains("# EOF"), "{holder}");

    let alive = loopback::get(gateway.port, "/healthz").unwrap();
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
}
