//! Sessions of clients that speak a revision with a handshake (2025-03-26 to 2025-11-25: `Mcp-Session-Id`).
//!
//! A session is a value in a table: while nothing happens it holds no task, no timer and no buffer.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sallyport_protocol::revisions::notification_for;
use sallyport_protocol::{
    CallerId, Cancel, Client, Endpoint, Event, Incoming, Listener, LogLevel, Message, RawObject, RequestId, Revision, TokenDigest,
};

use crate::server::outgoing::{Outgoing, Room};

mod question;
mod streams;
mod table;

pub(crate) use question::Questions;
pub(crate) use streams::{EventId, Streams};
pub use table::SessionBounds;
pub(crate) use table::Sessions;

/// Requests that one session may have running: clients start a few at a time, a hostile one as many as it can.
pub(crate) const MOST_RUNNING: usize = 128;

/// Resources that one session may subscribe to: each costs its URI here and an entry in the gateway.
const MOST_SUBSCRIBED: usize = 256;

/// Names a session: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(u128);

impl SessionId {
    fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    /// Reads an id as it is [displayed](fmt::Display); another spelling of the number is another id, which nobody has.
    pub(crate) fn from_text(text: &[u8]) -> Option<Self> {
        let known = text.len() == 32 && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let text = std::str::from_utf8(text).ok().filter(|_| known)?;
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    /// Only its beginning: whoever knows the whole id may use the session.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SessionId({:08x}…)", self.0 >> 96)
    }
}

/// One client's session.
pub(crate) struct Session {
    id: SessionId,
    caller: CallerId,
    endpoint: Endpoint,
    client: Mutex<Option<Arc<Client>>>,
    /// The least [`LogLevel`] that the client wants, by its number; [`EVERY_LEVEL`] until it says so.
    level: AtomicU8,
    /// What was put to the client and is not answered yet.
    pub(crate) questions: Questions,
    /// What the client is told outside of its requests.
    pub(crate) news: Outgoing,
    /// What it may be told again after its connection broke.
    pub(crate) resumable: Streams,
    running: Mutex<Vec<(RequestId, Cancel)>>,
    subscribed: Mutex<Vec<Subscribed>>,
    /// What hears the front for it.
    heard: Mutex<Option<Arc<dyn Listener>>>,
    /// Streams that are open for it: while there is one, the session does not expire.
    streams: AtomicU32,
    /// Milliseconds since the table was made.
    used: AtomicU64,
}

/// A resource that a session is subscribed to, and as whom that must be ended.
struct Subscribed {
    uri: String,
    incoming: Incoming,
    by: Option<TokenDigest>,
}

const EVERY_LEVEL: u8 = 0;

/// Says that an address, which one client was asked to open, was dealt with (2025-11-25, elicitation by URL).
const ADDRESS_DONE: &str = "notifications/elicitation/complete";

impl Session {
    /// A session, which keeps what may be asked for again in a part of `room`.
    pub(crate) fn new(id: SessionId, caller: CallerId, endpoint: Endpoint, room: &Arc<Room>) -> Self {
        Self {
            id,
            caller,
            endpoint,
            client: Mutex::new(None),
            level: AtomicU8::new(EVERY_LEVEL),
            questions: Questions::default(),
            news: Outgoing::default(),
            resumable: Streams::new(Arc::clone(room)),
            running: Mutex::new(Vec::new()),
            subscribed: Mutex::new(Vec::new()),
            heard: Mutex::new(None),
            streams: AtomicU32::new(0),
            used: AtomicU64::new(0),
        }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn caller(&self) -> &CallerId {
        &self.caller
    }

    /// The client, once it has said `initialize`.
    pub(crate) fn client(&self) -> Option<Arc<Client>> {
        lock(&self.client).clone()
    }

    pub(crate) fn revision(&self) -> Option<Revision> {
        lock(&self.client).as_ref().map(|client| client.revision)
    }

    pub(crate) fn set_client(&self, client: Arc<Client>) {
        *lock(&self.client) = Some(client);
    }

    /// The least level of log messages that the client wants; `None` until it says so.
    pub(crate) fn level(&self) -> Option<LogLevel> {
        let number = self.level.load(Ordering::Relaxed);
        LEVELS.iter().find(|(_, known)| *known == number).map(|(level, _)| *level)
    }

    pub(crate) fn set_level(&self, level: LogLevel) {
        let number = LEVELS.iter().find(|(known, _)| *known == level).map_or(EVERY_LEVEL, |(_, number)| *number);
        self.level.store(number, Ordering::Relaxed);
    }

    /// Notes a request that runs, so that it can be cancelled; `false` where too many run.
    pub(crate) fn start(&self, id: &RequestId, cancel: &Cancel) -> bool {
        let mut running = lock(&self.running);
        if running.len() >= MOST_RUNNING {
            return false;
        }
        running.push((id.clone(), cancel.clone()));
        true
    }

    /// Forgets a request that has ended.
    pub(crate) fn finish(&self, id: &RequestId) {
        let mut running = lock(&self.running);
        if let Some(at) = running.iter().position(|(known, _)| known == id) {
            running.swap_remove(at);
        }
        if running.is_empty() && running.capacity() > 4 {
            *running = Vec::new();
        }
    }

    /// Cancels a request that runs; an unknown id is ignored, as the specification wants.
    pub(crate) fn cancel(&self, id: &RequestId) {
        let cancel = lock(&self.running).iter().find(|(known, _)| known == id).map(|(_, cancel)| cancel.clone());
        if let Some(cancel) = cancel {
            cancel.cancel();
        }
    }

    /// Cancels every request that runs.
    pub(crate) fn cancel_all(&self) {
        let running: Vec<_> = lock(&self.running).iter().map(|(_, cancel)| cancel.clone()).collect();
        running.iter().for_each(Cancel::cancel);
    }

    /// A notification as the client knows it; `None` where its revision has no such one, or it is for another client.
    pub(crate) fn translated(&self, method: &str, params: &RawObject) -> Option<RawObject> {
        let params = notification_for(method, params.clone(), Revision::LATEST, self.revision()?)?;
        (method != ADDRESS_DONE || self.questions.address_done(&params)).then_some(params)
    }

    /// Keeps what hears the front for it, in place of what did before.
    pub(crate) fn hears_by(&self, heard: Option<Arc<dyn Listener>>) {
        *lock(&self.heard) = heard;
    }

    /// Whether the client may subscribe to one resource more.
    pub(crate) fn may_subscribe(&self) -> bool {
        lock(&self.subscribed).len() < MOST_SUBSCRIBED
    }

    /// Notes a subscription, and gives the one that it takes the place of.
    pub(crate) fn subscribed(&self, uri: String, incoming: &Incoming) -> Option<(Incoming, String)> {
        let by = incoming.credential.as_ref().map(|token| token.digest());
        let mut subscribed = lock(&self.subscribed);
        let at = subscribed.iter().position(|own| own.uri == uri);
        let before = at.map(|at| subscribed.swap_remove(at));
        subscribed.push(Subscribed { uri, incoming: incoming.clone(), by });
        before.map(|before| (before.incoming, before.uri))
    }

    /// Forgets a subscription, and says as whom it was made.
    pub(crate) fn unsubscribed(&self, uri: &str) -> Option<Incoming> {
        let mut subscribed = lock(&self.subscribed);
        let at = subscribed.iter().position(|own| own.uri == uri)?;
        Some(subscribed.swap_remove(at).incoming)
    }

    /// Takes all subscriptions, to end them.
    pub(crate) fn take_subscriptions(&self) -> Vec<(Incoming, String)> {
        std::mem::take(&mut *lock(&self.subscribed)).into_iter().map(|own| (own.incoming, own.uri)).collect()
    }

    /// Ends the session's streams: nobody will ask for them.
    pub(crate) fn end(&self) {
        self.news.end();
        self.resumable.end();
    }

    /// Counts a stream that is open for the session, until what is returned is dropped.
    pub(crate) fn hold_open(self: &Arc<Self>) -> OpenStream {
        self.streams.fetch_add(1, Ordering::AcqRel);
        OpenStream(Arc::clone(self))
    }
}

const LEVELS: [(LogLevel, u8); 8] = [
    (LogLevel::Debug, 1),
    (LogLevel::Info, 2),
    (LogLevel::Notice, 3),
    (LogLevel::Warning, 4),
    (LogLevel::Error, 5),
    (LogLevel::Critical, 6),
    (LogLevel::Alert, 7),
    (LogLevel::Emergency, 8),
];

/// One stream that is open for a session.
pub(crate) struct OpenStream(Arc<Session>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Listener for Session {
    fn is_subscribed(&self, uri: &str, by: Option<&TokenDigest>) -> bool {
        lock(&self.subscribed).iter().any(|own| own.uri == uri && by.is_none_or(|by| own.by.as_ref() == Some(by)))
    }

    fn hear(&self, event: &Event) {
        match event {
            Event::ToolsChanged => self.news.push_once(changed("notifications/tools/list_changed")),
            Event::PromptsChanged => self.news.push_once(changed("notifications/prompts/list_changed")),
            Event::ResourcesChanged => self.news.push_once(changed("notifications/resources/list_changed")),
            Event::ResourceUpdated { uri, params, by } if self.is_subscribed(uri, by.as_ref()) => {
                self.news.push_once(notification("notifications/resources/updated", params));
            }
            Event::Log(params) if wants_log(self.level(), params) && self.streams.load(Ordering::Acquire) > 0 => {
                self.news.offer(notification("notifications/message", params));
            }
            Event::Other(method, params) => {
                if let Some(params) = self.translated(method, params) {
                    self.news.offer(notification(method, &params));
                }
            }
            Event::ResourceUpdated { .. } | Event::Log(_) => {}
        }
    }
}

/// Whether a log message is grave enough. One of no known level passes: better one too many than one lost.
pub(crate) fn wants_log(least: Option<LogLevel>, params: &RawObject) -> bool {
    let level = || params.get_str("level").and_then(|name| LogLevel::from_name(&name));
    least.is_none_or(|least| level().is_none_or(|level| level >= least))
}

/// A notification without parameters.
fn changed(method: &str) -> Bytes {
    line(&Message::Notification { method: method.to_owned(), params: None })
}

/// A notification as one line.
pub(crate) fn notification(method: &str, params: &RawObject) -> Bytes {
    line(&Message::Notification { method: method.to_owned(), params: Some(params.clone()) })
}

/// A message as one line. All that goes through [`Outgoing`] is one.
pub(crate) fn line(message: &Message) -> Bytes {
    Bytes::from(message.to_line())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
