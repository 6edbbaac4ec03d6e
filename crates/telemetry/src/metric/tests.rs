#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fmt::Write as _;
use std::time::Duration;

use super::*;

/// Every line of the answer that begins with `start`.
fn lines(metrics: &Metrics, start: &str) -> Vec<String> {
    metrics.encode().lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
}

#[test]
fn calls_are_counted_by_server_and_outcome() {
    let metrics = Metrics::new();
    let files = metrics.server("files");
    files.call_finished(Outcome::Ok, Duration::from_millis(3), Duration::from_micros(2_960));
    files.clone().call_finished(Outcome::Ok, Duration::from_millis(3), Duration::from_millis(3));
    metrics.server("files").call_finished(Outcome::Cancelled, Duration::from_millis(1), Duration::from_secs(9));

    let counted = lines(&metrics, "sallyport_calls_total");
    assert!(counted.contains(&r#"sallyport_calls_total{server="files",outcome="ok"} 2"#.into()), "{counted:?}");
    assert!(counted.contains(&r#"sallyport_calls_total{server="files",outcome="cancelled"} 1"#.into()));
    assert!(counted.contains(&r#"sallyport_calls_total{server="files",outcome="failed"} 0"#.into()));
    assert_eq!(
        lines(&metrics, r#"sallyport_overhead_seconds_bucket{le="0.00002""#),
        [r#"sallyport_overhead_seconds_bucket{le="0.00002",server="files"} 2"#]
    );
    assert_eq!(lines(&metrics, "sallyport_call_duration_seconds_count"), [r#"sallyport_call_duration_seconds_count{server="files"} 3"#]);
}

#[test]
fn a_call_is_in_flight_until_its_guard_goes() {
    let metrics = Metrics::new();
    let files = metrics.server("files");
    let flying = files.call_started();
    assert_eq!(lines(&metrics, "sallyport_calls_in_flight"), [r#"sallyport_calls_in_flight{server="files"} 1"#]);
    drop(flying);
    assert_eq!(lines(&metrics, "sallyport_calls_in_flight"), [r#"sallyport_calls_in_flight{server="files"} 0"#]);
}

#[test]
fn connections_are_counted_by_server_and_outcome() {
    let metrics = Metrics::new();
    metrics.server("fetch").connection_ended(ConnectionOutcome::Refused);
    let counted = lines(&metrics, "sallyport_server_connections_total");
    assert!(counted.contains(&r#"sallyport_server_connections_total{server="fetch",outcome="refused"} 1"#.into()), "{counted:?}");
    assert_eq!(counted.len(), ConnectionOutcome::ALL.len());
}

#[test]
fn exactly_one_state_is_set() {
    let metrics = Metrics::new();
    let files = metrics.server("files");
    for state in UpstreamState::ALL {
        files.set_state(state);
        let set: Vec<String> = lines(&metrics, "sallyport_upstream_state").into_iter().filter(|line| line.ends_with(" 1")).collect();
        assert_eq!(set, [format!(r#"sallyport_upstream_state{{server="files",state="{}"}} 1"#, state.as_str())]);
    }
    files.set_breaker(BreakerState::HalfOpen);
    assert!(lines(&metrics, "sallyport_breaker_state").contains(&r#"sallyport_breaker_state{server="files",state="half_open"} 1"#.into()));
}

#[test]
fn wakes_are_counted_by_what_they_came_from() {
    let metrics = Metrics::new();
    let files = metrics.server("files");
    for state in StandbyState::ALL {
        files.set_standby(state);
        files.wakes("microvm").woken(state, Duration::from_millis(2));
        let set: Vec<String> = lines(&metrics, "sallyport_standby").into_iter().filter(|line| line.ends_with(" 1")).collect();
        assert_eq!(set, [format!(r#"sallyport_standby{{server="files",state="{}"}} 1"#, state.as_str())]);
    }
    let mut counted = lines(&metrics, "sallyport_wake_seconds_count");
    counted.sort();
    let expected = ["frozen", "reclaimed", "stopped"]
        .map(|from| format!(r#"sallyport_wake_seconds_count{{server="files",from="{from}",backend="microvm"}} 1"#));
    assert_eq!(counted, expected);
    files.wakes("a name that nobody knows").woken(StandbyState::Frozen, Duration::from_millis(2));
    let other = lines(&metrics, r#"sallyport_wake_seconds_count{server="files",from="frozen",backend="other"}"#);
    assert_eq!(other.len(), 1);
    metrics.forget("files", None);
    assert_eq!(lines(&metrics, "sallyport_wake_seconds_count"), Vec::<String>::new());
}

#[test]
fn a_server_that_is_gone_leaves_nothing() {
    let metrics = Metrics::new();
    metrics.server("files").call_finished(Outcome::Ok, Duration::ZERO, Duration::ZERO);
    metrics.server("git");
    metrics.forget("files", None);
    let text = metrics.encode();
    assert!(!text.contains("files") && text.contains(r#"server="git""#), "{text}");
}

#[test]
fn versions_of_a_server_are_told_apart() {
    let metrics = Metrics::new();
    let (old, new) = (metrics.server("files"), metrics.version("files", "1.1.0"));
    old.call_finished(Outcome::Ok, Duration::ZERO, Duration::ZERO);
    new.call_finished(Outcome::Failed, Duration::ZERO, Duration::ZERO);
    let counted = lines(&metrics, "sallyport_calls_total");
    assert!(counted.contains(&r#"sallyport_calls_total{server="files",outcome="ok"} 1"#.into()), "{counted:?}");
    assert!(counted.contains(&r#"sallyport_calls_total{server="files",version="1.1.0",outcome="failed"} 1"#.into()), "{counted:?}");
    metrics.forget("files", Some("1.1.0"));
    let text = metrics.encode();
    assert!(!text.contains("1.1.0") && text.contains(r#"server="files""#), "{text}");
}

#[test]
fn the_table_names_exactly_what_is_scraped() {
    let metrics = Metrics::new();
    let _ = metrics.server("files").wakes("os");
    let text = metrics.encode();
    for name in MetricName::ALL {
        let (base, kind) = match name.kind() {
            Kind::Counter => (name.registered(), "counter"),
            Kind::Gauge => (name.as_str(), "gauge"),
            Kind::Histogram => (name.as_str(), "histogram"),
        };
        assert!(text.contains(&format!("# TYPE {base} {kind}\n")), "{base} {kind} in:\n{text}");
        assert!(text.contains(&format!("# HELP {base} {}", name.help())), "{base}");
        let sample = text.lines().find(|line| line.starts_with(name.as_str())).unwrap();
        for label in name.labels() {
            assert!(sample.contains(&format!("{}=\"", label.name)), "{sample}");
        }
    }
    assert_eq!(text.matches("# TYPE ").count(), MetricName::ALL.len());
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn hostile_names_cannot_forge_lines() {
    let metrics = Metrics::new();
    metrics.server("a\"} 1\nsallyport_audit_lost_records_total 99\n#\\");
    assert_eq!(lines(&metrics, "sallyport_audit_lost_records_total"), ["sallyport_audit_lost_records_total 0"]);
}

#[test]
fn lost_records_are_counted() {
    let metrics = Metrics::new();
    metrics.audit_lost().add(3);
    assert_eq!(lines(&metrics, "sallyport_audit_lost_records_total"), ["sallyport_audit_lost_records_total 3"]);
}

#[test]
fn the_reference_page_is_up_to_date() {
    let mut page = String::from(
        "<!-- Generated from crates/telemetry/src/metric/name.rs: SALLYPORT_BLESS=1 cargo test -p sallyport-telemetry -->\n\
         # Metrics\n\n\
         `GET /metrics` answers in the OpenMetrics text format. Durations are in seconds. Every label has few values: names\n\
         come from the configuration, never from a request.\n\n\
         | metric | kind | meaning | labels |\n| --- | --- | --- | --- |\n",
    );
    for name in MetricName::ALL {
        let kind = format!("{:?}", name.kind()).to_lowercase();
        let labels: Vec<String> = name.labels().iter().map(|label| format!("`{}`: {}", label.name, label.values)).collect();
        writeln!(page, "| `{}` | {kind} | {} | {} |", name.as_str(), name.help(), labels.join("; ")).unwrap();
    }
    crate::reference::check("metrics.md", &page);
}
