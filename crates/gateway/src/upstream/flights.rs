//! The calls under way at one server: counted, bounded, waited for at the end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Calls under way at one server. The doors bound what one caller may have under way; this bounds what all together may pile up.
pub(crate) const MOST_IN_FLIGHT: usize = 16_384;

/// Why a call is not let in.
pub(crate) enum Refusal {
    Stopping,
    Full,
}

/// Counts the calls under way.
#[derive(Default)]
pub(crate) struct Flights {
    count: AtomicUsize,
    closed: AtomicBool,
    landed: Notify,
}

impl Flights {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Takes note of a call under way, as long as the guard lives.
    pub(crate) fn enter(&self) -> Result<Flight<'_>, Refusal> {
        let before = self.count.fetch_add(1, Ordering::SeqCst);
        let flight = Flight(self);
        // Counted first and looked after: whoever closes either sees this call or is seen by it.
        if self.closed.load(Ordering::SeqCst) {
            return Err(Refusal::Stopping);
        }
        if before >= MOST_IN_FLIGHT { Err(Refusal::Full) } else { Ok(flight) }
    }

    /// Lets no more calls in, and waits for those under way.
    pub(crate) async fn land(&self) {
        self.closed.store(true, Ordering::SeqCst);
        while self.count.load(Ordering::SeqCst) > 0 {
            self.landed.notified().await;
        }
    }
}

/// A call under way.
pub(crate) struct Flight<'a>(&'a Flights);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.closed.load(Ordering::SeqCst) {
            self.0.landed.notify_one();
        }
    }
}
