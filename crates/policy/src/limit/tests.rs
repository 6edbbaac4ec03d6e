#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::counts::MOST_COUNTS;
use super::*;

fn limits(rules: Value) -> Limits {
    Limits::build(&serde_json::from_value::<Vec<LimitRule>>(rules).unwrap()).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn call<'a>(principal: &'a Principal, tool: &'a str) -> Metered<'a> {
    Metered { tenant: "", principal, server: "shop", tool, is_listed: true }
}

#[test]
fn a_rate_gives_its_calls_back_one_by_one() {
    let limits = limits(json!([{ "rate": { "calls": 3, "seconds": 30 } }]));
    let (alice, bob) = (Principal::key("alice"), Principal::key("bob"));
    for _ in 0..3 {
        assert!(limits.take(&call(&alice, "query"), seconds(100)).is_ok());
    }
    let exceeded = limits.take(&call(&alice, "query"), seconds(101)).unwrap_err();
    assert_eq!((exceeded.kind, exceeded.retry_after, exceeded.most), (LimitKind::Rate, seconds(9), 3));
    assert_eq!(exceeded.to_string(), "beyond `limits[0].rate`: 3 calls of 3");
    assert!(limits.take(&call(&alice, "other"), seconds(101)).is_ok(), "each tool has its own");
    assert!(limits.take(&call(&bob, "query"), seconds(101)).is_ok(), "and so has each caller");
    assert!(limits.take(&Metered { tenant: "b", ..call(&alice, "query") }, seconds(101)).is_ok(), "and each tenant");
    assert!(limits.take(&call(&alice, "query"), seconds(110)).is_ok());
    assert_eq!(limits.take(&call(&alice, "query"), seconds(110)).unwrap_err().retry_after, seconds(10));
}

#[test]
fn calls_at_once_end_when_they_are_dropped() {
    let limits = limits(json!([{ "at_once": 2, "across": "tenant" }]));
    let (alice, bob) = (Principal::key("alice"), Principal::key("bob"));
    let first = limits.take(&call(&alice, "query"), seconds(0)).unwrap();
    let second = limits.take(&call(&bob, "other"), seconds(0)).unwrap();
    assert_eq!(limits.take(&call(&bob, "query"), seconds(1)).unwrap_err().kind, LimitKind::AtOnce);
    drop(first);
    assert!(limits.take(&call(&bob, "query"), seconds(1)).is_ok());
    drop(second);
}

#[test]
fn a_budget_begins_with_the_first_call_and_counts_what_is_declared() {
    let limits =
        limits(json!([{ "across": "principal", "tools": ["s*"], "budget": { "seconds": 60, "cost": 10, "costs": { "search": 4 } } }]));
    let alice = Principal::key("alice");
    assert!(limits.take(&call(&alice, "search"), seconds(5)).is_ok());
    assert!(limits.take(&call(&alice, "search"), seconds(6)).is_ok());
    let exceeded = limits.take(&call(&alice, "search"), seconds(7)).unwrap_err();
    assert_eq!((exceeded.used, exceeded.most, exceeded.retry_after), (8, 10, seconds(58)));
    assert_eq!(exceeded.place.as_str(), "limits[0].budget.cost");
    assert!(limits.take(&call(&alice, "see"), seconds(8)).is_ok(), "a cheaper one still goes");
    assert!(limits.take(&call(&alice, "query"), seconds(8)).is_ok(), "no tool of this limit");
    assert!(limits.take(&call(&alice, "search"), seconds(65)).is_ok());
}

#[test]
fn bytes_are_counted_when_they_are_known() {
    let limits = limits(json!([{ "budget": { "seconds": 60, "bytes": 100 } }]));
    let alice = Principal::key("alice");
    for _ in 0..2 {
        let held = limits.take(&call(&alice, "query"), seconds(0)).unwrap();
        assert!(held.account().counts_bytes());
        held.account().spend(60, seconds(0));
    }
    assert_eq!(limits.take(&call(&alice, "query"), seconds(0)).unwrap_err().used, 120);
}

#[test]
fn bytes_that_are_known_late_are_charged_to_the_time_that_is() {
    let limits = limits(json!([{ "budget": { "seconds": 60, "bytes": 100 } }]));
    let alice = Principal::key("alice");
    let account = limits.take(&call(&alice, "query"), seconds(0)).unwrap().account();
    account.spend(150, seconds(90));
    let exceeded = limits.take(&call(&alice, "query"), seconds(91)).unwrap_err();
    assert_eq!((exceeded.used, exceeded.retry_after), (150, seconds(59)), "the call is over, its task's result is not forgiven");
    assert!(limits.take(&call(&alice, "query"), seconds(150)).is_ok());
}

#[test]
fn a_call_counts_everywhere_or_nowhere() {
    let limits = limits(json!([{ "at_once": 5 }, { "rate": { "calls": 1, "seconds": 10 } }, { "principals": ["key:b*"], "at_once": 1 }]));
    let alice = Principal::key("alice");
    let held = limits.take(&call(&alice, "query"), seconds(0)).unwrap();
    for _ in 0..20 {
        assert_eq!(limits.take(&call(&alice, "query"), seconds(1)).unwrap_err().place.as_str(), "limits[1].rate");
    }
    drop(held);
    let counts = locked(&limits.counts);
    assert!(counts.by_key.values().all(|count| locked(count).is_at_rest(seconds(10))) && counts.by_key.len() == 2);
}

#[test]
fn a_new_configuration_forgives_nothing_that_stays() {
    let stays = json!({ "rate": { "calls": 1, "seconds": 10 } });
    let before = limits(json!([stays]));
    let alice = Principal::key("alice");
    assert!(before.take(&call(&alice, "query"), seconds(0)).is_ok());
    let after = limits(json!([{ "at_once": 9 }, stays])).continuing(&before);
    assert_eq!(after.take(&call(&alice, "query"), seconds(1)).unwrap_err().place.as_str(), "limits[1].rate");
}

#[test]
fn names_that_a_caller_invents_count_as_one_and_take_nobodys_room() {
    let limits = limits(json!([{ "budget": { "seconds": 86_400, "calls": 3 } }]));
    let (mallory, alice) = (Principal::key("mallory"), Principal::key("alice"));
    let mut gone_on = 0;
    for number in 0..MOST_COUNTS {
        let name = format!("get_{number}");
        let invented = Metered { is_listed: false, ..call(&mallory, &name) };
        gone_on += usize::from(limits.take(&invented, seconds(0)).is_ok());
    }
    assert_eq!(gone_on, 3, "another name is no other allowance");
    assert!(limits.take(&call(&alice, "query"), seconds(1)).is_ok(), "there is room for others");
    assert!(limits.take(&Metered { is_listed: false, ..call(&alice, "get_1") }, seconds(1)).is_ok());
    // A tool that comes to be listed has its own count from then on, also where it is known what its name was counted in.
    assert!(limits.take(&call(&mallory, "get_1"), seconds(1)).is_ok());
}

#[test]
fn only_counts_that_say_nothing_are_forgotten() {
    let limits = limits(json!([{ "across": "principal", "rate": { "calls": 1, "seconds": 100 } }]));
    let who = |number: usize| Principal::key(&number.to_string());
    for number in 0..MOST_COUNTS {
        assert!(limits.take(&call(&who(number), "query"), seconds(u64::from(number >= MOST_COUNTS / 2) * 50)).is_ok());
    }
    let newcomer = who(MOST_COUNTS);
    assert!(limits.take(&call(&newcomer, "query"), seconds(60)).is_err(), "all of them say something");
    assert!(limits.take(&call(&newcomer, "query"), seconds(110)).is_ok(), "half of them do not any more");
    assert!(limits.take(&call(&who(MOST_COUNTS - 1), "query"), seconds(110)).is_err(), "and nothing is forgiven");
}

#[test]
fn a_count_is_not_forgotten_while_bytes_may_still_be_charged_to_it() {
    let limits = limits(json!([{ "across": "principal", "budget": { "seconds": 60, "bytes": 100 } }]));
    let who = |number: usize| Principal::key(&number.to_string());
    let account = limits.take(&call(&who(0), "query"), seconds(0)).unwrap().account();
    for number in 1..MOST_COUNTS {
        assert!(limits.take(&call(&who(number), "query"), seconds(0)).is_ok());
    }
    assert!(limits.take(&call(&who(MOST_COUNTS), "query"), seconds(90)).is_ok(), "the time of all of them is over");
    assert_eq!(locked(&limits.counts).by_key.len(), 2, "of those that were, only the one is left that somebody holds");
    account.spend(150, seconds(90));
    assert_eq!(limits.take(&call(&who(0), "query"), seconds(91)).unwrap_err().used, 150);
}

#[test]
fn a_call_that_began_under_other_limits_counts_in_those_that_stayed() {
    let (stays, goes) = (json!({ "at_once": 1 }), json!({ "budget": { "seconds": 60, "calls": 9 } }));
    let before = limits(json!([goes, stays]));
    let alice = Principal::key("alice");
    let held = before.take(&call(&alice, "query"), seconds(0)).unwrap();
    let after = limits(json!([stays])).continuing(&before);
    assert_eq!(after.take(&call(&alice, "query"), seconds(1)).unwrap_err().place.as_str(), "limits[0].at_once");
    assert_eq!(before.take(&call(&alice, "query"), seconds(1)).unwrap_err().place.as_str(), "limits[1].at_once");
    drop(held);
    let held = after.take(&call(&alice, "query"), seconds(2)).unwrap();
    assert!(before.take(&call(&alice, "query"), seconds(2)).is_err());
    drop(held);
    assert!(before.take(&call(&alice, "query"), seconds(3)).is_ok());
}

#[test]
fn no_more_run_at_once_however_many_call() {
    let limits = limits(json!([{ "at_once": 2, "across": "tenant" }, { "rate": { "calls": 1_000_000, "seconds": 1 } }]));
    let running = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for caller in ["a", "b", "c", "d"].map(Principal::key) {
            let (limits, running) = (&limits, &running);
            scope.spawn(move || {
                for _ in 0..2000 {
                    let Ok(held) = limits.take(&call(&caller, "query"), seconds(0)) else { continue };
                    assert!(running.fetch_add(1, Ordering::SeqCst) < 2);
                    running.fetch_sub(1, Ordering::SeqCst);
                    drop(held);
                }
            });
        }
    });
    assert!(locked(&limits.counts).by_key.values().all(|count| locked(count).is_at_rest(seconds(2))));
}

#[test]
fn slips_are_told_with_their_places() {
    let rules: Vec<LimitRule> = serde_json::from_value(json!([
        {},
        { "rate": { "calls": 0, "seconds": 1 } },
        { "rate": { "calls": 1, "seconds": 0 } },
        { "at_once": 0 },
        { "budget": { "seconds": 1 } },
        { "budget": { "seconds": 99_999_999, "calls": 1 } },
        { "budget": { "seconds": 1, "calls": 1, "costs": { "x": 2 } } },
        { "at_once": 1, "tools": ["["], "principals": [], "server": "{" },
    ]))
    .unwrap();
    let places: Vec<String> = Limits::build(&rules).unwrap_err().into_iter().map(|error| error.place).collect();
    let expected = [
        "limits[0]",
        "limits[1]",
        "limits[2].rate.seconds",
        "limits[3]",
        "limits[4].budget",
        "limits[5].budget.seconds",
        "limits[6].budget.costs",
        "limits[7].server",
        "limits[7].principals",
        "limits[7].tools[0]",
    ];
    assert_eq!(places, expected);
}

proptest! {
    /// In any time of the rate's length there are at most twice its calls, and over a long time no more than it gives; whoever waits as long
    /// as they are told to goes on.
    #[test]
    fn a_rate_holds_whenever_calls_come(calls in 1u32..20, length in 1u32..100, waits in prop::collection::vec(0u64..20_000, 1..200)) {
        let limits = limits(json!([{ "rate": { "calls": calls, "seconds": length } }]));
        let alice = Principal::key("alice");
        let (mut now, mut passed) = (Duration::ZERO, 0u32);
        for wait in waits {
            now += Duration::from_millis(wait);
            match limits.take(&call(&alice, "query"), now) {
                Ok(_) => passed += 1,
                Err(exceeded) => prop_assert!(limits.take(&call(&alice, "query"), now + exceeded.retry_after).is_ok()),
            }
            if let Err(exceeded) = limits.take(&call(&alice, "other"), now) {
                prop_assert!(!exceeded.retry_after.is_zero());
            }
        }
        let given = u64::from(calls) + u64::try_from(now.as_nanos()).unwrap() * u64::from(calls) / (u64::from(length) * 1_000_000_000) + 1;
        prop_assert!(u64::from(passed) <= given, "{passed} of {given}");
    }

    /// What is known of earlier calls saves looking it up, and changes nothing: the same calls go on and the same are refused, for the same
    /// reason, by limits that know of none. Of the calls some still run, some are charged bytes, and the limits are others after a while.
    #[test]
    fn what_is_known_of_earlier_calls_decides_nothing(
        calls in prop::collection::vec((0usize..3, 0usize..3, 0u64..4000, 0u64..80, any::<bool>()), 1..120),
        change in 0usize..120,
    ) {
        let rules = [
            json!({ "rate": { "calls": 3, "seconds": 5 } }),
            json!({ "at_once": 3, "across": "principal" }),
            json!({ "tools": ["a*"], "across": "tenant", "budget": { "seconds": 20, "bytes": 300, "cost": 40, "costs": { "ab": 7 } } }),
        ];
        let [knowing, knowing_none] = [0, 1].map(|_| limits(json!(rules)));
        let mut both = [(knowing, Vec::new()), (knowing_none, Vec::new())];
        let (callers, mut now) = (["x", "y", "z"].map(Principal::key), Duration::ZERO);
        for (at, (who, tool, wait, bytes, ends)) in calls.into_iter().enumerate() {
            now += Duration::from_millis(wait);
            let mut told = Vec::new();
            for (limited, running) in &mut both {
                if at == change {
                    *limited = limits(json!([rules[2], rules[0]])).continuing(limited);
                }
                let taken = limited.take(&call(&callers[who], ["a", "ab", "b"][tool]), now);
                told.push(taken.as_ref().map(Held::counts_at_once).map_err(Clone::clone));
                if let Ok(held) = taken {
                    held.account().spend(bytes, now);
                    running.push(held);
                }
                if ends {
                    running.clear();
                }
            }
            locked(&both[1].0.counts).lately.clear();
            prop_assert_eq!(&told[0], &told[1]);
        }
    }
}
