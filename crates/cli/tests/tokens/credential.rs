//! All that goes to a server with a credential goes with it, and nothing of what the caller showed: tools, prompts, resources, subscriptions.

use std::time::Duration;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fixture::Fixture;
use crate::harness::gateway::Project;
use crate::harness::processes::eventually;
use crate::provider::{Provider, SECRET};
use crate::relay::{Relay, Sent};
use crate::visitor::Visitor;
use crate::{KEY, PUBLIC, resource, write_private};

/// The far gateway, as it is reached.
fn files_at(port: u16) -> String {
    format!("http://127.0.0.1:{port}/servers/files/mcp")
}

/// The heads of all requests that were sent to the far endpoint, each after its first line.
fn heads(sent: &Sent) -> Vec<String> {
    let text = sent.text();
    let requests = text.split(" /servers/files/mcp HTTP/1.1\r\n").skip(1);
    requests.map(|request| request.split("\r\n\r\n").next().unwrap_or_default().to_lowercase()).collect()
}

#[test]
fn every_kind_of_request_carries_the_servers_credential_and_nothing_of_the_callers() {
    let (relay, fixture) = (Relay::new(), Fixture::start());
    let port = relay.port;
    let provider = Provider::start(&[(resource("/mcp"), "jwt:RS256"), (files_at(port), "jwt:EdDSA")]);
    let issuer = provider.issuer();
    let far = Project::new(&format!(
        "public_url = \"http://127.0.0.1:{port}\"\n[identity.issuers.op]\nissuer = \"{issuer}\"\n[policy]\ndefault = \"allow\"\n\
         [servers.files]\nurl = \"http://127.0.0.1:{}/mcp\"\n",
        fixture.port
    ));
    let far = (far.up(), far);
    let sent = relay.lead_to(far.0.port);
    let project = Project::new(&format!(
        "public_url = \"{PUBLIC}\"\nkeys = [\"file:key\"]\n[identity.issuers.op]\nissuer = \"{issuer}\"\n[policy]\ndefault = \"allow\"\n\
         [servers.far]\nurl = \"{}\"\n\
         credential = {{ client_credentials = {{ client = {{ id = \"agent\", secret = \"file:secret\" }} }} }}\n",
        files_at(port)
    ));
    write_private(&project, "secret", SECRET);
    write_private(&project, "key", KEY);
    let gateway = project.up();

    let token = provider.token(&resource("/mcp"), "mcp");
    let caller = Caller::new(gateway.port, &token);
    for (method, params) in [
        ("tools/call", json!({ "name": "far__test_simple_text", "arguments": {} })),
        ("prompts/get", json!({ "name": "far__test_simple_prompt" })),
        ("resources/read", json!({ "uri": "far.mcp:test://static-text" })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "far__test_prompt_with_arguments" }, "argument": { "name": "arg1", "value": "pa" } }),
        ),
    ] {
        let answer = caller.ask("/mcp", method, params);
        let message: Value = answer.message().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        assert!(message["result"].is_object() && message["result"]["isError"] != json!(true), "{method}: {answer:?}\n{}", gateway.log());
    }
    let visitor = Visitor::at_port("caller", gateway.port, Some(&token));
    let watched = json!({ "notifications": { "resourceSubscriptions": ["far.mcp:test://watched-resource"] } });
    let (listening, told) = visitor.listen("/mcp", watched);
    assert_eq!(told.status, 200, "{told:?}\n{}", gateway.log());

    for method in ["tools/call", "prompts/get", "resources/read", "completion/complete", "subscriptions/listen"] {
        let line = format!("mcp-method: {method}");
        let is_sent = || heads(&sent).iter().any(|head| head.contains(&line) && head.contains("authorization: bearer "));
        eventually(&format!("{method} with the credential\n{}", sent.text()), Duration::from_secs(10), is_sent);
    }
    drop(listening);
    let bare: Vec<String> = heads(&sent).into_iter().filter(|head| !head.contains("authorization: bearer ")).collect();
    assert!(bare.iter().all(|head| head.contains("mcp-method: server/discover")), "but for the question what is wanted: {bare:#?}");
    assert!(!sent.text().contains(&token) && !sent.text().contains(KEY), "what the caller showed never left the gateway");
    let heard = [&gateway, &far.0].map(|gateway| gateway.log());
    assert!(heard.iter().all(|log| !log.contains(&token)), "no log has the token");
}
