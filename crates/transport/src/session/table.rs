//! The table of all sessions of a front door.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sallyport_protocol::{CallerId, Endpoint};
use sallyport_telemetry::metric::DoorMetrics;

use super::{Session, SessionId};
use crate::server::outgoing::Room;

/// How many sessions there may be, and for how long.
#[derive(Clone, Debug)]
pub struct SessionBounds {
    /// All sessions. At some 2 KiB each, 16,384 cost 32 MiB.
    pub total: usize,
    /// Sessions of one caller: many agents share one key, but one key must not push out all others.
    pub per_caller: usize,
    /// How long a session without an open stream is kept after its last request. A client that comes later is told
    /// 404 and begins anew, which the specification makes it ready for.
    pub idle: Duration,
}

impl Default for SessionBounds {
    fn default() -> Self {
        Self { total: 16_384, per_caller: 8_192, idle: Duration::from_secs(60 * 60) }
    }
}

/// All sessions of a front door.
pub(crate) struct Sessions {
    bounds: SessionBounds,
    began: Instant,
    figures: DoorMetrics,
    /// Where all sessions keep what may be asked for again.
    room: Arc<Room>,
    table: Mutex<HashMap<SessionId, Arc<Session>>>,
}

impl Sessions {
    pub(crate) fn new(bounds: SessionBounds, figures: DoorMetrics) -> Self {
        Self { bounds, began: Instant::now(), figures, room: Room::of_door(), table: Mutex::new(HashMap::new()) }
    }

    /// Makes a session. Where the caller or the table has no room left, its least recently used sessions go:
    /// they come back with the pushed-out ones, so that their subscriptions can be ended.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub(crate) fn create(&self, caller: CallerId, endpoint: Endpoint) -> Result<(Arc<Session>, Vec<Arc<Session>>), getrandom::Error> {
        let session = Arc::new(Session::new(SessionId::random()?, caller, endpoint, &self.room));
        self.touch(&session);
        let mut table = self.lock();
        let mut gone = Vec::new();
        if table.len() >= self.bounds.total {
            gone = push_out(&mut table, self.bounds.total, |_| true);
        }
        if table.len() >= self.bounds.per_caller {
            gone.extend(push_out(&mut table, self.bounds.per_caller, |other| other.caller == session.caller));
        }
        table.insert(session.id, Arc::clone(&session));
        self.figures.set_sessions(table.len());
        Ok((session, gone))
    }

    /// The session of that id, if it is this caller's and was made at this endpoint. A foreign one is as good as none.
    pub(crate) fn find(&self, id: SessionId, caller: &CallerId, endpoint: &Endpoint) -> Option<Arc<Session>> {
        let session = Arc::clone(self.lock().get(&id)?);
        if session.caller != *caller || session.endpoint != *endpoint {
            return None;
        }
        self.touch(&session);
        Some(session)
    }

    /// Ends a session: nobody finds it any more, and its stream closes.
    pub(crate) fn remove(&self, session: &Session) {
        let mut table = self.lock();
        table.remove(&session.id);
        self.figures.set_sessions(table.len());
        drop(table);
        session.end();
    }

    /// Ends the sessions that nobody has used for long, and gives them back. Others drop what nobody asked for again.
    pub(crate) fn expire(&self) -> Vec<Arc<Session>> {
        let idle = u64::try_from(self.bounds.idle.as_millis()).unwrap_or(u64::MAX);
        let Some(oldest) = self.now().checked_sub(idle) else { return Vec::new() };
        let mut table = self.lock();
        table.values().for_each(|session| session.resumable.forget_old(&session.news));
        let gone: Vec<_> = table.extract_if(|_, session| is_unused(session) && session.used.load(Ordering::Relaxed) < oldest).collect();
        self.figures.set_sessions(table.len());
        if table.capacity() > 4 * table.len() + 64 {
            table.shrink_to_fit();
        }
        gone.into_iter().map(|(_, session)| session).inspect(|session| session.end()).collect()
    }

    /// Closes the streams of all sessions; the sessions stay.
    pub(crate) fn end_streams(&self) {
        self.lock().values().for_each(|session| session.news.end());
    }

    fn touch(&self, session: &Session) {
        session.used.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Session>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing runs in a session and no stream is open for it.
fn is_unused(session: &Session) -> bool {
    session.streams.load(Ordering::Acquire) == 0 && super::lock(&session.running).is_empty()
}

/// Where there are `most` sessions among those that `counts` says, takes out the least recently used sixteenth of them:
/// so the scan is paid once for many new sessions. One that is in use goes only when all are.
fn push_out(table: &mut HashMap<SessionId, Arc<Session>>, most: usize, counts: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
    if table.values().filter(|session| counts(session)).count() < most {
        return Vec::new();
    }
    let mut known: Vec<_> =
        table.values().filter(|session| counts(session)).map(|s| (!is_unused(s), s.used.load(Ordering::Relaxed), s.id)).collect();
    known.sort_unstable_by_key(|(used, at, _)| (*used, *at));
    let excess = known.len() - most + most.div_ceil(16);
    let gone: Vec<_> = known.iter().take(excess).filter_map(|(_, _, id)| table.remove(id)).collect();
    gone.iter().for_each(|session| session.end());
    gone
}
