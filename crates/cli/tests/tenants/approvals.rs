//! Calls of a tenant that wait for a person: its own approvers decide, on a page of its own.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::caller::Caller;
use crate::commands::{json_of, run};
use crate::harness::gateway::{Gateway, Project};
use crate::{ACME_KEY, OWN, TENANTS, UMBRELLA_KEY, project};

/// Each tenant has an approver called the same, and asks before it writes.
fn asking() -> Project {
    let tenant = |name: &str| format!("[tenants.{name}]\nidentity = {{ api_keys = true }}\napprovals = {{ approvers = [\"key:boss\"] }}");
    let tenants = TENANTS.replace("[tenants.acme]", &tenant("acme")).replace("[tenants.umbrella]", &tenant("umbrella"));
    project(&format!("{OWN}{}", tenants.replace("write = true } }", "write = true } }\nask = [\"write_file\"]")))
}

fn boss(project: &Project, tenant: &str) -> String {
    json_of(&run(project, &["key", "add", "boss", "--tenant", tenant, "--json"]))["key"].as_str().unwrap().to_owned()
}

fn write(gateway: &Gateway, key: &str, tenant: &str) -> Value {
    let call = json!({ "name": "write_file", "arguments": { "path": "new.txt", "content": "x" } });
    crate::result(&Caller::new(gateway.port, key).ask(&format!("/t/{tenant}/servers/files/mcp"), "tools/call", call))
}

/// The handle of the approval that a call waits for.
fn handle(answer: &Value) -> String {
    let failure = &answer["_meta"]["dev.sallyport/failure"];
    assert_eq!(failure["kind"], "approval_needed", "{answer}");
    failure["approval"].as_str().unwrap().to_owned()
}

#[test]
fn the_approvers_of_a_tenant_decide_about_its_calls_and_no_others() {
    let project = asking();
    let gateway = project.up();
    let (acme, umbrella) = (boss(&project, "acme"), boss(&project, "umbrella"));
    let refused = write(&gateway, ACME_KEY, "acme");
    let asked = handle(&refused);
    let page = format!("/t/acme/approvals/{asked}");
    assert!(refused["content"][0]["text"].as_str().unwrap().contains(&gateway.url(&page)), "{refused}");
    let theirs = handle(&write(&gateway, UMBRELLA_KEY, "umbrella"));

    // The same name, and the same page; another tenant.
    let mut stranger = Browser::default();
    for key in [umbrella.as_str(), crate::OWN_KEY, ACME_KEY, "nonsense"] {
        let page = stranger.post(&gateway.url(&page), &[("key", key)]);
        assert!(page.status == 403 && !page.html.contains("write_file"), "{key}: {page:?}");
    }
    let signed_in = stranger.post(&gateway.url("/t/umbrella/approvals"), &[("key", &umbrella)]);
    assert_eq!((signed_in.status, signed_in.location.as_ref().map(url::Url::path)), (303, Some("/t/umbrella/approvals")));
    assert_eq!(stranger.get(&gateway.url(&format!("/t/umbrella/approvals/{asked}"))).status, 404, "it is no call of this tenant's");
    let list = stranger.get(&gateway.url("/t/umbrella/approvals"));
    assert!(list.html.contains(&format!("/t/umbrella/approvals/{theirs}")) && !list.html.contains(&asked), "{list:?}");
    let shown = stranger.get(&gateway.url(&page));
    assert!(shown.html.contains("name=key") && !shown.html.contains("write_file"), "who is signed in there is nobody here: {shown:?}");

    let mut browser = Browser::default();
    let shown = browser.submit(&gateway.url(&page), &[("key", &acme)]);
    assert!(shown.url.path() == page && shown.html.contains("write_file"), "{shown:?} {}", gateway.log());
    let token = shown.field("form_token");
    let decided = browser.submit(&gateway.url(&page), &[("form_token", &token), ("decision", "approve")]);
    assert!(decided.html.contains("It is approved"), "{decided:?}");
    assert_eq!(handle(&write(&gateway, UMBRELLA_KEY, "umbrella")), theirs, "the other's waits still");
    let done = write(&gateway, ACME_KEY, "acme");
    assert!(done["_meta"]["dev.sallyport/failure"].is_null() && project.path("acme/new.txt").is_file(), "{done}");
    crate::harness::processes::eventually("the decision is on record", std::time::Duration::from_secs(10), || {
        let audit = std::fs::read_to_string(project.state().join("sallyport/audit/audit.jsonl")).unwrap_or_default();
        audit
            .lines()
            .any(|line| line.contains("\"/t/acme/approvals\"") && line.contains("approval/approve") && line.contains("\"tenant\":\"acme\""))
    });
}
