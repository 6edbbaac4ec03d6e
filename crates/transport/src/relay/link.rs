//! The relay's side towards the gateway.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, Request as HttpRequest, StatusCode, header};
use http_body_util::Full;
use rustls_pki_types::CertificateDer;
use sallyport_protocol::{Cancel, ErrorObject, Message, Meta, Method, RawJson, RawObject, Request, RequestId, Revision};
use url::Url;

use super::say;
use super::unfold::{self, Unfolded};
use crate::client::fault::Fault;
use crate::client::http1::{Exchange, HttpClient};
use crate::client::tool_headers::ToolHeaders;
use crate::frame::LineWriter;
use crate::headers;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a gateway that cannot be reached is waited for: a restart takes less.
const PATIENCE: Duration = Duration::from_secs(15);

/// Waits between two tries, at first and at most.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Pages of `tools/list` that are read to learn which headers a tool wants.
const MOST_PAGES: usize = 64;

/// How a request is sent.
pub(super) enum Lane {
    /// In the session.
    Legacy,
    /// Alone, with headers that repeat what is in it.
    Modern(Box<Request>),
}

impl Lane {
    /// The way of a modern request. One whose method or `_meta` is not known goes too: the gateway says what is wrong.
    pub(super) fn modern(method: &str, params: RawObject) -> Self {
        let method = Method::from_name(method);
        Self::Modern(Box::new(Request { method: method.unwrap_or(Method::Discover), params, meta: Meta::default() }))
    }
}

/// The relay's side towards the gateway.
pub(super) struct Link {
    http: Arc<HttpClient>,
    url: Url,
    host: HeaderValue,
    bearer: Option<HeaderValue>,
    lines: LineWriter,
    tools: ToolHeaders,
    session: Mutex<Option<Session>>,
    /// Held while a lost session is opened anew, so that it happens once.
    renewing: tokio::sync::Mutex<()>,
    listening: Mutex<Option<Cancel>>,
}

/// A response of the gateway.
enum Response {
    /// Still to be read.
    Open(Exchange),
    /// Read already.
    Read(unfold::Single),
}

/// The client's legacy session.
#[derive(Clone)]
struct Session {
    id: Option<HeaderValue>,
    version: HeaderValue,
    /// The client's own `initialize`.
    initialize: Bytes,
}

impl Link {
    pub(super) fn new(
        url: &Url,
        bearer: Option<HeaderValue>,
        trust: &[CertificateDer<'static>],
        lines: LineWriter,
    ) -> Result<Arc<Self>, String> {
        let host = url.host_str().ok_or("the URL has no host")?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Arc::new(Self {
            http: HttpClient::new(url, trust, CONNECT)?,
            host: HeaderValue::try_from(host).map_err(|error| error.to_string())?,
            url: url.clone(),
            bearer,
            lines,
            tools: ToolHeaders::default(),
            session: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
            listening: Mutex::default(),
        }))
    }

    /// Sends a request and passes on all that comes back.
    pub(super) async fn request(self: &Arc<Self>, line: Bytes, id: &RequestId, lane: Lane) {
        let outcome = match &lane {
            Lane::Legacy => self.in_session(line).await.map(Response::Open),
            Lane::Modern(request) => self.alone(line, request).await,
        };
        let error = match outcome {
            Ok(Response::Read(answer)) => return say(&self.lines, &answer.with_id(id)).await,
            Ok(Response::Open(exchange)) => match unfold::pass_on(exchange, Some(id), &self.lines).await {
                Unfolded::Whole => return,
                Unfolded::Failed(error) => error,
            },
            Err(fault) => told(&fault),
        };
        say(&self.lines, &Message::Error { id: Some(id.clone()), error }).await;
    }

    /// Sends a batch (2025-03-26) and passes on all that comes back.
    pub(super) async fn batch(self: &Arc<Self>, line: Bytes) {
        let error = match self.in_session(line).await {
            Ok(exchange) => match unfold::pass_on_whole(exchange, &self.lines).await {
                Ok(()) => return,
                Err(fault) => told(&fault),
            },
            Err(fault) => told(&fault),
        };
        say(&self.lines, &Message::Error { id: None, error }).await;
    }

    /// Sends the client's `initialize` and remembers what is agreed on.
    pub(super) async fn initialize(self: &Arc<Self>, line: Bytes, id: &RequestId) {
        let error = match self.handshake(line).await {
            Ok((answer, session)) => {
                *self.session() = session;
                return say(&self.lines, &answer.with_id(id)).await;
            }
            Err(fault) => told(&fault),
        };
        say(&self.lines, &Message::Error { id: Some(id.clone()), error }).await;
    }

    /// Sends what wants no answer.
    pub(super) async fn tell(self: &Arc<Self>, line: Bytes) {
        match self.in_session(line).await {
            Ok(exchange) => exchange.drain(),
            Err(fault) => tracing::debug!(?fault, "a notification was not delivered"),
        }
    }

    /// Opens the stream of what the session is told outside of requests, and keeps it open.
    pub(super) fn listen(self: &Arc<Self>) {
        let cancel = Cancel::new();
        if let Some(older) = lock(&self.listening).replace(cancel.clone()) {
            older.cancel();
        }
        let link = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = link.keep_listening() => {}
            }
        });
    }

    /// Ends the session.
    pub(super) async fn close(&self) {
        if let Some(cancel) = lock(&self.listening).take() {
            cancel.cancel();
        }
        let Some(session) = self.session().take() else { return };
        let request = self.http_request(HttpMethod::DELETE, Bytes::new(), &session.headers());
        if tokio::time::timeout(CONNECT, self.http.send(request)).await.is_err() {
            tracing::debug!("the session could not be ended");
        }
    }

    async fn keep_listening(self: &Arc<Self>) {
        let mut wait = FIRST_WAIT;
        loop {
            let Some(session) = self.session().clone() else { return };
            match self.http.send(self.http_request(HttpMethod::GET, Bytes::new(), &session.headers())).await {
                Ok(exchange) if exchange.status() == StatusCode::OK => {
                    wait = FIRST_WAIT;
                    unfold::pass_on(exchange, None, &self.lines).await;
                }
                Ok(exchange) if exchange.status() == StatusCode::NOT_FOUND => {
                    if let Err(fault) = self.renew(&session).await {
                        tracing::debug!(?fault, "the session could not be opened anew");
                    }
                }
                Ok(_) => return, // there is no such stream
                Err(_) => wait = (wait * 2).min(LONGEST_WAIT),
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Sends a message in the session, which is opened anew where it was lost: the gateway did nothing then.
    async fn in_session(self: &Arc<Self>, line: Bytes) -> Result<Exchange, Fault> {
        let session = self.session().clone();
        let own = session.as_ref().map(Session::headers).unwrap_or_default();
        let exchange = self.send(line.clone(), &own).await?;
        match session {
            Some(session) if exchange.status() == StatusCode::NOT_FOUND => {
                exchange.drain();
                self.renew(&session).await?;
                let own = self.session().as_ref().map(Session::headers).unwrap_or_default();
                self.send(line, &own).await
            }
            _ => Ok(exchange),
        }
    }

    /// Opens a lost session anew, as the client did.
    async fn renew(self: &Arc<Self>, lost: &Session) -> Result<(), Fault> {
        let _alone = self.renewing.lock().await;
        if self.session().as_ref().is_some_and(|session| session.id != lost.id) {
            return Ok(()); // another request has done it
        }
        let (_, session) = self.handshake(lost.initialize.clone()).await?;
        let Some(session) = session else { return Err(Fault::NotSent("the gateway refused the session".to_owned())) };
        let own = session.headers();
        *self.session() = Some(session);
        self.send(Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), &own).await?.drain();
        Ok(())
    }

    async fn handshake(&self, line: Bytes) -> Result<(unfold::Single, Option<Session>), Fault> {
        let exchange = self.send(line.clone(), &[]).await?;
        let id = exchange.header(&headers::SESSION_ID).cloned();
        let answer = unfold::single(exchange).await?;
        let version = answer.result().and_then(|result| result.get_str("protocolVersion"));
        let version = version.and_then(|version| HeaderValue::try_from(version.as_ref()).ok());
        // The line shares the buffer of all that was read with it.
        let session = version.map(|version| Session { id, version, initialize: Bytes::copy_from_slice(&line) });
        Ok((answer, session))
    }

    /// Sends a modern request with the headers that it needs. Where the gateway misses headers that only the tool's schema
    /// tells, the schema is read and the request sent once more: the gateway did nothing with it.
    async fn alone(&self, line: Bytes, request: &Request) -> Result<Response, Fault> {
        let exchange = self.send(line.clone(), &self.headers_of(&line, request)?).await?;
        if request.method != Method::ToolsCall || exchange.status() != StatusCode::BAD_REQUEST {
            return Ok(Response::Open(exchange));
        }
        let answer = unfold::single(exchange).await?;
        if answer.code() != Some(ErrorObject::HEADER_MISMATCH) {
            return Ok(Response::Read(answer));
        }
        self.learn(request).await?;
        self.send(line.clone(), &self.headers_of(&line, request)?).await.map(Response::Open)
    }

    fn headers_of(&self, line: &Bytes, request: &Request) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
        let mut own = routing(line, request);
        own.extend(self.tools.of_request(request)?);
        Ok(own)
    }

    /// Reads the gateway's list of tools.
    async fn learn(&self, call: &Request) -> Result<(), Fault> {
        let mut params = RawObject::new();
        if let Some(meta) = call.params.get("_meta") {
            params.set("_meta", meta.clone());
        }
        for _ in 0..MOST_PAGES {
            let list = Request { method: Method::ToolsList, params: params.clone(), meta: Meta::default() };
            let message =
                Message::Request { id: RequestId::number(0), method: Method::ToolsList.as_str().to_owned(), params: Some(params.clone()) };
            let line = Bytes::from(message.to_line());
            let answer = unfold::single(self.send(line.clone(), &routing(&line, &list)).await?).await?;
            let Some(mut result) = answer.result().cloned() else { return Ok(()) };
            self.tools.learn("the gateway", &list, &mut result);
            match result.get("nextCursor") {
                Some(cursor) if !cursor.is_null() => params.set("cursor", cursor.clone()),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Posts a message. A gateway that cannot be reached is waited for; what may have arrived is not sent again.
    async fn send(&self, line: Bytes, own: &[(HeaderName, HeaderValue)]) -> Result<Exchange, Fault> {
        let began = tokio::time::Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            match self.http.send(self.http_request(HttpMethod::POST, line.clone(), own)).await {
                Err(Fault::NotSent(_)) if began.elapsed() < PATIENCE => tokio::time::sleep(wait).await,
                outcome => return outcome,
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn http_request(&self, method: HttpMethod, body: Bytes, own: &[(HeaderName, HeaderValue)]) -> HttpRequest<Full<Bytes>> {
        let mut request = HttpRequest::new(Full::new(body));
        *request.method_mut() = method;
        let target = self.url.query().map_or_else(|| self.url.path().to_owned(), |query| format!("{}?{query}", self.url.path()));
        *request.uri_mut() = target.parse().unwrap_or_default();
        let all: &mut HeaderMap = request.headers_mut();
        all.insert(header::HOST, self.host.clone());
        all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        all.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(bearer) = &self.bearer {
            all.insert(header::AUTHORIZATION, bearer.clone());
        }
        own.iter().for_each(|(name, value)| {
            all.insert(name, value.clone());
        });
        request
    }

    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        lock(&self.session)
    }
}

impl Session {
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut own = vec![(headers::PROTOCOL_VERSION, self.version.clone())];
        own.extend(self.id.clone().map(|id| (headers::SESSION_ID, id)));
        own
    }
}

/// The headers that repeat what is in a modern request.
fn routing(line: &Bytes, request: &Request) -> Vec<(HeaderName, HeaderValue)> {
    let meta = request.params.get_object("_meta").ok().flatten().unwrap_or_default();
    let version = meta.get_str(crate::server::era::VERSION_KEY).unwrap_or_else(|| Revision::LATEST.as_str().into());
    let mut own = vec![(headers::PROTOCOL_VERSION, headers::encode_value(&version))];
    // As the message has it, which may be no method that is known here.
    let method = RawJson::parse(line.clone()).ok().and_then(|line| line.object().ok()?.get_str("method").map(std::borrow::Cow::into_owned));
    own.extend(method.map(|method| (headers::METHOD, headers::encode_value(&method))));
    own.extend(request.name().map(|name| (headers::NAME, headers::encode_value(&name))));
    own
}

pub(super) fn told(fault: &Fault) -> ErrorObject {
    let text = match fault {
        Fault::NotSent(why) => format!("the gateway cannot be reached: {why}"),
        Fault::Lost(why) => format!("the gateway was lost before it answered: {why}"),
        Fault::TooLarge(limit) => format!("the gateway's answer is larger than {limit} bytes"),
        Fault::Malformed(what) => format!("the gateway's answer is none: {what}"),
        _ => "the gateway did not answer".to_owned(),
    };
    ErrorObject::new(ErrorObject::INTERNAL, text)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
