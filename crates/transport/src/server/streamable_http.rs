//! Streamable HTTP: both eras on one URL (2025-03-26 to 2025-11-25 with sessions; 2026-07-28 without).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::request::Parts as Head;
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Response, StatusCode, header};
use sallyport_protocol::jsonrpc::NotAMessage;
use sallyport_protocol::{CallerId, Era, Failure, FailureKind, Incoming, Message, Method, Revision};

use super::answered::Answered;
use super::asker::Outlet;
use super::batch::{self, Work};
use super::body::{Aside, ResponseBody, SessionStream, Source};
use super::call::Loss;
use super::era::{Spoken, names_modern_version};
use super::http::{Admitted, HttpDoor, bare, respond, stream};
use super::outgoing::Outgoing;
use super::subscription::Listening;
use super::{legacy, modern};
use crate::headers;
use crate::session::{Session, SessionId};

/// One request, after its head was looked at.
struct Exchange<'d> {
    door: &'d Arc<HttpDoor>,
    incoming: Incoming,
    caller: CallerId,
    head: Head,
}

/// Answers a request to an MCP endpoint.
pub(crate) async fn answer(door: &Arc<HttpDoor>, admitted: Admitted) -> Response<ResponseBody> {
    let Admitted { incoming, caller, request, connection } = admitted;
    let (head, body) = request.into_parts();
    let exchange = Exchange { door, incoming, caller, head };
    let answered = match exchange.head.method {
        HttpMethod::POST => match exchange.accepts() {
            Ok(accepts) => {
                let reading = connection.reads_body();
                let taken = door.intake.read(body).await;
                drop(reading);
                match taken {
                    Ok(taken) => exchange.post(&taken.bytes, accepts).await,
                    Err(failure) => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        },
        HttpMethod::GET => exchange.get(),
        HttpMethod::DELETE => exchange.delete(),
        _ => Err(Failure::client(FailureKind::Http(405), "an MCP endpoint takes POST, GET and DELETE")),
    };
    answered.unwrap_or_else(|failure| {
        tracing::debug!(%failure, "a request was refused");
        door.refuse(&failure, &exchange.head.headers)
    })
}

/// In which forms a client takes an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accepts {
    json: bool,
    events: bool,
}

impl Exchange<'_> {
    /// Checks what the client sends and takes.
    fn accepts(&self) -> Result<Accepts, Failure> {
        let kind = self.head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if !essence.eq_ignore_ascii_case(b"application/json") {
            return Err(Failure::client(FailureKind::Http(415), "header `Content-Type` must be application/json"));
        }
        let accepts = Accepts::read(&self.head.headers);
        if accepts.json || accepts.events {
            return Ok(accepts);
        }
        Err(Failure::client(FailureKind::Http(406), "header `Accept` must list application/json and text/event-stream"))
    }

    async fn post(&self, body: &Bytes, accepts: Accepts) -> Result<Response<ResponseBody>, Failure> {
        if body.trim_ascii_start().first() == Some(&b'[') {
            return self.batch(body, accepts).await;
        }
        let message = match Message::parse(body) {
            Ok(message) => message,
            Err(bad) => return Ok(self.not_a_message(bad)),
        };
        let headers = &self.head.headers;
        match message {
            Message::Request { id, method, params } => match Spoken::of(params.as_ref(), Some(headers)) {
                Spoken::Modern(meta) => Ok(self.modern(modern::Asked { id, method, params, meta, headers: Some(headers) }, accepts).await),
                Spoken::Legacy => self.legacy(legacy::Asked { id, method, params }, accepts).await,
            },
            Message::Notification { params, .. } if Spoken::of(params.as_ref(), Some(headers)).is_modern() => {
                Ok(bare(StatusCode::ACCEPTED))
            }
            other => {
                legacy::take(&*self.session()?, other);
                Ok(bare(StatusCode::ACCEPTED))
            }
        }
    }

    fn not_a_message(&self, bad: NotAMessage) -> Response<ResponseBody> {
        let era = if names_modern_version(&self.head.headers) { Era::Modern } else { Era::Legacy };
        let failure = Failure::client(FailureKind::NotAMessage(bad.error), "the body is no JSON-RPC message");
        respond(self.door.door.refuse(&failure, None, era, bad.id.as_ref()).at_least_bad_request())
    }

    async fn modern(&self, asked: modern::Asked<'_>, accepts: Accepts) -> Response<ResponseBody> {
        let outgoing = Arc::new(Outgoing::default());
        let outlet = if accepts.events { Outlet::Stream(Arc::clone(&outgoing)) } else { Outlet::Nowhere };
        match modern::begin(&self.door.door, &self.incoming, asked, outlet, Loss::Cancels) {
            modern::Begun::Answered(answered) => respond(answered),
            modern::Begun::Call(call) => answer_work(Work::Call(call), outgoing, accepts).await,
            modern::Begun::Listen(listen) => self.listen(*listen, accepts).await,
        }
    }

    async fn listen(&self, listen: modern::Listen, accepts: Accepts) -> Response<ResponseBody> {
        let id = listen.id.clone();
        let opened = if accepts.events {
            Listening::open(&self.door.door, self.incoming.clone(), listen).await
        } else {
            Err(Failure::client(FailureKind::Http(406), "header `Accept` must list text/event-stream"))
        };
        match opened {
            Ok(listening) => stream(ResponseBody::events(Source::Listening(listening))),
            Err(failure) => {
                respond(self.door.door.refuse(&failure, Some(Method::SubscriptionsListen), Era::Modern, Some(&id)).at_least_bad_request())
            }
        }
    }

    async fn legacy(&self, asked: legacy::Asked, accepts: Accepts) -> Result<Response<ResponseBody>, Failure> {
        if asked.method == Method::Initialize.as_str() {
            return self.initialize(asked, accepts).await;
        }
        let session = self.session()?;
        let (begun, outgoing) = self.begin(&session, asked, accepts);
        Ok(match begun {
            legacy::Begun::Answered(answered) => respond(answered),
            legacy::Begun::Call(call) => answer_work(Work::Call(call), outgoing, accepts).await,
        })
    }

    fn begin(&self, session: &Arc<Session>, asked: legacy::Asked, accepts: Accepts) -> (legacy::Begun, Arc<Outgoing>) {
        let outgoing = Arc::new(Outgoing::default());
        let outlet = if accepts.events { Outlet::Stream(Arc::clone(&outgoing)) } else { Outlet::Nowhere };
        (legacy::begin(&self.door.door, session, &self.incoming, asked, outlet), outgoing)
    }

    /// Answers the handshake; only one that went well leaves a session behind.
    async fn initialize(&self, asked: legacy::Asked, accepts: Accepts) -> Result<Response<ResponseBody>, Failure> {
        let door = &self.door.door;
        let (session, gone) = door
            .sessions
            .create(self.caller.clone(), self.incoming.endpoint.clone())
            .map_err(|error| Failure::internal("no session could be made").with_internal(error))?;
        gone.iter().for_each(|session| door.forget(session));
        let (begun, outgoing) = self.begin(&session, asked, accepts);
        let begun_well = AbandonedSession { door, session: Some(&session) };
        let mut response = match begun {
            legacy::Begun::Answered(answered) => return Ok(respond(answered)),
            legacy::Begun::Call(mut call) => {
                let answered = poll_fn(|cx| Pin::new(call.as_mut()).poll(cx)).await;
                if answered.is_error {
                    return Ok(respond(answered));
                }
                if accepts.json { respond(answered) } else { answered_stream(answered, Aside::new(outgoing)) }
            }
        };
        begun_well.keep();
        let id = HeaderValue::try_from(session.id().to_string()).map_err(|_| Failure::internal("a session id is no header"))?;
        response.headers_mut().insert(headers::SESSION_ID, id);
        Ok(response)
    }

    /// The session that the request names.
    ///
    /// # Errors
    /// 400 where it names none or a revision that is not known, 404 where there is no such session of this caller.
    fn session(&self) -> Result<Arc<Session>, Failure> {
        let headers = &self.head.headers;
        if let Some(version) = headers.get(headers::PROTOCOL_VERSION)
            && version.to_str().ok().and_then(Revision::from_name).is_none()
        {
            return Err(Failure::client(FailureKind::Http(400), "header `MCP-Protocol-Version` names no revision that is spoken here"));
        }
        let mut ids = headers.get_all(headers::SESSION_ID).iter();
        let (Some(id), None) = (ids.next(), ids.next()) else {
            return Err(Failure::client(FailureKind::Http(400), "header `Mcp-Session-Id` is missing or there twice")
                .with_hint("send `initialize` first, or a request of revision 2026-07-28"));
        };
        SessionId::from_text(id.as_bytes())
            .and_then(|id| self.door.door.sessions.find(id, &self.caller, &self.incoming.endpoint))
            .ok_or_else(|| Failure::client(FailureKind::UnknownSession, "there is no such session").with_hint("send `initialize` again"))
    }

    /// Opens the stream of what a session is told outside of its requests.
    fn get(&self) -> Result<Response<ResponseBody>, Failure> {
        self.refuse_modern()?;
        if !Accepts::read(&self.head.headers).events {
            return Err(Failure::client(FailureKind::Http(406), "header `Accept` must list text/event-stream"));
        }
        let session = self.session()?;
        Ok(stream(ResponseBody::events(Source::Session(SessionStream::open(session)))))
    }

    /// Ends a session.
    fn delete(&self) -> Result<Response<ResponseBody>, Failure> {
        self.refuse_modern()?;
        let session = self.session()?;
        self.door.door.sessions.remove(&session);
        self.door.door.forget(&session);
        Ok(bare(StatusCode::NO_CONTENT))
    }

    /// From 2026-07-28 on there are no sessions, and nothing but POST.
    fn refuse_modern(&self) -> Result<(), Failure> {
        if names_modern_version(&self.head.headers) {
            return Err(Failure::client(FailureKind::Http(405), "from revision 2026-07-28 on an MCP endpoint takes POST alone"));
        }
        Ok(())
    }

    /// Answers a batch, which 2025-03-26 alone has.
    async fn batch(&self, body: &Bytes, accepts: Accepts) -> Result<Response<ResponseBody>, Failure> {
        if names_modern_version(&self.head.headers) {
            return Ok(self.not_a_message(batch::refused("revision 2026-07-28 has no batches")));
        }
        let session = self.session()?;
        if session.revision() != Some(Revision::V2025_03_26) {
            return Ok(self.not_a_message(batch::refused("only revision 2025-03-26 has batches")));
        }
        let messages = match Message::parse_batch(body, batch::MOST_MESSAGES) {
            Ok(messages) => messages,
            Err(bad) => return Ok(self.not_a_message(bad)),
        };
        let outgoing = Arc::new(Outgoing::default());
        let outlet = if accepts.events { Outlet::Stream(Arc::clone(&outgoing)) } else { Outlet::Nowhere };
        match batch::begin(&self.door.door, &session, &self.incoming, messages, &outlet) {
            Some(batch) => Ok(answer_work(Work::Batch(batch), outgoing, accepts).await),
            None => Ok(bare(StatusCode::ACCEPTED)),
        }
    }
}

/// Waits for an answer. As long as nothing is said on the way it is one JSON message with its own status; with the first
/// word on the way the response becomes a stream of events.
async fn answer_work(mut work: Work, outgoing: Arc<Outgoing>, accepts: Accepts) -> Response<ResponseBody> {
    let aside = Aside::new(outgoing);
    let first = poll_fn(|cx| {
        if let Poll::Ready(answered) = Pin::new(&mut work).poll(cx) {
            return Poll::Ready(Some(answered));
        }
        aside.outgoing.poll_waiting(cx).map(|()| None)
    })
    .await;
    match first {
        Some(answered) if accepts.json && !aside.outgoing.is_waiting() => respond(answered),
        Some(answered) => answered_stream(answered, aside),
        None => stream(ResponseBody::events(Source::Work { work: Some(work), answer: None, aside })),
    }
}

/// A stream of what was said on the way, and the answer.
fn answered_stream(answered: Answered, aside: Aside) -> Response<ResponseBody> {
    aside.outgoing.end();
    stream(ResponseBody::events(Source::Work { work: None, answer: Some(answered.message), aside }))
}

/// A session that is taken back unless its handshake went well.
struct AbandonedSession<'a> {
    door: &'a Arc<super::door::Door>,
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

impl Accepts {
    /// A client that does not say takes anything.
    fn read(headers: &HeaderMap) -> Self {
        let mut accepts = Self { json: false, events: false };
        let mut said = false;
        for value in headers.get_all(header::ACCEPT) {
            for range in value.as_bytes().split(|byte| *byte == b',') {
                said = true;
                let range = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                let any = range == b"*/*";
                accepts.json |= any || range.eq_ignore_ascii_case(b"application/json") || range == b"application/*";
                accepts.events |= any || range.eq_ignore_ascii_case(b"text/event-stream") || range == b"text/*";
            }
        }
        if said { accepts } else { Self { json: true, events: true } }
    }
}
