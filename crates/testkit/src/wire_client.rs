//! A small MCP client of any revision over any transport, for tests.
//!
//! It shares no code with the gateway's own transports, reads results as they stand on the wire, and does what its revision
//! has a word for in the way of that revision: up to 2025-11-25 a handshake, sessions and questions from the server; from
//! 2026-07-28 on an envelope in every request and `input_required`.

mod batch;
mod capability;
mod channel;
mod envelope;
mod events;
mod fault;
mod flight;
mod headers;
mod heard;
mod http;
mod http_sse;
mod inbox;
mod list;
mod logging;
mod person;
mod stdio;
mod streamable_http;
mod subscription;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sallyport_protocol::{Era, Revision};
use serde_json::{Value, json};

pub use capability::capabilities_of;
pub use channel::Way;
pub use fault::{Answer, Fault};
pub use flight::Flight;
pub use heard::{Heard, Stream};
pub use person::Person;
pub use subscription::Subscription;

use channel::Channel;
use envelope::Envelope;
use inbox::Inbox;

/// How long the client waits for an answer or a notification: a slow start of a server on a busy machine is the longest.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a server.
#[derive(Debug)]
pub struct WireClient {
    envelope: Envelope,
    opening: Value,
    channel: Channel,
    inbox: Arc<Inbox>,
    next_id: AtomicU64,
}

impl WireClient {
    /// Connects as a client of `revision` that declares everything the revision has a word for.
    ///
    /// # Errors
    /// When the server cannot be reached, or answers the handshake with an error or another revision.
    pub async fn connect(way: &Way, revision: Revision, person: Person) -> Result<Self, Fault> {
        Self::connect_with(way, revision, capabilities_of(revision), person).await
    }

    /// Connects as a client that declares `capabilities`.
    ///
    /// # Errors
    /// When the server cannot be reached, or answers the handshake with an error or another revision.
    pub async fn connect_with(way: &Way, revision: Revision, capabilities: Value, person: Person) -> Result<Self, Fault> {
        let inbox = Arc::new(Inbox::new(person));
        let channel = Channel::open(way, revision, &inbox).await?;
        let envelope = Envelope::new(revision, capabilities);
        let mut client = Self { envelope, opening: Value::Null, channel, inbox, next_id: AtomicU64::new(1) };
        let opening = match revision.era() {
            Era::Legacy => client.shake_hands().await,
            Era::Modern => client.request("server/discover", json!({})).await,
        };
        match opening {
            Ok(opening) => client.opening = opening,
            Err(fault) => {
                client.close().await; // a session that was begun would stay until it expires
                return Err(fault);
            }
        }
        Ok(client)
    }

    async fn shake_hands(&self) -> Answer {
        let revision = self.revision();
        let params = json!({
            "protocolVersion": revision.as_str(),
            "capabilities": self.envelope.capabilities(),
            "clientInfo": Envelope::client_info(),
        });
        let opening = self.request("initialize", params).await?;
        if opening["protocolVersion"] != revision.as_str() {
            return Err(Fault::NotSpoken(format!("the server wants {} instead of {revision}", opening["protocolVersion"])));
        }
        self.channel.opened(revision);
        self.notify("notifications/initialized", json!({})).await?;
        Ok(opening)
    }

    /// The revision this client speaks.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.envelope.revision()
    }

    /// The result of `initialize` or `server/discover`.
    #[must_use]
    pub fn opening(&self) -> &Value {
        &self.opening
    }

    /// The session's id, where the server gave one.
    #[must_use]
    pub fn session_id(&self) -> Option<String> {
        self.channel.session_id()
    }

    /// The id of the child, over stdio.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.channel.process()
    }

    /// Sends a request and follows it to its end: where the server asks for input, the person answers and the request is
    /// sent again.
    ///
    /// # Errors
    /// As [`Flight::answer`].
    pub async fn request(&self, method: &str, params: Value) -> Answer {
        let flight = self.begin(method, params.clone()).await?;
        let id = flight.id();
        let answer = flight.answer().await?;
        self.complete(method, params, id, answer).await
    }

    /// `tools/call`, as [`Self::request`].
    ///
    /// # Errors
    /// As [`Flight::answer`].
    pub async fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub async fn notify(&self, method: &str, params: Value) -> Result<(), Fault> {
        self.channel.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params })).await
    }

    /// How much was heard so far: where [`Self::heard`] and [`Self::wait`] may begin.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.inbox.mark()
    }

    /// Everything the server said of its own accord since `mark`.
    #[must_use]
    pub fn heard(&self, mark: usize) -> Vec<Heard> {
        self.inbox.heard(mark)
    }

    /// Waits until the server said something since `mark` that `wanted` accepts.
    ///
    /// # Errors
    /// [`Fault::TimedOut`] after [`PATIENCE`].
    pub async fn wait(&self, mark: usize, wanted: impl Fn(&Heard) -> bool) -> Result<Heard, Fault> {
        tokio::time::timeout(PATIENCE, self.inbox.wait(mark, wanted)).await.map_err(|_elapsed| Fault::TimedOut)
    }

    /// Ends the session, where there is one, and the connection.
    pub async fn close(mut self) {
        self.channel.close().await;
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}
