//! A small HTTP/1.1 client for one origin: connections are kept, redirects are not followed.
//!
//! A connection is driven by the very task that waits for the answer, so that a request costs no hop between tasks. While nobody
//! uses it, nobody drives it: before it is used again it is looked at, and what the server closed in the meantime is thrown away.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use super::fault::Fault;
use super::tls;

/// How long an unused connection is kept. Node and uvicorn close theirs after 5 s; a connection must not be used just then.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// Unused connections that are kept: as many as calls that a busy gateway has in flight to one server.
const MOST_IDLE: usize = 128;
/// Bytes that are read ahead at most; the head of an answer must fit.
const READ_AHEAD: usize = 256 * 1024;
/// How long the rest of an answered stream is waited for, so that its connection can be used again.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// Bytes of a rest that are worth reading for that.
const DRAIN_BYTES: usize = 16 * 1024;

/// What is sent.
pub(crate) type Body = Full<Bytes>;

/// A client for one origin.
pub(crate) struct HttpClient {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connect_timeout: Duration,
    idle: Mutex<Vec<Idle>>,
    sweeping: AtomicBool,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("HttpClient").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client for the origin of `url`. Connects to nothing yet.
    ///
    /// # Errors
    /// Says why there can be none: another scheme, no host, bad certificates.
    pub(crate) fn new(url: &Url, trust: &[CertificateDer<'static>], connect_timeout: Duration) -> Result<Arc<Self>, String> {
        let host = match url.host().ok_or("the URL has no host")? {
            url::Host::Domain(name) => name.to_owned(),
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_string(),
        };
        let port = url.port_or_known_default().ok_or("the URL has no port")?;
        let tls = match url.scheme() {
            "http" => None,
            "https" => {
                let name = ServerName::try_from(host.clone()).map_err(|_| "the URL's host is no name for TLS")?;
                Some((TlsConnector::from(tls::config(trust)?), name))
            }
            other => return Err(format!("the URL's scheme is `{other}`, not `http` or `https`")),
        };
        Ok(Arc::new(Self { host, port, tls, connect_timeout, idle: Mutex::default(), sweeping: AtomicBool::new(false) }))
    }

    /// Sends a request and waits for the head of its answer. Dropping the future closes the connection.
    ///
    /// # Errors
    /// [`Fault::NotSent`] where the server cannot have seen the request, [`Fault::Lost`] where it may have.
    pub(crate) async fn send(self: &Arc<Self>, mut request: Request<Body>) -> Result<Exchange, Fault> {
        while let Some(wire) = self.checkout().await {
            match wire.exchange(request).await {
                Ok((wire, head, body)) => return Ok(Exchange::new(self, wire, head, body)),
                Err(Unsent::Returned(again)) => request = *again, // closed just then
                Err(Unsent::Lost(why)) => return Err(Fault::Lost(why)),
            }
        }
        match self.connect().await?.exchange(request).await {
            Ok((wire, head, body)) => Ok(Exchange::new(self, wire, head, body)),
            Err(Unsent::Returned(_)) => Err(Fault::NotSent("the connection was closed at once".to_owned())),
            Err(Unsent::Lost(why)) => Err(Fault::Lost(why)),
        }
    }

    async fn connect(&self) -> Result<Wire, Fault> {
        match timeout(self.connect_timeout, self.open()).await {
            Ok(opened) => opened.map_err(Fault::NotSent),
            Err(_) => Err(Fault::NotSent(format!("no connection within {} s", self.connect_timeout.as_secs_f32()))),
        }
    }

    async fn open(&self) -> Result<Wire, String> {
        let plain = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| told(&error))?;
        let _ = plain.set_nodelay(true); // slower without, not wrong
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(plain),
            Some((connector, name)) => {
                Box::new(connector.connect(name.clone(), plain).await.map_err(|error| format!("no TLS connection: {error}"))?)
            }
        };
        let mut builder = Builder::new();
        builder.max_buf_size(READ_AHEAD);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        Ok(Wire { sender, driver: Some(Box::pin(driver)), home: thread::current().id() })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection of this thread that was used last: one of another thread would wake that thread at every byte.
    fn own_idle(&self) -> Option<Idle> {
        let mut idle = self.idle();
        let own = thread::current().id();
        let at = idle.iter().rposition(|idle| idle.wire.home == own)?;
        Some(idle.remove(at))
    }

    /// A connection that can be used at once.
    async fn checkout(&self) -> Option<Wire> {
        loop {
            let Idle { mut wire, since } = self.own_idle()?;
            if since.elapsed() < IDLE_LIMIT && poll_fn(|cx| Poll::Ready(wire.is_usable(cx))).await {
                return Some(wire);
            }
        }
    }

    /// Keeps a connection for the next request.
    fn checkin(self: &Arc<Self>, wire: Wire) {
        {
            let mut idle = self.idle();
            if idle.len() >= MOST_IDLE {
                return;
            }
            idle.push(Idle { wire, since: Instant::now() });
        }
        if !self.sweeping.swap(true, Ordering::AcqRel) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Closes connections that nobody used for too long, as long as there are any.
async fn sweep(client: std::sync::Weak<HttpClient>) {
    loop {
        tokio::time::sleep(IDLE_LIMIT).await;
        let Some(client) = client.upgrade() else { return };
        let mut idle = client.idle();
        idle.retain(|idle| idle.since.elapsed() < IDLE_LIMIT);
        if idle.is_empty() {
            client.sweeping.store(false, Ordering::Release);
            return;
        }
    }
}

/// What a failed connection is called: by its kind, where that says it all.
fn told(error: &std::io::Error) -> String {
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut};
    match error.kind() {
        kind @ (ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable | TimedOut) => kind.to_string(),
        _ => error.to_string(),
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Does a connection's reading and writing when polled.
type Driver = Pin<Box<Connection<TokioIo<Box<dyn Stream>>, Body>>>;

/// One connection.
struct Wire {
    sender: SendRequest<Body>,
    /// `None` once the connection is over.
    driver: Option<Driver>,
    /// The thread it was opened on, whose reactor watches it.
    home: ThreadId,
}

/// A connection that nobody uses.
struct Idle {
    wire: Wire,
    since: Instant,
}

/// Why there is no answer.
enum Unsent {
    /// The request never left; here it is.
    Returned(Box<Request<Body>>),
    /// It may have arrived.
    Lost(String),
}

impl Wire {
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
            self.driver = None;
        }
    }

    fn is_usable(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        self.driver.is_some() && matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())))
    }

    async fn exchange(mut self, request: Request<Body>) -> Result<(Self, response::Parts, Incoming), Unsent> {
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let mut driver = self.driver;
        let answered = poll_fn(|cx| {
            if driver.as_mut().is_some_and(|running| running.as_mut().poll(cx).is_ready()) {
                driver = None;
            }
            answer.as_mut().poll(cx)
        });
        match answered.await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                Ok((Self { sender: self.sender, driver, home: self.home }, head, body))
            }
            Err(mut failed) => match failed.take_message() {
                Some(request) => Err(Unsent::Returned(Box::new(request))),
                None => Err(Unsent::Lost(failed.into_error().to_string())),
            },
        }
    }
}

/// An answer whose head is there, and whose body can be read.
pub(crate) struct Exchange {
    pub(crate) head: response::Parts,
    body: Incoming,
    /// The connection, until the body is read.
    wire: Option<Wire>,
    home: Arc<HttpClient>,
}

impl Exchange {
    fn new(home: &Arc<HttpClient>, wire: Wire, head: response::Parts, body: Incoming) -> Self {
        let mut exchange = Self { head, body, wire: Some(wire), home: Arc::clone(home) };
        exchange.settle();
        exchange
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Whether the body is of this media type.
    pub(crate) fn is(&self, media_type: &str) -> bool {
        let value = self.head.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type))
    }

    /// The header of that name.
    pub(crate) fn header(&self, name: &http::HeaderName) -> Option<&HeaderValue> {
        self.head.headers.get(name)
    }

    /// Every value of a header that is text.
    pub(crate) fn all_of(&self, name: &http::HeaderName) -> Vec<String> {
        self.head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            match poll_fn(|cx| self.poll_frame(cx)).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        self.settle();
                        return Ok(Some(data));
                    }
                    Err(_) => {} // trailers
                },
                Some(Err(error)) => return Err(Fault::Lost(error.to_string())),
                None => {
                    self.release();
                    return Ok(None);
                }
            }
        }
    }

    /// The whole body, of at most `limit` bytes.
    pub(crate) async fn collect(mut self, limit: usize) -> Result<Bytes, Fault> {
        let expected = self.body.size_hint().exact().and_then(|exact| usize::try_from(exact).ok());
        if expected.is_some_and(|expected| expected > limit) {
            return Err(Fault::TooLarge(limit));
        }
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        if first.len() <= limit && expected == Some(first.len()) {
            return Ok(first); // small bodies come in one piece: no copy
        }
        let mut gathered = BytesMut::with_capacity(expected.unwrap_or(first.len() * 2));
        let mut next = Some(first);
        while let Some(chunk) = next {
            if gathered.len() + chunk.len() > limit {
                return Err(Fault::TooLarge(limit));
            }
            gathered.extend_from_slice(&chunk);
            next = self.chunk().await?;
        }
        Ok(gathered.freeze())
    }

    /// Reads a little further in the background, so that the connection can be used again where the answer is about to end.
    pub(crate) fn drain(mut self) {
        if self.wire.is_none() {
            return;
        }
        tokio::spawn(timeout(DRAIN_LIMIT, async move {
            let mut read = 0;
            while let Ok(Some(chunk)) = self.chunk().await {
                read += chunk.len();
                if read > DRAIN_BYTES {
                    return;
                }
            }
        }));
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if let Some(wire) = &mut self.wire {
            wire.drive(cx);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    /// Gives the connection back as soon as the body is known to be over.
    fn settle(&mut self) {
        if self.body.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(wire) = self.wire.take()
            && wire.driver.is_some()
        {
            self.home.checkin(wire);
        }
    }
}
