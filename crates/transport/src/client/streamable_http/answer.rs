//! What comes back to a POST.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, StatusCode};
use sallyport_protocol::{CallerToken, Era, ErrorObject, FailureKind, Message, RawObject};
use tokio::time::sleep;

use super::super::era;
use super::super::events::EventStream;
use super::super::fault::Fault;
use super::super::flight::{Flight, Outcome};
use super::super::http1::Exchange;
use super::super::message::{self, Received};
use super::super::question::Back;
use super::super::request::bare;
use super::StreamableHttp;
use super::session::Session;
use crate::headers::LAST_EVENT_ID;

/// Bytes of a refusal's body that are read: an error object, or a page that nobody reads.
const REFUSAL_BYTES: usize = 64 * 1024;
/// How often a broken stream is opened again without anything new on it.
const MOST_RESUMPTIONS: usize = 5;
/// The wait before that, where the server names none.
const RESUMPTION_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that a server may name.
const LONGEST_RESUMPTION_WAIT: Duration = Duration::from_secs(30);

/// Why an attempt brought no result.
#[derive(Debug)]
pub(crate) enum Miss {
    /// Another attempt would not help.
    Fault(Fault),
    /// The server did not take the request: the session is lost, or the server speaks another way now.
    Session(Fault),
    /// The server did not take the request: a header is missing or wrong.
    Headers(Fault),
}

impl From<Fault> for Miss {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Miss {
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Fault(fault) | Self::Session(fault) | Self::Headers(fault) => fault,
        }
    }
}

impl StreamableHttp {
    /// The answer to the request `flight`: a body, or a stream with notifications before it.
    pub(super) async fn answer(
        self: &Arc<Self>,
        exchange: Exchange,
        session: &Arc<Session>,
        flight: &Arc<Flight>,
    ) -> Result<RawObject, Miss> {
        if !exchange.status().is_success() {
            return Err(refusal(exchange, session, flight.id).await);
        }
        if exchange.is("text/event-stream") {
            let stream = EventStream::new(exchange, self.shared.options.body_limit);
            return self.read_stream(stream, session, flight).await.map_err(Miss::Fault);
        }
        let body = exchange.collect(self.shared.options.body_limit).await?;
        let answer = self.take(&body, Some(flight));
        Ok(answer.unwrap_or_else(|| Err(Fault::Malformed("the body holds no answer to the request".to_owned())))?)
    }

    /// Reads a stream until the answer comes. A legacy stream that breaks is gone on with, if the server gave its events ids.
    async fn read_stream(self: &Arc<Self>, mut stream: EventStream, session: &Arc<Session>, flight: &Arc<Flight>) -> Outcome {
        let mut in_vain = 0;
        loop {
            let before = stream.reader.last_id().map(str::to_owned);
            let lost = match self.read_events(&mut stream, Some(flight)).await {
                Ok(Some(outcome)) => {
                    stream.exchange.drain();
                    return outcome;
                }
                Ok(None) => "its stream ended without an answer".to_owned(),
                Err(Fault::Lost(why)) => why,
                Err(fault) => return Err(fault),
            };
            let last_id = stream.reader.last_id().map(str::to_owned).filter(|_| session.revision.era() == Era::Legacy);
            in_vain = if last_id == before { in_vain + 1 } else { 0 };
            let Some(last_id) = last_id.filter(|_| in_vain <= MOST_RESUMPTIONS) else { return Err(Fault::Lost(lost)) };
            sleep(stream.reader.retry().unwrap_or(RESUMPTION_WAIT).min(LONGEST_RESUMPTION_WAIT)).await;
            match self.get(session, Some(&last_id), flight.credential()).await {
                Ok(Ok(exchange)) => stream = stream.resumed(exchange),
                Ok(Err(_)) => return Err(Fault::Lost(lost)),
                Err(_) if in_vain < MOST_RESUMPTIONS => in_vain += 1,
                Err(fault) => return Err(Fault::Lost(fault.of(self.shared.server()).public.into_owned())),
            }
        }
    }

    /// Opens the stream of what the server says unasked, or goes on with a broken one. The inner error is the server's refusal.
    pub(super) async fn get(
        &self,
        session: &Session,
        last_id: Option<&str>,
        caller: Option<&Arc<CallerToken>>,
    ) -> Result<Result<Exchange, StatusCode>, Fault> {
        let mut headers = session.headers.clone();
        headers.remove(http::header::CONTENT_TYPE);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(LAST_EVENT_ID, id);
        }
        let exchange = self.client.send(bare(http::Method::GET, self.path.clone(), headers), caller).await?;
        let status = exchange.status();
        let open = status.is_success() && exchange.is("text/event-stream");
        Ok(if open { Ok(exchange) } else { Err(status) })
    }

    /// Reads events until the answer to `flight` comes; `None` where the stream ends before.
    pub(super) async fn read_events(
        self: &Arc<Self>,
        stream: &mut EventStream,
        flight: Option<&Arc<Flight>>,
    ) -> Result<Option<Outcome>, Fault> {
        while let Some(event) = stream.next().await? {
            if event.kind.is_some() || event.data.is_empty() {
                continue; // of a kind that nobody knows, or there for its id alone
            }
            if let Some(outcome) = self.take(&event.data, flight) {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Takes one text from the server: gives the answer to `flight` if it is in it, and passes on everything else.
    fn take(self: &Arc<Self>, text: &Bytes, flight: Option<&Arc<Flight>>) -> Option<Outcome> {
        let mut answer = None;
        message::read(text, |received| match (received, flight) {
            (Received::Message(Message::Result { id, result }), Some(flight)) if id.as_u64() == Some(flight.id) => {
                answer = Some(Ok(result));
            }
            // Some servers leave the id out of an error, or put another one in: this is the request's own stream.
            (Received::Message(Message::Error { error, .. }), Some(_)) => answer = Some(Err(Fault::Error(error))),
            (Received::Message(other), _) => self.shared.take_unasked(other, flight, &(Arc::clone(self) as Arc<dyn Back>)),
            (Received::Malformed { what, .. }, Some(_)) => answer = Some(Err(Fault::Malformed(what))),
            (Received::Malformed { what, .. }, None) => tracing::warn!(server = self.shared.server(), what, "malformed message"),
            (Received::Babble, _) => self.shared.note_babble(text),
        });
        answer
    }
}

async fn refusal(exchange: Exchange, session: &Session, id: u64) -> Miss {
    let status = exchange.status().as_u16();
    let body = exchange.collect(REFUSAL_BYTES).await.unwrap_or_default(); // too long to be an error object
    let error = match message::read_answer(&body) {
        Some(Message::Error { id: named, error }) => Some((named.and_then(|named| named.as_u64()) == Some(id), error)),
        _ => None,
    };
    judge_refusal(status, error, session.revision.era(), session.id.is_some())
}

/// What a refusal means. `error` is the error object in its body, if there was one, and whether it names our request: on a refusal
/// real servers leave the id out, or put one of their own in (2026-07-28, error codes; 2025-11-25, session management).
fn judge_refusal(status: u16, error: Option<(bool, ErrorObject)>, era: Era, has_session: bool) -> Miss {
    match (status, error) {
        (401 | 403, _) => Miss::Fault(Fault::Unauthorized(status)),
        (404, Some((true, error))) if error.code == ErrorObject::METHOD_NOT_FOUND => Miss::Fault(Fault::Error(error)),
        (404, _) if has_session => Miss::Session(Fault::NotSent("it does not know the session any more".to_owned())),
        (_, Some((_, error))) if error.code == ErrorObject::HEADER_MISMATCH && era == Era::Modern => Miss::Headers(Fault::Error(error)),
        (_, Some((_, error))) if era::is_modern(&error) && era == Era::Legacy => Miss::Session(Fault::Error(error)),
        (400..=499, Some((false, error))) => Miss::Session(Fault::Error(error)),
        (_, Some((_, error))) => Miss::Fault(Fault::Error(error)),
        (429 | 503, None) => Miss::Fault(Fault::Busy(status)),
        (502 | 504, None) => Miss::Fault(Fault::Lost(format!("HTTP {status}"))),
        (300..=399, None) => {
            let why = format!("it sends elsewhere (HTTP {status}), and redirects are not followed; name the URL that is meant");
            Miss::Fault(Fault::Refused(FailureKind::Unreachable, why))
        }
        (400 | 404 | 405, None) => Miss::Session(not_a_message(status)),
        (_, None) => Miss::Fault(not_a_message(status)),
    }
}

fn not_a_message(status: u16) -> Fault {
    Fault::Malformed(format!("HTTP {status} with a body that is no message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, error: Option<(bool, i64)>, era: Era, has_session: bool) -> Miss {
        judge_refusal(status, error.map(|(ours, code)| (ours, ErrorObject::new(code, ""))), era, has_session)
    }

    #[test]
    fn a_lost_session_is_recognised_in_what_real_servers_say() {
        // The revisions' own way; server-everything, with another id or none; a server that was replaced by a modern one.
        for (status, error) in [(404, None), (404, Some((false, -32001))), (400, Some((false, -32000))), (400, Some((true, -32022)))] {
            assert!(matches!(judged(status, error, Era::Legacy, true), Miss::Session(_)), "{status} {error:?}");
        }
    }

    #[test]
    fn an_error_about_the_request_itself_is_the_servers_answer() {
        for (status, code) in [(400, -32602), (404, -32601), (400, -32021), (500, -32603)] {
            let miss = judged(status, Some((true, code)), Era::Modern, false);
            assert!(matches!(&miss, Miss::Fault(Fault::Error(error)) if error.code == code), "{status} {code}: {miss:?}");
        }
        assert!(matches!(judged(404, Some((true, -32601)), Era::Legacy, true), Miss::Fault(Fault::Error(_))));
        assert!(matches!(judged(400, Some((true, -32020)), Era::Modern, false), Miss::Headers(_)));
    }

    #[test]
    fn what_is_no_message_is_judged_by_the_status() {
        let fault = |status| judged(status, None, Era::Modern, false).into_fault();
        assert!(matches!(fault(401), Fault::Unauthorized(401)));
        assert!(matches!(fault(503), Fault::Busy(503)));
        assert!(matches!(fault(502), Fault::Lost(_)));
        assert!(matches!(fault(302), Fault::Refused(FailureKind::Unreachable, _)));
        assert!(matches!(fault(500), Fault::Malformed(_)));
    }
}
