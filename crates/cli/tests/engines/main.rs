//! Policy engines behind a running gateway: what one lists and what it lets be called are the same, and one on trial changes nothing.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))] // what Cerbos is pinned for
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "../tokens/caller.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of this")]
mod caller;
#[path = "../../../gateway/tests/peers/cerbos.rs"]
mod cerbos;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../../../gateway/tests/peers/opa.rs"]
mod opa;
mod pins;

use std::fs;
use std::time::Duration;

use caller::Caller;
use cerbos::Cerbos;
use harness::gateway::{Gateway, Project};
use harness::processes::eventually;
use opa::Opa;
use serde_json::{Value, json};

const SERVERS: &str = r#"
[identity]
api_keys = true
[servers.files]
builtin = { filesystem = { root = "files", write = true } }
[[servers.files.arguments]]
tools = ["*"]
argument = "path"
kind = "path"
optional = true
"#;

/// What the engines here allow to `dev`: two tools, below `open`.
const READS: [&str; 2] = ["list_directory", "read_file"];

const REGO: &str = r#"package sallyport
import rego.v1
reads if input.resource.name in {"list_directory", "read_file"}
is_dev if "dev" in input.principal.groups
allow if { is_dev; reads; input.action == "list" }
allow if { is_dev; reads; input.action == "call"; "open" in input.args.path.below }
"#;

/// The same in Cerbos's own language.
const CERBOS: &str = r#"apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: tool
  version: default
  rules:
    - {actions: [list], effect: EFFECT_ALLOW, roles: [dev], condition: {match: {expr: 'request.resource.attr.name in ["list_directory", "read_file"]'}}}
    - actions: [call]
      effect: EFFECT_ALLOW
      roles: [dev]
      condition:
        match:
          all:
            of:
              - expr: 'request.resource.attr.name in ["list_directory", "read_file"]'
              - expr: '"open" in request.resource.attr.args.path.below'
"#;

/// A gateway with this policy before a file server, and a key of the group `dev` and one of none.
struct Bench {
    project: Project,
    gateway: Gateway,
    dev: Caller,
    other: Caller,
}

impl Bench {
    fn new(policy: &str) -> Self {
        let project = Project::new(&format!("{policy}\n{SERVERS}"));
        for folder in ["open", "closed"] {
            fs::create_dir_all(project.path("files").join(folder)).unwrap();
            fs::write(project.path("files").join(folder).join("a.txt"), format!("what lies in {folder}")).unwrap();
        }
        let gateway = project.up();
        let key = |arguments: &[&str]| {
            let given = project.sallyport().args(["key", "add"]).args(arguments).output().unwrap();
            Caller::new(gateway.port, String::from_utf8(given.stdout).unwrap().trim())
        };
        let (dev, other) = (key(&["ci", "--group", "dev"]), key(&["other"]));
        Self { project, gateway, dev, other }
    }

    fn ask(&self, caller: &Caller, method: &str, params: Value) -> Value {
        let answer = caller.ask("/servers/files/mcp", method, params);
        answer.message().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| panic!("{answer:?}\n{}", self.gateway.log()))
    }

    fn list(&self, caller: &Caller) -> Vec<String> {
        let listed = self.ask(caller, "tools/list", json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}\n{}", self.gateway.log()));
        let mut names: Vec<String> = tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    fn call(&self, caller: &Caller, tool: &str, path: &str) -> Value {
        let mut arguments = json!({ "path": path });
        if tool == "write_file" {
            arguments["content"] = json!("written");
        }
        self.ask(caller, "tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    fn is_done(&self, caller: &Caller, tool: &str, path: &str) -> bool {
        let answer = self.call(caller, tool, path);
        answer["result"]["content"].is_array() && answer["result"]["isError"] != json!(true)
    }

    /// What is listed is what can be called, below `open`, and nothing else is.
    fn reads_alone(&self) {
        assert_eq!(self.list(&self.dev), READS, "{}", self.gateway.log());
        assert_eq!(self.list(&self.other), Vec::<String>::new());
        for (tool, path) in [("list_directory", "open"), ("read_file", "open/a.txt"), ("read_file", "./open/a.txt")] {
            assert!(self.is_done(&self.dev, tool, path), "{tool} {path}: {}\n{}", self.call(&self.dev, tool, path), self.gateway.log());
            assert!(!self.is_done(&self.other, tool, path), "{tool} {path}");
        }
        for (tool, path) in [
            ("list_directory", "closed"),
            ("list_directory", "."),
            ("read_file", "closed/a.txt"),
            ("read_file", "open/../closed/a.txt"),
            ("write_file", "open/b.txt"),
            ("create_directory", "open/c"),
        ] {
            let answer = self.call(&self.dev, tool, path).to_string();
            assert!(!self.is_done(&self.dev, tool, path) && !answer.contains("what lies in"), "{tool} {path}: {answer}");
        }
        for path in ["open/b.txt", "open/c"] {
            assert!(!self.project.path("files").join(path).exists(), "{path}");
        }
    }
}

fn rego(place: &str) -> String {
    format!("{place} = [{{ rego = {{ text = '''{REGO}''' }} }}]")
}

/// Nothing is remembered, so that each question is one.
fn remote(place: &str, port: u16) -> String {
    let point =
        format!("url = \"http://127.0.0.1:{port}\", speaks = \"authzen\", roles = \"cerbos.roles\", timeout_ms = 20000, cache_ms = 0");
    format!("{place} = [{{ remote = {{ {point} }} }}]")
}

#[test]
fn rego_decides_lists_and_calls_alike() {
    Bench::new(&format!("[policy]\n{}", rego("engines"))).reads_alone();
}

#[test]
fn a_decision_point_elsewhere_decides_lists_and_calls_alike() {
    let cerbos = Cerbos::start(CERBOS);
    let bench = Bench::new(&format!("[policy]\n{}", remote("engines", cerbos.port)));
    bench.reads_alone();
    drop(cerbos);
    assert!(!bench.is_done(&bench.dev, "read_file", "open/a.txt"), "where nobody decides, nothing is allowed");
    assert_eq!(bench.list(&bench.dev), Vec::<String>::new(), "and nothing is listed");
    assert!(bench.gateway.log().contains("policy denies, since an engine failed"), "{}", bench.gateway.log());
}

#[test]
fn a_decision_point_that_speaks_as_opa_decides_lists_and_calls_alike() {
    let opa = Opa::start(&REGO.replace("import rego.v1", "import rego.v1\ndefault allow := false"));
    let url = format!("http://127.0.0.1:{}/v1/data/sallyport/allow", opa.port);
    let point = format!("url = \"{url}\", speaks = \"opa\", timeout_ms = 20000, cache_ms = 0");
    let bench = Bench::new(&format!("[policy]\nengines = [{{ remote = {{ {point} }} }}]"));
    bench.reads_alone();
    opa.end();
    assert!(!bench.is_done(&bench.dev, "read_file", "open/a.txt"), "where nobody decides, nothing is allowed");
    assert_eq!(bench.list(&bench.dev), Vec::<String>::new(), "and nothing is listed");
}

/// The lines of the log about a tool that the engine on trial would have decided about in another way.
fn differences(gateway: &Gateway, tool: &str) -> Vec<String> {
    let log = gateway.log();
    let is_one = |line: &&str| line.contains("`policy.shadow` would have decided in another way") && line.contains(tool);
    log.lines().filter(is_one).map(str::to_owned).collect()
}

#[test]
fn an_engine_on_trial_is_told_of_and_not_followed() {
    // Where it says nothing, `default` would decide: this one always says something.
    let trial = rego("shadow").replace("import rego.v1", "import rego.v1\ndefault allow := false");
    let bench = Bench::new(&format!("[policy]\ndefault = \"allow\"\n{trial}"));
    assert!(bench.list(&bench.dev).len() > READS.len(), "all is listed");
    for (tool, path) in [("read_file", "open/a.txt"), ("write_file", "open/b.txt")] {
        assert!(bench.is_done(&bench.dev, tool, path), "{tool}");
    }
    assert!(bench.project.path("files/open/b.txt").exists(), "what it would have denied is done");
    eventually("the log tells the difference", Duration::from_secs(30), || !differences(&bench.gateway, "write_file").is_empty());
    let told = differences(&bench.gateway, "write_file").concat();
    assert!(told.contains("key:ci") && told.contains("allowed") && told.contains("denied"), "who, and both decisions: {told}");
    assert_eq!(differences(&bench.gateway, "read_file"), Vec::<String>::new(), "where both agree there is nothing to tell");
}

#[test]
fn a_decision_point_on_trial_that_is_gone_changes_nothing() {
    let cerbos = Cerbos::start(CERBOS);
    let bench = Bench::new(&format!("[policy]\ndefault = \"allow\"\n{}", remote("shadow", cerbos.port)));
    assert!(bench.is_done(&bench.dev, "write_file", "open/b.txt"));
    eventually("the log tells the difference", Duration::from_secs(30), || !differences(&bench.gateway, "write_file").is_empty());
    drop(cerbos);
    assert!(bench.is_done(&bench.dev, "write_file", "open/c.txt"), "{}", bench.gateway.log());
    let has_none = || bench.gateway.log().contains("`policy.shadow` has no answer");
    eventually("the log tells that it has no answer", Duration::from_secs(30), has_none);
}
