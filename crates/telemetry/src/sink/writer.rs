//! The one thread that writes audit records.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{MANY_PENDING, Shared, Sink};

/// How long the writer lets records gather: a crash loses no more than this, and one write serves all calls of a tenth of
/// a second.
const GATHER: Duration = Duration::from_millis(100);
/// Most bytes handed to a sink at once: when the disk is nearly full, that much is lost and the next piece may still fit.
const PIECE: usize = 64 * 1024;
/// A buffer that a burst made larger than this is given back.
const KEEP: usize = 256 * 1024;
/// How often the log repeats that records are being lost.
const REMIND: Duration = Duration::from_secs(10);

pub(super) struct Writer {
    shared: Arc<Shared>,
    sinks: Vec<Box<dyn Sink>>,
    batch: Vec<u8>,
    losses: Losses,
}

/// What has been lost and not yet told.
#[derive(Default)]
struct Losses {
    untold: u64,
    cause: String,
    told: Option<Instant>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, sinks: Vec<Box<dyn Sink>>) -> Self {
        Self { shared, sinks, batch: Vec::new(), losses: Losses::default() }
    }

    pub(super) fn run(mut self) {
        let mut closing = false;
        while !closing {
            closing = self.take();
            self.write();
            self.losses.tell(closing);
        }
        self.shared.queue().ended = true;
        self.shared.ended.notify_all();
    }

    /// Waits for records and takes them all. `true` when they are the last.
    fn take(&mut self) -> bool {
        let work = &self.shared.work;
        let queue = self.shared.queue();
        let queue = work.wait_while(queue, |queue| queue.pending.is_empty() && !queue.closing).unwrap_or_else(PoisonError::into_inner);
        let (mut queue, _) = work
            .wait_timeout_while(queue, GATHER, |queue| queue.pending.len() < MANY_PENDING && !queue.closing)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut queue.pending, &mut self.batch);
        let refused = std::mem::take(&mut queue.refused);
        let closing = queue.closing;
        drop(queue);
        if refused > 0 {
            self.losses.add(refused, "more calls than the sinks keep up with");
        }
        closing
    }

    fn write(&mut self) {
        self.shared.taps.show(&self.batch);
        for piece in Pieces(&self.batch) {
            for sink in &mut self.sinks {
                if let Err(error) = sink.write(piece) {
                    let records = piece.iter().filter(|byte| **byte == b'\n').count() as u64;
                    self.shared.lost.add(records);
                    self.losses.add(records, &format!("{}: {error}", sink.name()));
                }
            }
        }
        self.batch.clear();
        self.batch.shrink_to(KEEP);
    }
}

impl Losses {
    fn add(&mut self, records: u64, cause: &str) {
        self.untold += records;
        cause.clone_into(&mut self.cause);
    }

    /// Says it at once the first time, then now and then, and before the end.
    fn tell(&mut self, last: bool) {
        let due = last || self.told.is_none_or(|told| told.elapsed() >= REMIND);
        if self.untold > 0 && due {
            tracing::error!(records = self.untold, cause = self.cause, "audit records are lost");
            *self = Self { told: Some(Instant::now()), ..Self::default() };
        }
    }
}

/// Whole lines in pieces of at most [`PIECE`] bytes; a longer line is a piece of its own.
struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let fits = self.0.get(..PIECE).unwrap_or(self.0);
        let length = match fits.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None => self.0.iter().position(|byte| *byte == b'\n')? + 1,
        };
        let (piece, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_lines_and_together_the_whole() {
        let long = format!("{}\n", "x".repeat(2 * PIECE));
        let lines = ["a\n".repeat(PIECE), long, "b\n".into()].concat();
        let pieces: Vec<&[u8]> = Pieces(lines.as_bytes()).collect();
        assert_eq!(pieces.concat(), lines.as_bytes());
        assert!(pieces.iter().all(|piece| piece.ends_with(b"\n")));
        assert_eq!(pieces.len(), 4);
    }
}
