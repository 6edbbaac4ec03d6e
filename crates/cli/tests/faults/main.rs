//! Faults of real children, of clients and of the gateway itself: what they do to the gateway, and what is left of them.
//!
//! The children are real processes of `hostile_server.py`, in the sandbox every server gets; the gateway is the real program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking and says why")]

#[path = "../tokens/caller.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of this")]
mod caller;
#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the sandbox's own tests use more of it")]
#[path = "../../../sandbox/tests/support/image.rs"]
mod image;
mod session;

mod children;
mod death;
mod kill;
mod limits;
mod load;
mod reload;
mod scopes;
mod twins;

use harness::gateway::Project;
use harness::peers;

/// A configuration with one hostile server under each `(name, fault)`, each with `keys` of its own, and a tame one.
fn hostile(servers: &[(&str, &str)], keys: &str) -> Project {
    let script = peers::repository().join("crates/cli/tests/faults/hostile_server.py");
    let table = |name: &str, fault: &str| format!("[servers.{name}]\ncommand = [\"python3\", {script:?}, {fault:?}]\n{keys}\n");
    let tables: String = servers.iter().map(|(name, fault)| table(name, fault)).collect();
    Project::new(&format!("{tables}{}", table("tame", "none")))
}
