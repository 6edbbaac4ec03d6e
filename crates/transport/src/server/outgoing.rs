//! Messages on their way to a client that reads them from a stream of events.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// Messages that may wait before notifications are dropped: a client that reads at all is never that far behind.
const MOST_WAITING: usize = 256;

/// Bytes that may wait before notifications are dropped: a few large log messages.
const MOST_BYTES: usize = 1024 * 1024;

/// A queue of messages with one reader at a time. Empty, it owns no heap memory: idle sessions have one.
#[derive(Default)]
pub(crate) struct Outgoing {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// Counts the readers: an older one sees the end as soon as a newer one has come.
    reader: u32,
    /// No more messages will come.
    ended: bool,
    /// Wakes the reader, which waits.
    waker: Option<Waker>,
}

/// Names one reader of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reader(u32);

impl Outgoing {
    /// Adds a message that may be lost when the client does not keep up, and says whether it was taken.
    pub(crate) fn offer(&self, message: Bytes) -> bool {
        let mut state = self.lock();
        let full = state.waiting.len() >= MOST_WAITING || state.bytes + message.len() > MOST_BYTES;
        !full && state.add(message)
    }

    /// Adds a message that must arrive, and says whether somebody may still read it. Who calls this bounds how many there are.
    pub(crate) fn push(&self, message: Bytes) -> bool {
        let mut state = self.lock();
        state.add(message)
    }

    /// Adds a message unless the same one waits already: telling twice that a list has changed says nothing new.
    pub(crate) fn push_once(&self, message: Bytes) {
        let mut state = self.lock();
        // Twice the bound of what may be lost: log messages never keep out the news that a list has changed.
        if state.waiting.len() < 2 * MOST_WAITING && !state.waiting.contains(&message) {
            state.add(message);
        }
    }

    /// Whether no more messages are let in.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Whether the reader is so far behind that nothing should be begun whose answer would wait here.
    pub(crate) fn is_clogged(&self) -> bool {
        let state = self.lock();
        state.waiting.len() >= MOST_WAITING || state.bytes >= 4 * MOST_BYTES
    }

    /// Whether there is a message.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Waits until there is a message; takes none.
    pub(crate) fn poll_waiting(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.waiting.is_empty() { state.wait(cx) } else { Poll::Ready(()) }
    }

    /// Lets no more messages in; the reader gets what waits, then the end.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.wake();
    }

    /// Makes the caller the one who reads; whoever read before sees the end.
    pub(crate) fn attach(&self) -> Reader {
        let mut state = self.lock();
        state.reader = state.reader.wrapping_add(1);
        state.wake();
        Reader(state.reader)
    }

    /// The next message; `None` at the end, or when another reads now.
    pub(crate) fn poll_next(&self, reader: Reader, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        if state.reader != reader.0 {
            return Poll::Ready(None);
        }
        match state.waiting.pop_front() {
            Some(message) => {
                state.bytes -= message.len();
                if state.waiting.is_empty() {
                    state.waiting = VecDeque::new(); // a burst is over: its memory goes back
                }
                Poll::Ready(Some(message))
            }
            None if state.ended => Poll::Ready(None),
            None => state.wait(cx),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, message: Bytes) -> bool {
        if self.ended {
            return false;
        }
        self.bytes += message.len();
        self.waiting.push_back(message);
        self.wake();
        true
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn next(queue: &Outgoing, reader: Reader) -> Poll<Option<Bytes>> {
        queue.poll_next(reader, &Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_is_offered_is_bounded_and_what_is_pushed_is_not_lost() {
        let queue = Outgoing::default();
        let reader = queue.attach();
        let taken = (0..1000).filter(|_| queue.offer(Bytes::from_static(b"x"))).count();
        assert_eq!(taken, MOST_WAITING);
        assert!(queue.push(Bytes::from_static(b"answer")));
        queue.end();
        assert!(!queue.push(Bytes::from_static(b"late")));
        let mut read = Vec::new();
        while let Poll::Ready(Some(message)) = next(&queue, reader) {
            read.push(message);
        }
        assert_eq!(read.len(), MOST_WAITING + 1);
        assert_eq!(read.last().map(Bytes::as_ref), Some(&b"answer"[..]));
    }

    #[test]
    fn large_messages_are_bounded_by_their_bytes() {
        let queue = Outgoing::default();
        let large = Bytes::from(vec![0; MOST_BYTES / 2]);
        assert!(queue.offer(large.clone()) && queue.offer(large.clone()) && !queue.offer(large));
    }

    #[test]
    fn the_same_news_waits_once() {
        let queue = Outgoing::default();
        let reader = queue.attach();
        (0..10).for_each(|_| queue.push_once(Bytes::from_static(b"changed")));
        assert_eq!(next(&queue, reader), Poll::Ready(Some(Bytes::from_static(b"changed"))));
        assert_eq!(next(&queue, reader), Poll::Pending);
    }

    #[test]
    fn a_new_reader_ends_the_old_one() {
        let queue = Outgoing::default();
        let old = queue.attach();
        let new = queue.attach();
        queue.push(Bytes::from_static(b"x"));
        assert_eq!(next(&queue, old), Poll::Ready(None));
        assert_eq!(next(&queue, new), Poll::Ready(Some(Bytes::from_static(b"x"))));
    }
}
