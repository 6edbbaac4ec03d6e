#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
//! What waits for servers' lists, and who is told when they are there.

use std::sync::atomic::{AtomicUsize, Ordering};

use sallyport_protocol::{Event, Revision};
use tokio::time::Instant;

use super::*;
use crate::plan::ServerPlan;
use crate::tasks::tests::{Program, with_parts};
use crate::upstream::tests::scripted::{NAME, Peer, Starts, fine, object, plan, reply, running, tools, upstream};

const LONG: Duration = Duration::from_secs(3600);
/// An engine that has to know tools to decide.
const CEDAR: &str = "[[policy.engines]]\ncedar = { text = 'permit(principal, action, resource);' }\n";
const PERSONAL: &str = "[servers.mine]\nurl = \"http://127.0.0.1:1/mcp\"\ncredential = { per_user = {} }\n";

/// Counts how often it heard that tools have changed.
#[derive(Default)]
pub(crate) struct Ear(AtomicUsize);

impl Listener for Ear {
    fn hear(&self, event: &Event) {
        if matches!(event, Event::ToolsChanged) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Ear {
    pub(crate) fn of(inner: &Inner, caller: &Principal) -> Arc<Self> {
        let ear = Arc::new(Self::default());
        inner.news.listen(&Endpoint::All, caller, &(ear.clone() as Arc<dyn Listener>));
        ear
    }

    /// How often since the last look.
    pub(crate) fn heard(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// A gateway whose server lists `t` once it is asked, of which nobody is told: that moment lasts here.
fn at_that_moment(configuration: &str) -> (Gateway, Arc<Upstream>) {
    let peer = Peer::new(|request, _| if request.method == Method::ToolsList { tools(&["t"]) } else { fine() });
    let server = running(&peer);
    let own = server.clone();
    let gateway = with_parts(configuration, |_, parts| {
        let found = parts.servers.get_mut(NAME).unwrap();
        *found = Server { upstream: own, ..found.clone() };
    });
    (gateway, server)
}

/// Lets a request wait for its server, as the pipeline does.
async fn wait(inner: &Inner, parts: &Parts, caller: &Principal) {
    let request = Request::new(Method::ToolsCall, object(&format!(r#"{{"name":"{NAME}__t"}}"#)));
    inner.wait_for_target(parts, caller, &request, &Endpoint::All, &Cancel::new()).await.unwrap();
    assert!(parts.catalogue.load().view(&Endpoint::All).unwrap().tools.get(&format!("{NAME}__t")).is_some());
}

#[tokio::test]
async fn lists_that_a_request_finds_first_are_told_once() {
    let (gateway, server) = at_that_moment(CEDAR);
    let (inner, parts) = (&gateway.0, gateway.0.parts.load_full());
    let (caller, other) = (Principal::local_user(), Principal::key("other"));
    let ears = [&caller, &other].map(|caller| Ear::of(inner, caller));
    server.listed(LONG).await;
    wait(inner, &parts, &caller).await;
    assert_eq!(ears.each_ref().map(|ear| ear.heard()), [1, 1], "whoever looked before has seen nothing of it");
    inner.rebuild();
    assert_eq!(ears.each_ref().map(|ear| ear.heard()), [0, 0], "that has found no change");
}

#[tokio::test]
async fn who_has_connections_of_their_own_is_told_when_what_they_see_has_changed() {
    let (gateway, server) = at_that_moment(&format!("{CEDAR}{PERSONAL}"));
    let (inner, parts) = (&gateway.0, gateway.0.parts.load_full());
    let (alice, bob) = (Principal::key("alice"), Principal::key("bob"));
    let (alices, _bobs) = (inner.seen_by(&parts, &alice, None).await, inner.seen_by(&parts, &bob, None).await);
    let ears = [&alice, &bob].map(|caller| Ear::of(inner, caller));
    server.listed(LONG).await;
    wait(inner, &alices, &alice).await;
    assert_eq!(ears.each_ref().map(|ear| ear.heard()), [1, 0], "it was her catalogue alone");
    wait(inner, &parts, &Principal::local_user()).await;
    assert_eq!(ears.each_ref().map(|ear| ear.heard()), [1, 1]);
    // Bob was told, but his own catalogue is put together again only now: what he has looked at meanwhile lacks the tool.
    inner.rebuild();
    assert_eq!(ears.each_ref().map(|ear| ear.heard()), [0, 1]);
}

/// A gateway of a server that has skills and methods of its own, beside one that starts for an hour.
async fn beside_a_slow_one() -> Gateway {
    let skilled = r#"{"extensions":{"io.modelcontextprotocol/skills":{},"com.example/x":{}}}"#;
    let peer = Peer::modern(|_, _| Box::pin(std::future::ready(reply(r#"{"skill":{}}"#)))).declaring(skilled);
    let server = running(&peer);
    server.listed(LONG).await;
    let configuration = format!("{CEDAR}[servers.slow]\nurl = \"http://127.0.0.1:1/mcp\"\n[toolsets.some]\ntools = [\"{NAME}__*\"]\n");
    with_parts(&configuration, |_, parts| {
        let slow = upstream(ServerPlan { name: "slow".into(), ..plan() }, Starts::of([Ok(peer.clone())]).taking(LONG)).0;
        for (name, upstream) in [(NAME, server), ("slow", slow)] {
            let found = parts.servers.get_mut(name).unwrap();
            *found = Server { upstream, ..found.clone() };
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_no_server_that_it_cannot_be_for() {
    let gateway = beside_a_slow_one().await;
    let thing = Method::of_extension("vendor/thing").unwrap();
    let (toolset, own) = (Endpoint::Toolset("some".into()), Endpoint::Server(NAME.into()));
    let skill = format!(r#"{{"uri":"skill://{NAME}.mcp/a/SKILL.md"}}"#);
    for (method, params, endpoint, is_served) in [
        (Method::SkillsGet, skill.as_str(), Endpoint::All, true),
        (Method::SkillsGet, skill.as_str(), toolset.clone(), false),
        (thing, "{}", own, true),
        (thing, "{}", Endpoint::All, false),
        (thing, "{}", toolset, false),
    ] {
        let mut client = Program::new(&gateway, Revision::LATEST, "{}");
        client.endpoint = endpoint.clone();
        let begun = Instant::now();
        let outcome = client.ask(method, params).await;
        match outcome {
            Ok(_) => assert!(is_served, "{} at {endpoint}", method.as_str()),
            Err(failure) => assert!(!is_served && matches!(failure.kind, FailureKind::MethodNotFound), "{failure}"),
        }
        assert!(begun.elapsed() < PATIENCE, "{} at {endpoint} waited {:?}", method.as_str(), begun.elapsed());
    }
    let mut client = Program::new(&gateway, Revision::LATEST, "{}");
    client.endpoint = Endpoint::All;
    let begun = Instant::now();
    client.ask(Method::SkillsGet, r#"{"uri":"skill://slow.mcp/a/SKILL.md"}"#).await.unwrap_err();
    assert!(begun.elapsed() >= PATIENCE, "for the one that it names it does wait");
}
