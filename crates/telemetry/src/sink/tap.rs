//! The viewers of the audit log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::audit::AuditRecord;

/// Most records that wait for one viewer: more than any screen shows.
const MOST_WAITING: usize = 1024;

/// One viewer's end. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Tap {
    records: Receiver<AuditRecord<'static>>,
    missed: Arc<AtomicU64>,
}

impl Tap {
    /// The next record, waiting for it at most `within`.
    #[must_use]
    pub fn recv_timeout(&self, within: Duration) -> Option<AuditRecord<'static>> {
        self.records.recv_timeout(within).ok()
    }

    /// The next record if there is one by now.
    #[must_use]
    pub fn try_recv(&self) -> Option<AuditRecord<'static>> {
        self.records.try_recv().ok()
    }

    /// How many records this viewer was too slow for.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// The writer's ends of all taps.
#[derive(Debug, Default)]
pub(super) struct Taps(Mutex<Vec<Sender>>);

#[derive(Debug)]
struct Sender {
    records: SyncSender<AuditRecord<'static>>,
    missed: Arc<AtomicU64>,
}

impl Taps {
    pub(super) fn add(&self) -> Tap {
        let (sender, records) = sync_channel(MOST_WAITING);
        let missed = Arc::new(AtomicU64::new(0));
        let tap = Tap { records, missed: Arc::clone(&missed) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Sender { records: sender, missed });
        tap
    }

    /// Shows these lines to every viewer; costs nothing without one.
    pub(super) fn show(&self, lines: &[u8]) {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if senders.is_empty() {
            return;
        }
        for line in lines.split(|byte| *byte == b'\n') {
            if let Ok(record) = serde_json::from_slice::<AuditRecord<'static>>(line) {
                senders.retain(|sender| sender.send(record.clone()));
            }
        }
    }
}

impl Sender {
    /// `false` when the viewer is gone.
    fn send(&self, record: AuditRecord<'static>) -> bool {
        match self.records.try_send(record) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}
