//! Messages on their way to a client that reads them from a stream of events.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

mod history;
mod room;

use history::History;
pub(crate) use history::Life;
pub(crate) use room::Room;

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
    /// The number of the newest message that was read; the first has 1.
    number: u64,
    /// Counts the readers: an older one sees the end as soon as a newer one has come.
    reader: u32,
    /// No more messages will come.
    ended: bool,
    /// Wakes the reader, which waits.
    waker: Option<Waker>,
    /// What was read, where it may be asked for again.
    history: Option<Box<History>>,
}

/// Names one reader of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reader(u32);

/// A message that was read, and its number in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) text: Bytes,
}

impl Outgoing {
    /// Adds a message that may be lost when the client does not keep up, and says whether it was taken.
    pub(crate) fn offer(&self, message: Bytes) -> bool {
        let mut state = self.lock();
        let full = state.waiting.len() >= MOST_WAITING || state.bytes + message.len() > MOST_BYTES;
        !full && state.admits(message.len()) && state.add(message)
    }

    /// Adds a message that must arrive, and says whether somebody may still read it. Who calls this bounds how many there are.
    pub(crate) fn push(&self, message: Bytes) -> bool {
        let mut state = self.lock();
        if !state.admits(message.len()) {
            state.give_up();
        }
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
        self.lock().attach()
    }

    /// The next message; `None` at the end, or when another reads now.
    pub(crate) fn poll_next(&self, reader: Reader, cx: &Context<'_>) -> Poll<Option<Numbered>> {
        let mut state = self.lock();
        if state.reader != reader.0 {
            return Poll::Ready(None);
        }
        match state.next() {
            Some(message) => Poll::Ready(Some(message)),
            None if state.ended => Poll::Ready(None),
            None => state.wait(cx),
        }
    }

    /// Keeps from now on what is read, as far as there is room, so that it can be [asked for again](Self::resume).
    pub(crate) fn keep(&self, life: Life, room: &Arc<Room>) {
        let mut state = self.lock();
        state.history.get_or_insert_with(|| Box::new(History::new(life, Arc::clone(room))));
    }

    /// The number of the newest message that was read.
    pub(crate) fn number(&self) -> u64 {
        self.lock().number
    }

    /// Makes the caller the one who reads, from behind the message of number `after`: what was read since then and is
    /// still kept comes again. `None` where no message had that number, or none will ever come behind it.
    pub(crate) fn resume(&self, after: u64) -> Option<Reader> {
        let mut state = self.lock();
        let behind = state.number.checked_sub(after)?;
        state.put_back(behind);
        (!state.ended || !state.waiting.is_empty()).then(|| state.attach())
    }

    /// Says that the reader has gone.
    pub(crate) fn leave(&self, reader: Reader) {
        let mut state = self.lock();
        if state.reader != reader.0 {
            return;
        }
        let (bytes, count) = (state.bytes, state.waiting.len());
        if let Some(history) = &mut state.history {
            history.left();
            if !history.admits(bytes, count) {
                state.give_up();
            }
        }
    }

    /// Drops what is kept if nothing happened for so long; `false` where nothing is left that could be asked for.
    pub(crate) fn forget_old(&self, age: Duration) -> bool {
        let mut state = self.lock();
        let ended = state.ended;
        let Some(history) = &mut state.history else { return false };
        if !history.forget_old(age) || history.is_read() {
            return true;
        }
        match history.life {
            Life::Request if !ended => return true, // its answer is still to come
            Life::Request => state.give_up(),
            Life::Session => state.history = None,
        }
        false
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

    fn next(&mut self) -> Option<Numbered> {
        let text = self.waiting.pop_front()?;
        self.bytes -= text.len();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new(); // a burst is over: its memory goes back
        }
        self.number += 1;
        if let Some(history) = &mut self.history {
            history.keep(&text);
        }
        Some(Numbered { number: self.number, text })
    }

    /// Puts back the last `count` messages that were read, as far as they are kept.
    fn put_back(&mut self, count: u64) {
        let Some(history) = &mut self.history else { return };
        for text in history.take_last(count) {
            self.number -= 1;
            self.bytes += text.len();
            self.waiting.push_front(text);
        }
    }

    fn attach(&mut self) -> Reader {
        self.reader = self.reader.wrapping_add(1);
        if let Some(history) = &mut self.history {
            history.attached();
        }
        self.wake();
        Reader(self.reader)
    }

    /// Whether there is room for a message more. Where somebody reads, there is.
    fn admits(&mut self, bytes: usize) -> bool {
        self.history.as_mut().is_none_or(|history| history.admits(bytes, 1))
    }

    /// Lets go of everything: what a request says is heard by nobody any more.
    fn give_up(&mut self) {
        self.waiting = VecDeque::new();
        self.bytes = 0;
        self.history = None;
        self.ended = true;
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
mod tests;
