//! What was read from a queue, kept for a reader whose connection broke.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::room::{Charge, Room};

/// Messages of one stream that are kept: what a connection may hold that breaks without notice.
const MOST_KEPT: usize = 64;

/// How long a queue lives, which decides what becomes of messages that nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// As long as a request: what waits takes of the room as well, and where there is none the queue is given up.
    Request,
    /// As long as a session, whether somebody reads or not: the queue's own bounds are enough.
    Session,
}

/// The newest messages that were read from a queue, with none left out in between.
pub(super) struct History {
    pub(super) life: Life,
    room: Arc<Room>,
    kept: VecDeque<(Bytes, Charge)>,
    /// When something last happened here.
    touched: Instant,
    /// Nobody reads the queue: the room for what waits.
    unread: Option<Charge>,
}

impl History {
    pub(super) fn new(life: Life, room: Arc<Room>) -> Self {
        Self { life, room, kept: VecDeque::new(), touched: Instant::now(), unread: None }
    }

    /// Keeps a message that is read now; where there is no room for it, those before it go.
    pub(super) fn keep(&mut self, text: &Bytes) {
        self.touched = Instant::now();
        if self.kept.len() >= MOST_KEPT {
            self.kept.pop_front();
        }
        loop {
            if let Some(charge) = self.room.take(text.len(), 1) {
                self.kept.push_back((text.clone(), charge));
                return;
            }
            if self.kept.pop_front().is_none() {
                return;
            }
        }
    }

    /// Takes out the last `count` messages, the newest first. Those before them have arrived, and go.
    pub(super) fn take_last(&mut self, count: u64) -> impl Iterator<Item = Bytes> {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.kept.len());
        let last = self.kept.split_off(self.kept.len() - count);
        self.kept = VecDeque::new();
        last.into_iter().rev().map(|(text, _)| text)
    }

    /// Somebody reads from now on.
    pub(super) fn attached(&mut self) {
        self.touched = Instant::now();
        self.unread = None;
    }

    /// Nobody reads any more.
    pub(super) fn left(&mut self) {
        self.touched = Instant::now();
        self.unread = Some(self.room.nothing());
    }

    /// Takes room for messages that wait, where nobody reads them; `false` where there is none.
    pub(super) fn admits(&mut self, bytes: usize, count: usize) -> bool {
        match &mut self.unread {
            Some(charge) if self.life == Life::Request => charge.extend(bytes, count),
            _ => true,
        }
    }

    pub(super) fn is_read(&self) -> bool {
        self.unread.is_none()
    }

    /// Drops what is kept if nothing happened for so long, and says whether that is so.
    pub(super) fn forget_old(&mut self, age: Duration) -> bool {
        let old = self.touched.elapsed() > age;
        if old {
            self.kept = VecDeque::new();
        }
        old
    }
}
