//! Calls that a person approves, where calls are limited.

use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::{Agent, handle_of, key};
use crate::harness::processes::eventually;
use crate::{CONFIGURATION, approval, project, write};

fn limited(calls: u32) -> String {
    format!("{CONFIGURATION}[[limits]]\ntools = [\"write_file\"]\nbudget = {{ calls = {calls}, seconds = 3600 }}\n")
}

fn is_done(answer: &Value) -> bool {
    answer["result"]["content"].is_array() && answer["result"]["isError"] != true
}

#[test]
fn a_call_counts_when_it_goes_through_and_an_approval_is_kept_that_a_limit_stops() {
    let project = project(&limited(2));
    let token = key(&project, "agent");
    let gateway = project.up();
    let agent = Agent::new(gateway.port, &token);
    let call = |name: &str| agent.call("write_file", write(name));
    let handles = ["a.txt", "b.txt", "c.txt"].map(|name| {
        let handle = handle_of(&call(name));
        (0..3).for_each(|_| assert_eq!(handle_of(&call(name)), handle, "what is held counts nowhere"));
        approval(&project, &["approve", &handle]).unwrap();
        handle
    });
    assert!(is_done(&call("a.txt")) && is_done(&call("b.txt")), "each has counted once");
    for _ in 0..2 {
        let beyond = call("c.txt");
        let told = &beyond["result"]["_meta"]["dev.sallyport/failure"];
        assert_eq!((&told["kind"], &told["limit"]), (&json!("limited"), &json!("limits[0].budget.calls")), "{beyond}");
    }
    assert!(!project.path("files/c.txt").exists());
    assert_eq!(approval(&project, &["show", &handles[2]]).unwrap()["standing"], "approved", "it was not used");

    project.configure(&limited(3));
    eventually("there is room", Duration::from_secs(30), || is_done(&call("c.txt")));
    assert!(project.path("files/c.txt").exists());
    assert_ne!(handle_of(&call("c.txt")), handles[2], "it is good once");
}
