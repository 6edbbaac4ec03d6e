//! Bodies of responses: nothing, one message, or a stream of events.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::batch::Work;
use super::connection::Busy;
use super::outgoing::{Outgoing, Reader};
use super::parts::Parts;
use super::subscription::Listening;
use crate::session::{OpenStream, Session};

/// A silent stream says that it lives this often: proxies commonly cut what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(25);

/// The body of a response.
pub(crate) struct ResponseBody {
    kind: Kind,
    /// The connection counts as busy until the body is sent.
    busy: Option<Busy>,
}

enum Kind {
    Whole(Parts),
    Events(Box<Events>),
}

impl ResponseBody {
    pub(crate) fn whole(parts: impl Into<Parts>) -> Self {
        Self { kind: Kind::Whole(parts.into()), busy: None }
    }

    pub(crate) fn empty() -> Self {
        Self::whole(Parts::default())
    }

    pub(crate) fn events(source: Source) -> Self {
        Self { kind: Kind::Events(Box::new(Events { source, silence: None })), busy: None }
    }

    pub(crate) fn keep_busy(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl Body for ResponseBody {
    type Data = Parts;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Parts>, Infallible>>> {
        match &mut self.kind {
            Kind::Whole(parts) if parts.has_remaining() => Poll::Ready(Some(Ok(Frame::data(std::mem::take(parts))))),
            Kind::Whole(_) => Poll::Ready(None),
            Kind::Events(events) => events.poll_next(cx).map(|event| event.map(|event| Ok(Frame::data(event)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.kind, Kind::Whole(parts) if !parts.has_remaining())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(parts) => SizeHint::with_exact(u64::try_from(parts.remaining()).unwrap_or(u64::MAX)),
            Kind::Events(_) => SizeHint::default(),
        }
    }
}

/// A stream of server-sent events.
struct Events {
    source: Source,
    /// Runs while nothing is said.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Parts>> {
        if let Poll::Ready(event) = self.source.poll_next(cx) {
            if let Some(silence) = &mut self.silence {
                silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
            }
            return Poll::Ready(event);
        }
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(KEEP_ALIVE)));
        if silence.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
        // The new deadline must know whom to wake.
        let _ = silence.as_mut().poll(cx);
        Poll::Ready(Some(Parts::from(Bytes::from_static(b":\n\n"))))
    }
}

/// Where the events of a stream come from.
pub(crate) enum Source {
    /// A request or a batch: what it says on the way, then its answer.
    Work {
        /// The work, until it is answered.
        work: Option<Work>,
        /// Its answer, until it is sent.
        answer: Option<Parts>,
        /// What it says on the way.
        aside: Aside,
    },
    /// A session: what it is told outside of requests.
    Session(SessionStream),
    /// `subscriptions/listen`.
    Listening(Listening),
}

impl Source {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Parts>> {
        match self {
            Self::Work { work, answer, aside } => {
                if let Some(running) = work
                    && let Poll::Ready(answered) = Pin::new(running).poll(cx)
                {
                    *work = None;
                    *answer = Some(answered.message);
                    aside.outgoing.end();
                }
                match aside.outgoing.poll_next(aside.reader, cx) {
                    Poll::Ready(Some(message)) => Poll::Ready(Some(Parts::from(message).into_event())),
                    Poll::Ready(None) => Poll::Ready(answer.take().map(Parts::into_event)),
                    Poll::Pending => Poll::Pending,
                }
            }
            Self::Session(stream) => stream.poll_next(cx),
            Self::Listening(listening) => listening.poll_next(cx).map(|message| message.map(|message| Parts::from(message).into_event())),
        }
    }
}

/// What a request says on its way, as long as somebody may hear it: dropping this tells the request that nobody does.
pub(crate) struct Aside {
    pub(crate) outgoing: Arc<Outgoing>,
    reader: Reader,
}

impl Aside {
    pub(crate) fn new(outgoing: Arc<Outgoing>) -> Self {
        let reader = outgoing.attach();
        Self { outgoing, reader }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.outgoing.end();
    }
}

/// A stream of what a session is told.
pub(crate) struct SessionStream {
    session: Arc<Session>,
    reader: Reader,
    _open: OpenStream,
    /// The first event of a 2024-11-05 stream: where messages are to be posted.
    endpoint: Option<Bytes>,
    /// What happens when the stream ends.
    ended: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl SessionStream {
    /// Takes over the session's news; an older stream of it ends.
    pub(crate) fn open(session: Arc<Session>) -> Self {
        let reader = session.news.attach();
        Self { reader, _open: session.hold_open(), session, endpoint: None, ended: None }
    }

    /// A stream that is the session: it begins with the address for messages, and `ended` is called when it closes.
    pub(crate) fn with_endpoint(mut self, endpoint: &str, ended: impl FnOnce() + Send + Sync + 'static) -> Self {
        self.endpoint = Some(Bytes::from(format!("event: endpoint\ndata: {endpoint}\n\n")));
        self.ended = Some(Box::new(ended));
        self
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Parts>> {
        if let Some(endpoint) = self.endpoint.take() {
            return Poll::Ready(Some(Parts::from(endpoint)));
        }
        self.session.news.poll_next(self.reader, cx).map(|message| message.map(|message| Parts::from(message).into_event()))
    }
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended();
        }
    }
}
