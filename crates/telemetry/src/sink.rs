//! The way of audit records out of the process, on which no call ever waits.
//!
//! A call formats its record, appends it to a bounded buffer and goes on. One thread of its own takes the buffer about ten
//! times a second and hands it to the sinks. When the buffer is full or a sink fails, records are lost, counted
//! (`sallyport_audit_lost_records_total`) and the log says so; calls go on.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::AuditRecord;
use crate::metric::{Metrics, RecordsLost};
use crate::sinks::file::FileSink;

mod tap;
mod writer;

pub use tap::Tap;
use tap::Taps;
use writer::Writer;

/// Most bytes that wait for the writer: about 7,000 records, a third of a second of calls at the highest rate one gateway
/// reaches, against a tenth of a second between two writes.
const MOST_PENDING: usize = 4 * 1024 * 1024;
/// From here on the writer does not wait for more.
const MANY_PENDING: usize = MOST_PENDING / 8;

/// A place that audit records go to. Called from one thread, which may wait.
pub trait Sink: Send {
    /// The sink's name in the log.
    fn name(&self) -> &'static str;

    /// Takes whole lines, each a JSON object and a line feed.
    ///
    /// # Errors
    /// When they could not be kept; they are then counted as lost.
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;
}

/// The audit log in operation. Clones write to the same one; when the last is gone, what waits is written and the thread
/// ends.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Handle>);

/// What the clones share with each other, but not with the writer: its end tells the writer to end.
#[derive(Debug)]
struct Handle(Arc<Shared>);

/// What calls and the writer share.
#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something is pending where nothing was, much is pending, or the end has come.
    work: Condvar,
    /// The writer has ended.
    ended: Condvar,
    taps: Taps,
    lost: RecordsLost,
}

#[derive(Debug, Default)]
struct Queue {
    pending: Vec<u8>,
    /// Records that found no room since the writer last looked.
    refused: u64,
    closing: bool,
    ended: bool,
}

impl Audit {
    /// Writes to the bounded file at `path`, whose folder exists.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be started.
    pub fn to_file(path: &Path, metrics: &Metrics) -> io::Result<Self> {
        Self::start(vec![Box::new(FileSink::open(path)?)], metrics)
    }

    /// Writes to these sinks.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(sinks: Vec<Box<dyn Sink>>, metrics: &Metrics) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            taps: Taps::default(),
            lost: metrics.audit_lost(),
        });
        let writer = Writer::new(Arc::clone(&shared), sinks);
        thread::Builder::new().name("audit".into()).spawn(move || writer.run())?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Records one call. Never waits for a sink.
    pub fn record(&self, record: &AuditRecord<'_>) {
        thread_local!(static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        LINE.with_borrow_mut(|line| {
            line.clear();
            match serde_json::to_writer(&mut *line, record) {
                Ok(()) => {
                    line.push(b'\n');
                    self.0.0.push(line);
                }
                Err(_) => self.0.0.refuse(), // a record holds nothing that JSON cannot say
            }
        });
    }

    /// Everything that is recorded from now on, for a viewer. It sees records when they are written, at most a tenth of a
    /// second late; a viewer that is too slow misses some.
    #[must_use]
    pub fn subscribe(&self) -> Tap {
        self.0.0.taps.add()
    }

    /// Takes no more records, and waits until those taken have been written. `false` if that took longer than `within`.
    #[must_use]
    pub fn close(&self, within: Duration) -> bool {
        self.0.0.close();
        self.0.0.wait_for_end(within)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic elsewhere leaves whole lines in the buffer: it is only ever extended by them or taken as a whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut queue = self.queue();
        let before = queue.pending.len();
        if queue.closing || before + line.len() > MOST_PENDING {
            drop(queue);
            return self.refuse();
        }
        queue.pending.extend_from_slice(line);
        let after = queue.pending.len();
        drop(queue);
        if before == 0 || (before < MANY_PENDING && after >= MANY_PENDING) {
            self.work.notify_one();
        }
    }

    fn refuse(&self) {
        self.lost.add(1);
        self.queue().refused += 1;
    }

    fn close(&self) {
        self.queue().closing = true;
        self.work.notify_one();
    }

    fn wait_for_end(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut queue = self.queue();
        while !queue.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self.ended.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests;
