//! A reload adds and takes away tenants, and the others do not notice.

use std::time::Duration;

use serde_json::json;

use crate::caller::Caller;
use crate::harness::processes::eventually;
use crate::{ACME_KEY, OWN, TENANTS, UMBRELLA_KEY, project, result};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn tenants_come_and_go_while_others_stay() {
    let (acme, umbrella) = TENANTS.split_once("[tenants.umbrella]").unwrap();
    let umbrella = format!("[tenants.umbrella]{umbrella}");
    let project = project(&format!("{OWN}{acme}"));
    let gateway = project.up();
    let knock = |key: &str, endpoint: &str| Caller::new(gateway.port, key).knock(endpoint);
    assert_eq!((knock(ACME_KEY, "/t/acme/mcp"), knock(UMBRELLA_KEY, "/t/umbrella/mcp")), (200, 401));
    let mut session = crate::objects::Legacy::open(gateway.port, ACME_KEY, "/t/acme/mcp");

    project.configure(&format!("{OWN}{acme}{umbrella}"));
    eventually("a tenant is added", PATIENCE, || knock(UMBRELLA_KEY, "/t/umbrella/mcp") == 200);
    assert_eq!(session.ask("tools/list", json!({})).status, 200, "the other's sessions stay");

    // One that cannot be put in force changes nothing, for nobody.
    project.configure(&format!("{OWN}{umbrella}{}", acme.replace("file:acme.key", "file:none.key")));
    eventually("it is refused", PATIENCE, || gateway.log().contains("tenant `acme`: "));
    assert_eq!((knock(ACME_KEY, "/t/acme/mcp"), knock(UMBRELLA_KEY, "/t/umbrella/mcp")), (200, 200));

    project.configure(&format!("{OWN}{umbrella}"));
    eventually("a tenant is gone", PATIENCE, || knock(ACME_KEY, "/t/acme/mcp") == 401);
    assert_eq!(session.ask("tools/list", json!({})).status, 401, "and its sessions with it");
    let read = json!({ "name": "files__read_file", "arguments": { "path": "whose.txt" } });
    let answer = Caller::new(gateway.port, UMBRELLA_KEY).ask("/t/umbrella/mcp", "tools/call", read);
    assert_eq!(result(&answer)["content"][0]["text"], "umbrella");

    project.configure(OWN);
    eventually("there are none any more", PATIENCE, || knock(UMBRELLA_KEY, "/t/umbrella/mcp") == 404);
    assert_eq!(knock(crate::OWN_KEY, "/mcp"), 200, "{}", gateway.log());
}
