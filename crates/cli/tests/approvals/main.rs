//! Calls that wait for a person: through the real program, by an agent over HTTP, and by a person on the command line and in a browser.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod agent;
mod asking;
mod bare;
mod browser;
#[path = "../harness/mod.rs"]
mod harness;
mod limits;
mod login;
mod pages;
mod reads;
mod tells;

use std::fs;
use std::time::Duration;

use agent::{Agent, handle_of, key};
use harness::gateway::Project;
use harness::processes::eventually;
use serde_json::{Value, json};

const CONFIGURATION: &str = r#"
[identity]
api_keys = true
[policy]
default = "allow"
[approvals]
approvers = ["key:boss", "key:agent", "group:oncall"]
[servers.files]
builtin = { filesystem = { root = "files", write = true } }
ask = ["write_file"]
deny = ["move_file"]
"#;

/// A project whose agents have to ask before they write.
fn project(configuration: &str) -> Project {
    let project = Project::new(configuration);
    fs::create_dir(project.path("files")).unwrap();
    project
}

fn write(name: &str) -> Value {
    json!({ "path": name, "content": "written" })
}

/// What `sallyport approval` says: JSON where it succeeds, else the error.
fn approval(project: &Project, arguments: &[&str]) -> Result<Value, String> {
    let output = project.sallyport().arg("approval").args(arguments).arg("--json").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(serde_json::from_str(&text(output.stdout)).unwrap()) } else { Err(text(output.stderr)) }
}

/// Every audit record by now, of all processes.
fn records(project: &Project) -> Vec<Value> {
    let folder = project.state().join("sallyport");
    let files = walk(&folder).into_iter().filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("audit")));
    let lines = files.flat_map(|file| fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.flat_map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { vec![entry.path()] }).collect()
}

#[test]
fn an_approved_call_goes_through_once_and_survives_a_restart() {
    let project = project(CONFIGURATION);
    let token = key(&project, "agent");
    let gateway = project.up();
    let agent = Agent::new(gateway.port, &token);
    assert!(agent.tools().contains(&"write_file".to_owned()), "what is asked about stands in lists");
    assert!(!agent.tools().contains(&"move_file".to_owned()));

    let refused = agent.call("write_file", write("a.txt"));
    let handle = handle_of(&refused);
    assert_eq!(handle, handle_of(&agent.call("write_file", json!({ "content": "written", "path": "a.txt" }))), "it is asked about once");
    assert!(!project.path("files/a.txt").exists());

    let listed = approval(&project, &["list"]).unwrap();
    assert_eq!(listed[0]["handle"], handle.as_str());
    let shown = approval(&project, &["show", &handle]).unwrap();
    assert_eq!((&shown["principal"], &shown["target"], &shown["arguments"]), (&json!("key:agent"), &json!("write_file"), &write("a.txt")));

    let of = |method: &str| {
        let records = records(&project);
        records.into_iter().filter(|record| record["method"] == method && record["approval"] == handle.as_str()).collect::<Vec<_>>()
    };
    // It is killed, and what was asked a moment ago is written a moment later.
    eventually("the calls that wait are recorded", Duration::from_secs(20), || of("tools/call").len() >= 2);
    drop(gateway);
    assert_eq!(approval(&project, &["approve", &handle]).unwrap()["standing"], "approved");
    assert!(approval(&project, &["approve", &handle]).unwrap_err().contains("no call with this handle waits"));
    let gateway = project.up();
    let agent = Agent::new(gateway.port, &token);

    let other = Agent::new(gateway.port, &key(&project, "other"));
    for (stranger, tool, arguments) in [
        (&agent, "write_file", write("b.txt")),
        (&other, "write_file", write("a.txt")),
        (&agent, "write_file", json!({ "path": "a.txt", "content": "written", "approval": handle })),
    ] {
        assert_ne!(handle_of(&stranger.call(tool, arguments)), handle, "another call");
    }
    assert!(!project.path("files/a.txt").exists());

    let done = agent.call("write_file", write("a.txt"));
    assert_ne!(done["result"]["isError"], true, "{done}");
    assert_eq!(fs::read_to_string(project.path("files/a.txt")).unwrap(), "written");
    assert_ne!(handle_of(&agent.call("write_file", write("a.txt"))), handle, "it was used");

    eventually("the call that went through is recorded", Duration::from_secs(20), || of("tools/call").len() >= 3);
    let calls = of("tools/call");
    assert_eq!((&calls[0]["decision"], &calls[0]["outcome"]), (&json!("ask"), &json!("denied")));
    assert!(calls.iter().any(|call| call["decision"] == "allow" && call["outcome"] == "ok"), "{calls:?}");
    let decided = of("approval/approve");
    assert_eq!((decided.len(), &decided[0]["principal"], &decided[0]["endpoint"]), (1, &json!("local"), &json!("cli")));
    assert!(!records(&project).iter().any(|record| record.to_string().contains("\"written\"")), "no arguments are recorded");
}

#[test]
fn of_two_calls_at_once_one_goes_through() {
    let project = project(CONFIGURATION);
    let token = key(&project, "agent");
    let gateways = [project.up(), project.up()];
    for round in 0..5 {
        let arguments = write(&format!("{round}.txt"));
        let handle = handle_of(&Agent::new(gateways[0].port, &token).call("write_file", arguments.clone()));
        approval(&project, &["approve", &handle]).unwrap();
        let callers: Vec<_> = (0..6)
            .map(|at| {
                let (agent, arguments) = (Agent::new(gateways[at % 2].port, &token), arguments.clone());
                std::thread::spawn(move || agent.call("write_file", arguments)["result"]["isError"] != true)
            })
            .collect();
        let through = callers.into_iter().filter_map(|caller| caller.join().ok()).filter(|through| *through).count();
        assert_eq!(through, 1, "over two gateways with one store");
    }
}

#[test]
fn a_refusal_a_denial_and_an_end_let_nothing_through() {
    let project = project(&CONFIGURATION.replace("approvers =", "expires_after = \"10s\"\napprovers ="));
    let token = key(&project, "agent");
    let gateway = project.up();
    let agent = Agent::new(gateway.port, &token);
    let refused = handle_of(&agent.call("write_file", write("a.txt")));
    approval(&project, &["refuse", &refused]).unwrap();
    let told = agent.call("write_file", write("a.txt")).to_string();
    assert!(told.contains("was refused by a person"), "{told}");

    let over = handle_of(&agent.call("write_file", write("b.txt")));
    eventually("the request is over", Duration::from_secs(30), || approval(&project, &["show", &over]).is_err());
    assert!(approval(&project, &["approve", &over]).is_err());
    assert_ne!(handle_of(&agent.call("write_file", write("b.txt"))), over);

    // What was approved is denied by the rules of now.
    let handle = handle_of(&agent.call("write_file", write("c.txt")));
    approval(&project, &["approve", &handle]).unwrap();
    project.configure(&CONFIGURATION.replace("deny = [\"move_file\"]", "deny = [\"move_file\", \"write_file\"]"));
    eventually("the new rules are in force", Duration::from_secs(30), || {
        agent.call("write_file", write("d.txt")).to_string().contains("denied by `servers.files.deny[1]`")
    });
    assert!(agent.call("write_file", write("c.txt")).to_string().contains("denied by"));
    assert!(!project.path("files").read_dir().unwrap().any(|_| true), "nothing was written");
}

#[test]
fn requests_are_bounded_and_hostile_ones_refused() {
    let project = project(CONFIGURATION);
    let token = key(&project, "agent");
    let gateway = project.up();
    let agent = Agent::new(gateway.port, &token);
    let long = agent.call("write_file", json!({ "path": "a", "content": "x".repeat(20_000) })).to_string();
    assert!(long.contains("a person cannot be asked about a call with"), "{long}");
    for number in 0..20 {
        handle_of(&agent.call("write_file", write(&number.to_string())));
    }
    let full = agent.call("write_file", write("one more")).to_string();
    assert!(full.contains("too many of this caller's calls wait"), "{full}");
    let other = Agent::new(gateway.port, &key(&project, "other"));
    handle_of(&other.call("write_file", write("0")));
    assert_eq!(approval(&project, &["list"]).unwrap().as_array().unwrap().len(), 21);
}

#[test]
fn an_approval_keeps_what_arguments_mean_up_to_a_bound() {
    let rule = "[[servers.files.arguments]]\ntools = [\"write_file\"]\nargument = \"path\"\npath = { below = [\"/kept\"] }\n";
    let project = project(&format!("{CONFIGURATION}{rule}"));
    let token = key(&project, "agent");
    let gateway = project.up();
    let agent = Agent::new(gateway.port, &token);
    // A path means itself and every folder that it is below.
    let shown = |length: usize| {
        let path = format!("/kept/{}", ["a".repeat(length).as_str(); 10].join("/"));
        let handle = handle_of(&agent.call("write_file", json!({ "path": path, "content": "" })));
        let shown = approval(&project, &["show", &handle]).unwrap();
        assert_eq!(shown["arguments"]["path"], path.as_str(), "what came is kept whole");
        shown["attributes"].clone()
    };
    assert!(shown(10)["path"].is_object(), "{}", shown(10));
    assert_eq!(shown(200), Value::Null, "beyond 4 KiB nothing of that is kept");
}

#[test]
fn the_policy_commands_know_what_is_asked_about() {
    let project = project(CONFIGURATION);
    let run = |arguments: &[&str]| {
        let output = project.sallyport().arg("policy").args(arguments).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let explained = run(&["explain", "key:agent", "files", "write_file", "--offline", "--args", "{}"]);
    assert!(explained.starts_with("held for a person's approval by `servers.files.ask[0]`"), "{explained}");
    fs::write(
        project.path("cases.toml"),
        r#"case = [
            { principal = "key:agent", server = "files", tool = "write_file", arguments = {}, expect = "ask", place = "servers.files.ask" },
            { principal = "key:agent", server = "files", tool = "move_file", arguments = {}, expect = "deny" },
            { principal = "key:agent", server = "files", tool = "read_file", arguments = {}, expect = "allow" },
        ]"#,
    )
    .unwrap();
    let tested = run(&["test", "cases.toml"]);
    assert!(tested.ends_with("3 cases, 0 failed\n"), "{tested}");
}
