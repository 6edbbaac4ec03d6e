//! Decision points elsewhere, over HTTP: Cerbos, which speaks AuthZEN, and OPA's REST API as regorus answers it. There is no package of OPA
//! itself that tests could install, so that what is shown of OPA is the shape of its API and the language.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))] // what Cerbos is pinned for
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "peers/cerbos.rs"]
mod cerbos;
#[path = "peers/opa.rs"]
mod opa;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::SystemTime;

use cerbos::Cerbos;
use opa::Opa;
use sallyport_gateway::config::{self, Invocation};
use sallyport_gateway::plan::Origin;
use sallyport_gateway::policy_of;
use sallyport_policy::{Action, Arguments, Circumstances, Policy, Principal, Resource};

/// The policy of a configuration of two servers.
fn policy(engines: &str) -> Policy {
    let folder = std::env::temp_dir();
    let invocation = Invocation { file: None, listen: None, folder: folder.clone(), variables: Arc::new(|_| None) };
    let text = format!(
        "[policy]\nengines = [{engines}]\n[servers.files]\nurl = \"http://127.0.0.1:1/mcp\"\n\
         [[servers.files.arguments]]\ntools = [\"read\"]\nargument = \"path\"\nkind = \"path\"\n"
    );
    policy_of(&config::read(&text, Origin { file: None, folder }, &invocation).unwrap()).unwrap()
}

async fn told(policy: &Policy, who: &Principal, tool: &str, arguments: Option<&str>) -> String {
    let resource = Resource::tool("files", tool, None, false).with(arguments.map_or(Arguments::Unknown, Arguments::Given));
    policy.explain(who, Action::Call, &resource, Circumstances::local(SystemTime::now())).await.decision.to_string()
}

/// One tool is listed for `dev`, and whatever is called is called below a folder.
const READS: &str = r#"apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: tool
  version: default
  rules:
    - {actions: [list], effect: EFFECT_ALLOW, roles: [dev], condition: {match: {expr: 'request.resource.attr.name == "read"'}}}
    - {actions: [call], effect: EFFECT_ALLOW, roles: [dev], condition: {match: {expr: '"/srv" in request.resource.attr.args.path.below'}}}
"#;

#[tokio::test]
async fn cerbos_decides_lists_and_calls_by_authzen() {
    let running = Cerbos::start(READS);
    let port = running.port;
    let remote = format!(
        "{{ remote = {{ url = \"http://127.0.0.1:{port}\", speaks = \"authzen\", roles = \"cerbos.roles\", timeout_ms = 20000, cache_ms = 0 }} }}"
    );
    let policy = policy(&remote);
    let dev = Principal::key("ci").in_groups(vec!["dev".into()]);
    let tools: Vec<Resource<'_>> = ["read", "write"].map(|name| Resource::tool("files", name, None, false)).into();
    let moment = Circumstances::local(SystemTime::now());
    assert_eq!(policy.allows_each(&dev, moment, &tools).await, [true, false]);
    assert_eq!(policy.allows_each(&Principal::key("ci"), moment, &tools).await, [false, false]);
    assert!(told(&policy, &dev, "read", Some(r#"{"path":"/srv/./data"}"#)).await.starts_with("allowed by `policy.engines[0].remote`"));
    for arguments in [r#"{"path":"/etc/passwd"}"#, r#"{"path":"/srv/../etc"}"#, "{}"] {
        assert!(told(&policy, &dev, "read", Some(arguments)).await.starts_with("denied"), "{arguments}");
    }
    drop(running);
    assert_eq!(told(&policy, &dev, "read", Some(r#"{"path":"/srv/data"}"#)).await, "denied by `remote`: the policy engine failed");
}

#[tokio::test]
async fn opas_api_is_asked_over_http() {
    let rules = "package sallyport\nimport rego.v1\nallow if input.action == \"list\"\nallow if \"/srv\" in input.args.path.below";
    let port = Opa::start(rules).port;
    let policy = policy(&format!(
        "{{ remote = {{ url = \"http://127.0.0.1:{port}/v1/data/sallyport/allow\", speaks = \"opa\", timeout_ms = 20000 }} }}"
    ));
    let ci = Principal::key("ci");
    assert!(told(&policy, &ci, "read", None).await.starts_with("allowed"));
    assert!(told(&policy, &ci, "read", Some(r#"{"path":"/srv/a"}"#)).await.starts_with("allowed"));
    // Undefined, which is what a misspelt path is as well.
    assert_eq!(told(&policy, &ci, "read", Some(r#"{"path":"/etc"}"#)).await, "denied by `remote`: the policy engine failed");
}

/// A decision point that answers in another way than it should.
async fn against(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            opa::request(&mut reader);
            let _ = reader.get_mut().write_all(answer.as_bytes());
            let _ = reader.read_line(&mut String::new()); // until the other side has gone
        }
    });
    let policy = policy(&format!("{{ remote = {{ url = \"http://127.0.0.1:{port}/x\", speaks = \"opa\", timeout_ms = 500 }} }}"));
    told(&policy, &Principal::local_user(), "read", None).await
}

#[tokio::test]
async fn an_answer_that_is_late_long_or_leads_elsewhere_denies() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"result\":true}",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{\"result\":true}",
        "HTTP/1.1 500 Oops\r\ncontent-length: 15\r\n\r\n{\"result\":true}",
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 15\r\n\r\n{\"result\":true}",
        "no HTTP",
    ] {
        assert_eq!(against(answer).await, "denied by `remote`: the policy engine failed", "{answer}");
    }
    assert!(against("HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"result\":true}").await.starts_with("allowed"));
}
