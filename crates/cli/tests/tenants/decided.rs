//! Calls of a tenant that a person decides about.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::processes::eventually;
use crate::{ACME_KEY, OWN, TENANTS, project, result};

#[test]
fn the_record_of_a_decision_says_whose_call_it_was_about() {
    let asks = "builtin = { filesystem = { root = \"acme\", write = true } }\nask = [\"write_file\"]";
    let tenants = TENANTS.replacen("builtin = { filesystem = { root = \"acme\", write = true } }", asks, 1);
    let project = project(&format!("{OWN}{tenants}"));
    let gateway = project.up();
    let caller = Caller::new(gateway.port, ACME_KEY);
    let call = json!({ "name": "files__write_file", "arguments": { "path": "a.txt", "content": "written" } });
    let held = result(&caller.ask("/t/acme/mcp", "tools/call", call.clone()));
    let handle = held["_meta"]["dev.sallyport/failure"]["approval"].as_str().unwrap_or_else(|| panic!("{held}")).to_owned();
    let run = |arguments: &[&str]| project.sallyport().arg("approval").args(arguments).output().unwrap();
    assert!(!run(&["approve", &handle]).status.success(), "it is no call of the gateway's own");
    assert!(!run(&["--tenant", "umbrella", "approve", &handle]).status.success(), "nor of another tenant");
    let approved = run(&["--tenant", "acme", "approve", &handle]);
    assert!(approved.status.success(), "{approved:?}");
    let done = result(&caller.ask("/t/acme/mcp", "tools/call", call));
    assert!(done["isError"] != json!(true) && project.path("acme/a.txt").exists(), "{done}");

    let of = |method: &str| -> Vec<Value> {
        let folder = project.state().join("sallyport/audit");
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        let text: String = files.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect();
        let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.filter(|record| record["approval"] == handle.as_str() && record["method"] == method).collect()
    };
    eventually("the call is recorded, before and after", Duration::from_secs(20), || of("tools/call").len() == 2);
    let decided = of("approval/approve");
    assert_eq!((decided.len(), &decided[0]["tenant"], &decided[0]["principal"]), (1, &json!("acme"), &json!("local")), "{decided:?}");
    assert!(of("tools/call").iter().all(|record| record["tenant"] == "acme"));
}
