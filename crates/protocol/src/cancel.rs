//! A call's cancellation, known to everybody who works on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::Event;

/// Tells all holders that a call is no longer wanted. Clones are the same cancellation.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cancelled: AtomicBool,
    event: Event,
}

impl Cancel {
    /// A cancellation that has not happened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels; once and for all.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.0.event.notify(usize::MAX);
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Waits until it happens, perhaps for ever.
    pub async fn cancelled(&self) {
        while !self.is_cancelled() {
            let heard = self.0.event.listen();
            if self.is_cancelled() {
                return; // between the look and the listen
            }
            heard.await;
        }
    }
}
