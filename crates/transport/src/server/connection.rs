//! Connections: what each is doing, for how long it may, and how all of them end.
//!
//! No connection has a timer of its own. Each notes when it began what it does, by a clock of whole seconds,
//! and one sweep a second closes those that take too long: a request costs no timer, an idle connection no memory.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use rustls_pki_types::CertificateDer;
use sallyport_protocol::ClientCertificate;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::body::ResponseBody;
use super::client_certificate;

/// For how long a connection may do what it does.
#[derive(Clone, Debug)]
pub struct Patience {
    /// TLS handshake, or the head of a request once its first byte is there: a few round trips of the slowest line.
    pub head: Duration,
    /// A request's body: the largest one at some 2 Mbit/s.
    pub body: Duration,
    /// Nothing, between requests: agents think for minutes, but a client that returns can connect anew.
    pub idle: Duration,
    /// A response that the client does not take.
    pub stalled: Duration,
    /// No word of an answer, before a client that takes a stream is given one: proxies commonly cut what is silent for a
    /// minute, some after half of that, and a stream is kept alive and can be resumed.
    pub silent: Duration,
    /// Go on by a certificate, before it is looked at again: certificates and lists of revoked ones end without a word, and a look costs two
    /// signatures for each client that is connected.
    pub certificate: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(15),
            body: Duration::from_secs(60),
            idle: Duration::from_secs(10 * 60),
            stalled: Duration::from_secs(60),
            silent: Duration::from_secs(15),
            certificate: Duration::from_secs(60),
        }
    }
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BODY: u8 = 2;
const BUSY: u8 = 3;
/// Busy, and silent for long.
const SILENT: u8 = 4;

const GO_ON: u8 = 0;
const DRAIN: u8 = 1;
const CLOSE: u8 = 2;

/// All connections of a listener.
#[derive(Default)]
pub(crate) struct Connections {
    /// Seconds since the listener began.
    clock: AtomicU32,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    closed: Notify,
}

/// One connection.
pub(crate) struct Connection {
    all: Arc<Connections>,
    number: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) local: IpAddr,
    /// The certificates that the client has shown in the handshake of TLS, the leaf first; empty where it has shown none, unset until then.
    shown: OnceLock<Vec<CertificateDer<'static>>>,
    /// What the leaf says.
    pub(crate) certificate: OnceLock<Arc<ClientCertificate>>,
    doing: AtomicU8,
    since: AtomicU32,
    /// When the client stopped to take what is sent; 0 while it takes it.
    stalled: AtomicU32,
    command: AtomicU8,
    task: AtomicWaker,
}

impl Connections {
    /// Lists a connection that was accepted. It is in its head: a TLS handshake, or the first request.
    pub(crate) fn add(self: &Arc<Self>, peer: SocketAddr, local: IpAddr) -> Arc<Connection> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            all: Arc::clone(self),
            number,
            peer,
            local,
            shown: OnceLock::new(),
            certificate: OnceLock::new(),
            doing: AtomicU8::new(HEAD),
            since: AtomicU32::new(self.now()),
            stalled: AtomicU32::new(0),
            command: AtomicU8::new(GO_ON),
            task: AtomicWaker::new(),
        });
        self.lock().insert(number, Arc::clone(&connection));
        connection
    }

    /// A second has passed: closes what takes too long.
    pub(crate) fn sweep(&self, patience: &Patience) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        for connection in self.lock().values() {
            if connection.is_late(now, patience) {
                connection.obey(CLOSE);
            } else if connection.falls_silent(now, patience) {
                connection.task.wake();
            }
        }
    }

    /// Lets every connection finish the request that it is at, and no other.
    pub(crate) fn drain(&self) {
        self.lock().values().for_each(|connection| connection.obey(DRAIN));
    }

    /// Closes every connection at once.
    pub(crate) fn close(&self) {
        self.lock().values().for_each(|connection| connection.obey(CLOSE));
    }

    /// Has those end whose certificates are taken no more, or are another tenant's now: the requests that they are at go on, their streams end with their callers' right
    /// to them. Takes as long as the signatures of all who are connected take to be checked, each client's once. Says how many end now.
    pub(crate) fn review(&self, whose: impl Fn(&[CertificateDer<'_>]) -> Option<Arc<str>>) -> usize {
        let open: Vec<Arc<Connection>> = self.lock().values().cloned().collect();
        let mut known: HashMap<&[CertificateDer<'_>], Option<Arc<str>>> = HashMap::new();
        let mut ended = 0;
        for connection in &open {
            let Some(shown) = connection.shown.get() else { continue };
            let now = known.entry(shown).or_insert_with(|| whose(shown));
            if now.as_deref() != Some(connection.tenant()) && connection.withdraw() {
                ended += 1;
            }
        }
        ended
    }

    /// Waits until no connection is left.
    pub(crate) async fn all_closed(&self) {
        loop {
            let closed = self.closed.notified();
            if self.lock().is_empty() {
                return;
            }
            closed.await;
        }
    }

    /// Seconds since the listener began.
    pub(crate) fn now(&self) -> u32 {
        self.clock.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Takes note of the certificates that the client has shown in its handshake, if any, and of the tenant whose authority has signed them.
    pub(crate) fn shows(&self, chain: &[CertificateDer<'_>], tenant: Arc<str>) {
        // A connection has one handshake. Who finds the chain here finds whose it is, too.
        if let Some(leaf) = chain.first() {
            let _ = self.certificate.set(Arc::new(client_certificate::read(leaf, tenant)));
        }
        let _ = self.shown.set(chain.iter().map(|shown| shown.clone().into_owned()).collect());
    }

    /// The tenant whose authority has signed what the client has shown; empty for the gateway's own, and where it has shown nothing.
    fn tenant(&self) -> &str {
        self.certificate.get().map_or("", |certificate| &certificate.tenant)
    }

    /// Says whether that is new to it.
    fn withdraw(&self) -> bool {
        let is_new = self.command.load(Ordering::Acquire) == GO_ON;
        match self.certificate.get() {
            Some(certificate) => {
                certificate.withdrawn.cancel();
                self.obey(DRAIN);
            }
            None => self.obey(CLOSE), // nothing tells its streams apart from those of others
        }
        is_new
    }

    /// Runs until the client leaves, a request breaks off, or the connection is told to end.
    pub(crate) async fn run<I, S>(self: Arc<Self>, http: &http1::Builder, io: I, service: S)
    where
        I: AsyncRead + AsyncWrite + Unpin,
        S: HttpService<hyper::body::Incoming, ResBody = ResponseBody>,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let watched = Watched { io, connection: Arc::clone(&self) };
        let mut serving = pin!(http.serve_connection(TokioIo::new(watched), service));
        let mut draining = false;
        let outcome = poll_fn(|cx| {
            self.task.register(cx.waker());
            match self.command.load(Ordering::Acquire) {
                CLOSE => return Poll::Ready(Ok(())),
                DRAIN if !draining => {
                    draining = true;
                    serving.as_mut().graceful_shutdown();
                }
                _ => {}
            }
            serving.as_mut().poll(cx)
        });
        if let Err(error) = outcome.await {
            tracing::debug!(%error, "a connection broke off");
        }
    }

    /// Runs a future (the TLS handshake), unless the connection is told to close first.
    pub(crate) async fn unless_closed<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.task.register(cx.waker());
            if self.command.load(Ordering::Acquire) != GO_ON {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// Says that the connection is at a request, until what is returned is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.does(BUSY);
        Busy(Arc::clone(self))
    }

    /// Whether the request that the connection is at has run for long. Its task is woken when that becomes so.
    pub(crate) fn is_silent(&self) -> bool {
        self.doing.load(Ordering::Relaxed) == SILENT
    }

    fn falls_silent(&self, now: u32, patience: &Patience) -> bool {
        let long = over(now, self.since.load(Ordering::Relaxed), patience.silent);
        long && self.doing.compare_exchange(BUSY, SILENT, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Says that the request's body is being read, until what is returned is dropped.
    pub(crate) fn reads_body(&self) -> ReadsBody<'_> {
        self.does(BODY);
        ReadsBody(self)
    }

    /// Takes the connection off the list.
    pub(crate) fn closed(&self) {
        self.all.lock().remove(&self.number);
        self.all.closed.notify_waiters();
    }

    fn does(&self, doing: u8) {
        self.since.store(self.all.now(), Ordering::Relaxed);
        self.doing.store(doing, Ordering::Relaxed);
    }

    fn obey(&self, command: u8) {
        self.command.fetch_max(command, Ordering::AcqRel);
        self.task.wake();
    }

    fn is_late(&self, now: u32, patience: &Patience) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        let late = match self.doing.load(Ordering::Relaxed) {
            IDLE => over(now, since, patience.idle),
            HEAD => over(now, since, patience.head),
            BODY => over(now, since, patience.body),
            _ => false, // the front has limits of its own
        };
        let stalled = self.stalled.load(Ordering::Relaxed);
        late || (stalled != 0 && over(now, stalled, patience.stalled))
    }

    fn noticed_read(&self) {
        if self.doing.load(Ordering::Relaxed) == IDLE {
            self.does(HEAD);
        }
    }

    fn noticed_write<T>(&self, outcome: &Poll<io::Result<T>>) {
        match outcome {
            Poll::Ready(_) if self.stalled.load(Ordering::Relaxed) == 0 => {}
            Poll::Ready(_) => self.stalled.store(0, Ordering::Relaxed),
            Poll::Pending if self.stalled.load(Ordering::Relaxed) == 0 => self.stalled.store(self.all.now().max(1), Ordering::Relaxed),
            Poll::Pending => {}
        }
    }
}

/// Whether more time than that has passed, in whole seconds.
fn over(now: u32, since: u32, limit: Duration) -> bool {
    u64::from(now.saturating_sub(since)) > limit.as_secs()
}

/// The connection is at a request.
pub(crate) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.does(IDLE);
    }
}

/// The connection is at a request's body.
pub(crate) struct ReadsBody<'c>(&'c Connection);

impl Drop for ReadsBody<'_> {
    fn drop(&mut self) {
        self.0.does(BUSY);
    }
}

/// A byte stream that tells its connection when bytes pass.
struct Watched<I> {
    io: I,
    connection: Arc<Connection>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_ready() {
            self.connection.noticed_read();
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.connection.noticed_write(&written);
        written
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.connection.noticed_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
