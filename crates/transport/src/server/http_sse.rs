//! HTTP+SSE, the remote transport of 2024-11-05: one stream that is the session, and posts whose answers come on it.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method as HttpMethod, Response, StatusCode, header};
use sallyport_protocol::jsonrpc::NotAMessage;
use sallyport_protocol::{Era, Failure, FailureKind, Incoming, Message};

use super::asker::Outlet;
use super::batch::{self, Work};
use super::body::{ResponseBody, Source};
use super::era::Spoken;
use super::http::{Admitted, HttpDoor, bare, respond, stream};
use super::legacy;
use super::route::messages_beside;
use super::session_streams::SessionStream;
use crate::session::{Session, SessionId};

/// Opens a stream, which is a session for as long as it lasts.
pub(crate) fn open(door: &Arc<HttpDoor>, admitted: &Admitted) -> Response<ResponseBody> {
    let Admitted { incoming, caller, request, .. } = admitted;
    if request.method() != HttpMethod::GET {
        // Clients that try Streamable HTTP first post here, and fall back when they are refused.
        return not_allowed(door, "GET", "this endpoint speaks HTTP+SSE: it takes GET", request.headers());
    }
    let (session, gone) = match door.door.sessions.create(caller.clone(), incoming.endpoint.clone()) {
        Ok(made) => made,
        Err(error) => return door.refuse(&Failure::internal("no session could be made").with_internal(error), request.headers()),
    };
    gone.iter().for_each(|session| door.door.forget(session));
    let endpoint = format!("{}?session={}", messages_beside(request.uri().path()), session.id());
    let (shared, ended) = (Arc::clone(&door.door), Arc::clone(&session));
    let opened = SessionStream::whole(session, &endpoint, move || {
        shared.sessions.remove(&ended);
        shared.forget(&ended);
    });
    stream(door.door.hold_open(Source::Session(opened), incoming, caller))
}

/// The answer to a method that is not the one which is `taken`.
fn not_allowed(door: &Arc<HttpDoor>, taken: &'static str, why: &'static str, headers: &HeaderMap) -> Response<ResponseBody> {
    let mut response = door.refuse(&Failure::client(FailureKind::Http(405), why), headers);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(taken));
    response
}

/// Takes a message of such a session.
pub(crate) async fn take(door: &Arc<HttpDoor>, admitted: Admitted) -> Response<ResponseBody> {
    let Admitted { incoming, caller, request, connection } = admitted;
    let (head, body) = request.into_parts();
    if head.method != HttpMethod::POST {
        return not_allowed(door, "POST", "messages are posted", &head.headers);
    }
    let id = head.uri.query().and_then(|query| query.strip_prefix("session=")).and_then(|id| SessionId::from_text(id.as_bytes()));
    let Some(session) = id.and_then(|id| door.door.sessions.find(id, &caller, &incoming.endpoint)) else {
        return door.refuse(&Failure::client(FailureKind::UnknownSession, "there is no such session"), &head.headers);
    };
    if session.news.is_clogged() {
        let failure = Failure::client(FailureKind::Http(503), "the session's stream is not read fast enough");
        return door.refuse(&failure, &head.headers);
    }
    let reading = connection.reads_body();
    let taken = door.intake.read(body).await;
    drop(reading);
    let body = match taken {
        Ok(body) => body,
        Err(failure) => return door.refuse(&failure, &head.headers),
    };
    let begun = if batch::is_batch(&body) {
        batch::read(&session, &body).map(|messages| begin_batch(door, &session, &incoming, messages))
    } else {
        Message::parse(&body).map(|message| begin(door, &session, &incoming, message))
    };
    begun.unwrap_or_else(|bad| {
        let failure = Failure::client(FailureKind::NotAMessage(bad.error), "the body is no JSON-RPC message");
        respond(door.door.refuse(&failure, None, Era::Legacy, bad.id.as_ref()).at_least_bad_request())
    })
}

fn begin(door: &Arc<HttpDoor>, session: &Arc<Session>, incoming: &Incoming, message: Message) -> Response<ResponseBody> {
    match message {
        Message::Request { id, params, .. } if Spoken::of(params.as_ref(), None).is_modern() => {
            let failure = Failure::client(FailureKind::InvalidParams, "revision 2026-07-28 is not spoken over HTTP+SSE");
            return respond(door.door.refuse(&failure, None, Era::Modern, Some(&id)).at_least_bad_request());
        }
        Message::Request { id, method, params } => {
            let outlet = Outlet::Session(Arc::clone(session));
            match legacy::begin(&door.door, session, incoming, legacy::Asked { id, method, params }, outlet) {
                legacy::Begun::Answered(answered) => {
                    session.news.push(answered.message.into_bytes());
                }
                legacy::Begun::Call(call) => run(door, session, Work::Call(call)),
            }
        }
        other => legacy::take(session, other),
    }
    bare(StatusCode::ACCEPTED)
}

fn begin_batch(
    door: &Arc<HttpDoor>,
    session: &Arc<Session>,
    incoming: &Incoming,
    messages: Vec<Result<Message, NotAMessage>>,
) -> Response<ResponseBody> {
    let outlet = Outlet::Session(Arc::clone(session));
    if let Some(batch) = batch::begin(&door.door, session, incoming, messages, &outlet) {
        run(door, session, Work::Batch(batch));
    }
    bare(StatusCode::ACCEPTED)
}

/// Puts the answer on the session's stream when it is there.
fn run(door: &Arc<HttpDoor>, session: &Arc<Session>, work: Work) {
    let session = Arc::clone(session);
    door.door.spawn(async move {
        let answered = work.await;
        if !answered.cancelled {
            session.news.push(answered.message.into_bytes());
        }
    });
}
