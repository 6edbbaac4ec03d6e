//! Calls that meet a freeze: none is lost.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::harness::processes::resident_bytes;
use crate::session::Session;
use crate::{metric, programs, project};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("idle{at}")).collect()
}

/// A number below `bound` that nobody can tell beforehand.
fn random(bound: u64) -> u64 {
    RandomState::new().build_hasher().finish() % bound
}

fn wakes(gateway: &Gateway, names: &[String], from: &str) -> f64 {
    names
        .iter()
        .map(|name| metric(gateway, &format!(r#"sallyport_wake_seconds_count{{server="{name}",from="{from}",backend="os"}}"#)))
        .sum()
}

#[test]
fn a_call_that_meets_a_freeze_is_not_lost() {
    let names = names(1);
    let project = project(&names, r#"{ freeze_after = "1ms", reclaim_after = "2ms" }"#, "quiet");
    let gateway = project.up();
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let mut session = Session::open(gateway.port, "/mcp");
            thread::spawn(move || {
                for _ in 0..2000 {
                    assert!(!session.call("idle0__count", &json!({})).is_error());
                    thread::sleep(Duration::from_micros(random(4000)));
                }
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().expect("every call was answered"));
    let mut session = Session::open(gateway.port, "/mcp");
    assert_eq!(session.call("idle0__count", &json!({})).words(), "4001", "each call came once");
    let woken = wakes(&gateway, &names, "frozen") + wakes(&gateway, &names, "reclaimed");
    eprintln!("{woken} wakes");
    assert!(woken >= 200.0, "the calls did meet freezes: {woken}");
}

#[test]
fn a_call_that_meets_a_stop_is_not_lost() {
    let project = project(&names(1), r#"{ freeze_after = "never", stop_after = "20ms" }"#, "quiet");
    let gateway = project.up();
    let mut session = Session::open(gateway.port, "/mcp");
    for _ in 0..40 {
        let answer = session.call("idle0__count", &json!({}));
        assert!(!answer.is_error(), "{answer:?}");
        thread::sleep(Duration::from_millis(15 + random(10)));
    }
}

/// It would be idle between the first answer and the last, were that not one use.
#[test]
fn a_server_that_is_stopped_at_once_has_said_what_it_offers() {
    let project = project(&names(4), r#"{ freeze_after = "never", stop_after = "1ms" }"#, "quiet");
    let gateway = project.up();
    let tools = Session::open(gateway.port, "/mcp").tools();
    assert!(names(4).iter().all(|name| tools.contains(&format!("{name}__count"))), "{tools:?}");
}

/// How long the load of [`fifty_servers_of_which_five_are_awake_lose_no_call`] lasts; `SALLYPORT_STANDBY_SECONDS` says another time
/// (`cargo xtask standby` sets it).
const MINUTE: u64 = 60;
const SERVERS: usize = 50;
const AWAKE: usize = 5;
/// A server that nobody called for this long sleeps: twice its `freeze_after`.
const ASLEEP: Duration = Duration::from_millis(400);

#[test]
fn fifty_servers_of_which_five_are_awake_lose_no_call() {
    let seconds = std::env::var("SALLYPORT_STANDBY_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(MINUTE);
    let names = names(SERVERS);
    let project = project(&names, r#"{ freeze_after = "200ms", reclaim_after = "1s" }"#, "quiet");
    let gateway = project.up();
    let resident = || programs(&gateway).into_iter().map(resident_bytes).sum::<u64>() >> 20;
    let before = resident();
    let end = Instant::now() + Duration::from_secs(seconds);
    let last = Arc::new(Mutex::new(vec![Instant::now(); SERVERS]));
    let callers: Vec<_> = (0..AWAKE)
        .map(|_| {
            let (mut session, names, last) = (Session::open(gateway.port, "/mcp"), names.clone(), last.clone());
            thread::spawn(move || {
                let mut calls = Calls { count: vec![0; SERVERS], wakes: Vec::new() };
                while Instant::now() < end {
                    let at = usize::try_from(random(SERVERS as u64)).unwrap();
                    let begun = Instant::now();
                    let idle = begun - std::mem::replace(&mut last.lock().unwrap()[at], begun);
                    let answer = session.call(&format!("{}__count", names[at]), &json!({}));
                    assert!(!answer.is_error(), "{}: {answer:?}", names[at]);
                    calls.count[at] += 1;
                    calls.wakes.extend((idle > ASLEEP).then(|| begun.elapsed()));
                    thread::sleep(Duration::from_millis(random(40)));
                }
                calls
            })
        })
        .collect();
    let called: Vec<Calls> = callers.into_iter().map(|caller| caller.join().expect("every call was answered")).collect();
    let after = resident();
    let [frozen, reclaimed] = ["frozen", "reclaimed"].map(|from| wakes(&gateway, &names, from));
    let mut session = Session::open(gateway.port, "/mcp");
    for (at, name) in names.iter().enumerate() {
        let sent: u32 = called.iter().map(|calls| calls.count[at]).sum();
        assert_eq!(session.call(&format!("{name}__count"), &json!({})).words(), (sent + 1).to_string(), "{name}: each call came once");
    }
    let count: u32 = called.iter().flat_map(|calls| &calls.count).sum();
    eprintln!("{count} calls in {seconds} s, none lost; {frozen} wakes from frozen, {reclaimed} from reclaimed");
    let mut waited: Vec<Duration> = called.into_iter().flat_map(|calls| calls.wakes).collect();
    waited.sort_unstable();
    let at = |percent: usize| waited.get(waited.len() * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    eprintln!("a call that wakes its server takes {:.1} ms (p50), {:.1} (p95), {:.1} (p99), as its client sees it", at(50), at(95), at(99));
    eprintln!("{before} MiB resident in {SERVERS} servers before, {after} after");
    assert!(frozen + reclaimed > 200.0);
    assert_eq!(
        names.iter().map(|name| metric(&gateway, &format!(r#"sallyport_child_restarts_total{{server="{name}"}}"#))).sum::<f64>(),
        0.0
    );
}

/// What one client did.
struct Calls {
    /// Calls to each server.
    count: Vec<u32>,
    /// How long each call took that met a sleeping server.
    wakes: Vec<Duration>,
}
