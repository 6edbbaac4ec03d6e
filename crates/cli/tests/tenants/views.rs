//! What is shown of the audit records: of each tenant its own, and nothing of a neighbour, not even how much there is.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::commands::{json_of, run, said};
use crate::{ACME_KEY, OWN, OWN_KEY, TENANTS, UMBRELLA_KEY, project};

#[test]
fn each_tenant_is_shown_its_own_records_and_counts_nobody_elses() {
    let project = project(&format!("{OWN}{TENANTS}"));
    let mut gateway = project.up();
    let read = |key: &str, endpoint: &str, tool: &str| {
        let call = json!({ "name": tool, "arguments": { "path": "whose.txt" } });
        Caller::new(gateway.port, key).ask(endpoint, "tools/call", call).status
    };
    assert_eq!(read(OWN_KEY, "/mcp", "files__read_file"), 200);
    for _ in 0..2 {
        assert_eq!(read(ACME_KEY, "/t/acme/mcp", "files__read_file"), 200);
    }
    read(ACME_KEY, "/t/acme/mcp", "files__nothere");
    for _ in 0..5 {
        assert_eq!(read(UMBRELLA_KEY, "/t/umbrella/mcp", "files__read_file"), 200);
    }
    assert_eq!(read(UMBRELLA_KEY, "/t/acme/mcp", "files__read_file"), 401);
    assert_eq!(read(UMBRELLA_KEY, "/t/nothere/mcp", "files__read_file"), 401);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0), "it writes down all that it was asked for");
    let called = said(&run(&project, &["call", "files__read_file", "path=whose.txt", "--tenant", "acme"]));
    assert_eq!(called.trim(), "acme");

    let records = |arguments: &[&str]| -> Vec<Value> {
        let shown = json_of(&run(&project, &[&["audit", "--json"], arguments].concat()));
        shown.as_array().unwrap().clone()
    };
    let (own, acme, umbrella) = (records(&[]), records(&["--tenant", "acme"]), records(&["--tenant", "umbrella"]));
    let calls = |records: &[Value]| records.iter().filter(|record| record["target"] == "read_file" && record["outcome"] == "ok").count();
    assert_eq!((calls(&own), calls(&acme), calls(&umbrella)), (1, 3, 5));
    for (records, tenant) in [(&acme, "acme"), (&umbrella, "umbrella")] {
        for record in records {
            let endpoint = record["endpoint"].as_str().unwrap();
            assert!(endpoint == format!("/t/{tenant}/mcp") || (endpoint, &record["tenant"]) == ("stdio", &json!(tenant)), "{record}");
            assert!(record.get("tenant").is_none_or(|of| of == tenant), "{record}");
        }
    }
    assert!(own.iter().all(|record| record["endpoint"] == "/mcp" && record.get("tenant").is_none()), "{own:?}");
    let times: Vec<&str> = acme.iter().map(|record| record["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(records(&["--tenant", "acme", "-n", "2"]), acme[acme.len() - 2..]);
    assert_eq!(records(&["--tenant", "acme", "--since", "2099-01-01"]), Vec::<Value>::new());

    let told = run(&project, &["audit", "--tenant", "acme"]);
    let (text, rest) = (String::from_utf8(told.stdout).unwrap(), String::from_utf8(told.stderr).unwrap());
    assert_eq!((text.lines().count(), rest.as_str()), (acme.len(), ""), "{text}");
    assert!(text.contains("tools/call files/read_file  ok") && !text.contains("umbrella.key"), "{text}");
    let unknown = run(&project, &["audit", "--tenant", "nothere"]);
    assert!(!unknown.status.success() && said(&unknown).contains("there is no tenant `nothere`"), "{}", said(&unknown));

    let suggested = json_of(&run(&project, &["policy", "suggest", "--tenant", "acme", "--json"]));
    assert_eq!(suggested["left_out"], json!([]), "{suggested}");
    let file = project.configuration();
    let shadow = ["policy", "shadow", file.to_str().unwrap(), "--tenant", "acme", "--offline", "--json"];
    let shadowed = json_of(&run(&project, &shadow));
    assert_eq!(shadowed["left_out"], json!([]), "{shadowed}");
}
