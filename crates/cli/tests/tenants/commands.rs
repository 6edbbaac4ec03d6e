//! The commands about tenants, and others as one of them.

use std::fs;
use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::gateway::Project;
use crate::{OWN, TENANTS, project, result};

fn with_keys_given_out() -> String {
    format!("{OWN}{TENANTS}").replace("keys = [\"file:acme.key\"]", "keys = [\"file:acme.key\"]\nidentity = { api_keys = true }")
}

pub(crate) fn run(project: &Project, arguments: &[&str]) -> Output {
    project.sallyport().args(arguments).output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).unwrap()
}

pub(crate) fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn tenants_are_listed_and_forgotten() {
    let project = project(&with_keys_given_out());
    let listed = json_of(&run(&project, &["tenant", "list", "--json"]));
    assert_eq!(listed[0]["name"], "acme");
    assert_eq!((&listed[0]["servers"], &listed[0]["api_keys"], &listed[0]["keys"]), (&json!(["files", "secret"]), &json!(true), &json!(1)));
    assert_eq!(listed[1]["endpoint"], "/t/umbrella/mcp");

    json_of(&run(&project, &["key", "add", "ci", "--tenant", "acme", "--json"]));
    let there = run(&project, &["tenant", "forget", "acme", "--yes"]);
    assert!(!there.status.success() && said(&there).contains("the configuration has a tenant `acme`"), "{}", said(&there));
    project.configure(OWN);
    let listed = json_of(&run(&project, &["tenant", "list", "--json"]));
    assert_eq!((&listed[0]["name"], &listed[0]["configured"]), (&json!("acme"), &json!(false)));
    assert!(!run(&project, &["tenant", "forget", "acme"]).status.success(), "not without being sure");
    assert!(!run(&project, &["tenant", "forget", "../tenants", "--yes"]).status.success());
    let forgotten = json_of(&run(&project, &["tenant", "forget", "acme", "--yes", "--json"]));
    assert!(forgotten["tenant"] == "acme" && forgotten["removed"].as_str().unwrap().ends_with("/tenants/acme"), "{forgotten}");
    assert_eq!(json_of(&run(&project, &["tenant", "list", "--json"])), json!([]));
}

#[test]
fn one_key_under_two_names_opens_nothing() {
    let project = project(&format!("{OWN}{TENANTS}"));
    for (file, told) in [("umbrella.key", "opens tenant `acme`, too"), ("own.key", "opens the gateway itself, too")] {
        let (was, other) = (fs::read(project.path(file)).unwrap(), fs::read(project.path("acme.key")).unwrap());
        fs::write(project.path(file), other).unwrap();
        let refused = run(&project, &["tools"]);
        assert!(!refused.status.success() && said(&refused).contains(told), "{}", said(&refused));
        fs::write(project.path(file), was).unwrap();
    }
    assert!(run(&project, &["tools"]).status.success());
}

#[test]
fn keys_that_are_given_out_are_one_tenants() {
    let project = project(&with_keys_given_out());
    let gateway = project.up();
    let made = json_of(&run(&project, &["key", "--tenant", "acme", "add", "ci", "--json"]));
    assert_eq!(made["tenant"], "acme");
    let caller = Caller::new(gateway.port, made["key"].as_str().unwrap());
    assert_eq!(["/t/acme/mcp", "/t/umbrella/mcp", "/mcp"].map(|endpoint| caller.knock(endpoint)), [200, 401, 401], "{}", gateway.log());
    let of = |tenant: &[&str]| json_of(&run(&project, &[&["key", "list", "--json"], tenant].concat())).as_array().unwrap().len();
    assert_eq!((of(&["--tenant", "acme"]), of(&["--tenant", "umbrella"]), of(&[])), (1, 0, 0));
    let unknown = run(&project, &["key", "add", "ci", "--tenant", "nothere"]);
    assert!(said(&unknown).contains("there is no tenant `nothere`"), "{}", said(&unknown));
    let same_name = run(&project, &["key", "add", "ci"]);
    assert!(same_name.status.success(), "another's names are its own: {}", said(&same_name));
}

#[test]
fn tools_are_called_as_a_tenant() {
    let project = project(&format!("{OWN}{TENANTS}"));
    let read = |tenant: &str| said(&run(&project, &["call", "files__read_file", "path=whose.txt", "--tenant", tenant]));
    assert_eq!((read("acme").trim(), read("umbrella").trim()), ("acme", "umbrella"), "in a process of its own");
    let _gateway = project.up();
    assert_eq!((read("acme").trim(), read("umbrella").trim()), ("acme", "umbrella"), "of the gateway that runs");
    let tools = said(&run(&project, &["tools", "--tenant", "umbrella"]));
    assert!(tools.contains("files__read_file") && !tools.contains("secret__"), "{tools}");
    let servers = json_of(&run(&project, &["list", "--tenant", "acme", "--json"]));
    assert_eq!(servers.as_array().unwrap().len(), 2);
}

#[test]
fn what_is_wrong_with_a_tenant_is_told_with_its_place() {
    let project = project(
        "[tenants.a]\nkeys = [\"file:acme.key\"]\n[tenants.a.servers.x]\ncomand = [\"x\"]\n\
         [tenants.b]\n[tenants.b.servers.y]\nurl = \"ftp://x\"\n\
         [tenants.c]\nkeys = [\"file:acme.key\"]\n[tenants.\"not a name\"]\nkeys = [\"file:acme.key\"]\n",
    );
    let told = said(&run(&project, &["check"]));
    assert!(told.contains("tenants.a.servers.x.comand: unknown key"), "{told}");
    project.configure(
        "[tenants.b]\n[tenants.b.servers.y]\nurl = \"ftp://x\"\n[tenants.c]\nkeys = [\"file:acme.key\"]\nidentity = { server = {} }\n\
         [tenants.\"not a name\"]\nkeys = [\"file:own.key\"]\n[tenants.d]\nkeys = [\"file:acme.key\"]\n",
    );
    let told = said(&run(&project, &["check"]));
    for what in [
        "tenants.b.keys: nobody could call",
        "tenants.b.servers.y",
        "public_url: the gateway takes tokens and does not know its own address",
        "cannot be a name",
        "tenants.d.keys",
    ] {
        assert!(told.contains(what), "{what}: {told}");
    }
}

#[test]
fn an_issuer_that_several_trust_has_to_say_whose_its_tokens_are() {
    let project = project(
        "public_url = \"https://mcp.example.com\"\n[identity.issuers.all]\nissuer = \"https://a.example.com\"\ntenant_claim = \"org\"\n\
         [identity.issuers.own]\nissuer = \"https://b.example.com\"\n\
         [tenants.a.identity.issuers.x]\nissuer = \"https://a.example.com\"\n\
         [tenants.b.identity.issuers.x]\nissuer = \"https://b.example.com\"\naudiences = { \"api://x\" = \"/mcp\" }\n",
    );
    let told = said(&run(&project, &["check"]));
    for what in ["tokens of https://a.example.com name their tenant in `org`", "https://b.example.com is not trusted here alone"] {
        assert!(told.contains(what), "{what}: {told}");
    }
    // Nor is a server inside the gateway trusted by anybody but the one whose it is.
    project.configure(
        "public_url = \"https://mcp.example.com\"\n[tenants.a.identity.server]\n[tenants.b.identity.issuers.x]\n\
         issuer = \"https://mcp.example.com/t/a\"\n[tenants.c.identity.issuers.x]\nissuer = \"https://mcp.example.com\"\n\
         [tenants.d.identity]\nserver = {}\n[tenants.d.identity.issuers.x]\nissuer = \"https://mcp.example.com/t/d\"\n\
         [identity.issuers.x]\nissuer = \"https://mcp.example.com/t/a\"\n",
    );
    let told = said(&run(&project, &["check"]));
    for what in [
        "tenants.b.identity.issuers: https",
        "tenants.c.identity.issuers: https",
        "tenants.d.identity.issuers: https",
        ":11:11: identity.issuers: https",
    ] {
        assert!(told.contains(what), "{what}: {told}");
    }
}

#[test]
fn a_program_speaks_to_a_tenant_over_stdio() {
    let project = project(&format!("{OWN}{TENANTS}"));
    let read = |arguments: &[&str]| {
        let mut command = project.sallyport();
        command.arg("stdio").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = command.spawn().unwrap();
        let mut stdin = running.stdin.take().unwrap();
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let read = json!({ "name": "files__read_file", "arguments": { "path": "whose.txt" } });
        for message in [
            json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }),
            json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
            json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": read }),
        ] {
            writeln!(stdin, "{message}").unwrap();
        }
        drop(stdin);
        let said = said(&running.wait_with_output().unwrap());
        let answer = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|message| message["id"] == 2);
        answer.unwrap_or_else(|| panic!("{said}"))["result"]["content"][0]["text"].clone()
    };
    assert_eq!(read(&["--tenant", "umbrella"]), "umbrella", "in a process of its own");
    let _gateway = project.up();
    assert_eq!(read(&["--tenant", "acme"]), "acme", "of the gateway that runs");
    assert_eq!(read(&["--tenant", "umbrella", "--alone"]), "umbrella");
    assert_eq!(read(&[]), "own");
}

#[test]
fn what_a_tenants_policy_decides_is_told_and_proposed() {
    let rules = "[tenants.umbrella.servers.files]\ndeny = [\"list_directory\"]";
    let project = project(&format!("{OWN}{TENANTS}").replace("[tenants.umbrella.servers.files]", rules));
    let explain = |tenant: &[&str]| {
        json_of(&run(&project, &[&["policy", "explain", "key:x", "files", "list_directory", "--json"], tenant].concat()))["effect"].clone()
    };
    assert_eq!([explain(&[]), explain(&["--tenant", "acme"]), explain(&["--tenant", "umbrella"])], ["allow", "allow", "deny"]);
    let unknown = run(&project, &["policy", "check", "--tenant", "nothere"]);
    assert!(said(&unknown).contains("there is no tenant `nothere`"), "{}", said(&unknown));
    let checked = run(&project, &["policy", "check", "--tenant", "acme"]);
    assert!(checked.status.success() && said(&checked).contains("files, secret"), "{}", said(&checked));
    fs::write(
        project.path("cases.toml"),
        "[[case]]\nprincipal = \"key:x\"\nserver = \"secret\"\ntool = \"read_file\"\nexpect = \"allow\"\n",
    )
    .unwrap();
    let tested = |tenant: &str| run(&project, &["policy", "test", "cases.toml", "--tenant", tenant]);
    assert!(tested("acme").status.success(), "{}", said(&tested("acme")));
    assert!(said(&tested("umbrella")).contains("there is no server `secret`"));

    let mut gateway = project.up();
    let read = json!({ "name": "files__read_file", "arguments": { "path": "whose.txt" } });
    for (key, endpoint) in [(crate::ACME_KEY, "/t/acme/mcp"), (crate::UMBRELLA_KEY, "/t/umbrella/mcp")] {
        assert_eq!(Caller::new(gateway.port, key).ask(endpoint, "tools/call", read.clone()).status, 200);
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0), "it writes down all that it was asked for");
    let proposed = said(&run(&project, &["policy", "suggest", "--tenant", "acme"]));
    assert!(proposed.contains("calls: 1, by acme/key:file:") && proposed.contains("[tenants.acme.servers.files]"), "{proposed}");
    // The whole file, where one tenant may do less than before.
    let stricter = fs::read_to_string(project.configuration())
        .unwrap()
        .replace("[tenants.acme.servers.files]", "[tenants.acme.servers.files]\ndeny = [\"read_file\"]");
    fs::write(project.path("next.toml"), stricter).unwrap();
    let shadow = |tenant: &str| run(&project, &["policy", "shadow", "next.toml", "--tenant", tenant]).status.code();
    assert_eq!((shadow("acme"), shadow("umbrella")), (Some(3), Some(0)));
    // What is proposed is in force, for both.
    let policies = run(&project, &["policy", "suggest", "--tenant", "acme", "--cedar"]);
    fs::write(project.path("proposed.cedar"), &policies.stdout).unwrap();
    let proposed = "policy = { default = \"deny\", engines = [{ cedar = { files = [\"proposed.cedar\"] } }] }";
    project.configure(&format!("{OWN}{}", TENANTS.replace("policy = { default = \"allow\" }", proposed)));
    let gateway = project.up();
    let is_let_through = |key: &str, endpoint: &str| {
        let answer = Caller::new(gateway.port, key).ask(endpoint, "tools/call", read.clone());
        result(&answer)["structuredContent"].is_object()
    };
    assert!(is_let_through(crate::ACME_KEY, "/t/acme/mcp"), "{}", said(&policies));
    assert!(!is_let_through(crate::UMBRELLA_KEY, "/t/umbrella/mcp"));
}
