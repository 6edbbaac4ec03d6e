#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
//! Two versions of one server, and callers of each.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};

use sallyport_protocol::Event;
use tokio::sync::Notify;

use super::*;
use crate::Gateway;
use crate::gateway::tests::Ear;
use crate::persons;
use crate::tasks::tests::with_parts;
use crate::upstream::tests::scripted::{NAME, Peer, fine, running, tools};

const LONG: std::time::Duration = std::time::Duration::from_secs(3600);
const CEDAR: &str = "[[policy.engines]]\ncedar = { text = 'permit(principal, action, resource);' }\n";

fn offering(tool: &'static str) -> Arc<Peer> {
    Peer::new(move |request, _| if request.method == Method::ToolsList { tools(&[tool]) } else { fine() })
}

/// A gateway whose server offers `old`, and `new` to half of its callers.
async fn house(configuration: &str) -> Gateway {
    house_of(configuration, running(&offering("old")), running(&offering("new"))).await
}

async fn house_of(configuration: &str, old: Arc<Upstream>, new: Arc<Upstream>) -> Gateway {
    old.listed(LONG).await;
    new.listed(LONG).await;
    with_parts(configuration, |_, parts| {
        let server = parts.servers.get_mut(NAME).unwrap();
        *server = Server { upstream: old, ..server.clone() };
        let beside = Beside { draw: Draw::of("salt", 50), key: "new".into(), server: Server { upstream: new, ..server.clone() } };
        parts.canaries.by_server.insert(NAME.into(), beside);
    })
}

fn callers(parts: &Parts, has_drawn: bool) -> impl Iterator<Item = Principal> {
    let all = (0..).map(|caller: usize| Principal::key(&caller.to_string()));
    all.filter(move |caller| (parts.canaries.drawn_by(caller) != 0) == has_drawn)
}

#[tokio::test]
async fn what_a_caller_has_drawn_is_made_beside_other_work_and_once() {
    let gateway = house(CEDAR).await;
    let (inner, parts) = (&gateway.0, gateway.0.parts.load_full());
    let (one, other): (Principal, Principal) = {
        let mut drawn = callers(&parts, true);
        (drawn.next().unwrap(), drawn.next().unwrap())
    };
    assert!(parts.is_to_be_made_for(&one));

    let (worked, seen) = (Arc::new(AtomicUsize::new(0)), parts.clone());
    let counted = worked.clone();
    let work = tokio::spawn(async move {
        loop {
            assert!(seen.canaries.views.try_lock().is_ok(), "whoever has drawn something else waits for nobody");
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    let (view, same) = tokio::join!(inner.drawn_by(&parts, &one), inner.drawn_by(&parts, &other));
    assert!(worked.load(Ordering::SeqCst) > 0, "this thread, which is the only one, did something else meanwhile");
    assert!(!work.is_finished() && Arc::ptr_eq(&view, &same));
    work.abort();

    assert!(!Arc::ptr_eq(&view, &parts) && !Arc::ptr_eq(&view.policy, &parts.policy), "it is decided by what it is offered");
    assert!(Arc::ptr_eq(&parts.drawn_already(&one).unwrap(), &view) && !parts.is_to_be_made_for(&one));
    let locked = callers(&parts, false).next().unwrap();
    assert!(Arc::ptr_eq(&inner.drawn_by(&parts, &locked).await, &parts));
    let lists = |parts: &Parts, tool: &str| parts.catalogue.load().view(&Endpoint::Server(NAME.into())).unwrap().tools.get(tool).is_some();
    assert!(lists(&view, "new") && !lists(&view, "old") && lists(&parts, "old") && !lists(&parts, "new"));
}

#[tokio::test]
async fn personal_connections_count_together_whatever_their_callers_have_drawn() {
    let gateway = house("[servers.mine]\nurl = \"http://127.0.0.1:1/mcp\"\ncredential = { per_user = {} }\n").await;
    let parts = gateway.0.parts.load_full();
    let half = persons::MOST / 2 + 1;
    for caller in callers(&parts, true).take(half).chain(callers(&parts, false).take(half)) {
        gateway.0.seen_by(&parts, &caller, None).await;
    }
    assert_eq!(parts.persons.all().len(), persons::MOST);
}

/// Says when it is woken.
#[derive(Default)]
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

#[test]
fn what_changes_while_a_view_is_made_is_told_to_those_who_have_drawn_it() {
    // One thread for what blocks, so that the test says when a view is made.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let has_more = Arc::new(AtomicBool::new(false));
        let offers = has_more.clone();
        let peer = Peer::new(move |request, _| match request.method {
            Method::ToolsList if offers.load(Ordering::SeqCst) => tools(&["new", "more"]),
            Method::ToolsList => tools(&["new"]),
            _ => fine(),
        });
        let new = running(&peer);
        let gateway = house_of(CEDAR, running(&offering("old")), new.clone()).await;
        let (inner, parts) = (&gateway.0, gateway.0.parts.load_full());
        let (drawn, locked) = (callers(&parts, true).next().unwrap(), callers(&parts, false).next().unwrap());
        let (ear, others) = (Ear::of(inner, &drawn), Ear::of(inner, &locked));

        let (release, held) = mpsc::channel::<()>();
        let before = tokio::task::spawn_blocking(move || held.recv());
        let woken = Arc::new(Woken::default());
        let mut making = Box::pin(inner.drawn_by(&parts, &drawn));
        let waker = Waker::from(woken.clone());
        assert!(matches!(making.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending));
        release.send(()).unwrap();
        woken.0.notified().await; // the view is made, and its catalogue too
        before.await.unwrap().unwrap();

        let listed = Arc::new(Notify::new());
        let tell = listed.clone();
        new.on_change(Arc::new(move |_| tell.notify_one()));
        has_more.store(true, Ordering::SeqCst);
        peer.listeners.tell(&Event::ToolsChanged);
        while new.listing().tools.len() < 2 {
            listed.notified().await;
        }
        let view = making.await;
        assert_eq!(view.catalogue.load().view(&Endpoint::All).unwrap().tools.items().len(), 2);
        assert_eq!((ear.heard(), others.heard()), (1, 0), "whoever has looked at the view already looks again");
    });
}
