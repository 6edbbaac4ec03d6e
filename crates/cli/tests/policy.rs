//! `sallyport policy`, run as a user runs it, in a home folder of its own: a built-in server, and policies in Cedar before it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

const CONFIGURATION: &str = r#"
keys = ["env:CI"]
[policy]
engines = [{ cedar = { files = ["policies.cedar"] } }]
[servers.files]
builtin = { filesystem = { root = "." } }
[[servers.files.arguments]]
tools = ["*"]
argument = "path"
kind = "path"
optional = true
"#;

const POLICIES: &str = r#"permit (principal == User::"key:ci", action == Action::"files/read_file", resource)
when { context.args.path.below.contains("docs") };
@reason("drafts are not for programs")
forbid (principal, action in Action::"call", resource) when { context.args has path && context.args.path.below.contains("docs/drafts") };
"#;

const CASES: &str = r#"
case = [
  { principal = "key:ci", server = "files", tool = "read_file", arguments = { path = "./docs/a.md" }, expect = "allow" },
  { principal = "key:ci", server = "files", tool = "read_file", arguments = { path = "docs/drafts/a.md" }, expect = "deny", place = "policies.cedar:4" },
  { principal = "key:ci", server = "files", tool = "read_file", arguments = { path = "docs/../a.md" }, expect = "deny" },
  { principal = "key:ci", server = "files", tool = "read_file", expect = "allow" },
  { principal = "local", server = "files", tool = "read_file", expect = "deny" },
]
[[tool]]
server = "files"
name = "read_file"
schema = { type = "object", properties = { path = { type = "string" } }, required = ["path"] }
"#;

/// A project with a configuration.
struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        project.write("sallyport.toml", CONFIGURATION);
        project.write("policies.cedar", POLICIES);
        project.write("cases.toml", CASES);
        project
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// The exit code, and what was said on stdout and stderr.
    fn policy(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
        command.arg("policy").args(arguments).current_dir(self.0.path()).env_clear();
        let output = command.env("HOME", self.0.path()).env("CI", "0123456789abcdef0123456789abcdef").output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn a_policy_is_checked_against_what_the_servers_tools_take() {
    let project = Project::new();
    let (code, told, errors) = project.policy(&["check"]);
    assert_eq!((code, told.contains("files")), (0, true), "{told}{errors}");
    project.write("policies.cedar", &POLICIES.replace("read_file", "read_fil"));
    let (code, told, errors) = project.policy(&["check", "--json"]);
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (code, &report["ok"], report["errors"][0]["place"].as_str()),
        (64, &Value::Bool(false), Some("policies.cedar:1")),
        "{errors}"
    );
    // Without the server, what is wrong in itself.
    project.write("policies.cedar", "permit (principal, action, resource in Server::\"fils\");");
    let (code, _, errors) = project.policy(&["check", "--offline"]);
    assert_eq!(code, 64);
    assert!(errors.contains("policies.cedar:1") && errors.contains("no server is called"), "{errors}");
    project.write("policies.cedar", POLICIES);
    for (written, wrong, told) in [
        ("tools = [\"*\"]", "tools = [\"raed_file\"]", "did you mean `read_file`?"),
        ("argument = \"path\"", "argument = \"paht\"", "did you mean `path`?"),
    ] {
        let rules = CONFIGURATION.replace("engines = [{ cedar = { files = [\"policies.cedar\"] } }]", "");
        project.write("sallyport.toml", &rules.replace(written, wrong));
        let (code, _, errors) = project.policy(&["check"]);
        assert!(code == 64 && errors.contains("can never match") && errors.contains(told), "{errors}");
    }
    patterns_that_match_nothing_are_told(&project);
    project.write("sallyport.toml", CONFIGURATION);
    fs::remove_file(project.path("policies.cedar")).unwrap();
    let (code, _, errors) = project.policy(&["check"]);
    assert!(code == 64 && errors.contains("policies.cedar"), "{errors}");
    let (code, told, _) = project.policy(&["check", "--json"]);
    let report: Value = serde_json::from_str(&told).unwrap();
    assert!(code == 64 && report["errors"][0]["message"].as_str().unwrap().contains("policies.cedar"), "{report}");
}

/// Each list of patterns over tools, wherever it stands.
fn patterns_that_match_nothing_are_told(project: &Project) {
    let server = "[servers.files]\nbuiltin = { filesystem = { root = \".\" } }\n";
    let rule = "[[policy.rules]]\nserver = \"fil*\"\n";
    let limit = "[[limits]]\nrate = { calls = 1, seconds = 1 }\n";
    for (written, place) in [
        (format!("{server}deny = [\"read_file\", \"raed_*\"]"), "servers.files.deny[1]"),
        (format!("{server}allow = [\"raed_file\"]"), "servers.files.allow[0]"),
        (format!("{server}ask = [\"{{raed,wrote}}_file\"]"), "servers.files.ask[0]"),
        (format!("{server}{rule}deny = [\"raed_file\"]"), "policy.rules[0].deny[0]"),
        (
            format!("{server}{rule}arguments = [{{ tools = [\"read_*\"], argument = \"paht\", kind = \"path\" }}]"),
            "policy.rules[0].arguments[0].argument",
        ),
        (format!("{server}{limit}tools = [\"read_*\", \"raed_file\"]"), "limits[0].tools[1]"),
        (format!("{server}{limit}server = \"fyles\""), "limits[0].server"),
    ] {
        project.write("sallyport.toml", &written);
        let (code, _, errors) = project.policy(&["check"]);
        assert!(code == 64 && errors.contains(&format!("{place}: ")) && errors.contains("can never match"), "{written}\n{errors}");
        assert_eq!(errors.matches("can never match").count(), 1, "{errors}");
    }
    // All of it matches, or may be meant for what no list tells; of a server that does not answer nobody can tell.
    let fine = format!(
        "{server}allow = [\"*\", \"file:///*\", \"vendor/thing\"]\ndeny = [\"read_*\"]\n{rule}ask = [\"list_*\"]\n{limit}server = \"f*\"\ntools = [\"*_file\"]\n\
         [servers.gone]\ncommand = [\"/bin/false\"]\ndeny = [\"no_such_tool\"]\n"
    );
    project.write("sallyport.toml", &fine);
    let (code, told, errors) = project.policy(&["check"]);
    assert!(code == 0 && told.contains("files") && errors.contains("`gone` does not answer"), "{told}{errors}");
}

#[test]
fn a_decision_is_explained_with_its_place() {
    let project = Project::new();
    let explain = |who: &str, arguments: &str| {
        let (code, told, errors) = project.policy(&["explain", who, "files", "read_file", "--args", arguments, "--json"]);
        assert_eq!(code, 0, "{errors}");
        serde_json::from_str::<Value>(&told).unwrap()
    };
    let allowed = explain("key:ci", r#"{"path":"docs/a"}"#);
    assert_eq!((allowed["effect"].as_str(), allowed["place"].as_str()), (Some("allow"), Some("policies.cedar:1")));
    assert_eq!(allowed["arguments"]["path"]["below"], serde_json::json!([".", "docs", "docs/a"]));
    let denied = explain("key:ci", r#"{"path":"docs/drafts/a"}"#);
    assert_eq!((denied["why"].as_str(), denied["place"].as_str()), (Some("drafts are not for programs"), Some("policies.cedar:4")));
    assert_eq!(explain("local", r#"{"path":"docs/a"}"#)["place"], "policy.default");
    let (code, told, _) = project.policy(&["explain", "key:ci", "files", "read_file"]);
    assert!(code == 0 && told.starts_with("allowed by `policies.cedar:1`") && told.contains("this is what a list shows"), "{told}");
    let (code, _, errors) = project.policy(&["explain", "somebody", "files", "read_file"]);
    assert!(code == 1 && errors.contains("hint:"), "{errors}");
}

#[test]
fn what_cannot_be_explained_is_told_with_what_may_have_been_meant() {
    let project = Project::new();
    for (arguments, told) in [
        (&["local", "fils", "read_file"][..], "did you mean `files`?"),
        (&["local", "files", "read_fil"], "did you mean `read_file`?"),
        (&["local", "files", "read_file", "--args", "[1]"], "--args is JSON, but no object"),
        (&["local", "files", "read_file", "--args", "path=a"], "--args is no JSON"),
        (&["local", "files", "read_file", "--args", "{}"], "the tool needs `path`"),
        (&["local", "files", "read_file", "--args", r#"{"path": 3}"#], "`path` has to be of the type string"),
    ] {
        let (code, _, errors) = project.policy(&[&["explain"], arguments].concat());
        assert!(code == 1 && errors.contains(told) && errors.contains("hint:"), "{arguments:?}: {errors}");
    }
}

#[test]
fn cases_are_run_and_a_failed_one_is_told() {
    let project = Project::new();
    let (code, told, errors) = project.policy(&["test", "cases.toml"]);
    assert_eq!((code, told.lines().last()), (0, Some("5 cases, 0 failed")), "{told}{errors}");
    project.write(
        "wrong.toml",
        &CASES.replace(
            "\"local\", server = \"files\", tool = \"read_file\", expect = \"deny\"",
            "\"local\", server = \"files\", tool = \"read_file\", expect = \"allow\"",
        ),
    );
    let (code, told, _) = project.policy(&["test", "wrong.toml"]);
    assert!(
        code == 1 && told.contains("FAILED case 5: local list files/read_file: `allow` was expected; denied by `policy.default`"),
        "{told}"
    );
    project.write("elsewhere.toml", &CASES.replace("server = \"files\", tool", "server = \"fils\", tool"));
    let (code, _, errors) = project.policy(&["test", "elsewhere.toml"]);
    assert!(code == 1 && errors.contains("did you mean `files`?"), "{errors}");
    project.write("bad.toml", "cases = []");
    let (code, _, errors) = project.policy(&["test", "bad.toml"]);
    assert!(code == 1 && errors.contains("bad.toml"), "{errors}");
}

#[test]
fn what_is_proposed_is_a_configuration() {
    let project = Project::new();
    fs::create_dir(project.path("docs")).unwrap();
    let record = |path: &str| {
        let attributes = serde_json::json!({ "path": { "text": path, "absolute": false, "below": [".", "docs", path] } });
        serde_json::json!({
            "time": "2026-11-22T20:00:00.000000Z", "id": "0".repeat(32), "principal": "key:ci", "endpoint": "/mcp", "method": "tools/call",
            "server": "files", "target": "read_file", "decision": "allow", "attributes": attributes, "outcome": "ok", "duration_us": {},
        })
    };
    project.write("records.jsonl", &format!("{}\n{}\n", record("docs/a"), record("docs/b")));
    let (code, told, errors) = project.policy(&["suggest", "--records", "records.jsonl"]);
    assert_eq!(code, 0, "{errors}");
    let proposed: toml::Table = toml::from_str(&told).unwrap_or_else(|error| panic!("{told}{error}"));
    let files = &proposed["servers"]["files"];
    assert_eq!(files["allow"].as_array().unwrap().len(), 1);
    assert_eq!(files["arguments"][0]["path"]["below"][0].as_str(), Some("docs"));
    let (code, told, errors) = project.policy(&["suggest", "--json", "--records", "records.jsonl"]);
    let proposal: Value = serde_json::from_str(&told).unwrap();
    let server = &proposal["servers"][0];
    assert_eq!((code, &server["calls"], &server["rules"]["allow"][0]), (0, &Value::from(2), &Value::from("read_file")), "{errors}");
    assert_eq!(server["rules"]["arguments"][0]["path"]["below"][0], "docs");
    assert_eq!(server["principals"]["key:ci"][0], "read_file");
    let (code, told, _) = project.policy(&["suggest", "--cedar", "--records", "records.jsonl"]);
    assert!(
        code == 0 && told.contains("permit (principal == User::\"key:ci\", action in [Action::\"files/read_file\"], resource);"),
        "{told}"
    );
}
