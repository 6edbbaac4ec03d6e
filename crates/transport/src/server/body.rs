//! Bodies of responses: nothing, one message, or a stream of events.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use sallyport_telemetry::metric::{DoorMetrics, OpenStream};
use tokio::time::{Instant, Sleep, sleep};

use super::batch::Work;
use super::connection::Busy;
use super::outgoing::{Outgoing, Reader};
use super::parts::Parts;
use super::session_streams::{ResumableStream, SessionStream};
use super::standing::Standing;
use super::subscription::Listening;

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
        Self { kind: Kind::Events(Box::new(Events { source, standing: None, silence: None, open: None })), busy: None }
    }

    /// A stream that stays open until it is closed, or until who opened it may not come in any more.
    pub(crate) fn open(source: Source, standing: Arc<Standing>) -> Self {
        Self { kind: Kind::Events(Box::new(Events { source, standing: Some(standing), silence: None, open: None })), busy: None }
    }

    pub(crate) fn keep_busy(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }

    /// Counts the body as an open stream, if it is one.
    pub(crate) fn counted(mut self, figures: &DoorMetrics) -> Self {
        if let Kind::Events(events) = &mut self.kind {
            events.open = Some(figures.stream_opened());
        }
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
    /// By whose right it is open, where it does not end by itself.
    standing: Option<Arc<Standing>>,
    /// Runs while nothing is said.
    silence: Option<Pin<Box<Sleep>>>,
    /// The stream counts as open.
    open: Option<OpenStream>,
}

impl Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Parts>> {
        if self.standing.as_ref().is_some_and(|standing| standing.is_over(cx)) {
            self.standing = None;
            match &self.source {
                Source::Listening(listening) => listening.end(), // it has words for that
                _ => return Poll::Ready(None),
            }
        }
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
    /// A request of a modern client, which cannot resume it: what it says on the way, then its answer.
    Work {
        /// The work, until it is answered.
        work: Option<Work>,
        /// Its answer, until it is sent.
        answer: Option<Parts>,
        /// What it says on the way.
        aside: Aside,
    },
    /// A request or a batch of a session: what it says on the way, then its answer.
    Resumable(ResumableStream),
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
                    Poll::Ready(Some(message)) => Poll::Ready(Some(Parts::from(message.text).into_event(None))),
                    Poll::Ready(None) => Poll::Ready(answer.take().map(|answer| answer.into_event(None))),
                    Poll::Pending => Poll::Pending,
                }
            }
            Self::Resumable(stream) => stream.poll_next(cx),
            Self::Session(stream) => stream.poll_next(cx),
            Self::Listening(listening) => {
                listening.poll_next(cx).map(|message| message.map(|message| Parts::from(message).into_event(None)))
            }
        }
    }
}

/// What a request says on its way, as long as somebody may hear it: dropping this tells the request that nobody does.
pub(crate) struct Aside {
    pub(crate) outgoing: Arc<Outgoing>,
    reader: Reader,
    resumable: bool,
}

impl Aside {
    pub(crate) fn new(outgoing: Arc<Outgoing>) -> Self {
        let reader = outgoing.attach();
        Self { outgoing, reader, resumable: false }
    }

    /// Gives the queue to a stream that can be resumed, so that somebody may always hear.
    pub(crate) fn into_resumable(mut self) -> Arc<Outgoing> {
        self.resumable = true;
        Arc::clone(&self.outgoing)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.resumable {
            self.outgoing.end();
        }
    }
}
