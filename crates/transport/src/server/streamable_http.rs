//! Streamable HTTP: both eras on one URL (2025-03-26 to 2025-11-25 with sessions; 2026-07-28 without).

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts as Head;
use http::{HeaderValue, Method as HttpMethod, Response, StatusCode, header};
use hyper::body::Incoming as IncomingBody;
use sallyport_protocol::jsonrpc::NotAMessage;
use sallyport_protocol::{CallerId, Era, Failure, FailureKind, Incoming, Message, Method, Revision};

use super::asker::Outlet;
use super::batch::{self, Work};
use super::body::{ResponseBody, Source};
use super::call::Loss;
use super::connection::Connection;
use super::era::{Spoken, names_modern_version};
use super::http::{Admitted, HttpDoor, bare, respond, stream};
use super::outgoing::Outgoing;
use super::session_streams::{ResumableStream, SessionStream};
use super::{legacy, modern};
use crate::headers;
use crate::session::{EventId, Session, SessionId};

mod accepts;
mod begun;

use accepts::Accepts;
use begun::{Begun, Handshake, Running, refuse_listen};

/// Answers a request to an MCP endpoint.
pub(crate) async fn answer(door: &Arc<HttpDoor>, admitted: Admitted) -> Response<ResponseBody> {
    let Admitted { incoming, caller, request, connection } = admitted;
    let (head, body) = request.into_parts();
    let exchange = Exchange { door, incoming, caller, head };
    let begun = match exchange.head.method {
        HttpMethod::POST => exchange.post(body, &connection).await,
        HttpMethod::GET => exchange.get(),
        HttpMethod::DELETE => exchange.delete(),
        _ => Err(Failure::client(FailureKind::Http(405), "an MCP endpoint takes POST, GET and DELETE")),
    };
    let begun = begun.unwrap_or_else(|failure| {
        tracing::debug!(%failure, "a request was refused");
        Begun::Answered(door.refuse(&failure, &exchange.head.headers))
    });
    drop(exchange); // its head lies in the connection's read buffer, which the connection needs while the answer is awaited
    begun.finish(&door.door, &connection).await
}

/// One request, before it is answered.
struct Exchange<'d> {
    door: &'d Arc<HttpDoor>,
    incoming: Incoming,
    caller: CallerId,
    head: Head,
}

impl Exchange<'_> {
    async fn post(&self, body: IncomingBody, connection: &Connection) -> Result<Begun, Failure> {
        let accepts = self.accepts()?;
        let reading = connection.reads_body();
        let taken = self.door.intake.read(body).await;
        drop(reading);
        let body = taken?;
        if batch::is_batch(&body) { self.batch(&body, accepts) } else { self.message(&body, accepts) }
    }

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

    fn message(&self, body: &Bytes, accepts: Accepts) -> Result<Begun, Failure> {
        let message = match Message::parse(body) {
            Ok(message) => message,
            Err(bad) => return Ok(self.not_a_message(bad)),
        };
        let headers = &self.head.headers;
        match message {
            Message::Request { id, method, params } => match Spoken::of(params.as_ref(), Some(headers)) {
                Spoken::Modern(meta) => Ok(self.modern(modern::Asked { id, method, params, meta, headers: Some(headers) }, accepts)),
                Spoken::Legacy => self.legacy(legacy::Asked { id, method, params }, accepts),
            },
            Message::Notification { params, .. } if Spoken::of(params.as_ref(), Some(headers)).is_modern() => {
                Ok(Begun::Answered(bare(StatusCode::ACCEPTED)))
            }
            other => {
                legacy::take(&*self.session()?, other);
                Ok(Begun::Answered(bare(StatusCode::ACCEPTED)))
            }
        }
    }

    fn not_a_message(&self, bad: NotAMessage) -> Begun {
        let era = if names_modern_version(&self.head.headers) { Era::Modern } else { Era::Legacy };
        let failure = Failure::client(FailureKind::NotAMessage(bad.error), "the body is no JSON-RPC message");
        Begun::Answered(respond(self.door.door.refuse(&failure, None, era, bad.id.as_ref()).at_least_bad_request()))
    }

    fn modern(&self, asked: modern::Asked<'_>, accepts: Accepts) -> Begun {
        let (outgoing, outlet) = way_out(accepts);
        match modern::begin(&self.door.door, &self.incoming, asked, outlet, Loss::Cancels) {
            modern::Begun::Answered(answered) => Begun::Answered(respond(answered)),
            modern::Begun::Call(call) => Begun::Runs(Running { session: None, work: Work::Call(call), outgoing, accepts }),
            modern::Begun::Listen(listen) if accepts.events => {
                Begun::Listen { incoming: self.incoming.clone(), caller: self.caller.clone(), listen }
            }
            modern::Begun::Listen(listen) => {
                let failure = Failure::client(FailureKind::Http(406), "header `Accept` must list text/event-stream");
                Begun::Answered(refuse_listen(&self.door.door, &failure, &listen.id))
            }
        }
    }

    fn legacy(&self, asked: legacy::Asked, accepts: Accepts) -> Result<Begun, Failure> {
        if asked.method == Method::Initialize.as_str() {
            return self.initialize(asked, accepts);
        }
        let session = self.session()?;
        let (outgoing, outlet) = way_out(accepts);
        Ok(match legacy::begin(&self.door.door, &session, &self.incoming, asked, outlet) {
            legacy::Begun::Answered(answered) => Begun::Answered(respond(answered)),
            legacy::Begun::Call(call) => Begun::Runs(Running { session: Some(session), work: Work::Call(call), outgoing, accepts }),
        })
    }

    /// Begins the handshake; only one that goes well leaves a session behind.
    fn initialize(&self, asked: legacy::Asked, accepts: Accepts) -> Result<Begun, Failure> {
        let door = &self.door.door;
        let (session, gone) = door
            .sessions
            .create(self.caller.clone(), self.incoming.endpoint.clone())
            .map_err(|error| Failure::internal("no session could be made").with_internal(error))?;
        gone.iter().for_each(|session| door.forget(session));
        let (outgoing, outlet) = way_out(accepts);
        Ok(match legacy::begin(door, &session, &self.incoming, asked, outlet) {
            legacy::Begun::Answered(answered) => {
                door.sessions.remove(&session);
                Begun::Answered(respond(answered))
            }
            legacy::Begun::Call(call) => Begun::Handshake(Handshake { session, call, outgoing, accepts }),
        })
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

    /// Opens the stream of what a session is told outside of its requests, or resumes a stream that broke.
    fn get(&self) -> Result<Begun, Failure> {
        self.refuse_modern()?;
        if !Accepts::read(&self.head.headers).events {
            return Err(Failure::client(FailureKind::Http(406), "header `Accept` must list text/event-stream"));
        }
        let session = self.session()?;
        let mut ids = self.head.headers.get_all(headers::LAST_EVENT_ID).iter();
        let source = match (ids.next(), ids.next()) {
            (None, _) => Source::Session(SessionStream::open(session)),
            (Some(id), None) => self.resume(session, id).ok_or_else(nothing_to_resume)?,
            (Some(_), Some(_)) => return Err(nothing_to_resume()),
        };
        Ok(Begun::Answered(stream(self.door.door.hold_open(source, &self.incoming, &self.caller))))
    }

    /// Resumes the stream that an event came on. Its id means something in this session alone.
    fn resume(&self, session: Arc<Session>, id: &HeaderValue) -> Option<Source> {
        let id = EventId::from_text(id.as_bytes())?;
        if id.stream == EventId::NEWS {
            return SessionStream::resume(session, id.number).map(Source::Session);
        }
        ResumableStream::resume(&self.door.door, &session, id).map(Source::Resumable)
    }

    /// Ends a session.
    fn delete(&self) -> Result<Begun, Failure> {
        self.refuse_modern()?;
        let session = self.session()?;
        self.door.door.sessions.remove(&session);
        self.door.door.forget(&session);
        Ok(Begun::Answered(bare(StatusCode::NO_CONTENT)))
    }

    /// From 2026-07-28 on there are no sessions, and nothing but POST.
    fn refuse_modern(&self) -> Result<(), Failure> {
        if names_modern_version(&self.head.headers) {
            return Err(Failure::client(FailureKind::Http(405), "from revision 2026-07-28 on an MCP endpoint takes POST alone"));
        }
        Ok(())
    }

    /// Answers a batch, which 2025-03-26 alone has.
    fn batch(&self, body: &Bytes, accepts: Accepts) -> Result<Begun, Failure> {
        if names_modern_version(&self.head.headers) {
            return Ok(self.not_a_message(batch::refused("revision 2026-07-28 has no batches")));
        }
        let session = self.session()?;
        let messages = match batch::read(&session, body) {
            Ok(messages) => messages,
            Err(bad) => return Ok(self.not_a_message(bad)),
        };
        let (outgoing, outlet) = way_out(accepts);
        Ok(match batch::begin(&self.door.door, &session, &self.incoming, messages, &outlet) {
            Some(batch) => Begun::Runs(Running { session: Some(session), work: Work::Batch(batch), outgoing, accepts }),
            None => Begun::Answered(bare(StatusCode::ACCEPTED)),
        })
    }
}

/// The queue of what a request says on its way, and the end of it that the request holds.
fn way_out(accepts: Accepts) -> (Arc<Outgoing>, Outlet) {
    let outgoing = Arc::new(Outgoing::default());
    let outlet = if accepts.events { Outlet::Stream(Arc::clone(&outgoing)) } else { Outlet::Nowhere };
    (outgoing, outlet)
}

fn nothing_to_resume() -> Failure {
    Failure::client(FailureKind::Http(400), "header `Last-Event-ID` names no event of this session that more can follow")
}
