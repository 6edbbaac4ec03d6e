//! The HTTP front door: listens, bounds, drains, and shows every request to the door that its path names.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming as IncomingBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use sallyport_protocol::{
    Admission, BoxFuture, Caller, CallerId, CallerToken, Endpoint, Era, Failure, FailureKind, Front, Incoming, Peer, ServerIdentity,
};
use sallyport_telemetry::metric::DoorMetrics;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::answered::Answered;
use super::body::ResponseBody;
use super::client_certificate;
use super::connection::{Connection, Connections};
use super::door::Door;
use super::era::names_modern_version;
use super::forwarded::Proxies;
use super::guard::{Hosts, preflight, show_to};
use super::intake::Intake;
use super::route::{Route, split_tenant};
use super::tls::{InForce, Tls};
use super::{Turns, http_sse, streamable_http};
use crate::session::{SessionBounds, Sessions};

pub use super::connection::Patience;

/// After a failed `accept` (no descriptors left) the listener rests this long: long enough for one to come free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Seconds between two times that an out-of-date revocation list is told of: clients try again and again.
const TELL_EVERY: u32 = 60;

/// Answers a request whose path is none of MCP's (`/healthz`, the pages of a login). Nobody has been asked whether its caller may come
/// in: what is not for everybody must ask.
pub type Other = Arc<dyn Fn(Request<Bytes>, Incoming) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// Bytes of a body that no MCP endpoint reads: forms and documents of OAuth have some 10 KiB at most.
const OTHER_BODY: usize = 64 * 1024;

/// How the HTTP front door is kept.
#[derive(Clone)]
pub struct Options {
    /// Who we say we are.
    pub identity: ServerIdentity,
    /// Which hosts and origins are let in.
    pub hosts: Hosts,
    /// What is shown and taken in TLS, where the door speaks it itself.
    pub tls: Option<Tls>,
    /// The proxies before the door, where there are any.
    pub proxies: Option<Proxies>,
    /// How much is taken in.
    pub bounds: Bounds,
    /// For how long a connection may do what it does.
    pub patience: Patience,
    /// How many sessions there may be.
    pub sessions: SessionBounds,
    /// What answers other paths.
    pub other: Other,
    /// Where it is counted what is open.
    pub figures: DoorMetrics,
    /// Threads that serve connections beside the one that the door itself runs on.
    pub workers: Option<Arc<Turns>>,
}

impl Options {
    /// A door for this machine alone, with the default bounds, where nothing answers other paths.
    #[must_use]
    pub fn new(identity: ServerIdentity) -> Self {
        Self {
            identity,
            hosts: Hosts::default(),
            tls: None,
            proxies: None,
            bounds: Bounds::default(),
            patience: Patience::default(),
            sessions: SessionBounds::default(),
            other: Arc::new(|_, _| Box::pin(ready(not_found()))),
            figures: DoorMetrics::default(),
            workers: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Options").field("hosts", &self.hosts).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// How much is taken in.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Bytes of a request's head. Tokens and trace context fit many times over. Its headers are 100 at most, each
    /// `Mcp-Param-*` one of them: what hyper parses on the stack (told another number it allocates 8 KiB a request).
    pub head: usize,
    /// Bytes of a message: as long as a line to a stdio server may be, so that one that passes here passes there.
    pub body: usize,
    /// Bytes of all large bodies that are being answered: 16 of the largest.
    pub bodies: usize,
    /// Connections at once. Those beyond wait in the listener's backlog; each open one is a descriptor and some 14 KiB.
    pub connections: usize,
    /// How long requests that run when the door closes may still take.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { head: 32 * 1024, body: 16 * 1024 * 1024, bodies: 256 * 1024 * 1024, connections: 8_192, drain: Duration::from_secs(20) }
    }
}

/// The HTTP front door, as each connection knows it.
pub(crate) struct HttpDoor {
    pub(crate) door: Arc<Door>,
    pub(crate) intake: Intake,
    options: Options,
    http: http1::Builder,
    /// The last time that the certificates of open connections were looked at.
    reviewed: Mutex<Option<Review>>,
    /// When it was told that a revocation list is out of date.
    told: AtomicU32,
    connections: Arc<Connections>,
}

/// A look at the certificates of open connections.
struct Review {
    /// What was in force in TLS.
    by: Arc<InForce>,
    /// When it began, by the clock of the connections.
    began: u32,
    /// It may still run: many signatures take a while.
    running: Option<JoinHandle<()>>,
}

/// A request that has passed `Host`, `Origin` and admission, with its body still to be read.
pub(crate) struct Admitted {
    pub(crate) incoming: Incoming,
    pub(crate) caller: CallerId,
    pub(crate) request: Request<IncomingBody>,
    pub(crate) connection: Arc<Connection>,
}

/// Serves all doors of HTTP on `listener` until `shutdown` is ready, then drains: takes no more connections, closes the
/// streams, lets requests finish within [`Bounds::drain`], and returns.
pub async fn serve(listener: TcpListener, front: Arc<dyn Front>, options: Options, shutdown: impl Future<Output = ()>) {
    let door = Arc::new(HttpDoor::new(front, options));
    let slots = Arc::new(Semaphore::new(door.options.bounds.connections));
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            _ = seconds.tick() => door.sweep(),
            (stream, slot) = accept(&listener, &slots) => door.take(stream, slot),
        }
    }
    drop(listener);
    door.drain().await;
}

/// The next connection, once there is a slot for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl HttpDoor {
    fn new(front: Arc<dyn Front>, options: Options) -> Self {
        let mut http = http1::Builder::new();
        http.header_read_timeout(None) // the sweep does that, without a timer a request
            .max_header_size(options.bounds.head)
            .max_buf_size(options.bounds.head.max(64 * 1024)); // what one read of a large body takes at most
        Self {
            door: Door::new(front, options.identity.clone(), Sessions::new(options.sessions.clone(), options.figures.clone())),
            intake: Intake::new(options.bounds.body, options.bounds.bodies),
            http,
            reviewed: Mutex::new(options.tls.as_ref().map(|tls| Review { by: tls.in_force(), began: 0, running: None })),
            told: AtomicU32::new(0),
            connections: Arc::default(),
            options,
        }
    }

    fn sweep(&self) {
        self.connections.sweep(&self.options.patience);
        for session in self.door.sessions.expire() {
            self.door.forget(&session);
        }
        self.door.standings.second(&self.door.front);
        self.review();
    }

    /// Looks whether who is connected may stay: where others are taken in TLS by now, and from time to time, since certificates and the lists of
    /// revoked ones end. There is one look at a time.
    fn review(&self) {
        let Some(now) = self.options.tls.as_ref().map(Tls::in_force) else { return };
        let mut reviewed = self.reviewed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_to_wait = reviewed.as_ref().is_some_and(|last| {
            let is_running = last.running.as_ref().is_some_and(|running| !running.is_finished());
            is_running || Arc::ptr_eq(&last.by, &now) && !last.is_due(self.connections.now(), &self.options.patience)
        });
        if is_to_wait {
            return;
        }
        let (connections, by) = (Arc::clone(&self.connections), Arc::clone(&now));
        let running = tokio::task::spawn_blocking(move || {
            let ended = connections.review(|shown| now.whose(shown));
            if ended > 0 {
                tracing::warn!(
                    connections = ended,
                    "connections end whose certificates are taken no more: they have ended, were revoked, or the list that would say so is past its date"
                );
            }
        });
        *reviewed = Some(Review { by, began: self.connections.now(), running: Some(running) });
    }

    fn take(self: &Arc<Self>, stream: TcpStream, slot: Option<OwnedSemaphorePermit>) {
        let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return }; // it has gone already
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection waits to fill its packets");
        }
        let connection = self.connections.add(peer, local.ip());
        let door = Arc::clone(self);
        let listed = Listed(connection);
        let serve = move |stream| async move {
            door.run(stream, &listed.0).await;
            drop((listed, slot));
        };
        match self.options.workers.as_ref().and_then(|workers| workers.next()) {
            None => drop(tokio::spawn(serve(stream))),
            Some(worker) => {
                // It leaves this thread's reactor and is taken up by the worker's.
                let Ok(stream) = stream.into_std() else { return };
                worker.spawn(async move {
                    match TcpStream::from_std(stream) {
                        Ok(stream) => serve(stream).await,
                        Err(error) => tracing::warn!(%error, "a connection could not be handed over"),
                    }
                });
            }
        }
    }

    async fn run(self: &Arc<Self>, stream: TcpStream, connection: &Arc<Connection>) {
        let door = Arc::clone(self);
        let own = Arc::clone(connection);
        // In a box, so that an idle connection does not hold the room that a request needs.
        let service = service_fn(move |request| answer(&door, &own, request));
        let running = Arc::clone(connection);
        match &self.options.tls {
            None => running.run(&self.http, stream, service).await,
            Some(tls) => {
                if let Some(stream) = self.greet(tls, stream, connection).await {
                    // In a box, so that connections without TLS do not hold the room for it.
                    Box::pin(running.run(&self.http, stream, service)).await;
                }
            }
        }
    }

    /// Makes the handshake of TLS; `None` where it fails, or the client may not come in.
    async fn greet(&self, tls: &Tls, stream: TcpStream, connection: &Connection) -> Option<TlsStream<TcpStream>> {
        let begun = tls.in_force();
        let handshake = TlsAcceptor::from(Arc::clone(&begun.config)).accept(stream);
        let stream = match connection.unless_closed(Box::pin(handshake)).await? {
            Ok(stream) => stream,
            Err(error) => {
                self.tell_failed(&error);
                return None;
            }
        };
        // In a session that is gone on with nobody looks at certificates, and the handshake does not tell who has signed them.
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let tenant = begun.whose(shown)?;
        connection.shows(shown, tenant.clone());
        // Others may be taken since the handshake began. Of what changes from here on a review finds the connection.
        let now = tls.in_force();
        (Arc::ptr_eq(&begun, &now) || now.whose(shown) == Some(tenant)).then_some(stream)
    }

    fn tell_failed(&self, error: &io::Error) {
        let (now, told) = (self.connections.now(), self.told.load(Ordering::Relaxed));
        if client_certificate::is_outdated_list(error) && (told == 0 || now.saturating_sub(told) >= TELL_EVERY) {
            self.told.store(now.max(1), Ordering::Relaxed);
            tracing::error!(
                "a client's certificate was refused, since the revocation list of who has signed it is past its date: `client_revoked` \
                 has to be renewed; `sallyport check` says which"
            );
        }
        tracing::debug!(%error, "a TLS handshake failed");
    }

    async fn drain(&self) {
        self.connections.drain();
        self.door.end_streams();
        let finished = async {
            self.connections.all_closed().await;
            self.door.idle().await;
        };
        if tokio::time::timeout(self.options.bounds.drain, finished).await.is_err() {
            tracing::warn!(seconds = self.options.bounds.drain.as_secs(), "requests that still ran when the door closed were given up");
            self.connections.close();
            self.connections.all_closed().await;
        }
    }

    /// Who wants to come to an endpoint, as far as they say.
    fn incoming(
        &self,
        tenant: Option<Arc<str>>,
        endpoint: Endpoint,
        connection: &Connection,
        headers: &HeaderMap,
    ) -> Result<Incoming, Failure> {
        let connected = connection.peer.ip();
        let peer = self.options.proxies.as_ref().map_or_else(|| Peer::from_address(connected), |proxies| proxies.peer(connected, headers));
        let certificate = connection.certificate.get().cloned();
        Ok(Incoming { tenant, endpoint, credential: bearer(headers)?.map(Arc::new), certificate, peer, recognised: None })
    }

    /// Refuses a request whose message was not read.
    pub(crate) fn refuse(&self, failure: &Failure, headers: &HeaderMap) -> Response<ResponseBody> {
        let era = if names_modern_version(headers) { Era::Modern } else { Era::Legacy };
        respond(self.door.refuse(failure, None, era, None).at_least_bad_request())
    }
}

impl Review {
    /// Whether so much time has passed that what was good then may be good no more.
    fn is_due(&self, now: u32, patience: &Patience) -> bool {
        self.by.asks_clients() && u64::from(now.saturating_sub(self.began)) >= patience.certificate.as_secs()
    }
}

/// A connection on the list of the open ones. Whatever becomes of it, a panic too, a door that closes does not wait for it for ever.
struct Listed(Arc<Connection>);

impl Drop for Listed {
    fn drop(&mut self) {
        self.0.closed();
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

/// Which of the doors a request goes through, once it was let in.
enum Routed {
    Answered(Response<ResponseBody>),
    Other(Request<IncomingBody>, Incoming),
    Mcp(Admitted),
    Messages(Admitted),
}

/// Whether it is known already which door that is, as nearly always; else the front has to ask somebody who the caller is.
#[expect(clippy::large_enum_variant, reason = "it is moved once, and a box would be one more allocation of each request")]
enum Way {
    Known(Routed),
    Waits(BoxFuture<'static, Result<Caller, Failure>>, Box<Waiting>),
}

/// A request before a door of MCP, of which nothing but the head was read.
struct Waiting {
    route: Route,
    incoming: Incoming,
    request: Request<IncomingBody>,
    connection: Arc<Connection>,
}

impl Waiting {
    /// Goes on with what the front says of the caller.
    fn admit(self, door: &Arc<HttpDoor>, admission: Result<Caller, Failure>) -> Routed {
        let Self { route, mut incoming, request, connection } = self;
        let caller = match admission {
            Ok(caller) => caller,
            Err(failure) => return Routed::Answered(door.refuse(&failure, request.headers())),
        };
        incoming.recognised = Some(caller.recognised);
        let admitted = Admitted { incoming, caller: caller.id, request, connection };
        match route {
            Route::Sse(_) => Routed::Answered(http_sse::open(door, &admitted)),
            Route::Messages(_) => Routed::Messages(admitted),
            Route::Mcp(_) | Route::Other => Routed::Mcp(admitted),
        }
    }
}

/// Answers a request. What needs no waiting is done before the future is made, which so does not hold the room for it.
fn answer(door: &Arc<HttpDoor>, connection: &Arc<Connection>, request: Request<IncomingBody>) -> Answering {
    let busy = connection.busy();
    if let Err(refused) = door.options.hosts.admit(&request, connection.local) {
        return Box::pin(ready(Ok(forbidden(refused.0).map(|body| body.keep_busy(busy)))));
    }
    // A copy: a clone would keep the connection's read buffer taken while the answer is awaited.
    let origin = request.headers().get(header::ORIGIN).and_then(|origin| HeaderValue::from_bytes(origin.as_bytes()).ok());
    let way = preflight(&request).map_or_else(|| route(door, connection, request), |answer| Way::Known(Routed::Answered(answer)));
    let (door, connection) = (Arc::clone(door), Arc::clone(connection));
    Box::pin(async move {
        let routed = match way {
            Way::Known(routed) => routed,
            Way::Waits(asks, waiting) => waiting.admit(&door, asks.await),
        };
        let mut response = match routed {
            Routed::Answered(response) => response,
            Routed::Other(request, incoming) => other(&door, &connection, request, incoming).await,
            Routed::Mcp(admitted) => streamable_http::answer(&door, admitted).await,
            Routed::Messages(admitted) => http_sse::take(&door, admitted).await,
        };
        show_to(origin, response.headers_mut());
        Ok(response.map(|body| body.keep_busy(busy).counted(&door.options.figures)))
    })
}

fn route(door: &Arc<HttpDoor>, connection: &Arc<Connection>, request: Request<IncomingBody>) -> Way {
    let (tenant, rest) = split_tenant(request.uri().path());
    let route = Route::of(rest);
    let endpoint = match &route {
        Route::Other => Endpoint::All,
        Route::Mcp(endpoint) | Route::Sse(endpoint) | Route::Messages(endpoint) => endpoint.clone(),
    };
    let incoming = match door.incoming(tenant, endpoint, connection, request.headers()) {
        Ok(incoming) => incoming,
        Err(failure) => return Way::Known(Routed::Answered(door.refuse(&failure, request.headers()))),
    };
    if route == Route::Other {
        return Way::Known(Routed::Other(request, incoming));
    }
    let admission = door.door.front.admit(&incoming);
    let waiting = Waiting { route, incoming, request, connection: Arc::clone(connection) };
    match admission {
        Admission::Known(known) => Way::Known(waiting.admit(door, known)),
        Admission::Asks(asks) => Way::Waits(asks, Box::new(waiting)),
    }
}

/// Reads a request that no MCP endpoint answers, and has it answered.
async fn other(door: &HttpDoor, connection: &Connection, request: Request<IncomingBody>, incoming: Incoming) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let reading = connection.reads_body();
    let taken = Intake { body: OTHER_BODY, ..door.intake.clone() }.read(body).await;
    drop(reading);
    match taken {
        Ok(body) => (door.options.other)(Request::from_parts(head, body), incoming).await.map(ResponseBody::whole),
        Err(failure) => door.refuse(&failure, &head.headers),
    }
}

/// The bearer token of a request. Its length is bounded with the head's; it is taken from nowhere but this header (RFC 6750 §2.1).
///
/// # Errors
/// 400 where there are two, of which others could read the other one, or where it is none.
fn bearer(headers: &HeaderMap) -> Result<Option<CallerToken>, Failure> {
    let malformed =
        |what: &'static str| Err(Failure::client(FailureKind::Http(400), what).with_challenge("Bearer error=\"invalid_request\""));
    let mut values = headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let (first, None) = (values.next(), values.next()) else { return malformed("header `Authorization` is there twice") };
    let Some((scheme, token)) = first.and_then(|value| value.split_at_checked("Bearer ".len())) else { return Ok(None) };
    let token = token.trim_ascii();
    match scheme.eq_ignore_ascii_case(b"Bearer ") {
        true if token.is_empty() || token.contains(&b' ') => malformed("header `Authorization` holds no bearer token"),
        true => Ok(Some(CallerToken::new(token))),
        false => Ok(None),
    }
}

/// An answer as one JSON message.
pub(crate) fn respond(answered: Answered) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(answered.message));
    *response.status_mut() = answered.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(challenge) = answered.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    } else if answered.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if answered.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
    }
    response
}

/// A status without a body.
pub(crate) fn bare(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    response
}

/// A stream of events.
pub(crate) fn stream(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn forbidden(why: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(Bytes::from_static(why.as_bytes())));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn not_found() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
