//! Streamable HTTP: a POST a message, whose answer is JSON or a stream of events; until 2025-11-25 with a session and a GET
//! for whatever belongs to no request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::Method;
use sallyport_protocol::{Era, Revision};
use serde_json::Value;
use tokio::task::AbortHandle;

use super::events::Events;
use super::fault::Fault;
use super::headers::{Schemas, mirrored};
use super::heard::Stream;
use super::http::{Place, Reply};
use super::inbox::Inbox;

/// How long the client waits before it takes up a broken stream, where the server names no time.
const RETRY: Duration = Duration::from_millis(200);

/// An endpoint and what the client has to say with every request to it.
#[derive(Debug, Clone)]
pub(super) struct StreamableHttp(Arc<Session>);

#[derive(Debug)]
struct Session {
    place: Place,
    inbox: Arc<Inbox>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    revision: Revision,
    /// Whether the handshake is over; before that, no revision is agreed upon.
    is_open: bool,
    id: Option<String>,
    schemas: Schemas,
    standing: Option<AbortHandle>,
    /// The requests whose answers may still be coming.
    requests: Vec<AbortHandle>,
}

impl StreamableHttp {
    pub(super) fn new(url: &str, revision: Revision, inbox: &Arc<Inbox>) -> Result<Self, Fault> {
        let state = State { revision, is_open: false, id: None, schemas: Schemas::new(), standing: None, requests: Vec::new() };
        let session = Session { place: Place::parse(url)?, inbox: Arc::clone(inbox), state: Mutex::new(state) };
        Ok(Self(Arc::new(session)))
    }

    /// The handshake is over, and this revision agreed upon.
    pub(super) fn opened(&self, revision: Revision) {
        let mut state = self.state();
        state.is_open = true;
        state.revision = revision;
    }

    /// The session's id, where the server gave one.
    pub(super) fn session_id(&self) -> Option<String> {
        self.state().id.clone()
    }

    /// Remembers the tools' schemas: from 2026-07-28 on some arguments are to be repeated in headers.
    pub(super) fn learn(&self, tools: &[Value]) {
        let schemas = tools.iter().map(|tool| (tool["name"].as_str().unwrap_or_default().to_owned(), tool["inputSchema"].clone()));
        self.state().schemas.extend(schemas);
    }

    /// Sends what has no answer of its own.
    pub(super) async fn send(&self, message: &Value) -> Result<(), Fault> {
        let reply = self.0.place.exchange(Method::POST, &self.headers(Some(message)), message.to_string()).await?;
        match reply.status() {
            200..=299 => Ok(()),
            status => Err(Fault::Http { status, body: reply.text().await }),
        }
    }

    /// Sends a request, or a batch with the requests of these ids. Aborting the task closes the stream of the answer.
    pub(super) fn request(&self, ids: Vec<u64>, message: Value) -> AbortHandle {
        let own = self.clone();
        let task = tokio::spawn(async move {
            let ended = own.post(ids.first().copied().unwrap_or_default(), &message).await;
            let fault = ended.err().unwrap_or_else(|| Fault::Closed("the answer ended without the response".to_owned()));
            ids.into_iter().for_each(|id| own.0.inbox.settle(id, Err(fault.clone())));
        });
        let handle = task.abort_handle();
        let mut state = self.state();
        state.requests.retain(|request| !request.is_finished());
        state.requests.push(handle.clone());
        handle
    }

    async fn post(&self, id: u64, message: &Value) -> Result<(), Fault> {
        let reply = self.0.place.exchange(Method::POST, &self.headers(Some(message)), message.to_string()).await?;
        if let Some(session) = reply.header("mcp-session-id") {
            self.state().id = Some(session.to_owned());
        }
        let status = reply.status();
        if reply.is_stream() {
            return self.follow(reply, Stream::Request(id)).await;
        }
        let body = reply.text().await;
        let Ok(mut message) = serde_json::from_str::<Value>(&body) else {
            return Err(Fault::Http { status, body });
        };
        // An error about the body as a whole may come without the id, or with another.
        if let Some(error) = message.get("error").filter(|_| message["id"].as_u64() != Some(id)) {
            return Err(Fault::of_error(error, Some(status)));
        }
        if status >= 400 && message.get("error").is_none() {
            return Err(Fault::Http { status, body });
        }
        self.take(message.take(), Stream::Request(id), Some(status)).await;
        Ok(())
    }

    /// Reads a stream to its end, and takes it up again where it broke off, as long as the revision knows how.
    async fn follow(&self, reply: Reply, stream: Stream) -> Result<(), Fault> {
        let mut events = Events::of(reply);
        loop {
            let mut answered = false;
            while let Some(event) = events.next().await {
                let Ok(message) = serde_json::from_str::<Value>(&event.data) else { continue };
                answered |= message.get("method").is_none();
                self.take(message, stream, None).await;
            }
            let Some(last) = events.last_id.clone().filter(|_| !answered && self.can_resume()) else { return Ok(()) };
            tokio::time::sleep(events.retry.unwrap_or(RETRY)).await;
            let mut headers = self.headers(None);
            headers.push(("Last-Event-ID".to_owned(), last));
            let reply = self.0.place.exchange(Method::GET, &headers, String::new()).await?;
            if !reply.is_stream() {
                return Err(Fault::Http { status: reply.status(), body: reply.text().await });
            }
            events = events.taken_up(reply);
        }
    }

    async fn take(&self, message: Value, stream: Stream, status: Option<u16>) {
        for answer in self.0.inbox.take(message, stream, status) {
            // What the server makes of a missing answer is its own affair.
            let _not_taken = self.send(&answer).await;
        }
    }

    /// Opens the standing stream, unless it is open. The server may refuse with 405: then nothing comes that way.
    pub(super) async fn stand(&self) -> Result<(), Fault> {
        if self.state().standing.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let reply = self.0.place.exchange(Method::GET, &self.headers(None), String::new()).await?;
        if !reply.is_stream() {
            return Err(Fault::Http { status: reply.status(), body: reply.text().await });
        }
        let own = self.clone();
        let task = tokio::spawn(async move {
            let _broken_is_over = own.follow(reply, Stream::Standing).await;
        });
        self.state().standing = Some(task.abort_handle());
        Ok(())
    }

    /// Ends the session, where there is one.
    pub(super) async fn close(&self) {
        self.abandon();
        if self.session_id().is_some() {
            // The server may answer 405: then it ends sessions as it sees fit.
            let _refused = self.0.place.exchange(Method::DELETE, &self.headers(None), String::new()).await;
        }
    }

    /// Closes every stream, whose task would keep the session otherwise.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        let requests = std::mem::take(&mut state.requests);
        requests.into_iter().chain(state.standing.take()).for_each(|stream| stream.abort());
    }

    fn headers(&self, message: Option<&Value>) -> Vec<(String, String)> {
        let state = self.state();
        let accept = if message.is_some() { "application/json, text/event-stream" } else { "text/event-stream" };
        let mut headers = vec![("Accept".to_owned(), accept.to_owned())];
        if message.is_some() {
            headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        }
        let modern = state.revision.era() == Era::Modern;
        if modern || (state.is_open && state.revision >= Revision::V2025_06_18) {
            headers.push(("MCP-Protocol-Version".to_owned(), state.revision.as_str().to_owned()));
        }
        if modern {
            headers.extend(message.into_iter().flat_map(|message| mirrored(message, &state.schemas)));
        } else {
            headers.extend(state.id.iter().map(|id| ("Mcp-Session-Id".to_owned(), id.clone())));
        }
        headers
    }

    fn can_resume(&self) -> bool {
        self.state().revision.era() == Era::Legacy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
