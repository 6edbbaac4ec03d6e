//! Servers of tenants in trials, and looked at in their sandboxes: as the tenant's, and nobody else's.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::commands::{json_of, run, said};
use crate::harness::gateway::Project;
use crate::harness::loopback;
use crate::{ACME_KEY, OWN_KEY, project};

/// A server that opens a file when it starts, and reads others when it is told to.
const SERVER: &str = r#"
import json, os, sys
try: open(os.environ["OPENS"])
except (KeyError, OSError): pass
for line in sys.stdin:
    message = json.loads(line)
    method, result, error = message.get("method"), None, None
    if method == "initialize":
        result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": "read", "inputSchema": {"type": "object"}}]}
    elif method == "tools/call":
        try: text, failed = open(message["params"]["arguments"]["path"]).read(), False
        except OSError as reason: text, failed = str(reason), True
        result = {"content": [{"type": "text", "text": text}], "isError": failed}
    else:
        error = {"code": -32601, "message": "no such method"}
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"]} | ({"error": error} if error else {"result": result})), flush=True)
"#;

/// Two servers of one name: the gateway's own, and acme's. Each opens another file at its start, in the folder that is given back.
fn two() -> (Project, tempfile::TempDir) {
    let outside = tempfile::Builder::new().prefix("sallyport-tried-").tempdir_in("/var/tmp").unwrap();
    for name in ["own", "acme", "called"] {
        fs::write(outside.path().join(name), name).unwrap();
    }
    let script = outside.path().join("server.py");
    fs::write(&script, SERVER).unwrap();
    let server =
        |opens: &str| format!("command = [\"/usr/bin/python3\", {script:?}]\nenv = {{ OPENS = {:?} }}", outside.path().join(opens));
    let project = project(&format!(
        "keys = [\"file:own.key\"]\npolicy = {{ default = \"allow\" }}\n[servers.tool]\n{}\n\n[tenants.acme]\nkeys = [\"file:acme.key\"]\n\
         policy = {{ default = \"allow\" }}\n[tenants.acme.servers.tool] # acme's\n{}\n",
        server("own"),
        server("acme"),
    ));
    (project, outside)
}

fn refused(learnt: &Value) -> Vec<&str> {
    let rows = learnt["rounds"][0]["refused"].as_array().unwrap();
    rows.iter().filter_map(|row| row["what"].as_str()).collect()
}

#[test]
fn a_tenants_server_is_tried_alone_and_its_tables_are_changed() {
    let (project, outside) = two();
    let [own, acme, called] = ["own", "acme", "called"].map(|name| outside.path().join(name).display().to_string());
    let call = json!({ "path": called }).to_string();
    let learn = |more: &[&str]| json_of(&run(&project, &[&["learn", "tool", "--json", "--call", "read", &call], more].concat()));

    let of_gateway = learn(&[]);
    let seen = refused(&of_gateway);
    assert!(seen.contains(&own.as_str()) && !seen.contains(&acme.as_str()), "{seen:?}");
    let of_tenant = learn(&["--tenant", "acme", "--write"]);
    let seen = refused(&of_tenant);
    assert!(seen.contains(&acme.as_str()) && seen.contains(&called.as_str()) && !seen.contains(&own.as_str()), "{seen:?}");
    assert_eq!((&of_tenant["written"], &of_tenant["profile"]["read"]), (&json!(true), &json!([acme, called])));

    let (gateways, tenants) = fs::read_to_string(project.configuration()).unwrap().split_once("[tenants.acme]").map(owned).unwrap();
    assert!(!gateways.contains("read =") && tenants.contains("[tenants.acme.servers.tool] # acme's") && tenants.contains("read ="));
    let read = |tenant: &[&str]| said(&run(&project, &[&["call", "tool__read", &format!("path={called}")], tenant].concat()));
    assert_eq!(read(&["--tenant", "acme"]).trim(), "called");
    assert!(read(&[]).contains("No such file"), "the gateway's own server got nothing: {}", read(&[]));
}

fn owned((one, other): (&str, &str)) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

#[test]
fn a_new_server_is_tried_for_a_tenant_and_added_to_it() {
    let (project, outside) = two();
    let script = outside.path().join("server.py").display().to_string();
    let learn = ["learn", "fresh", "--tenant", "acme", "--json", "--write", "--", "/usr/bin/python3", &script];
    assert_eq!(json_of(&run(&project, &learn))["written"], true);
    let names = |tenant: &[&str]| {
        let rows = json_of(&run(&project, &[&["list", "--json"], tenant].concat()));
        rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((names(&["--tenant", "acme"]), names(&[])), (vec!["fresh".to_owned(), "tool".to_owned()], vec!["tool".to_owned()]));
    for arguments in [&["learn", "tool", "--tenant", "nothere"][..], &["sandbox", "inspect", "tool", "--tenant", "nothere"]] {
        let unknown = run(&project, arguments);
        assert!(!unknown.status.success() && said(&unknown).contains("there is no tenant `nothere`"), "{}", said(&unknown));
    }
    let unknown = run(&project, &["learn", "files", "--tenant", "acme"]);
    assert!(said(&unknown).contains("there is no server `files`"), "{}", said(&unknown));
}

#[test]
fn it_is_worked_with_where_clients_have_the_tenant() {
    let (project, _outside) = two();
    let port = loopback::free_port();
    let mut trial = project.sallyport();
    trial.args(["--listen", &format!("127.0.0.1:{port}"), "learn", "tool", "--tenant", "acme", "--for", "1h"]);
    let mut trial = trial.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    loopback::wait_for_port(port, Duration::from_secs(60));
    let knocks = |key: &str| ["/t/acme/mcp", "/mcp", "/t/umbrella/mcp"].map(|endpoint| Caller::new(port, key).knock(endpoint));
    let heard = (knocks(ACME_KEY), knocks(OWN_KEY));
    trial.kill().unwrap();
    trial.wait().unwrap();
    assert_eq!(heard, ([200, 404, 404], [401, 404, 404]));
}

#[test]
fn a_tenants_server_is_looked_at_in_its_sandbox() {
    let (project, outside) = two();
    let more = format!("[tenants.acme.servers.tool] # acme's\nread = [{:?}]", outside.path());
    let configuration = fs::read_to_string(project.configuration()).unwrap();
    project.configure(&configuration.replace("[tenants.acme.servers.tool] # acme's", &more));
    let reads =
        |tenant: &[&str]| json_of(&run(&project, &[&["sandbox", "inspect", "tool", "--json"], tenant].concat()))["profile"]["read"].clone();
    let outside = json!(outside.path());
    assert!(reads(&["--tenant", "acme"]).as_array().unwrap().contains(&outside));
    assert!(!reads(&[]).as_array().unwrap().contains(&outside));
}
