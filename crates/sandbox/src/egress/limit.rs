//! Bounds on what one program can make the gateway do.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::event::Refusal;

/// The time for which bytes are counted.
const HOUR: Duration = Duration::from_secs(3600);

/// What one destination has of one program.
#[derive(Debug)]
pub(super) struct Usage {
    open: AtomicU32,
    window: Arc<Mutex<Window>>,
}

/// What one destination has had of all lives of one program.
#[derive(Debug)]
pub(super) struct Window {
    began: Instant,
    bytes: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { began: Instant::now(), bytes: 0 }
    }
}

impl Window {
    pub(super) fn is_over(&self) -> bool {
        self.began.elapsed() >= HOUR
    }
}

/// A connection that counts as open as long as this lives.
#[derive(Debug)]
pub(super) struct Open<'a> {
    usage: &'a Usage,
    most_bytes: u64,
}

impl Usage {
    pub(super) fn new(window: Arc<Mutex<Window>>) -> Self {
        Self { open: AtomicU32::new(0), window }
    }

    /// One more connection, if it may be.
    pub(super) fn open(&self, most_connections: u32, most_bytes: u64) -> Result<Open<'_>, Refusal> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= most_connections {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Connections);
        }
        let open = Open { usage: self, most_bytes };
        open.count(0)?;
        Ok(open)
    }
}

impl Open<'_> {
    /// So many more bytes, either way, if they may be.
    pub(super) fn count(&self, bytes: usize) -> Result<(), Refusal> {
        let mut window = self.usage.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.is_over() {
            *window = Window::default();
        }
        if window.bytes.saturating_add(bytes as u64) > self.most_bytes {
            return Err(Refusal::Bytes);
        }
        window.bytes += bytes as u64;
        Ok(())
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.usage.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets pass a number of events in each span of time.
#[derive(Debug)]
pub(super) struct Pace {
    most: u32,
    span: Duration,
    began: Instant,
    passed: u32,
}

impl Pace {
    pub(super) fn new(most: u32, span: Duration) -> Self {
        Self { most, span, began: Instant::now(), passed: 0 }
    }

    /// Counts one event; how many there are in this span.
    pub(super) fn count(&mut self) -> u32 {
        if self.began.elapsed() >= self.span {
            (self.began, self.passed) = (Instant::now(), 0);
        }
        self.passed = self.passed.saturating_add(1);
        self.passed
    }

    /// Counts one event, and waits for the next span if this one has had enough.
    pub(super) async fn keep(&mut self) {
        if self.count() > self.most {
            sleep_until(self.began + self.span).await;
        }
    }

    /// When this span is over.
    pub(super) fn end(&self) -> Instant {
        self.began + self.span
    }

    pub(super) fn most(&self) -> u32 {
        self.most
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_destination_has_so_many_connections_and_bytes_and_gets_new_ones() {
        let usage = Usage::new(Arc::default());
        let first = usage.open(2, 10).unwrap();
        let second = usage.open(2, 10).unwrap();
        assert_eq!(usage.open(2, 10).unwrap_err(), Refusal::Connections);
        drop(second);
        let second = usage.open(2, 10).unwrap();
        first.count(6).unwrap();
        assert_eq!(second.count(5), Err(Refusal::Bytes));
        second.count(4).unwrap();
        assert_eq!(first.count(1), Err(Refusal::Bytes));
        tokio::time::advance(HOUR).await;
        first.count(10).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_is_kept() {
        let mut pace = Pace::new(10, Duration::from_secs(1));
        let start = Instant::now();
        for _ in 0..100 {
            pace.keep().await;
        }
        assert!((Duration::from_secs(8)..Duration::from_secs(11)).contains(&start.elapsed()), "{:?}", start.elapsed());
    }
}
