#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod reference;

/// A record in which every field is filled.
pub(crate) fn full() -> AuditRecord<'static> {
    AuditRecord {
        time: (UNIX_EPOCH + Duration::from_micros(1_795_343_437_000_001)).into(),
        id: RecordId([7; 16]),
        trace_id: crate::TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").map(|context| context.trace_id()),
        principal: Some("local".into()),
        issuer: Some("https://login.example.com".into()),
        tenant: Some("acme".into()),
        client: Some("claude-code 2.1.0".into()),
        revision: Some("2025-11-25".into()),
        endpoint: "/mcp".into(),
        method: "tools/call".into(),
        server: Some("github".into()),
        version: Some("1.4.0".into()),
        target: Some("create_issue".into()),
        arguments: Some(ArgumentDigest::of(br#"{"title":"hunter2"}"#)),
        attributes: Some(json!({ "limit": 7 })),
        sizes: Some(json!({ "title": 7 })),
        unrecorded: Some(1),
        asked: Some(Asked {
            groups: vec!["analysts".into()],
            scopes: Some("github:create_issue".into()),
            address: Some("192.0.2.7".into()),
            read_only: Some(false),
            destructive: Some(false),
            idempotent: Some(true),
            open_world: Some(true),
            pin: Some("pinned".into()),
        }),
        decision: Some("allow".into()),
        rule: Some("servers.github.allow".into()),
        approval: Some("0123456789abcdef0123".into()),
        outcome: Outcome::Failed,
        failure: Some("timeout".into()),
        result_bytes: Some(512),
        sent_bytes: Some(80),
        durations: Durations {
            authenticate: Some(Duration::from_nanos(340)),
            resolve: Some(Duration::from_nanos(1_260)),
            decide: Some(Duration::from_nanos(900)),
            upstream: Some(Duration::from_millis(12)),
            total: Some(Duration::from_micros(12_003)),
        },
    }
}

/// A record in which nothing is known that need not be.
pub(crate) fn bare() -> AuditRecord<'static> {
    AuditRecord {
        time: UNIX_EPOCH.into(),
        id: RecordId([0; 16]),
        trace_id: None,
        principal: None,
        issuer: None,
        tenant: None,
        client: None,
        revision: None,
        endpoint: "stdio".into(),
        method: "tools/call".into(),
        server: None,
        version: None,
        target: None,
        arguments: None,
        attributes: None,
        sizes: None,
        unrecorded: None,
        asked: None,
        decision: None,
        rule: None,
        approval: None,
        outcome: Outcome::Denied,
        failure: None,
        result_bytes: None,
        sent_bytes: None,
        durations: Durations::default(),
    }
}

#[test]
fn a_record_is_one_line_that_holds_no_argument() {
    let line = serde_json::to_string(&full()).unwrap();
    assert!(!line.contains('\n') && !line.contains("hunter2"), "{line}");
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["time"], "2026-11-22T10:30:37.000001Z");
    assert_eq!(value["arguments"]["bytes"], 19);
    assert!(value["arguments"]["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(value["duration_us"], json!({"authenticate": 0.3, "resolve": 1.3, "decide": 0.9, "upstream": 12000.0, "total": 12003.0}));
}

#[test]
fn what_is_not_known_is_left_out() {
    assert_eq!(
        serde_json::to_value(bare()).unwrap(),
        json!({
            "time": "1970-01-01T00:00:00.000000Z", "id": "0".repeat(32), "endpoint": "stdio", "method": "tools/call",
            "outcome": "denied", "duration_us": {},
        })
    );
}

#[test]
fn a_viewer_reads_what_was_written() {
    for mut record in [full(), bare()] {
        record.durations.authenticate = record.durations.authenticate.map(|_| Duration::from_nanos(300));
        record.durations.resolve = record.durations.resolve.map(|_| Duration::from_nanos(1_300));
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<AuditRecord<'static>>(&line).unwrap(), record);
    }
}

#[test]
fn groups_and_scopes_are_whole_or_not_there() {
    let asked = |groups: Vec<String>| Asked { groups: groups.into_iter().map(Text::from).collect(), ..Asked::default() };
    assert!(asked(vec!["a".repeat(LONGEST_TEXT); 3]).bounded().is_some());
    assert_eq!(asked(vec!["a".repeat(LONGEST_TEXT + 1)]).bounded(), None);
    assert_eq!(asked(vec!["a".into(); 1000]).bounded(), None);
}

#[test]
fn outcomes_have_one_name_everywhere() {
    for outcome in Outcome::ALL {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        assert_eq!(Outcome::ALL[outcome as usize], outcome);
    }
}

#[test]
fn ids_differ_and_keep_their_run() {
    let (one, other) = (RecordId::next().to_string(), RecordId::next().to_string());
    assert_eq!(one.get(..16), other.get(..16));
    assert!(one < other);
}

proptest! {
    #[test]
    fn hostile_text_makes_neither_a_long_line_nor_two(text in ".*", times in 1_usize..2000) {
        let hostile = text.repeat(times);
        let all = || Some(Text::from(hostile.as_str()));
        let record = AuditRecord {
            client: all(), revision: all(), target: all(), endpoint: all().unwrap(), method: all().unwrap(), ..full()
        };
        let line = serde_json::to_string(&record).unwrap();
        prop_assert!(line.len() < 64 * 1024);
        prop_assert!(line.chars().all(|character| !character.is_ascii_control() || character == '\x7f'));
        let back: AuditRecord<'static> = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(back.target.unwrap(), record.target.unwrap());
    }

    #[test]
    fn a_cut_text_says_so(text in "\\PC{300,2000}") {
        let cut = Text::from(text.as_str());
        if text.len() <= LONGEST_TEXT {
            prop_assert_eq!(cut.as_str(), text.as_str());
        } else {
            let kept = cut.as_str().strip_suffix('…').unwrap();
            prop_assert!(text.starts_with(kept) && kept.len() > LONGEST_TEXT - 4);
        }
    }

    #[test]
    fn no_line_makes_a_viewer_panic(line in any::<Vec<u8>>(), micros in any::<f64>()) {
        let _ = serde_json::from_slice::<AuditRecord<'static>>(&line);
        let _ = serde_json::from_value::<Durations>(json!({"total": micros}));
    }
}
