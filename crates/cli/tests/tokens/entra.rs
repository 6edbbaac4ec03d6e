//! Tokens as Microsoft Entra ID writes them, of both versions, for people and for programs: taken as the guide says.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::gateway::Project;
use crate::harness::processes::eventually;
use crate::provider::Provider;
use crate::{PUBLIC, resource};

/// An object of the directory: what a person or a program is to its APIs.
const OBJECT: &str = "11111111-2222-3333-4444-555555555555";

/// What the tokens of an app say in which every claim that matters is called otherwise.
fn shape(names: &Value, more: &Value) -> Value {
    let mut all = json!({ "aud": "api://sallyport", "sub": OBJECT, "oid": OBJECT, "tid": "corp", "uti": "x" });
    all.as_object_mut().zip(more.as_object()).into_iter().for_each(|(all, more)| all.extend(more.clone()));
    json!({ "typ": "JWT", "names": names, "more": all })
}

/// A gateway that takes the tokens of `provider`, which say in `scopes` what they are good for, and lets people of `staff` alone call.
fn gateway(provider: &Provider, scopes: &str) -> Project {
    let project = Project::new(&format!(
        r#"
public_url = "{PUBLIC}"
[identity.issuers.entra]
issuer = "{}"
types = ["JWT"]
audiences = {{ "api://sallyport" = "/mcp" }}
scopes_claim = "{scopes}"
groups_claim = "roles"
groups = {{ "Platform.Team" = "staff" }}
[policy]
engines = [{{ cedar = {{ files = ["main.cedar"] }} }}]
[servers.files]
builtin = {{ filesystem = {{ root = "files", write = true }} }}
"#,
        provider.issuer()
    ));
    fs::create_dir(project.path("files")).unwrap();
    fs::write(project.path("main.cedar"), "permit (principal in Group::\"staff\", action, resource);").unwrap();
    project
}

/// Whether each of two calls goes well: one that a token for `files:read` is good for, and one that it is not.
fn calls(caller: &Caller) -> [(u16, bool); 2] {
    let look = ("files__list_directory", json!({ "path": "." }));
    let write = ("files__write_file", json!({ "path": "a", "content": "a" }));
    [look, write].map(|(name, arguments)| {
        let answer = caller.ask("/mcp", "tools/call", json!({ "name": name, "arguments": arguments }));
        let told: Value = answer.message().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        (answer.status, told["result"]["content"].is_array() && told["result"]["isError"] != true)
    })
}

/// Calls with a token of this shape, for `files:read`; gives back what came of it once a record says who that was.
fn called(names: &Value, more: &Value, scopes: &str, principal: &str) -> [(u16, bool); 2] {
    let provider = Provider::start_with(&[(resource("/mcp"), "jwt:RS256")], &json!({ "shape": shape(names, more) }));
    let project = gateway(&provider, scopes);
    let gateway = project.up();
    let caller = Caller::new(gateway.port, &provider.token(&resource("/mcp"), "files:read"));
    let calls = calls(&caller);
    assert_eq!(caller.knock("/servers/files/mcp"), 401, "its audience is one endpoint\n{}", gateway.log());
    let principal = format!("\"principal\":\"{principal}@{}\"", provider.issuer());
    eventually(&format!("a record says {principal}"), Duration::from_secs(10), || {
        fs::read_to_string(project.state().join("sallyport/audit/audit.jsonl")).unwrap_or_default().contains(&principal)
    });
    calls
}

#[test]
fn tokens_in_the_shape_of_entra_are_taken_as_the_guide_says() {
    let person = format!("user:{OBJECT}");
    let (staff, reads) = (json!(["Platform.Team", "admin"]), json!(["Platform.Team", "files:read"]));
    for (version, client) in [("1.0", "appid"), ("2.0", "azp")] {
        let persons = json!({ "scope": "scp", "client_id": client });
        let good = called(&persons, &json!({ "ver": version, "roles": staff }), "scp", &person);
        assert_eq!(good, [(200, true), (403, false)], "{persons}");
        // A program has roles and no scopes.
        let programs = json!({ "scope": "", "client_id": client });
        let good = called(&programs, &json!({ "ver": version, "idtyp": "app", "roles": reads }), "roles", "client:agent");
        assert_eq!(good, [(200, true), (403, false)], "{programs}");
    }
    let elsewhere = json!({ "ver": "2.0", "roles": ["admin", "staff"] });
    let calls = called(&json!({ "scope": "scp", "client_id": "azp" }), &elsewhere, "scp", &person);
    assert!(calls.iter().all(|(_, is_done)| !is_done), "no group of theirs counts here");
}
