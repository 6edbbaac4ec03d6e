//! The requests that a program is asked, and how long there has been none.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a program is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// By somebody who needs it.
    Request,
    /// By the gateway, so that what a request needs is in memory: that is no use of the program, and hides none that ends meanwhile.
    Rehearsal,
}

/// Counts them.
#[derive(Debug)]
pub(super) struct Uses {
    under_way: AtomicUsize,
    /// Milliseconds after `began` when the last request ended.
    last: AtomicU64,
    began: Instant,
}

impl Uses {
    pub(super) fn new() -> Self {
        Self { under_way: AtomicUsize::new(0), last: AtomicU64::new(0), began: Instant::now() }
    }

    /// One more, until the guard is dropped.
    pub(super) fn begin(&self, kind: Use) -> Using<'_> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        Using { uses: self, kind }
    }

    /// Whether any is under way.
    pub(super) fn any(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) > 0
    }

    /// How long there has been no request.
    pub(super) fn idle(&self) -> Duration {
        match self.any() {
            true => Duration::ZERO,
            false => self.began.elapsed().saturating_sub(self.last()),
        }
    }

    /// When the last request ended, after the beginning.
    pub(super) fn last(&self) -> Duration {
        Duration::from_millis(self.last.load(Ordering::SeqCst))
    }
}

/// One of them under way.
pub(super) struct Using<'a> {
    uses: &'a Uses,
    kind: Use,
}

impl Drop for Using<'_> {
    fn drop(&mut self) {
        if self.kind == Use::Request {
            let now = u64::try_from(self.uses.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.uses.last.store(now, Ordering::SeqCst);
        }
        self.uses.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_AGO: Duration = Duration::from_secs(3600);

    /// What was used an hour ago for the last time.
    fn idle() -> Uses {
        Uses { began: Instant::now().checked_sub(LONG_AGO).unwrap_or_else(Instant::now), ..Uses::new() }
    }

    #[test]
    fn a_rehearsal_is_no_use_and_hides_none_that_ends_meanwhile() {
        let uses = idle();
        drop(uses.begin(Use::Rehearsal));
        assert!(uses.idle() >= LONG_AGO, "nobody needed it");
        let rehearsal = uses.begin(Use::Rehearsal);
        let request = uses.begin(Use::Request);
        assert!(uses.any() && uses.idle().is_zero());
        drop(request);
        assert!(uses.any(), "the rehearsal goes on");
        drop(rehearsal);
        assert!(!uses.any() && uses.idle() < LONG_AGO, "somebody has needed it a moment ago");
    }
}
