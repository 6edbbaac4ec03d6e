//! The way messages take: one of the three transports.

use std::sync::Arc;

use sallyport_protocol::Revision;
use serde_json::Value;
use tokio::task::AbortHandle;

use super::fault::Fault;
use super::http_sse::HttpSse;
use super::inbox::Inbox;
use super::stdio::Pipe;
use super::streamable_http::StreamableHttp;

/// Where a server is, and how it is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// A program that is started, and spoken to over its stdin and stdout.
    Stdio {
        /// The program and its arguments.
        command: Vec<String>,
        /// Its whole environment.
        environment: Vec<(String, String)>,
    },
    /// The URL of an event stream, `http://` alone.
    HttpSse(String),
    /// The URL of an endpoint, `http://` alone.
    StreamableHttp(String),
}

#[derive(Debug)]
pub(super) enum Channel {
    Stdio(Pipe),
    HttpSse(HttpSse),
    StreamableHttp(StreamableHttp),
}

impl Channel {
    pub(super) async fn open(way: &Way, revision: Revision, inbox: &Arc<Inbox>) -> Result<Self, Fault> {
        match way {
            Way::Stdio { command, environment } => Pipe::open(command, environment, inbox).map(Self::Stdio),
            Way::HttpSse(url) => HttpSse::open(url, inbox).await.map(Self::HttpSse),
            Way::StreamableHttp(url) => StreamableHttp::new(url, revision, inbox).map(Self::StreamableHttp),
        }
    }

    /// The handshake is over.
    pub(super) fn opened(&self, revision: Revision) {
        if let Self::StreamableHttp(http) = self {
            http.opened(revision);
        }
    }

    /// Sends a notification, or an answer.
    pub(super) async fn send(&self, message: &Value) -> Result<(), Fault> {
        match self {
            Self::Stdio(pipe) => pipe.send(message).await,
            Self::HttpSse(sse) => sse.send(message).await,
            Self::StreamableHttp(http) => http.send(message).await,
        }
    }

    /// Sends a request, or a batch with the requests of these ids; the answers come to the inbox. Where an answer has a stream
    /// of its own, that can be closed.
    pub(super) async fn request(&self, ids: Vec<u64>, message: Value) -> Result<Option<AbortHandle>, Fault> {
        match self {
            Self::StreamableHttp(http) => Ok(Some(http.request(ids, message))),
            other => other.send(&message).await.map(|()| None),
        }
    }

    /// Opens the stream for what belongs to no request, where that is another one.
    pub(super) async fn stand(&self) -> Result<(), Fault> {
        match self {
            Self::StreamableHttp(http) => http.stand().await,
            _ => Ok(()),
        }
    }

    pub(super) fn learn(&self, tools: &[Value]) {
        if let Self::StreamableHttp(http) = self {
            http.learn(tools);
        }
    }

    pub(super) fn session_id(&self) -> Option<String> {
        match self {
            Self::StreamableHttp(http) => http.session_id(),
            _ => None,
        }
    }

    pub(super) fn process(&self) -> Option<u32> {
        match self {
            Self::Stdio(pipe) => pipe.process(),
            _ => None,
        }
    }

    /// Ends the session and the connection.
    pub(super) async fn close(&mut self) {
        match self {
            Self::Stdio(pipe) => pipe.close().await,
            Self::StreamableHttp(http) => http.close().await,
            // The stream is the session, and ends when it is dropped.
            Self::HttpSse(_) => {}
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // The tasks of HTTP hold the session themselves, so it does not end on its own.
        if let Self::StreamableHttp(http) = self {
            http.abandon();
        }
    }
}
