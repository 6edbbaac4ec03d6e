//! News of a resource, after somebody was let hear of it.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fixture::Fixture;
use crate::harness::gateway::{Gateway, Project};
use crate::harness::processes::eventually;
use crate::keys::key;
use crate::visitor::{Stream, Visitor};

const WATCHED: &str = "theirs.mcp:test://watched-resource";
const UPDATED: &str = "notifications/resources/updated";

fn configuration(port: u16, forbidden: &str) -> String {
    format!(
        "[identity]\napi_keys = true\n[policy]\n\
         engines = [{{ cedar = {{ text = 'permit(principal, action, resource); {forbidden}' }} }}]\n\
         [servers.theirs]\nurl = \"http://127.0.0.1:{port}/mcp\"\n"
    )
}

/// A stream of news of the resource; reading waits for so many seconds.
fn listen(gateway: &Gateway, key: &str, patience: u64) -> Box<dyn Stream> {
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(patience))).unwrap();
        Box::new(stream) as Box<dyn Stream>
    };
    let wanted = json!({ "notifications": { "resourceSubscriptions": [WATCHED] } });
    let (stream, told) = Visitor::by("a listener", Some(key), connect).listen("/mcp", wanted);
    assert!(told.message.to_string().contains(WATCHED), "{told:?}");
    stream
}

/// Reads until it is told, or until it waited long enough.
fn is_told(stream: &mut dyn Stream) -> bool {
    let (mut heard, mut some) = (String::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut some) {
        heard.push_str(&String::from_utf8_lossy(&some[..length]));
        if heard.contains(UPDATED) {
            return true;
        }
    }
    false
}

#[test]
fn who_is_denied_a_resource_by_now_hears_no_more_of_it_and_leaves_no_subscription_behind() {
    let fixture = Fixture::start();
    let project = Project::new(&configuration(fixture.port, ""));
    let [alice, bob] = ["alice", "bob"].map(|name| key(&project, &["add", name, "--json"]).unwrap()["key"].as_str().unwrap().to_owned());
    let gateway = project.up();
    let (mut alices, mut bobs) = (listen(&gateway, &alice, 4), listen(&gateway, &bob, 60));
    let ask = |key: &str, method: &str, params: Value| Caller::new(gateway.port, key).ask("/mcp", method, params);
    let change = || {
        let done = ask(&bob, "tools/call", json!({ "name": "theirs__test_trigger_resource_update", "arguments": {} }));
        assert!(done.body.contains("\"content\""), "{done:?}");
    };
    change();
    assert!(is_told(&mut *alices) && is_told(&mut *bobs));

    let forbidden = r#"forbid(principal == User::"key:alice", action, resource);"#;
    project.configure(&configuration(fixture.port, forbidden));
    let is_denied = || ask(&alice, "resources/read", json!({ "uri": WATCHED })).body.contains("denied");
    eventually("the policy is in force", Duration::from_secs(30), is_denied);
    change();
    assert!(is_told(&mut *bobs));
    assert!(!is_told(&mut *alices), "what she may not read is not told of either");

    drop(alices);
    let ended = || {
        let output = project.sallyport().args(["audit", "--json", "--since", "1h"]).output().unwrap();
        let records = String::from_utf8(output.stdout).unwrap();
        records.lines().any(|record| record.contains("resources/unsubscribe") && record.contains("\"ok\""))
    };
    eventually("her subscription is ended", Duration::from_secs(30), ended);
}
