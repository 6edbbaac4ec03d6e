//! Sessions of Streamable HTTP, how they are agreed on, and the streams that belong to them.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use sallyport_protocol::{CallerToken, Era, Failure, Message, Method, RawJson, RawObject, Request, Revision};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::super::era::{self, Agreed, Handshake, Negotiable, Verdict};
use super::super::events::EventStream;
use super::super::fault::Fault;
use super::super::flight::{Purpose, Ticket};
use super::super::news::{self, Backoff, Listens};
use super::super::shared::Shared;
use super::StreamableHttp;
use super::answer::Miss;
use crate::headers::{PROTOCOL_VERSION, SESSION_ID};

/// Bytes of a session's id at most: it goes with every request, and servers' limits for all headers begin at 8 KiB.
const MAX_SESSION_ID_BYTES: usize = 4 * 1024;

/// How long a legacy server may take to open its stream for what belongs to no request, before the first call is sent. Many servers
/// ask their questions there, and drop them while it is not open; some open it only once they have something to say.
const STREAM_LIMIT: Duration = Duration::from_millis(300);

/// How requests are sent at the moment. In the modern era no more than the revision.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) revision: Revision,
    pub(super) id: Option<HeaderValue>,
    /// What goes with every POST.
    pub(super) headers: HeaderMap,
}

impl Session {
    pub(super) fn modern(base: &HeaderMap) -> Self {
        Self::new(base, Revision::LATEST, None)
    }

    fn new(base: &HeaderMap, revision: Revision, id: Option<HeaderValue>) -> Self {
        let mut headers = base.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if revision >= Revision::V2025_06_18 {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(revision.as_str()));
        }
        if let Some(id) = &id {
            headers.insert(SESSION_ID, id.clone());
        }
        Self { revision, id, headers }
    }

    /// The session before the handshake: no version is agreed on yet.
    fn before_handshake(base: &HeaderMap) -> Self {
        Self::new(base, Revision::V2024_11_05, None)
    }
}

impl StreamableHttp {
    pub(super) fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_session(&self, session: Session) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(session);
        self.logging.reset();
    }

    /// Agrees with the server on how to speak. Gives the fault where it speaks neither way.
    pub(super) async fn agree(self: &Arc<Self>, known: Option<Revision>) -> Result<Option<Fault>, Failure> {
        match era::negotiate(self, known).await? {
            Agreed::On(discovery) => self.shared.set_discovery(discovery),
            Agreed::Nothing(fault) => return Ok(Some(fault)),
        }
        if let Some(opened) = self.follow_news() {
            let _ = timeout(STREAM_LIMIT, opened).await; // calls that ask nothing do without
        }
        Ok(None)
    }

    /// Opens the session again, unless another call has done so since `lost`. The server may be another one now, so its lists count as
    /// changed.
    pub(super) async fn renew(self: &Arc<Self>, lost: &Arc<Session>) -> Result<(), Failure> {
        let _one_at_a_time = self.renewing.lock().await;
        if !Arc::ptr_eq(lost, &self.session()) {
            return Ok(());
        }
        tracing::info!(server = self.shared.server(), "session lost, opening another");
        if let Some(fault) = self.agree(Some(lost.revision)).await? {
            return Err(self.shared.failure(fault));
        }
        self.shared.tell_all_changed();
        self.subscribe_again();
        Ok(())
    }

    /// Subscribes in a new session to what the lost one was subscribed to.
    fn subscribe_again(self: &Arc<Self>) {
        let subscribed = self.shared.subscribed.all();
        if subscribed.is_empty() {
            return;
        }
        let (http, session) = (Arc::clone(self), self.session());
        self.tasks.spawn(async move {
            for (uri, caller) in subscribed {
                let mut params = RawObject::new();
                params.set("uri", RawJson::string(&uri));
                let request = Request::new(Method::ResourcesSubscribe, params);
                let ticket = Ticket::new(&http.shared, Purpose::Aside(caller.clone()));
                let subscribed = match session.revision.era() {
                    Era::Legacy => http.attempt(&session, &request, &ticket, None).await.map_err(Miss::into_fault),
                    Era::Modern => http.subscriptions.open(&http, &http.tasks, &request, caller).await,
                };
                if let Err(fault) = subscribed {
                    tracing::warn!(server = http.shared.server(), ?fault, "a subscription was lost with its session");
                }
            }
        });
    }

    /// Follows what the server says unasked, in the way of its era. What is given ends when a legacy server has opened its stream, or
    /// refused to.
    fn follow_news(self: &Arc<Self>) -> Option<oneshot::Receiver<Infallible>> {
        let session = self.session();
        let mut opened = None;
        let following = match (session.revision.era(), news::wanted(&self.shared.discovery())) {
            (Era::Legacy, _) => {
                let (opening, ended) = oneshot::channel();
                opened = Some(ended);
                Some(self.tasks.spawn(keep_stream(Arc::clone(self), session, opening)))
            }
            (Era::Modern, Some(filter)) => Some(self.tasks.spawn(news::keep_listening(Arc::clone(self), filter))),
            (Era::Modern, None) => None,
        };
        let before = std::mem::replace(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner), following);
        if let Some(before) = before {
            before.abort();
        }
        opened
    }

    async fn shake_hands(self: &Arc<Self>, request: &Request) -> Result<Handshake, Fault> {
        let before = Arc::new(Session::before_handshake(&self.base));
        let ticket = Ticket::new(&self.shared, Purpose::Own);
        let exchange = self.post(&before, request, &ticket, None).await?;
        let id = exchange.header(&SESSION_ID).cloned();
        let answer = self.answer(exchange, &before, &ticket.flight).await.map_err(Miss::into_fault);
        let answer = match answer {
            Err(fault @ (Fault::Unauthorized(_) | Fault::NoCredential(_) | Fault::Busy(_) | Fault::Lost(_) | Fault::NotSent(_))) => {
                return Err(fault);
            }
            answer => answer,
        };
        let handshake = era::judge_initialize(answer);
        if let Handshake::Done(discovery) = &handshake {
            if id.as_ref().is_some_and(|id| id.len() > MAX_SESSION_ID_BYTES || id.to_str().is_err()) {
                return Err(Fault::Malformed("its session id is too long, or no visible ASCII".to_owned()));
            }
            let session = Session::new(&self.base, discovery.revision, id);
            let initialized = Message::Notification { method: "notifications/initialized".to_owned(), params: None };
            self.tell(&session, &initialized, None).await?;
            self.set_session(session);
        }
        Ok(handshake)
    }
}

impl Negotiable for Arc<StreamableHttp> {
    fn shared(&self) -> &Shared {
        &self.shared
    }

    async fn discover(&self, request: Request) -> Result<Verdict, Failure> {
        let session = Arc::new(Session::modern(&self.base));
        let ticket = Ticket::new(&self.shared, Purpose::Own);
        let limit = self.shared.options.probe_timeout;
        let answer = match timeout(limit, self.attempt(&session, &request, &ticket, None)).await {
            Ok(answer) => answer.map_err(Miss::into_fault),
            Err(_) => Err(Fault::TimedOut(limit)),
        };
        let verdict = match answer {
            Ok(result) => era::judge_discover(Ok(result)),
            Err(Fault::Error(error)) => era::judge_discover(Err(error)),
            Err(Fault::Malformed(_) | Fault::TooLarge(_)) => Verdict::NotModern,
            Err(outage) => return Err(self.shared.failure(outage)),
        };
        if matches!(verdict, Verdict::Modern(_)) {
            self.set_session(Session::modern(&self.base));
        }
        Ok(verdict)
    }

    async fn initialize(&self, request: Request) -> Result<Handshake, Failure> {
        let limit = self.shared.options.probe_timeout;
        let shaken = timeout(limit, self.shake_hands(&request)).await.unwrap_or(Err(Fault::TimedOut(limit)));
        shaken.map_err(|fault| self.shared.failure(fault))
    }
}

impl Listens for StreamableHttp {
    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    async fn listen(
        self: Arc<Self>,
        request: Request,
        acknowledged: oneshot::Sender<RawObject>,
        caller: Option<Arc<CallerToken>>,
    ) -> Result<(), Fault> {
        let ticket = Ticket::new(&self.shared, Purpose::listen(acknowledged, caller));
        let session = self.session();
        self.attempt(&session, &request, &ticket, None).await.map(|_| ()).map_err(Miss::into_fault)
    }
}

/// Keeps the stream open on which a legacy server says what belongs to no request. Servers without one refuse it for good. `opening` is
/// dropped after the first attempt.
async fn keep_stream(http: Arc<StreamableHttp>, session: Arc<Session>, opening: oneshot::Sender<Infallible>) {
    let mut opening = Some(opening);
    let mut backoff = Backoff::new();
    let mut broken: Option<EventStream> = None;
    loop {
        let mut was_open = Duration::ZERO;
        let last_id = broken.as_ref().and_then(|stream| stream.reader.last_id()).map(str::to_owned);
        let answer = http.get(&session, last_id.as_deref(), None).await;
        drop(opening.take());
        match answer {
            Ok(Ok(exchange)) => {
                if broken.is_some() && last_id.is_none() {
                    http.shared.tell_all_changed(); // what came in the meantime is lost
                }
                let mut stream = match broken.take() {
                    Some(before) => before.resumed(exchange),
                    None => EventStream::new(exchange, http.shared.options.body_limit),
                };
                let opened = Instant::now();
                let ended = http.read_events(&mut stream, None).await;
                was_open = opened.elapsed();
                tracing::debug!(server = http.shared.server(), ?ended, "stream of notifications ended");
                broken = Some(stream);
            }
            Ok(Err(status)) if status.is_client_error() => return,
            Ok(Err(_)) | Err(_) => {}
        }
        let told = broken.as_ref().and_then(|stream| stream.reader.retry()).unwrap_or_default();
        sleep(backoff.next(was_open).max(told)).await;
    }
}
