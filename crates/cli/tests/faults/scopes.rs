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

/// Calls the tool that asks its caller something; `more` says what the caller answers.
fn ask(gateway: &Gateway, key: &str, more: &Value) -> Value {
    let able = json!({ "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "form": {} } } });
    let mut params = json!({ "name": "ask", "arguments": {}, "_meta": able });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = Caller::new(gateway.port, key).ask("/servers/counter/mcp", "tools/call", params);
    let message: Value = serde_json::from_str(answer.message().unwrap_or_else(|| panic!("{answer:?}"))).unwrap();
    message["result"].clone()
}

#[test]
fn a_reload_ends_the_questions_of_a_caller_whose_key_goes_and_nobody_elses() {
    // No files: a program is started anew where other ones are kept from it.
    let configuration = |keys: &str| {
        let script = peers::repository().join("crates/cli/tests/faults/hostile_server.py");
        let server = format!("[servers.counter]\ncommand = [\"python3\", {script:?}, \"none\"]\nshared = false\n");
        format!("keys = {keys}\npolicy.default = \"allow\"\n{server}")
    };
    let project = Project::new(&configuration(r#"["env:ANN", "env:BOB"]"#));
    let gateway = project.up_with(&[("ANN", ANN), ("BOB", BOB)]);
    let [anns, bobs] = [ANN, BOB].map(|key| ask(&gateway, key, &json!({})));
    assert_eq!([&anns, &bobs].map(|asked| &asked["resultType"]), ["input_required"; 2], "{anns} {bobs}");
    project.configure(&configuration(r#"["env:BOB"]"#));
    eventually("Ann's key is gone", Duration::from_secs(60), || gateway.log().contains("the configuration was reloaded"));
    assert!(!gateway.log().contains("calls still under way"), "nobody is left to answer Ann's question: it is not waited for");
    assert_eq!(Caller::new(gateway.port, ANN).knock("/servers/counter/mcp"), 401);
    let question = bobs["inputRequests"].as_object().unwrap().keys().next().unwrap();
    let answered = json!({ "inputResponses": { question: { "action": "decline" } }, "requestState": bobs["requestState"] });
    assert_eq!(ask(&gateway, BOB, &answered)["content"][0]["text"], "decline");
}

#[test]
fn a_callers_program_ends_with_the_key_that_was_given_out_to_it() {
    let script = peers::repository().join("crates/cli/tests/faults/hostile_server.py");
    let server = format!("[servers.counter]\ncommand = [\"python3\", {script:?}, \"none\"]\nshared = false\n");
    let project = Project::new(&format!("identity.api_keys = true\npolicy.default = \"allow\"\n{server}"));
    let run = |arguments: &[&str]| {
        let output = project.sallyport().arg("key").args(arguments).arg("--json").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let made = |arguments: &[&str]| run(arguments)["key"].as_str().unwrap().to_owned();
    let (ann, bob) = (made(&["add", "ann"]), made(&["add", "bob"]));
    let gateway = project.up();
    assert_eq!([&ann, &bob].map(|key| count(&gateway, key)), ["1", "1"]);
    let bobs_next = made(&["rotate", "bob", "--overlap", "1s"]);
    run(&["revoke", "ann"]);
    eventually("Ann's program is gone", PATIENCE, || users(&gateway).len() == 1);
    assert_eq!(count(&gateway, &bobs_next), "2", "it is Bob's as before");
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
