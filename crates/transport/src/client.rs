//! The gateway's side of an upstream: one open, negotiated connection, whatever transport and revision it turned out to be.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
pub use rustls_pki_types::CertificateDer;
use sallyport_protocol::{
    BoxFuture, Context, Discovery, Era, Failure, Listeners, McpServer, Method, RawObject, Reply, Request, Revision, ServerIdentity,
};
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

mod capability;
mod channel;
mod credentials;
mod era;
mod events;
pub(crate) mod fault;
mod flight;
pub(crate) mod http1;
mod http_sse;
mod local;
mod message;
mod news;
mod outgoing;
pub mod post;
mod question;
mod request;
mod shared;
mod stdio;
mod streamable_http;
mod subscribed;
mod tls;
pub(crate) mod tool_headers;

use channel::Channel;
pub use credentials::{Credentials, Refusal};
use shared::{Shared, TaskGuard};
use streamable_http::StreamableHttp;

/// TLS that trusts what the system trusts, for what the gateway asks other servers for besides MCP.
///
/// # Errors
/// Where no TLS can be had.
pub fn system_tls() -> Result<Arc<rustls::ClientConfig>, String> {
    tls::config(&[])
}

/// How long a server may take for each answer while a connection is opened. Python servers start in 3 to 4.5 s.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a TCP connection and its TLS handshake may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a line from a child at most: a screenshot or a small document fits.
pub const LINE_LIMIT: usize = 16 * 1024 * 1024;
/// Bytes of an HTTP body or of one event at most.
pub const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// How a connection is opened and what it may carry.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's name, for failures and logs.
    pub server: String,
    /// What the server was found to speak last time: that way is tried first, the other one where it fails.
    pub known: Option<Revision>,
    /// How long the server may take for each answer while the connection is opened.
    pub probe_timeout: Duration,
    /// How long a TCP connection and its TLS handshake may take.
    pub connect_timeout: Duration,
    /// Bytes of a line at most (stdio).
    pub line_limit: usize,
    /// Bytes of a body or of one event at most (HTTP).
    pub body_limit: usize,
    /// Who we say we are: `clientInfo`.
    pub identity: ServerIdentity,
    /// What is declared at `initialize` (legacy servers; towards modern ones each request declares what its client can).
    pub capabilities: RawObject,
    /// The server may ask clients something while it works on their requests: elicitation, sampling, roots.
    pub questions: bool,
}

impl Options {
    /// The defaults, for the server of that name.
    #[must_use]
    pub fn new(server: impl Into<String>, identity: ServerIdentity) -> Self {
        Self {
            server: server.into(),
            known: None,
            probe_timeout: PROBE_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            line_limit: LINE_LIMIT,
            body_limit: BODY_LIMIT,
            identity,
            capabilities: RawObject::new(),
            questions: true,
        }
    }
}

/// A server that is reached by URL.
#[derive(Clone)]
pub struct Target {
    /// Where it is: `http` or `https`.
    pub url: Url,
    /// Which transport it has.
    pub kind: Kind,
    /// What goes with every request: credentials, mostly. Marked sensitive when sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Certificates to trust besides those that the system trusts: what they issued, under the name it was issued for, and the
    /// server that shows one of them itself, under any name.
    pub trust: Vec<CertificateDer<'static>>,
    /// The credential, where it is another one from time to time: it takes the place of an `Authorization` in `headers`.
    pub credentials: Option<Arc<dyn Credentials>>,
}

impl Target {
    /// A server at `url`, its transport unknown.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self { url, kind: Kind::Auto, headers: Vec::new(), trust: Vec::new(), credentials: None }
    }
}

impl fmt::Debug for Target {
    /// Neither the URL nor the headers' values: both may hold secrets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Target").field("host", &self.url.host_str()).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The transport of a server that is reached by URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Streamable HTTP, or HTTP+SSE where that is refused.
    #[default]
    Auto,
    /// Streamable HTTP in either era.
    StreamableHttp,
    /// HTTP+SSE (2024-11-05).
    Sse,
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// For people: "its output ended".
    pub why: String,
}

/// An open connection to one upstream, its revision agreed on. It ends when it is dropped.
pub struct Connection {
    shared: Arc<Shared>,
    link: Link,
    /// Stopped with the connection.
    _tasks: TaskGuard,
}

/// What carries the messages.
enum Link {
    /// One stream each way for all messages: stdio, HTTP+SSE.
    Channel(Arc<Channel>),
    /// A request of HTTP for each message.
    Http(Arc<StreamableHttp>),
}

impl Connection {
    /// Opens a connection over a child's stdout (`read`) and stdin (`write`).
    ///
    /// # Errors
    /// - [`UnsupportedVersion`](sallyport_protocol::FailureKind::UnsupportedVersion) from the upstream, with `Retry::Safe`, where the
    ///   child ended when it was probed: start it again with [`Options::known`] = [`Revision::LATEST_LEGACY`];
    /// - `Unreachable` where it ended otherwise, `TimedOut` where it does not answer, `Malformed` where it answers nonsense.
    pub async fn over_stdio(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        options: Options,
    ) -> Result<Arc<Self>, Failure> {
        stdio::open(read, write, options).await.map(Self::of_channel)
    }

    /// Opens a connection to a URL.
    ///
    /// # Errors
    /// `Unreachable`, with `Retry::Safe` where another try may help and `Retry::Never` where the server wants a credential or the URL
    /// is wrong; `TimedOut`; `Malformed`; `Upstream` where the server refuses the handshake.
    pub async fn to_url(target: Target, options: Options) -> Result<Arc<Self>, Failure> {
        if target.kind == Kind::Sse {
            return http_sse::open(&target, options).await.map(Self::of_channel);
        }
        match streamable_http::open(&target, options.clone()).await? {
            streamable_http::Opened::Done { http, tasks } => {
                Ok(Arc::new(Self { shared: Arc::clone(http.shared()), link: Link::Http(http), _tasks: tasks }))
            }
            streamable_http::Opened::Refused(failure) if target.kind == Kind::StreamableHttp => Err(failure),
            // What the older transport says of itself tells less than why the newer one was refused.
            streamable_http::Opened::Refused(failure) => http_sse::open(&target, options).await.map(Self::of_channel).map_err(|_| failure),
        }
    }

    async fn pass_on(&self, request: Request, context: Context) -> Result<Reply, Failure> {
        match &self.link {
            Link::Channel(channel) => channel.handle(request, context).await,
            Link::Http(http) => http.handle(request, context).await,
        }
    }

    /// Ends a subscription. To a legacy server all callers are one session: it hears of the end only with the last of them, and by whatever token
    /// is good now, since that of who subscribed may be no longer.
    async fn unsubscribe(&self, request: Request, context: Context) -> Result<Reply, Failure> {
        let is_shared = self.shared.subscribed.forget(&request, context.credential.as_ref());
        match self.discovery().revision.era() {
            Era::Legacy if is_shared => Ok(Reply { result: RawObject::new(), revision: self.discovery().revision }),
            Era::Legacy => self.pass_on(request, Context { credential: None, ..context }).await,
            Era::Modern => self.pass_on(request, context).await,
        }
    }

    fn of_channel((channel, tasks): (Arc<Channel>, TaskGuard)) -> Arc<Self> {
        Arc::new(Self { shared: Arc::clone(channel.shared()), link: Link::Channel(channel), _tasks: tasks })
    }

    /// Waits until the connection is over: the child's stdout ended, the stream of HTTP+SSE broke, or [`close`](Self::close) was called.
    /// Streamable HTTP has no state that could be lost for good: it is over only when closed.
    pub fn closed(&self) -> impl Future<Output = Closed> + Send + use<> {
        self.shared.closed()
    }

    /// Closes the connection: the child's stdin, the session, the stream. Calls in flight fail.
    pub async fn close(&self) {
        match &self.link {
            Link::Channel(channel) => channel.close(),
            Link::Http(http) => http.close().await,
        }
    }
}

impl McpServer for Connection {
    fn discovery(&self) -> Arc<Discovery> {
        self.shared.discovery()
    }

    fn handle<'a>(&'a self, request: Request, context: Context) -> BoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(async move {
            match request.method {
                Method::ResourcesSubscribe => {
                    let (noted, caller) = (request.clone(), context.credential.clone());
                    let reply = self.pass_on(request, context).await?;
                    self.shared.subscribed.note(&noted, caller);
                    Ok(reply)
                }
                Method::ResourcesUnsubscribe => self.unsubscribe(request, context).await,
                _ => self.pass_on(request, context).await,
            }
        })
    }

    fn listeners(&self) -> &Listeners {
        self.shared.listeners()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match &self.link {
            Link::Channel(_) => "channel",
            Link::Http(_) => "streamable http",
        };
        let revision = self.shared.discovery().revision;
        out.debug_struct("Connection").field("transport", &transport).field("revision", &revision).finish_non_exhaustive()
    }
}
