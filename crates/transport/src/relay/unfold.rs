//! Turns what a gateway answers over HTTP into the messages that are in it.

use bytes::Bytes;
use sallyport_protocol::{ErrorObject, Message, RawObject, RequestId};

use crate::client::fault::Fault;
use crate::client::http1::Exchange;
use crate::frame::{Line, LineWriter};
use crate::server::parts::Parts;
use crate::sse::SseReader;

/// Bytes of one message at most: what the gateway may pass on from a server over HTTP.
const MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// What became of a response.
pub(super) enum Unfolded {
    /// All of it was passed on.
    Whole,
    /// The request's answer was not in it: what to say instead.
    Failed(ErrorObject),
}

/// Passes on all messages of a response. Without `id` no answer is expected in it.
pub(super) async fn pass_on(mut exchange: Exchange, id: Option<&RequestId>, lines: &LineWriter) -> Unfolded {
    if !exchange.is("text/event-stream") {
        return match (single(exchange).await, id) {
            (Ok(answer), Some(id)) => {
                super::say(lines, &answer.with_id(id)).await;
                Unfolded::Whole
            }
            (Ok(_), None) => Unfolded::Whole,
            (Err(fault), _) => Unfolded::Failed(super::link::told(&fault)),
        };
    }
    let mut reader = SseReader::new(MESSAGE_BYTES);
    let mut answered = id.is_none();
    while let Ok(Some(chunk)) = exchange.chunk().await {
        reader.push(chunk);
        while let Ok(Some(event)) = reader.next() {
            if event.data.is_empty() {
                continue;
            }
            answered = answered || id.is_some_and(|id| answers(&event.data, id));
            if lines.send(Line::new(event.data)).await.is_err() {
                return Unfolded::Whole; // nobody reads any more
            }
        }
    }
    if answered {
        return Unfolded::Whole;
    }
    Unfolded::Failed(super::link::told(&Fault::Lost("its stream ended without an answer".to_owned())))
}

/// Passes on a response as it is: all messages of a stream, or what else is in it.
pub(super) async fn pass_on_whole(exchange: Exchange, lines: &LineWriter) -> Result<(), Fault> {
    if exchange.is("text/event-stream") {
        pass_on(exchange, None, lines).await;
        return Ok(());
    }
    let body = exchange.collect(MESSAGE_BYTES).await?;
    if !body.is_empty() && lines.send(Parts::from(body).into_line()).await.is_err() {
        tracing::debug!("the client reads no more");
    }
    Ok(())
}

fn answers(data: &Bytes, id: &RequestId) -> bool {
    match Message::parse(data) {
        Ok(Message::Result { id: other, .. }) => other == *id,
        Ok(Message::Error { id: other, .. }) => other.is_none_or(|other| other == *id),
        _ => false,
    }
}

/// A response that is one answer.
pub(super) enum Single {
    /// A result.
    Result(RawObject),
    /// An error, the gateway's or one that says what it answered instead.
    Error(ErrorObject),
}

impl Single {
    pub(super) fn result(&self) -> Option<&RawObject> {
        match self {
            Self::Result(result) => Some(result),
            Self::Error(_) => None,
        }
    }

    pub(super) fn code(&self) -> Option<i64> {
        match self {
            Self::Result(_) => None,
            Self::Error(error) => Some(error.code),
        }
    }

    /// The answer under the id of the request: errors of HTTP come without one.
    pub(super) fn with_id(self, id: &RequestId) -> Message {
        match self {
            Self::Result(result) => Message::Result { id: id.clone(), result },
            Self::Error(error) => Message::Error { id: Some(id.clone()), error },
        }
    }
}

/// Reads a response that is one answer; from a stream the last message.
pub(super) async fn single(mut exchange: Exchange) -> Result<Single, Fault> {
    let status = exchange.status();
    let body = if exchange.is("text/event-stream") {
        let mut reader = SseReader::new(MESSAGE_BYTES);
        let mut last = Bytes::new();
        while let Some(chunk) = exchange.chunk().await? {
            reader.push(chunk);
            while let Some(event) = reader.next().map_err(|_| Fault::TooLarge(MESSAGE_BYTES))? {
                last = event.data;
            }
        }
        last
    } else {
        exchange.collect(MESSAGE_BYTES).await?
    };
    Ok(match Message::parse(&body) {
        Ok(Message::Result { result, .. }) => Single::Result(result),
        Ok(Message::Error { error, .. }) => Single::Error(error),
        _ => Single::Error(ErrorObject::new(ErrorObject::INTERNAL, format!("the gateway answered with HTTP status {}", status.as_u16()))),
    })
}
