//! Servers that are put into a tenant's tables and taken out, and what they wrote.

use std::fs;

use serde_json::{Value, json};

use crate::commands::{json_of, run, said};
use crate::harness::gateway::Project;
use crate::{OWN, TENANTS, project};

const SECRET: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

fn names(project: &Project, tenant: &[&str]) -> Vec<String> {
    let listed = json_of(&run(project, &[&["list", "--json"], tenant].concat()));
    listed.as_array().unwrap().iter().map(|server| server["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_server_is_added_to_the_tenant_that_is_named_and_to_no_other() {
    let project = project(&format!("{OWN}{TENANTS}"));
    let token = format!("GITHUB_TOKEN={SECRET}");
    let added = run(&project, &["add", "tracker", "--tenant", "acme", "--env", &token, "--json", "--", "/bin/true"]);
    let added = json_of(&added);
    assert_eq!((&added["server"], &added["secrets"], &added["written"]), (&json!("tracker"), &json!(["env.GITHUB_TOKEN"]), &json!(true)));
    let written = fs::read_to_string(project.configuration()).unwrap();
    assert!(written.contains("[tenants.acme.servers.tracker]") && !written.contains(SECRET), "{written}");
    assert!(written.contains("/secrets/acme-tracker-github-token"), "{written}");
    let all = [&[][..], &["--tenant", "acme"], &["--tenant", "umbrella"]].map(|tenant| names(&project, tenant));
    assert_eq!(all, [vec!["files"], vec!["files", "secret", "tracker"], vec!["files"]]);

    for (arguments, told) in [
        (&["add", "tracker", "--tenant", "acme", "--", "/bin/true"][..], "`sallyport remove tracker --tenant acme` takes it out"),
        (&["add", "tracker", "--tenant", "nothere", "--", "/bin/true"], "there is no tenant `nothere`"),
        (&["remove", "nothere", "--tenant", "acme"], "`sallyport list --tenant acme` names them"),
        (&["remove", "tracker"], "there is no server `tracker`"),
        (&["remove", "tracker", "--tenant", "umbrella"], "there is no server `tracker`"),
    ] {
        let refused = run(&project, arguments);
        assert!(!refused.status.success() && said(&refused).contains(told), "{arguments:?}: {}", said(&refused));
    }
    assert_eq!(fs::read_to_string(project.configuration()).unwrap(), written, "what was refused changed nothing");

    let removed = json_of(&run(&project, &["remove", "files", "--tenant", "umbrella", "--json"]));
    let lost: Vec<&Value> = removed["warnings"].as_array().unwrap().iter().map(|warning| &warning["path"]).collect();
    assert_eq!(lost, ["tenants.umbrella.toolsets.look.tools[0]"], "{removed}");
    let all = [&[][..], &["--tenant", "acme"], &["--tenant", "umbrella"]].map(|tenant| names(&project, tenant));
    assert_eq!(all, [vec!["files"], vec!["files", "secret", "tracker"], vec![]]);
}

#[test]
fn what_is_wrong_with_a_tenants_server_can_be_taken_out_with_it() {
    let project = project(&format!("{OWN}{TENANTS}\n[tenants.acme.servers.wrong]\ncomand = [\"x\"]\n"));
    let other = run(&project, &["remove", "secret", "--tenant", "acme"]);
    assert!(!other.status.success() && said(&other).contains("tenants.acme.servers.wrong.comand"), "{}", said(&other));
    let removed = run(&project, &["remove", "wrong", "--tenant", "acme"]);
    assert!(removed.status.success(), "{}", said(&removed));
    assert_eq!(names(&project, &["--tenant", "acme"]), ["files", "secret"]);
}

#[test]
fn hints_at_what_a_server_wrote_say_whose_it_is() {
    let dead = "[tenants.acme.servers.dead]\ncommand = [\"/bin/sh\", \"-c\", \"echo so it ends >&2; exit 3\"]\nsandbox = \"none\"\n";
    let project = project(&format!("min_isolation = \"none\"\n{OWN}{TENANTS}{dead}"));
    let tools = said(&run(&project, &["tools", "--tenant", "acme"]));
    assert!(tools.contains("`sallyport logs dead --tenant acme`"), "{tools}");
    let _gateway = project.up();
    let tools = said(&run(&project, &["tools", "--tenant", "acme"]));
    assert!(tools.contains("`sallyport logs dead --tenant acme`"), "of a gateway that runs: {tools}");
    let log = said(&run(&project, &["logs", "dead", "--tenant", "acme"]));
    assert!(log.contains("so it ends"), "{log}");
    let log = run(&project, &["logs", "dead"]);
    assert!(!log.status.success() && said(&log).contains("a tenant has one: `sallyport logs dead --tenant acme`"), "{}", said(&log));
    let log = run(&project, &["logs", "dead", "--tenant", "umbrella"]);
    assert!(!log.status.success() && said(&log).contains("there are files") && !said(&log).contains("acme"), "{}", said(&log));
}
