#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
//! Servers in this process; time stands still but for the waits, so that no test depends on how busy the machine is.

pub(crate) mod scripted;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sallyport_policy::Annotations;
use sallyport_protocol::{Cancel, Event, Failure, FailureKind, Method, Request, Retry, Revision};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use scripted::*;

const LONG: Duration = Duration::from_secs(3600);

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

async fn until(upstream: &Upstream, is_so: impl Fn(&UpstreamState) -> bool) {
    let mut states = upstream.life.state.subscribe();
    timeout(LONG, states.wait_for(is_so)).await.unwrap().unwrap();
}

async fn fails(upstream: &Upstream) -> Failure {
    upstream.send(call("t"), context()).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn the_first_call_starts_a_server_and_all_others_wait_for_that_start() {
    let starts = Starts::of([Ok(Peer::calling(|_, _| fine()))]).taking(Duration::from_secs(5));
    let (upstream, starts) = upstream(plan(), starts);
    assert!(matches!(upstream.state(), UpstreamState::Idle));
    let calls = (0..50).map(|_| upstream.send(call("t"), context()));
    let outcomes = futures_util::future::join_all(calls).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(starts.so_far(), 1);
    assert!(matches!(upstream.state(), UpstreamState::Ready { revision: Revision::LATEST_LEGACY, .. }));
    let listing = upstream.listed(LONG).await;
    assert_eq!(names(&listing.tools), ["t"]);
    assert_eq!(listing.freshness, Freshness::Fresh);
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_may_wait_are_told_to_come_back() {
    let (upstream, _) = upstream(plan(), Starts::of([Ok(Peer::calling(|_, _| fine()))]).taking(Duration::from_secs(5)));
    let outcomes = futures_util::future::join_all((0..600).map(|_| upstream.send(call("t"), context()))).await;
    let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 600 - 512);
    assert!(refused.iter().all(|failure| matches!(failure.kind, FailureKind::Overloaded) && failure.retry == Retry::Safe));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_takes_too_long_is_told_with_what_it_is_at() {
    let (upstream, _) = upstream(plan(), Starts::of([Ok(Peer::calling(|_, _| fine()))]).taking(LONG));
    let failure = fails(&upstream).await;
    assert!(matches!(failure.kind, FailureKind::TimedOut(limit) if limit == Duration::from_secs(60)));
    assert_eq!(failure.retry, Retry::Safe);
    assert!(failure.public.contains("server `files` was not ready within 60s (connecting"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_reached_leaves_the_lists_and_comes_back() {
    let outage = Outage {
        why: "it exited with code 3".into(),
        hint: Some("look".into()),
        last_words: vec!["secret".into()],
        at_once: false,
        limit: None,
    };
    let starts = Starts::of([Err(outage.clone()), Err(outage), Ok(Peer::calling(|_, _| fine()))]);
    let (upstream, starts) = upstream(plan(), starts);
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    upstream.on_change(Arc::new(move |_| _ = count.fetch_add(1, Ordering::SeqCst)));
    let listing = upstream.listed(LONG).await;
    assert_eq!(listing.freshness, Freshness::Gone { why: "it exited with code 3".into(), hint: Some("look".into()) });
    assert_eq!(told.load(Ordering::SeqCst), 1);

    let begun = Instant::now();
    let failure = fails(&upstream).await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "the breaker is open");
    assert!(matches!(failure.kind, FailureKind::Unreachable));
    assert_eq!(failure.retry, Retry::Safe);
    assert!(failure.public.starts_with("server `files` is not available: it exited with code 3; the next attempt"), "{failure}");
    assert!(!failure.public.contains("secret") && failure.internal.unwrap().contains("secret"));

    until(&upstream, |state| matches!(state, UpstreamState::Ready { .. })).await;
    assert_eq!(starts.so_far(), 3);
    assert!(
        begun.elapsed() > Duration::from_millis(2300) && begun.elapsed() <= Duration::from_secs(3),
        "one second and two, less a little"
    );
    sleep(Duration::from_millis(1)).await;
    assert_eq!(upstream.listing().freshness, Freshness::Fresh);
    assert_eq!(told.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_killed_in_a_call_fails_that_call_and_serves_the_next() {
    let dying = Peer::calling(|_, _| Box::pin(std::future::pending()));
    let (upstream, starts) = upstream(plan(), Starts::of([Ok(dying.clone()), Ok(Peer::calling(|_, _| fine()))]));
    upstream.listed(LONG).await;
    let (failure, ()) = tokio::join!(fails(&upstream), async {
        sleep(Duration::from_secs(1)).await;
        dying.die("it was killed by signal 9 (SIGKILL)");
    });
    assert!(matches!(failure.kind, FailureKind::Unreachable));
    assert_eq!(failure.retry, Retry::Unknown);
    assert_eq!(
        failure.public,
        "server `files`, tool `t`: the server went away: it was killed by signal 9 (SIGKILL); \
         whether the call was carried out is not known"
    );
    upstream.send(call("t"), context()).await.unwrap();
    assert_eq!(starts.so_far(), 2);
    assert_eq!(starts.known.lock().unwrap()[..], [None, Some(Revision::LATEST_LEGACY)], "the era is asked for once");
}

#[tokio::test(start_paused = true)]
async fn only_what_may_happen_twice_is_sent_again() {
    let tool = r#"{"tools":[{"name":"t","annotations":{"readOnlyHint":true}}]}"#;
    for (trust, retry, sent_again) in [(false, None, false), (true, None, true), (false, Some("t*"), true), (false, Some("x"), false)] {
        let dying = Peer::new(move |request, _| match request.method {
            Method::ToolsList => now(reply(tool)),
            _ => Box::pin(std::future::pending()),
        });
        let mut plan = plan();
        plan.trust_annotations = trust;
        plan.retry.extend(retry.map(|glob| globset::Glob::new(glob).unwrap()));
        let next = Peer::new(move |request, _| if request.method == Method::ToolsList { now(reply(tool)) } else { fine() });
        let (upstream, _) = upstream(plan, Starts::of([Ok(dying.clone()), Ok(next)]));
        upstream.listed(LONG).await;
        let (outcome, ()) = tokio::join!(upstream.send(call("t"), context()), async {
            sleep(Duration::from_secs(1)).await;
            dying.die("gone");
        });
        assert_eq!(outcome.is_ok(), sent_again, "trust {trust}, retry {retry:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_opens_the_breaker() {
    let crashing = || Peer::new(|request, _| if request.method == Method::ToolsList { tools(&["t"]) } else { fine() });
    let peers: Vec<_> = (0..3).map(|_| crashing()).collect();
    let (upstream, starts) = upstream(plan(), Starts::of(peers.iter().cloned().map(Ok)).taking(Duration::from_millis(10)));
    upstream.start();
    for peer in peers.iter().take(2) {
        until(&upstream, |state| matches!(state, UpstreamState::Ready { .. })).await;
        peer.die("it exited with code 1");
        until(&upstream, |state| !matches!(state, UpstreamState::Ready { .. })).await;
    }
    assert!(matches!(upstream.state(), UpstreamState::Failed { .. }), "the first end is forgiven, the second is not");
    assert!(matches!(upstream.listing().freshness, Freshness::Gone { .. }));
    assert_eq!(starts.so_far(), 2);
    assert!(fails(&upstream).await.public.contains("exited with code 1"));
    until(&upstream, |state| matches!(state, UpstreamState::Ready { .. })).await;
    assert_eq!(starts.so_far(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_started_again_is_asked_for_its_subscriptions_again() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let peer = || {
        let asked = asked.clone();
        Peer::new(move |request, _| match request.method {
            Method::ToolsList => tools(&["t"]),
            method => {
                asked.lock().unwrap().push(format!("{} {}", method.as_str(), request.params.get_str("uri").unwrap()));
                now(reply("{}"))
            }
        })
    };
    let peers = [peer(), peer()];
    let (upstream, _) = upstream(plan(), Starts::of(peers.clone().map(Ok)));
    let ask = |method, uri: &str| request(Request::new(method, object(&format!(r#"{{"uri":"{uri}"}}"#))));
    for uri in ["a:1", "a:2"] {
        upstream.send(ask(Method::ResourcesSubscribe, uri), context()).await.unwrap();
    }
    upstream.send(ask(Method::ResourcesUnsubscribe, "a:1"), context()).await.unwrap();
    asked.lock().unwrap().clear();
    peers[0].die("it exited with code 0");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*asked.lock().unwrap(), ["resources/subscribe a:2"]);

    asked.lock().unwrap().clear();
    let (successor, _) = self::upstream(plan(), Starts::of([Ok(peer())]));
    successor.take_the_place_of(&upstream);
    successor.start();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*asked.lock().unwrap(), ["resources/subscribe a:2"], "a reload made the server anew");
}

#[tokio::test(start_paused = true)]
async fn a_lazy_server_that_ends_rests_until_the_next_call() {
    let peers = [Peer::calling(|_, _| fine()), Peer::calling(|_, _| fine())];
    let mut lazy = plan();
    lazy.start = crate::plan::Start::Lazy;
    let (upstream, starts) = upstream(lazy, Starts::of(peers.clone().map(Ok)));
    upstream.listed(LONG).await;
    peers[0].die("it exited with code 0");
    until(&upstream, |state| matches!(state, UpstreamState::Idle)).await;
    sleep(LONG).await;
    assert_eq!(starts.so_far(), 1);
    let listing = upstream.listed(LONG).await;
    assert!(matches!(listing.freshness, Freshness::Stale { .. }));
    assert_eq!(names(&listing.tools), ["t"]);
    upstream.send(call("t"), context()).await.unwrap();
    assert_eq!(starts.so_far(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lazy_server_whose_way_is_another_now_is_reached_by_it_at_once() {
    let consent = Peer::new(|request, _| if request.method == Method::ToolsList { tools(&["connect"]) } else { fine() });
    let mut lazy = plan();
    lazy.start = crate::plan::Start::Lazy;
    let granted = Peer::calling(|_, _| fine());
    let (upstream, starts) = upstream(lazy, Starts::of([consent.clone(), granted.clone()].map(Ok)));
    upstream.listed(LONG).await;
    let told = Arc::new(Notify::new());
    let tell = told.clone();
    upstream.on_change(Arc::new(move |_| tell.notify_one()));
    consent.end_by(Outage { at_once: true, ..Outage::new("access was granted") });
    let is_told = timeout(LONG, async {
        while names(&upstream.listing().tools) != ["t"] {
            told.notified().await;
        }
    });
    assert!(is_told.await.is_ok(), "nobody has to call before it is told what there is by now");
    assert_eq!(starts.so_far(), 2);
    granted.end_by(Outage { at_once: true, ..Outage::new("it goes in circles") });
    until(&upstream, |state| matches!(state, UpstreamState::Idle)).await;
    sleep(LONG).await;
    assert_eq!(starts.so_far(), 2, "that leads nowhere");
}

/// A tool that never answers, and the cancellation it was given.
fn hanging() -> (Arc<Peer>, Arc<Mutex<Option<Cancel>>>) {
    let given = Arc::new(Mutex::new(None));
    let keep = given.clone();
    let peer = Peer::calling(move |_, context| {
        *keep.lock().unwrap() = Some(context.cancel);
        Box::pin(std::future::pending())
    });
    (peer, given)
}

#[tokio::test(start_paused = true)]
async fn a_call_without_answer_is_cancelled_and_the_failure_says_all() {
    let (peer, given) = hanging();
    let upstream = running(&peer);
    upstream.listed(LONG).await;
    let begun = Instant::now();
    let context = context();
    let failure = upstream.send(call("t"), context.clone()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(61));
    assert!(matches!(failure.kind, FailureKind::TimedOut(limit) if limit == Duration::from_secs(60)));
    assert_eq!(failure.retry, Retry::Unknown);
    assert!(failure.public.starts_with("server `files`, tool `t`: no answer and no progress within 60s"), "{failure}");
    assert!(given.lock().unwrap().as_ref().unwrap().is_cancelled());
    assert!(!context.cancel.is_cancelled(), "the caller cancelled nothing");
}

#[tokio::test(start_paused = true)]
async fn what_only_reads_may_be_called_again_after_a_timeout() {
    let (peer, _) = hanging();
    let upstream = running(&peer);
    let read = Request::new(Method::ResourcesRead, object(r#"{"uri":"file:///a"}"#));
    let failure = upstream.send(request(read), context()).await.unwrap_err();
    assert_eq!(failure.retry, Retry::Safe);
    assert!(failure.public.contains("resource `file:///a`"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_is_told_to_the_server() {
    let (peer, given) = hanging();
    let upstream = running(&peer);
    let context = context();
    let (outcome, ()) = tokio::join!(upstream.send(call("t"), context.clone()), async {
        sleep(Duration::from_secs(1)).await;
        context.cancel.cancel();
    });
    assert!(matches!(outcome.unwrap_err().kind, FailureKind::Cancelled));
    assert!(given.lock().unwrap().as_ref().unwrap().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn progress_moves_the_first_limit_and_never_the_second() {
    let busy = |until: u64| {
        Peer::calling(move |_, context| {
            Box::pin(async move {
                for _ in 0..until / 50 {
                    sleep(Duration::from_secs(50)).await;
                    context.asker.notify("notifications/progress", object(r#"{"progress":1}"#));
                }
                reply(r#"{"content":[]}"#)
            })
        })
    };
    let caller = Arc::new(Caller::default());
    running(&busy(550)).send(call("t"), context_of(caller.clone())).await.unwrap();
    assert_eq!(caller.heard.lock().unwrap().len(), 11);
    let failure = fails(&running(&busy(650))).await;
    assert!(matches!(failure.kind, FailureKind::TimedOut(limit) if limit == Duration::from_secs(600)));
    assert!(failure.public.contains("hard limit of 600s"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn the_clock_stands_while_the_caller_thinks() {
    let asking = Peer::calling(|_, context| {
        Box::pin(async move {
            context.asker.ask("elicitation/create", object("{}")).await.unwrap();
            sleep(Duration::from_secs(50)).await;
            reply(r#"{"content":[]}"#)
        })
    });
    let upstream = running(&asking);
    let caller = |seconds| Arc::new(Caller { thinking: Duration::from_secs(seconds), ..Caller::default() });
    upstream.send(call("t"), context_of(caller(300))).await.unwrap();
    let failure = upstream.send(call("t"), context_of(caller(700))).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::TimedOut(limit) if limit == Duration::from_secs(600)));
}

#[tokio::test(start_paused = true)]
async fn a_malformed_result_is_named() {
    let upstream = running(&Peer::calling(|_, _| now(reply(r#"{"content":"text"}"#))));
    let failure = fails(&upstream).await;
    assert!(matches!(failure.kind, FailureKind::Malformed));
    assert_eq!(failure.public, "server `files`, tool `t`: the result is malformed: `content` is not an array");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_replaced_and_one_that_is_slow_is_not() {
    for alive in [true, false] {
        let peer = Peer::calling(move |request, _| match request.method {
            Method::Ping if alive => now(reply("{}")),
            _ => Box::pin(std::future::pending()),
        });
        let (upstream, starts) = upstream(plan(), Starts::of([Ok(peer), Ok(Peer::calling(|_, _| fine()))]));
        upstream.listed(LONG).await;
        for _ in 0..3 {
            fails(&upstream).await;
        }
        sleep(Duration::from_secs(70)).await;
        assert_eq!(starts.so_far(), if alive { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_refuses_is_reached_anew_and_the_call_sent_again() {
    let refusing = Peer::calling(|_, _| now(Err(Failure::upstream(NAME, FailureKind::Unreachable, Retry::Safe, "connection refused"))));
    let back = Starts::of([Ok(refusing.clone()), Ok(Peer::calling(|_, _| fine()))]).remote();
    let (upstream_back, starts) = upstream(plan(), back);
    upstream_back.send(call("t"), context()).await.unwrap();
    assert_eq!(starts.so_far(), 2);

    let (gone, _) = upstream(plan(), Starts::of([Ok(refusing), Err(Outage::new("connection refused"))]).remote());
    let failure = fails(&gone).await;
    assert!(failure.public.contains("is not available: connection refused"), "{failure}");
    assert!(matches!(gone.listing().freshness, Freshness::Gone { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_slow_list_never_becomes_an_empty_one() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let peer = Peer::new(move |_, _| match count.fetch_add(1, Ordering::SeqCst) {
        0 => tools(&["a", "b"]),
        1 => Box::pin(std::future::pending()),
        _ => tools(&["a"]),
    });
    let upstream = running(&peer);
    upstream.listed(LONG).await;
    peer.listeners.tell(&Event::ToolsChanged);
    sleep(Duration::from_secs(12)).await;
    let listing = upstream.listing();
    assert_eq!(names(&listing.tools), ["a", "b"]);
    assert!(
        matches!(&listing.freshness, Freshness::Stale { why } if why.contains("tools/list: no answer within 10s")),
        "{:?}",
        listing.freshness
    );
    sleep(Duration::from_secs(5)).await;
    assert_eq!(upstream.listing().freshness, Freshness::Fresh, "it was asked for again");
    assert_eq!(names(&upstream.listing().tools), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_told_what_it_offers_is_in_no_list() {
    let peer = Peer::new(|_, _| now(Err(Failure::upstream(NAME, FailureKind::Malformed, Retry::Never, "no JSON"))));
    let listing = running(&peer).listed(LONG).await;
    assert!(matches!(&listing.freshness, Freshness::Gone { why, .. } if why == "tools/list failed: no JSON"));
}

#[tokio::test(start_paused = true)]
async fn many_words_of_change_lead_to_one_fetch() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let peer = Peer::new(move |_, _| if count.fetch_add(1, Ordering::SeqCst) == 0 { tools(&["a"]) } else { tools(&["a", "b"]) });
    let upstream = running(&peer);
    upstream.listed(LONG).await;
    for _ in 0..100 {
        peer.listeners.tell(&Event::ToolsChanged);
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(names(&upstream.listing().tools), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_comes_page_by_page_and_without_what_is_no_entry() {
    let peer = Peer::new(|request, _| {
        now(reply(match request.params.get_str("cursor").as_deref() {
            None => r#"{"tools":[{"name":"a"},{"name":7},"b",{"name":"same","x":1}],"nextCursor":"2"}"#,
            Some("2") => r#"{"tools":[{"name":"a"},{"name":"same","x":2},{"name":""},{"title":"t"}],"nextCursor":"3"}"#,
            _ => {
                r#"{"tools":[{"name":"z","annotations":{"readOnlyHint":true,"idempotentHint":"yes","destructiveHint":false,"openWorldHint":true}}]}"#
            }
        }))
    });
    let listing = running(&peer).listed(LONG).await;
    assert_eq!(names(&listing.tools), ["a", "z"], "the same entry twice is one, namesakes that differ are refused");
    let told = Annotations { read_only: Some(true), destructive: Some(false), idempotent: None, open_world: Some(true) };
    assert_eq!((listing.tools[0].annotations, listing.tools[1].annotations), (Annotations::default(), told));
    assert_eq!(listing.freshness, Freshness::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_list_without_end_is_cut_short_and_says_so() {
    let stuck = Peer::new(|_, _| now(reply(r#"{"tools":[{"name":"a"}],"nextCursor":"again"}"#)));
    let pages = Arc::new(AtomicUsize::new(0));
    let endless = Peer::new(move |_, _| {
        let page = pages.fetch_add(1, Ordering::SeqCst);
        let entries: Vec<String> = (0..100).map(|n| format!(r#"{{"name":"{page}-{n}"}}"#)).collect();
        now(reply(&format!(r#"{{"tools":[{}],"nextCursor":"{page}"}}"#, entries.join(","))))
    });
    for (peer, entries) in [(stuck, 1), (endless, 10_000)] {
        let listing = running(&peer).listed(LONG).await;
        assert_eq!(listing.tools.len(), entries);
        assert!(matches!(&listing.freshness, Freshness::Stale { why } if why.contains("tools/list is not complete")));
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_calls_finish_and_no_more_in() {
    let slow = Peer::calling(|_, _| {
        Box::pin(async {
            sleep(Duration::from_secs(3)).await;
            reply(r#"{"content":[]}"#)
        })
    });
    let upstream = running(&slow);
    upstream.listed(LONG).await;
    let begun = Instant::now();
    let (outcome, (), late) = tokio::join!(upstream.send(call("t"), context()), upstream.stop(Duration::from_secs(5)), async {
        sleep(Duration::from_secs(1)).await;
        fails(&upstream).await
    });
    outcome.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    assert!(late.public.contains("is being stopped"), "{late}");
    assert!(slow.closed.is_cancelled());
    assert!(matches!(upstream.state(), UpstreamState::Stopped));
}

#[tokio::test(start_paused = true)]
async fn stopping_does_not_wait_longer_than_its_grace() {
    let (peer, _) = hanging();
    let upstream = running(&peer);
    upstream.listed(LONG).await;
    let begun = Instant::now();
    let (failure, ()) = tokio::join!(fails(&upstream), upstream.stop(Duration::from_secs(5)));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert!(failure.public.contains("it was stopped"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_server_can_be_stopped_in_every_state() {
    let outage = || Err(Outage::new("no"));
    for (starts, started) in [(Starts::of([outage()]), false), (Starts::of([outage()]).taking(LONG), true), (Starts::of([outage()]), true)]
    {
        let (upstream, _) = upstream(plan(), starts);
        if started {
            upstream.start();
            sleep(Duration::from_millis(10)).await;
        }
        let begun = Instant::now();
        upstream.stop(LONG).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(fails(&upstream).await.public.contains("stopped"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_upstream_ends_its_server() {
    let peer = Peer::calling(|_, _| fine());
    let upstream = running(&peer);
    upstream.listed(LONG).await;
    drop(upstream);
    timeout(LONG, peer.closed.cancelled()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_unasked_is_passed_on() {
    struct Ear(Mutex<Vec<String>>);
    impl sallyport_protocol::Listener for Ear {
        fn hear(&self, event: &Event) {
            self.0.lock().unwrap().push(format!("{event:?}"));
        }
    }
    let peer = Peer::calling(|_, _| fine());
    let upstream = running(&peer);
    upstream.listed(LONG).await;
    let ear = Arc::new(Ear(Mutex::default()));
    let listener: Arc<dyn sallyport_protocol::Listener> = ear.clone();
    upstream.listeners().add(&listener);
    peer.listeners.tell(&Event::Log(object("{}")));
    peer.listeners.tell(&Event::ToolsChanged);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(*ear.0.lock().unwrap(), ["Log({})"], "the list is the same, so nothing changed");
}
