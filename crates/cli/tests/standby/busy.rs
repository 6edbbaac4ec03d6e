//! Calls that meet a freeze: none is lost.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::session::Session;
use crate::{metric, project};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("idle{at}")).collect()
}

/// A number below `bound` that nobody can tell beforehand.
fn random(bound: u64) -> u64 {
    RandomState::new().build_hasher().finish() % bound
}

fn wakes(gateway: &Gateway, names: &[String], from: &str) -> f64 {
    names.iter().map(|name| metric(gateway, &format!(r#"sallyport_wake_seconds_count{{server="{name}",from="{from}"}}"#))).sum()
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

#[test]
fn twenty_servers_of_which_three_are_awake_lose_no_call() {
    const MINUTE: Duration = Duration::from_secs(60);
    let names = names(20);
    let project = project(&names, r#"{ freeze_after = "200ms", reclaim_after = "1s" }"#, "quiet");
    let gateway = project.up();
    let end = Instant::now() + MINUTE;
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let mut session = Session::open(gateway.port, "/mcp");
            let names = names.clone();
            thread::spawn(move || {
                let mut calls = vec![0_u32; names.len()];
                while Instant::now() < end {
                    let at = usize::try_from(random(20)).unwrap();
                    let answer = session.call(&format!("{}__count", names[at]), &json!({}));
                    assert!(!answer.is_error(), "{}: {answer:?}", names[at]);
                    calls[at] += 1;
                    thread::sleep(Duration::from_millis(random(40)));
                }
                calls
            })
        })
        .collect();
    let called: Vec<Vec<u32>> = callers.into_iter().map(|caller| caller.join().expect("every call was answered")).collect();
    let mut session = Session::open(gateway.port, "/mcp");
    for (at, name) in names.iter().enumerate() {
        let sent: u32 = called.iter().map(|calls| calls[at]).sum();
        assert_eq!(session.call(&format!("{name}__count"), &json!({})).words(), (sent + 1).to_string(), "{name}: each call came once");
    }
    let [frozen, reclaimed] = ["frozen", "reclaimed"].map(|from| wakes(&gateway, &names, from));
    eprintln!("{} calls, {frozen} wakes from frozen, {reclaimed} from reclaimed", called.iter().flatten().sum::<u32>());
    assert!(frozen + reclaimed > 200.0);
}
