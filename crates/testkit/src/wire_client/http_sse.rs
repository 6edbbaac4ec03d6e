//! HTTP+SSE of 2024-11-05: one event stream from the server, and a place to post to.

use std::sync::Arc;

use hyper::Method;
use serde_json::Value;
use tokio::task::AbortHandle;

use super::events::Events;
use super::fault::Fault;
use super::heard::Stream;
use super::http::Place;
use super::inbox::Inbox;

/// The stream, which is the session: it ends when this is dropped.
#[derive(Debug)]
pub(super) struct HttpSse {
    messages: Place,
    stream: AbortHandle,
}

impl HttpSse {
    /// Opens the stream and waits for the `endpoint` event.
    pub(super) async fn open(url: &str, inbox: &Arc<Inbox>) -> Result<Self, Fault> {
        let place = Place::parse(url)?;
        let accept = [("Accept".to_owned(), "text/event-stream".to_owned())];
        let reply = place.exchange(Method::GET, &accept, String::new()).await?;
        if !reply.is_stream() {
            return Err(Fault::Http { status: reply.status(), body: reply.text().await });
        }
        let mut events = Events::of(reply);
        let first = events.next().await.ok_or_else(|| Fault::Closed("no endpoint event".to_owned()))?;
        if first.name != "endpoint" {
            return Err(Fault::NotSpoken(format!("the first event is {first:?}")));
        }
        let messages = place.join(&first.data)?;
        let stream = tokio::spawn(read(events, messages.clone(), Arc::clone(inbox))).abort_handle();
        Ok(Self { messages, stream })
    }

    pub(super) async fn send(&self, message: &Value) -> Result<(), Fault> {
        post(&self.messages, message).await
    }
}

impl Drop for HttpSse {
    fn drop(&mut self) {
        self.stream.abort();
    }
}

async fn post(messages: &Place, message: &Value) -> Result<(), Fault> {
    let kind = [("Content-Type".to_owned(), "application/json".to_owned())];
    let reply = messages.exchange(Method::POST, &kind, message.to_string()).await?;
    match reply.status() {
        200..=299 => Ok(()),
        status => Err(Fault::Http { status, body: reply.text().await }),
    }
}

async fn read(mut events: Events, messages: Place, inbox: Arc<Inbox>) {
    while let Some(event) = events.next().await {
        let Ok(message) = serde_json::from_str(&event.data) else { continue };
        for answer in inbox.take(message, Stream::Only, None) {
            if post(&messages, &answer).await.is_err() {
                break;
            }
        }
    }
    inbox.close("the server ended the event stream");
}
