#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::audit::tests::{bare, full};

const SOON: Duration = Duration::from_secs(10);

/// A sink that writes nothing until it is told to.
struct Stuck(Receiver<()>);

impl Sink for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    fn write(&mut self, _: &[u8]) -> io::Result<()> {
        let _ = self.0.recv();
        Ok(())
    }
}

fn stuck(metrics: &Metrics) -> (Audit, Sender<()>) {
    let (release, wait) = channel();
    (Audit::start(vec![Box::new(Stuck(wait))], metrics).unwrap(), release)
}

#[test]
fn every_record_is_in_the_file_when_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let metrics = Metrics::new();
    let audit = Audit::to_file(&path, &metrics).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| audit.record(&full())));
        }
    });
    assert!(audit.close(SOON));

    let expected = serde_json::to_string(&full()).unwrap();
    let written = fs::read_to_string(path).unwrap();
    assert_eq!(written.lines().filter(|line| *line == expected).count(), 4000);
    assert_eq!(metrics.audit_lost().get(), 0);
}

#[test]
fn a_record_is_written_without_being_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = Audit::to_file(&path, &Metrics::new()).unwrap();
    for round in 1..=2 {
        audit.record(&bare());
        let until = Instant::now() + SOON;
        while fs::read_to_string(&path).unwrap().lines().count() < round {
            assert!(Instant::now() < until, "record {round} was not written");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn records_are_written_when_the_last_handle_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = Audit::to_file(&path, &Metrics::new()).unwrap();
    audit.clone().record(&bare());
    let shared = Arc::clone(&audit.0.0);
    drop(audit);
    assert!(shared.wait_for_end(SOON));
    assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_costs_records_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let metrics = Metrics::new();
    let audit = Audit::to_file(&path, &metrics).unwrap();
    (0..5000).for_each(|_| audit.record(&full()));
    assert!(audit.close(SOON));
    assert_eq!(metrics.audit_lost().get(), 5000);
}

#[test]
fn a_stuck_sink_holds_no_call_up_and_the_queue_is_bounded() {
    let metrics = Metrics::new();
    let (audit, release) = stuck(&metrics);
    let line = serde_json::to_string(&full()).unwrap().len() + 1;
    let sent = 4 * MOST_PENDING / line;
    let start = Instant::now();
    let record = full();
    (0..sent).for_each(|_| audit.record(&record));
    assert!(start.elapsed() < SOON);

    // What is neither waiting nor in the writer's hands was refused.
    let lost = usize::try_from(metrics.audit_lost().get()).unwrap();
    assert!(lost >= sent - 2 * MOST_PENDING / line && lost < sent, "{lost} of {sent}");
    assert!(audit.0.0.queue().pending.capacity() <= 2 * MOST_PENDING);
    assert!(!audit.close(Duration::from_millis(1)));
    drop(release);
    assert!(audit.close(SOON));
}

#[test]
fn what_comes_after_the_end_is_counted_as_lost() {
    let metrics = Metrics::new();
    let audit = Audit::start(Vec::new(), &metrics).unwrap();
    assert!(audit.close(SOON) && audit.close(SOON));
    audit.record(&bare());
    assert_eq!(metrics.audit_lost().get(), 1);
}

#[test]
fn viewers_see_records_and_slow_ones_miss_some_without_harm() {
    let audit = Audit::start(Vec::new(), &Metrics::new()).unwrap();
    audit.record(&bare());
    let (viewer, slow, gone) = (audit.subscribe(), audit.subscribe(), audit.subscribe());
    drop(gone);
    for _ in 0..1500 {
        audit.record(&bare());
    }
    let seen = viewer.recv_timeout(SOON).unwrap();
    assert_eq!(seen, bare());
    assert!(audit.close(SOON));
    let kept = std::iter::from_fn(|| slow.try_recv()).count() as u64;
    assert!(kept <= 1024 && slow.missed() >= 1500 - kept, "{kept} {}", slow.missed());
    assert!(slow.recv_timeout(Duration::ZERO).is_none());
}
