//! Streams of events of a session: what it is told, and what its requests say. Over Streamable HTTP each can be resumed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use sallyport_protocol::Revision;

use super::answered::Answered;
use super::batch::Work;
use super::door::Door;
use super::outgoing::{Outgoing, Reader};
use super::parts::Parts;
use crate::session::{EventId, OpenStream, Session};

/// Milliseconds that a client is asked to wait before it resumes a stream: a proxy or a gateway that was started anew is
/// back by then.
const RETRY_MILLISECONDS: u32 = 1000;

/// The first event of a stream, where the client knows it: its id lets the stream be resumed before a message came.
struct Priming(Option<EventId>);

impl Priming {
    /// For a stream of which `number` is the newest message that was read. Before 2025-11-25 an event without data is
    /// taken for a broken message.
    fn of(session: &Session, stream: u64, number: u64) -> Self {
        let known = session.revision().is_some_and(|revision| revision >= Revision::V2025_11_25);
        Self(known.then_some(EventId { stream, number }))
    }

    fn take(&mut self) -> Option<Parts> {
        let id = self.0.take()?;
        Some(Parts::from(Bytes::from(format!("id: {id}\nretry: {RETRY_MILLISECONDS}\ndata: \n\n"))))
    }
}

/// A stream of what a session is told.
pub(crate) struct SessionStream {
    session: Arc<Session>,
    reader: Reader,
    _open: OpenStream,
    opening: Opening,
}

enum Opening {
    /// The stream can be resumed.
    Primed(Priming),
    /// The stream is the session (2024-11-05).
    Whole {
        /// Its first event: where messages are to be posted.
        endpoint: Option<Bytes>,
        /// What happens when it closes.
        closed: Option<Box<dyn FnOnce() + Send + Sync>>,
    },
}

impl SessionStream {
    /// Takes over the session's news; an older stream of it ends.
    pub(crate) fn open(session: Arc<Session>) -> Self {
        session.resumable.keep(&session.news);
        let reader = session.news.attach();
        Self::with(session, reader)
    }

    /// Takes over the session's news from behind the message of number `after`; `None` where there was none such.
    pub(crate) fn resume(session: Arc<Session>, after: u64) -> Option<Self> {
        let reader = session.news.resume(after)?;
        session.resumable.keep(&session.news);
        Some(Self::with(session, reader))
    }

    fn with(session: Arc<Session>, reader: Reader) -> Self {
        let opening = Opening::Primed(Priming::of(&session, EventId::NEWS, session.news.number()));
        Self { reader, _open: session.hold_open(), session, opening }
    }

    /// A stream that is the session: it begins with the address for messages, and `closed` is called when it closes.
    pub(crate) fn whole(session: Arc<Session>, endpoint: &str, closed: impl FnOnce() + Send + Sync + 'static) -> Self {
        let endpoint = Some(Bytes::from(format!("event: endpoint\ndata: {endpoint}\n\n")));
        let opening = Opening::Whole { endpoint, closed: Some(Box::new(closed)) };
        Self { reader: session.news.attach(), _open: session.hold_open(), session, opening }
    }

    pub(crate) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Parts>> {
        let (first, resumable) = match &mut self.opening {
            Opening::Primed(priming) => (priming.take(), true),
            Opening::Whole { endpoint, .. } => (endpoint.take().map(Parts::from), false),
        };
        if first.is_some() {
            return Poll::Ready(first);
        }
        self.session.news.poll_next(self.reader, cx).map(|message| {
            message.map(|message| {
                let id = resumable.then_some(EventId { stream: EventId::NEWS, number: message.number });
                Parts::from(message.text).into_event(id)
            })
        })
    }
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        self.session.news.leave(self.reader);
        if let Opening::Whole { closed, .. } = &mut self.opening
            && let Some(closed) = closed.take()
        {
            closed();
        }
    }
}

/// The stream of events that answers a request of a session. Where its connection breaks the request goes on, and the
/// stream waits for the client to come back.
pub(crate) struct ResumableStream {
    door: Arc<Door>,
    /// The stream's number in its session.
    number: u64,
    outgoing: Arc<Outgoing>,
    reader: Reader,
    priming: Priming,
    /// The request, until it is answered; another stream may be at it.
    work: Option<Work>,
}

impl ResumableStream {
    /// The stream of a request that runs.
    pub(crate) fn open(door: &Arc<Door>, session: &Session, outgoing: Arc<Outgoing>, work: Work) -> Self {
        Self::of(door, session, outgoing, Some(work))
    }

    /// The stream of a request that is answered already.
    pub(crate) fn answered(door: &Arc<Door>, session: &Session, outgoing: Arc<Outgoing>, answered: Answered) -> Self {
        finish(&outgoing, answered);
        Self::of(door, session, outgoing, None)
    }

    fn of(door: &Arc<Door>, session: &Session, outgoing: Arc<Outgoing>, work: Option<Work>) -> Self {
        let number = session.resumable.list(&outgoing);
        let (reader, priming) = (outgoing.attach(), Priming::of(session, number, outgoing.number()));
        Self { door: Arc::clone(door), number, outgoing, reader, priming, work }
    }

    /// The stream from behind the event `after`; `None` where there was none such, or nothing more will come.
    pub(crate) fn resume(door: &Arc<Door>, session: &Session, after: EventId) -> Option<Self> {
        let outgoing = session.resumable.find(after.stream)?;
        let reader = outgoing.resume(after.number)?;
        let priming = Priming::of(session, after.stream, outgoing.number());
        Some(Self { door: Arc::clone(door), number: after.stream, outgoing, reader, priming, work: None })
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Parts>> {
        if let Some(first) = self.priming.take() {
            return Poll::Ready(Some(first));
        }
        if let Some(work) = &mut self.work
            && let Poll::Ready(answered) = Pin::new(work).poll(cx)
        {
            self.work = None;
            finish(&self.outgoing, answered);
        }
        self.outgoing.poll_next(self.reader, cx).map(|message| {
            message.map(|message| Parts::from(message.text).into_event(Some(EventId { stream: self.number, number: message.number })))
        })
    }
}

impl Drop for ResumableStream {
    fn drop(&mut self) {
        self.outgoing.leave(self.reader);
        if let Some(work) = self.work.take() {
            let outgoing = Arc::clone(&self.outgoing);
            self.door.spawn(async move { finish(&outgoing, work.await) });
        }
    }
}

/// Adds the answer, which is the last message.
fn finish(outgoing: &Outgoing, answered: Answered) {
    outgoing.push(answered.message.into_bytes());
    outgoing.end();
}
