//! Batches of messages (2025-03-26), and what both they and single calls are: work whose answer is awaited.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use sallyport_protocol::jsonrpc::NotAMessage;
use sallyport_protocol::{Era, ErrorObject, Failure, FailureKind, Incoming, Message, Method, Revision};

use super::answered::Answered;
use super::asker::Outlet;
use super::call::Call;
use super::door::Door;
use super::legacy;
use super::parts::Parts;
use crate::session::Session;

/// Messages of one batch at most: each request of it runs at the same time.
const MOST_MESSAGES: usize = 64;

/// Work whose answer is awaited.
pub(crate) enum Work {
    /// One request.
    Call(Box<Call>),
    /// All requests of a batch.
    Batch(Batch),
}

impl Future for Work {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        match self.get_mut() {
            Self::Call(call) => Pin::new(call.as_mut()).poll(cx),
            Self::Batch(batch) => batch.poll(cx),
        }
    }
}

/// The requests of a batch, some of them answered.
pub(crate) struct Batch(Vec<Item>);

enum Item {
    Runs(Box<Call>),
    Answered(Answered),
}

impl Batch {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answered> {
        let mut running = false;
        for item in &mut self.0 {
            if let Item::Runs(call) = item {
                match Pin::new(call.as_mut()).poll(cx) {
                    Poll::Ready(answered) => *item = Item::Answered(answered),
                    Poll::Pending => running = true,
                }
            }
        }
        if running { Poll::Pending } else { Poll::Ready(self.answered()) }
    }

    /// One array of all answers. What was cancelled is left out, unless everything was.
    fn answered(&mut self) -> Answered {
        let items = std::mem::take(&mut self.0);
        let cancelled = items.iter().all(|item| matches!(item, Item::Answered(answered) if answered.cancelled));
        let mut text = Vec::new();
        for item in items {
            if let Item::Answered(answered) = item
                && (cancelled || !answered.cancelled)
            {
                text.push(if text.is_empty() { b'[' } else { b',' });
                text.extend_from_slice(&answered.message.into_bytes());
            }
        }
        text.push(b']');
        Answered { cancelled, ..Answered::new(StatusCode::OK, Parts::from(text)) }
    }
}

/// Whether a text is a batch, if it is JSON at all.
pub(crate) fn is_batch(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'[')
}

/// The messages of a batch that came in a session.
///
/// # Errors
/// Where the session's revision has no batches, or this one is none.
pub(crate) fn read(session: &Session, text: &Bytes) -> Result<Vec<Result<Message, NotAMessage>>, NotAMessage> {
    if session.revision() != Some(Revision::V2025_03_26) {
        return Err(refused("only revision 2025-03-26 has batches"));
    }
    Message::parse_batch(text, MOST_MESSAGES)
}

/// Begins all requests of a batch and takes its other messages; `None` where nothing in it wants an answer.
pub(crate) fn begin(
    door: &Arc<Door>,
    session: &Arc<Session>,
    incoming: &Incoming,
    messages: Vec<Result<Message, NotAMessage>>,
    outlet: &Outlet,
) -> Option<Batch> {
    let mut items = Vec::with_capacity(messages.len());
    for message in messages {
        match message {
            Ok(Message::Request { id, method, .. }) if method == Method::Initialize.as_str() => {
                let failure = not_a_message(refused("`initialize` may not be in a batch").error);
                items.push(Item::Answered(door.refuse(&failure, Some(Method::Initialize), Era::Legacy, Some(&id))));
            }
            Ok(Message::Request { id, method, params }) => {
                items.push(match legacy::begin(door, session, incoming, legacy::Asked { id, method, params }, outlet.clone()) {
                    legacy::Begun::Answered(answered) => Item::Answered(answered),
                    legacy::Begun::Call(call) => Item::Runs(call),
                });
            }
            Ok(other) => legacy::take(session, other),
            Err(bad) => items.push(Item::Answered(door.refuse(&not_a_message(bad.error), None, Era::Legacy, bad.id.as_ref()))),
        }
    }
    (!items.is_empty()).then_some(Batch(items))
}

fn not_a_message(error: ErrorObject) -> Failure {
    Failure::client(FailureKind::NotAMessage(error), "a message of the batch is no JSON-RPC message")
}

/// A batch, or a message of one, that may not be.
pub(crate) fn refused(why: &str) -> NotAMessage {
    NotAMessage { id: None, error: ErrorObject::new(ErrorObject::INVALID_REQUEST, why) }
}
