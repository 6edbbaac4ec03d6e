//! For whom a program runs: for all callers of one tenant, or for one alone.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::gateway::{Gateway, Project};
use crate::harness::peers;
use crate::harness::processes::{descendants, eventually};

const ANN: &str = "a-0123456789abcdef0123456789abcdef";
const BOB: &str = "b-0123456789abcdef0123456789abcdef";
const CARL: &str = "c-0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that counts its calls, for two callers of the gateway's own and one of a tenant.
fn gateway(keys: &str) -> (Project, Gateway) {
    let script = peers::repository().join("crates/cli/tests/faults/hostile_server.py");
    let server = |table: &str| format!("[{table}servers.counter]\ncommand = [\"python3\", {script:?}, \"none\"]\n{keys}\n");
    let project = Project::new(&format!(
        "keys = [\"file:ann\", \"file:bob\"]\npolicy.default = \"allow\"\n{}[tenants.acme]\nkeys = [\"file:carl\"]\npolicy.default = \"allow\"\n{}",
        server(""),
        server("tenants.acme.")
    ));
    for (name, key) in [("ann", ANN), ("bob", BOB), ("carl", CARL)] {
        fs::write(project.path(name), key).unwrap();
        fs::set_permissions(project.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let gateway = project.up();
    (project, gateway)
}

/// The number that the server has come to.
fn count(gateway: &Gateway, key: &str) -> String {
    let place = if key == CARL { "/t/acme/servers/counter/mcp" } else { "/servers/counter/mcp" };
    let answer = Caller::new(gateway.port, key).ask(place, "tools/call", json!({ "name": "count", "arguments": {} }));
    let message: Value = serde_json::from_str(answer.message().unwrap_or_else(|| panic!("{answer:?}"))).unwrap();
    let text = &message["result"]["content"][0]["text"];
    text.as_str().unwrap_or_else(|| panic!("{message} {}", gateway.log())).to_owned()
}

/// The users that the servers run as, of each process.
fn users(gateway: &Gateway) -> Vec<String> {
    let is_server = |id: &u32| {
        fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.starts_with(b"python3\0") || contains(&line, b"/python3\0"))
    };
    let user = |id: u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next().map(str::to_owned))
    };
    descendants(gateway.id()).into_iter().filter(is_server).filter_map(user).collect()
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|part| part == word)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn each_caller_has_a_program_of_its_own_where_none_is_shared() {
    let (project, gateway) = gateway("shared = false");
    assert_eq!((count(&gateway, ANN), count(&gateway, ANN)), ("1".to_owned(), "2".to_owned()));
    assert_eq!(count(&gateway, BOB), "1", "Bob's knows nothing of Ann's calls");
    assert_eq!(count(&gateway, CARL), "1");
    assert_eq!(count(&gateway, ANN), "3");

    let users = users(&gateway);
    assert_eq!(users.len(), 3, "nobody's runs beside them: {users:?}");
    if is_root() {
        let different: BTreeSet<&String> = users.iter().collect();
        assert_eq!(different.len(), 3, "a user each: {users:?}");
        assert!(!different.contains(&"0".to_owned()), "{users:?}");
    }

    // A reload that changes something else leaves them alone.
    project.configure(&format!(
        "{}\n[servers.more]\nbuiltin = {{ filesystem = {{ root = \".\" }} }}\n",
        fs::read_to_string(project.configuration()).unwrap()
    ));
    gateway.signal("HUP");
    eventually("the other server is there", PATIENCE, || Caller::new(gateway.port, ANN).knock("/servers/more/mcp") == 200);
    assert_eq!(["4", "2", "2"].map(str::to_owned), [ANN, BOB, CARL].map(|key| count(&gateway, key)));
    assert_eq!(self::users(&gateway).len(), 3);
}

#[test]
fn one_program_serves_all_callers_of_a_tenant_and_no_other_tenants() {
    let (_project, gateway) = gateway("");
    assert_eq!((count(&gateway, ANN), count(&gateway, BOB)), ("1".to_owned(), "2".to_owned()));
    assert_eq!(count(&gateway, CARL), "1", "a tenant's is another one");
    let users = users(&gateway);
    assert_eq!(users.len(), 2, "{users:?}");
    assert!(!is_root() || users[0] != users[1], "a tenant's runs as another user: {users:?}");
}

#[test]
fn without_a_gateway_there_is_one_caller_and_one_program() {
    let script = peers::repository().join("crates/cli/tests/faults/hostile_server.py");
    let start = format!("echo started >> starts; exec python3 {} none", script.display());
    let project = Project::new(&format!(
        "[servers.counter]\ncommand = [\"sh\", \"-c\", {start:?}]\nread = [{script:?}]\nwrite = [\".\"]\nshared = false\n"
    ));
    let output = project.sallyport().args(["call", "counter__count"]).output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"1"), "{output:?}");
    assert_eq!(fs::read_to_string(project.path("starts")).unwrap(), "started\n", "nobody's was started beside it");
}
