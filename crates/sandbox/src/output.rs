//! Bounds what a program writes within a minute.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};

use crate::exceeded::Exceeded;

const MIB: u64 = 1024 * 1024;

/// `limits.output_mb` is for so long.
const MINUTE: Duration = Duration::from_secs(60);

/// What one program has written since a minute began.
#[derive(Debug)]
pub(crate) struct Output {
    most: u64,
    written: Mutex<(Instant, u64)>,
}

impl Output {
    pub(crate) fn new(megabytes: u32) -> Self {
        Self { most: u64::from(megabytes) * MIB, written: Mutex::new((Instant::now(), 0)) }
    }

    /// Counts; whether it is more than there may be.
    pub(crate) fn is_flooded_by(&self, bytes: usize) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.0.elapsed() >= MINUTE {
            *written = (Instant::now(), 0);
        }
        written.1 = written.1.saturating_add(bytes as u64);
        written.1 > self.most
    }
}

/// Whoever wants to know how much was written.
pub(crate) trait Count: Send + Sync {
    /// So many bytes more.
    fn wrote(&self, bytes: usize);
}

/// Ends a program that writes too much, and remembers that.
pub(crate) struct Meter {
    megabytes: u32,
    output: Output,
    is_over: AtomicBool,
    end: Box<dyn Fn() + Send + Sync>,
}

impl Meter {
    pub(crate) fn new(megabytes: u32, end: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { megabytes, output: Output::new(megabytes), is_over: AtomicBool::new(false), end: Box::new(end) })
    }

    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        self.is_over.load(Ordering::Relaxed).then_some(Exceeded::Output(self.megabytes))
    }
}

impl Count for Meter {
    fn wrote(&self, bytes: usize) {
        if self.output.is_flooded_by(bytes) && !self.is_over.swap(true, Ordering::Relaxed) {
            (self.end)();
        }
    }
}

/// A stream of the program's, counted.
pub(crate) struct Counted<R, C: ?Sized> {
    stream: R,
    count: Option<Arc<C>>,
}

impl<R, C: ?Sized> Counted<R, C> {
    pub(crate) fn new(stream: R, count: Option<Arc<C>>) -> Self {
        Self { stream, count }
    }
}

impl<R: AsyncRead + Unpin, C: Count + ?Sized> AsyncRead for Counted<R, C> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if let Some(count) = &self.count {
            count.wrote(buffer.filled().len() - before);
        }
        Poll::Ready(outcome)
    }
}
