//! Room for what is kept although it was sent: bounded for one session, and for all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that one session may keep: a large answer, or some hundred ordinary ones.
const SESSION_BYTES: usize = 1024 * 1024;

/// Bytes that all sessions of a door may keep together. Where they are used up streams cannot be resumed, which a client
/// must be ready for; nothing else is lost.
const DOOR_BYTES: usize = 64 * 1024 * 1024;

/// What a kept message costs besides its own bytes, so that empty ones are bounded as well.
const MESSAGE_COST: usize = 128;

/// Room for messages.
#[derive(Debug)]
pub(crate) struct Room {
    taken: AtomicUsize,
    most: usize,
    /// The larger room that this one is a part of.
    whole: Option<Arc<Room>>,
}

/// Room that was taken, until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    /// The room of all sessions of a door.
    pub(crate) fn of_door() -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), most: DOOR_BYTES, whole: None })
    }

    /// One session's part of this room.
    pub(crate) fn of_session(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), most: SESSION_BYTES, whole: Some(Arc::clone(self)) })
    }

    /// Takes room for `count` messages of `bytes` together; `None` where there is not so much.
    pub(super) fn take(self: &Arc<Self>, bytes: usize, count: usize) -> Option<Charge> {
        let bytes = bytes.saturating_add(count.saturating_mul(MESSAGE_COST));
        self.add(bytes).then(|| Charge { room: Arc::clone(self), bytes })
    }

    /// Nothing of the room, to be extended.
    pub(super) fn nothing(self: &Arc<Self>) -> Charge {
        Charge { room: Arc::clone(self), bytes: 0 }
    }

    /// Whether more than half of the room is taken.
    pub(crate) fn is_scarce(&self) -> bool {
        self.taken.load(Ordering::Relaxed) > self.most / 2
    }

    fn add(&self, bytes: usize) -> bool {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.most);
        if self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_err() {
            return false;
        }
        let fits = self.whole.as_ref().is_none_or(|whole| whole.add(bytes));
        if !fits {
            self.taken.fetch_sub(bytes, Ordering::AcqRel);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::AcqRel);
        if let Some(whole) = &self.whole {
            whole.give_back(bytes);
        }
    }
}

impl Charge {
    /// Takes room for `count` messages more; `false` where there is not so much.
    pub(super) fn extend(&mut self, bytes: usize, count: usize) -> bool {
        let Some(mut more) = self.room.take(bytes, count) else { return false };
        self.bytes += std::mem::take(&mut more.bytes);
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_session_has_its_part_and_all_together_theirs() {
        let door = Room::of_door();
        let sessions: Vec<_> = (0..DOOR_BYTES / SESSION_BYTES + 1).map(|_| door.of_session()).collect();
        let half = SESSION_BYTES / 2 - MESSAGE_COST;
        let mut charges: Vec<_> = sessions.iter().flat_map(|session| [session.take(half, 1), session.take(half, 1)]).collect();
        assert!(charges.pop().unwrap().is_none() && charges.pop().unwrap().is_none(), "the door's room is used up");
        assert!(charges.iter().all(Option::is_some));
        assert!(sessions[0].take(0, 1).is_none() && sessions[0].is_scarce());
        charges.clear();
        assert_eq!(door.taken.load(Ordering::Relaxed), 0);
        assert!(sessions[0].take(SESSION_BYTES, 1).is_none(), "a message costs more than its bytes");
        assert_eq!(door.taken.load(Ordering::Relaxed), 0, "what did not fit is not counted");
    }
}
