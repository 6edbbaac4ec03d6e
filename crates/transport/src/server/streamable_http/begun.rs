//! What became of a request that was read, and the wait for its answer.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use http::{HeaderValue, Response};
use sallyport_protocol::{CallerId, Era, Failure, Incoming, Method, RequestId};

use super::accepts::Accepts;
use crate::headers;
use crate::server::answered::Answered;
use crate::server::batch::Work;
use crate::server::body::{Aside, ResponseBody, Source};
use crate::server::call::Call;
use crate::server::connection::Connection;
use crate::server::door::Door;
use crate::server::http::{respond, stream};
use crate::server::modern;
use crate::server::outgoing::Outgoing;
use crate::server::session_streams::ResumableStream;
use crate::server::subscription::Listening;
use crate::session::Session;

/// What became of a request that was read. Nothing here holds a part of its head or of a small body: these lie in the
/// connection's read buffer, and while they live the connection needs a second one.
pub(super) enum Begun {
    /// It is answered already.
    Answered(Response<ResponseBody>),
    /// It runs.
    Runs(Running),
    /// It is a handshake.
    Handshake(Handshake),
    /// It is `subscriptions/listen`.
    Listen {
        /// Who listens.
        incoming: Incoming,
        /// The same, as the door knows them.
        caller: CallerId,
        /// To what.
        listen: Box<modern::Listen>,
    },
}

impl Begun {
    /// Waits for the answer, or for the beginning of a stream.
    pub(super) async fn finish(self, door: &Arc<Door>, connection: &Connection) -> Response<ResponseBody> {
        match self {
            Self::Answered(response) => response,
            Self::Runs(running) => running.finish(door, connection).await,
            Self::Handshake(handshake) => handshake.finish(door).await,
            Self::Listen { incoming, caller, listen } => open(door, incoming, &caller, *listen).await,
        }
    }
}

/// Requests whose answer is awaited.
pub(super) struct Running {
    /// The session of a legacy client, which may resume the stream that the answer becomes.
    pub(super) session: Option<Arc<Session>>,
    pub(super) work: Work,
    /// What is said on the way.
    pub(super) outgoing: Arc<Outgoing>,
    pub(super) accepts: Accepts,
}

impl Running {
    /// Waits for the answer. As long as nothing is said on the way it is one JSON message with its own status; with the
    /// first word on the way, or when there is none for long, the response becomes a stream of events.
    async fn finish(self, door: &Arc<Door>, connection: &Connection) -> Response<ResponseBody> {
        let Self { session, mut work, outgoing, accepts } = self;
        let aside = Aside::new(outgoing);
        let first = poll_fn(|cx| {
            if let Poll::Ready(answered) = Pin::new(&mut work).poll(cx) {
                return Poll::Ready(Some(answered));
            }
            if accepts.events && connection.is_silent() {
                return Poll::Ready(None);
            }
            aside.outgoing.poll_waiting(cx).map(|()| None)
        })
        .await;
        let source = match (first, session) {
            (Some(answered), _) if accepts.json && !aside.outgoing.is_waiting() => return respond(answered),
            (Some(answered), None) => answered_source(answered, aside),
            (None, None) => Source::Work { work: Some(work), answer: None, aside },
            (Some(answered), Some(session)) => {
                Source::Resumable(ResumableStream::answered(door, &session, aside.into_resumable(), answered))
            }
            (None, Some(session)) => Source::Resumable(ResumableStream::open(door, &session, aside.into_resumable(), work)),
        };
        stream(ResponseBody::events(source))
    }
}

/// What was said on the way, and the answer.
fn answered_source(answered: Answered, aside: Aside) -> Source {
    aside.outgoing.end();
    Source::Work { work: None, answer: Some(answered.message), aside }
}

/// A handshake that runs. Its session is taken back unless it goes well.
pub(super) struct Handshake {
    pub(super) session: Arc<Session>,
    pub(super) call: Box<Call>,
    pub(super) outgoing: Arc<Outgoing>,
    pub(super) accepts: Accepts,
}

impl Handshake {
    async fn finish(self, door: &Arc<Door>) -> Response<ResponseBody> {
        let Self { session, mut call, outgoing, accepts } = self;
        let abandoned = AbandonedSession { door, session: Some(&session) };
        let answered = poll_fn(|cx| Pin::new(call.as_mut()).poll(cx)).await;
        if answered.is_error {
            return respond(answered);
        }
        let Ok(id) = HeaderValue::try_from(session.id().to_string()) else {
            let failure = Failure::internal("a session id is no header");
            return respond(door.refuse(&failure, Some(Method::Initialize), Era::Legacy, None));
        };
        abandoned.keep();
        let mut response =
            if accepts.json { respond(answered) } else { stream(ResponseBody::events(answered_source(answered, Aside::new(outgoing)))) };
        response.headers_mut().insert(headers::SESSION_ID, id);
        response
    }
}

/// A session that is taken back unless its handshake went well.
struct AbandonedSession<'a> {
    door: &'a Arc<Door>,
    session: Option<&'a Arc<Session>>,
}

impl AbandonedSession<'_> {
    fn keep(mut self) {
        self.session = None;
    }
}

impl Drop for AbandonedSession<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            self.door.sessions.remove(session);
        }
    }
}

/// Opens a stream of changes.
async fn open(door: &Arc<Door>, incoming: Incoming, caller: &CallerId, listen: modern::Listen) -> Response<ResponseBody> {
    let id = listen.id.clone();
    match Listening::open(door, incoming.clone(), listen).await {
        Ok(listening) => stream(door.hold_open(Source::Listening(listening), &incoming, caller)),
        Err(failure) => refuse_listen(door, &failure, &id),
    }
}

/// Refuses `subscriptions/listen`.
pub(super) fn refuse_listen(door: &Door, failure: &Failure, id: &RequestId) -> Response<ResponseBody> {
    respond(door.refuse(failure, Some(Method::SubscriptionsListen), Era::Modern, Some(id)).at_least_bad_request())
}
