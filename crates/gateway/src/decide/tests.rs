#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
//! Policy that has to know what a server offers, before that is known. Time stands still but for the waits.

use sallyport_protocol::{Endpoint, Event, Failure, FailureKind, Front as _, Listener, Method, Retry, Revision};
use tokio::time::Instant;

use super::*;
use crate::Gateway;
use crate::tasks::tests::{Program, before_starting};
use crate::upstream::Outage;
use crate::upstream::tests::scripted::{Peer, Starts, fine, plan};

/// Cedar, which lets `t` be called and nothing else.
const CEDAR: &str = r#"
[[policy.engines]]
cedar = { text = 'permit(principal, action, resource); forbid(principal, action, resource) unless { resource.name == "t" };' }
"#;
const CALL: &str = r#"{"name":"t","arguments":{}}"#;
/// Longer than a list waits for a server that starts, and shorter than a call does.
const SLOW: Duration = Duration::from_secs(20);

fn slowly(slow: Duration, configuration: &str) -> (Gateway, Program) {
    let gateway = before_starting(Starts::of([Ok(Peer::calling(|_, _| fine()))]).taking(slow), plan(), configuration);
    let client = Program::new(&gateway, Revision::LATEST, "{}");
    (gateway, client)
}

fn told(failure: &Failure) -> String {
    assert_eq!(failure.retry, Retry::Safe, "{failure}");
    failure.public.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_list_that_it_is_decided_by() {
    let (_gateway, client) = slowly(SLOW, CEDAR);
    let begun = Instant::now();
    client.ask(Method::ToolsCall, CALL).await.unwrap();
    assert!(begun.elapsed() >= SLOW);

    let (_gateway, client) = slowly(SLOW, CEDAR);
    let failure = client.ask(Method::ToolsCall, r#"{"name":"other","arguments":{}}"#).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Denied) && begun.elapsed() >= 2 * SLOW, "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_list_no_longer_than_for_its_server() {
    let (_gateway, client) = slowly(Duration::from_secs(3600), CEDAR);
    let begun = Instant::now();
    let failure = client.ask(Method::ToolsCall, CALL).await.unwrap_err();
    assert!(told(&failure).contains("not ready within 60s"), "{failure}");
    assert_eq!(begun.elapsed().as_secs(), plan().timeouts.call.as_secs());

    let cancel = client.cancel.clone();
    let (outcome, ()) = tokio::join!(client.ask(Method::ToolsCall, CALL), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    });
    assert!(matches!(outcome.unwrap_err().kind, FailureKind::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_call_to_a_server_that_cannot_be_reached_hears_that_and_not_that_it_is_denied() {
    let gateway = before_starting(Starts::of([Err(Outage::new("it exited with code 1"))]), plan(), CEDAR);
    let failure = Program::new(&gateway, Revision::LATEST, "{}").ask(Method::ToolsCall, CALL).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Unreachable) && told(&failure).contains("exited with code 1"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_is_decided_also_where_another_configuration_comes_into_force() {
    let (gateway, client) = slowly(SLOW, CEDAR);
    let next = before_starting(Starts::of([Ok(Peer::calling(|_, _| fine()))]), plan(), CEDAR);
    let (outcome, ()) = tokio::join!(client.ask(Method::ToolsCall, CALL), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        gateway.0.parts.store(next.0.parts.load_full());
    });
    outcome.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_toolset_knows_a_tool_whose_server_starts_slowly() {
    let (_gateway, mut client) = slowly(SLOW, "[toolsets.look]\ntools = [\"files__*\"]\n");
    client.endpoint = Endpoint::Toolset("look".into());
    client.ask(Method::ToolsCall, r#"{"name":"files__t","arguments":{}}"#).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_toolset_knows_a_tool_that_it_calls_otherwise_while_its_server_starts() {
    let toolset = "[toolsets.look]\ntools = [\"files__*\"]\nrename = { files__t = \"peek\" }\n";
    for policy in ["", CEDAR] {
        let (_gateway, mut client) = slowly(SLOW, &format!("{policy}{toolset}"));
        client.endpoint = Endpoint::Toolset("look".into());
        client.ask(Method::ToolsCall, r#"{"name":"peek","arguments":{}}"#).await.unwrap();
    }
}

#[derive(Default)]
struct Ear(Mutex<Vec<Event>>);

impl Listener for Ear {
    fn hear(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_list_hides_until_it_can_be_decided_is_told_then() {
    let (gateway, client) = slowly(SLOW, CEDAR);
    let ear = Arc::new(Ear::default());
    let _heard = gateway.watch(&client.incoming(), &(ear.clone() as Arc<dyn Listener>));
    let names = async || client.ask(Method::ToolsList, "{}").await.unwrap().get("tools").unwrap().as_str().matches("\"name\"").count();
    assert_eq!(names().await, 0, "a list does not wait for as long");
    assert!(ear.0.lock().unwrap().is_empty());
    tokio::time::sleep(SLOW).await;
    assert!(matches!(ear.0.lock().unwrap()[..], [Event::ToolsChanged]));
    assert_eq!(names().await, 1);
}
