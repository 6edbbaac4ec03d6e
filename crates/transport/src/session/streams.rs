//! Streams of a session that a client may resume after its connection broke (`Last-Event-ID`, 2025-03-26 to 2025-11-25,
//! basic/transports, "Resumability and Redelivery").

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lock;
use crate::server::outgoing::{Life, Outgoing, Room};

/// Streams of requests that have ended and are kept: clients have a few requests running, and resume within seconds.
const MOST_ENDED: usize = 16;

/// How long what nobody asks for is kept: clients try again within a minute, a laptop that slept may be late.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// Names an event: the stream it came on, and its number there. The priming event of a stream has the number of the
/// message before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) stream: u64,
    pub(crate) number: u64,
}

impl EventId {
    /// The stream of what a session is told outside of its requests.
    pub(crate) const NEWS: u64 = 0;

    /// Reads an id as it is [displayed](fmt::Display).
    pub(crate) fn from_text(text: &[u8]) -> Option<Self> {
        let (stream, number) = std::str::from_utf8(text).ok()?.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(stream) || !digits(number) {
            return None;
        }
        Some(Self { stream: stream.parse().ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.stream, self.number)
    }
}

/// The streams of a session that can be resumed. As long as none was opened they own no heap memory.
pub(crate) struct Streams {
    /// The room of all sessions.
    door: Arc<Room>,
    /// How many streams of requests were opened.
    opened: AtomicU64,
    /// Something is kept.
    kept: AtomicBool,
    listed: Mutex<Listed>,
}

#[derive(Default)]
struct Listed {
    room: Option<Arc<Room>>,
    /// The streams of requests, the oldest first.
    requests: Vec<(u64, Arc<Outgoing>)>,
}

impl Streams {
    pub(crate) fn new(door: Arc<Room>) -> Self {
        Self { door, opened: AtomicU64::new(0), kept: AtomicBool::new(false), listed: Mutex::default() }
    }

    /// Lists the stream of a request, and gives its number.
    pub(crate) fn list(&self, outgoing: &Arc<Outgoing>) -> u64 {
        let number = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let mut listed = lock(&self.listed);
        let room = self.room(&mut listed);
        listed.make_room(&room);
        outgoing.keep(Life::Request, &room);
        listed.requests.push((number, Arc::clone(outgoing)));
        number
    }

    /// Keeps what is read of a session's news.
    pub(crate) fn keep(&self, news: &Outgoing) {
        let room = self.room(&mut lock(&self.listed));
        news.keep(Life::Session, &room);
    }

    /// The stream of a request, if it is kept.
    pub(crate) fn find(&self, number: u64) -> Option<Arc<Outgoing>> {
        lock(&self.listed).requests.iter().find(|(known, _)| *known == number).map(|(_, outgoing)| Arc::clone(outgoing))
    }

    /// Drops what is too old to be asked for.
    pub(crate) fn forget_old(&self, news: &Outgoing) {
        if !self.kept.load(Ordering::Relaxed) {
            return;
        }
        let mut listed = lock(&self.listed);
        listed.requests.retain(|(_, outgoing)| outgoing.forget_old(KEPT));
        if !news.forget_old(KEPT) && listed.requests.is_empty() {
            *listed = Listed::default();
            self.kept.store(false, Ordering::Relaxed);
        }
    }

    /// Ends all streams of requests: nobody will ask for them.
    pub(crate) fn end(&self) {
        *lock(&self.listed) = Listed::default();
    }

    fn room(&self, listed: &mut Listed) -> Arc<Room> {
        self.kept.store(true, Ordering::Relaxed);
        Arc::clone(listed.room.get_or_insert_with(|| self.door.of_session()))
    }
}

impl Listed {
    /// Drops the oldest streams that have ended until there are not too many, and room for a new one.
    fn make_room(&mut self, room: &Room) {
        let mut ended = self.requests.iter().filter(|(_, outgoing)| outgoing.has_ended()).count();
        while ended >= MOST_ENDED || (ended > 0 && room.is_scarce()) {
            let Some(oldest) = self.requests.iter().position(|(_, outgoing)| outgoing.has_ended()) else { return };
            self.requests.remove(oldest);
            ended -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use bytes::Bytes;

    fn streams() -> Streams {
        Streams::new(Room::of_door())
    }

    fn ended(streams: &Streams, bytes: usize) -> u64 {
        let outgoing = Arc::new(Outgoing::default());
        let number = streams.list(&outgoing);
        outgoing.leave(outgoing.attach());
        outgoing.push(Bytes::from(vec![0; bytes]));
        outgoing.end();
        number
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = EventId { stream: 3, number: u64::MAX };
        assert_eq!(EventId::from_text(id.to_string().as_bytes()), Some(id));
        for other in ["", "-", "3", "3-", "-3", "+3-1", "3-+1", "3-1-1", "3-18446744073709551616", "\u{663}-1"] {
            assert_eq!(EventId::from_text(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn the_oldest_streams_that_have_ended_go_and_none_that_runs() {
        let streams = streams();
        let runs = Arc::new(Outgoing::default());
        let running = streams.list(&runs);
        let numbers: Vec<_> = (0..100).map(|_| ended(&streams, 10)).collect();
        assert!(streams.find(running).is_some());
        assert_eq!(numbers.iter().filter(|number| streams.find(**number).is_some()).count(), MOST_ENDED);
        assert!(streams.find(*numbers.last().unwrap()).is_some());
        let large = [ended(&streams, 600_000), ended(&streams, 600_000)];
        assert!(streams.find(large[0]).is_none() && streams.find(large[1]).unwrap().resume(0).is_some(), "room is made for the newest");
    }

    #[test]
    fn without_streams_nothing_is_kept() {
        let (streams, news) = (streams(), Outgoing::default());
        streams.forget_old(&news);
        assert!(lock(&streams.listed).room.is_none());
        let number = ended(&streams, 10);
        streams.forget_old(&news);
        assert!(streams.find(number).is_some(), "not old yet");
        streams.end();
        streams.forget_old(&news);
        assert!(streams.find(number).is_none() && lock(&streams.listed).room.is_none());
        assert!(!streams.kept.load(Ordering::Relaxed));
    }
}
