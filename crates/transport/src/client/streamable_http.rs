//! Streamable HTTP, in both eras on one URL.

mod answer;
mod session;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use http::{HeaderMap, Uri};
use sallyport_protocol::{
    BoxFuture, CallerToken, Client, Context, Era, Failure, Message, Method, RawJson, RawObject, Reply, Request, RequestId,
};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::answer::Miss;
use self::session::Session;
use super::credentials::Sender;
use super::fault::Fault;
use super::flight::{Flight, Purpose, Ticket};
use super::http1::Exchange;
use super::local::{self, Logging, Way};
use super::news::Subscriptions;
use super::outgoing;
use super::question::Back;
use super::request::{bare, client, headers, path, post};
use super::shared::{Shared, TaskGuard, Tasks};
use super::tool_headers::ToolHeaders;
use super::{Options, Target};
use crate::headers::{METHOD, NAME, encode_value};

/// How long a server may take to accept a message that it does not answer.
const ACCEPT_LIMIT: Duration = Duration::from_secs(60);
/// Bytes of what it says to that.
const ACCEPT_BYTES: usize = 64 * 1024;
/// How long the end of a session may take. The server forgets it by itself too.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);
/// Pages of `tools/list` that are read again to learn which headers a tool wants.
const MOST_PAGES: usize = 50;

/// A server behind one URL.
#[derive(Debug)]
pub(crate) struct StreamableHttp {
    shared: Arc<Shared>,
    client: Sender,
    path: Uri,
    /// What goes with every request, whatever the session.
    base: HeaderMap,
    session: RwLock<Arc<Session>>,
    /// Held while a session is opened again, so that it is opened once for all calls that lost it.
    renewing: tokio::sync::Mutex<()>,
    logging: Logging,
    subscriptions: Subscriptions,
    tool_headers: ToolHeaders,
    tasks: Tasks,
    news: Mutex<Option<AbortHandle>>,
}

/// What came of the attempt to open a connection.
pub(crate) enum Opened {
    /// It is open.
    Done { http: Arc<StreamableHttp>, tasks: TaskGuard },
    /// The URL does not speak Streamable HTTP.
    Refused(Failure),
}

/// Opens a connection.
pub(crate) async fn open(target: &Target, options: Options) -> Result<Opened, Failure> {
    let shared = Shared::new(options);
    let client = client(&shared, target)?;
    let path = path(&target.url).map_err(|fault| shared.failure(fault))?;
    let base = headers(target);
    let tasks = Tasks::default();
    let guard = TaskGuard::new(&tasks);
    let known = shared.options.known;
    let http = Arc::new(StreamableHttp {
        session: RwLock::new(Arc::new(Session::modern(&base))),
        shared,
        client,
        path,
        base,
        renewing: tokio::sync::Mutex::default(),
        logging: Logging::default(),
        subscriptions: Subscriptions::default(),
        tool_headers: ToolHeaders::default(),
        tasks,
        news: Mutex::default(),
    });
    match http.agree(known).await? {
        None => Ok(Opened::Done { http, tasks: guard }),
        Some(fault) => Ok(Opened::Refused(http.shared.failure(fault))),
    }
}

impl StreamableHttp {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends the session and refuses further calls. Calls in flight go on.
    pub(crate) async fn close(&self) {
        self.shared.end("it was closed");
        if let Some(news) = self.news.lock().unwrap_or_else(PoisonError::into_inner).take() {
            news.abort();
        }
        let session = self.session();
        if session.id.is_some() {
            let farewell = self.client.send(bare(http::Method::DELETE, self.path.clone(), session.headers.clone()), None);
            let _ = timeout(FAREWELL_LIMIT, farewell).await; // 405 is as good
        }
    }

    pub(crate) async fn handle(self: &Arc<Self>, request: Request, context: Context) -> Result<Reply, Failure> {
        let revision = self.session().revision;
        let own = match local::way(&request, revision.era()) {
            Ok(Way::Send) => return self.call(&request, context).await,
            Ok(Way::Empty) => Ok(RawObject::new()),
            Ok(Way::Subscribe) => self.subscriptions.open(self, &self.tasks, &request, context.credential).await,
            Ok(Way::Unsubscribe) => self.subscriptions.end(&request, context.credential.as_ref()),
            Err(fault) => Err(fault),
        };
        own.map(|result| Reply { result, revision }).map_err(|fault| self.shared.failure(fault))
    }

    async fn call(self: &Arc<Self>, request: &Request, context: Context) -> Result<Reply, Failure> {
        if let Some(closed) = self.shared.ended() {
            return Err(self.shared.failure(Fault::NotSent(closed.why)));
        }
        let (client, cancel) = (Arc::clone(&context.client), context.cancel.clone());
        let ticket = Ticket::new(&self.shared, Purpose::call(request, context));
        tokio::select! {
            biased;
            reply = self.send_until_taken(request, &ticket, &client) => reply,
            // The answer's stream is closed by now, which is how a modern server is told.
            () = cancel.cancelled() => {
                self.tell_cancelled(&ticket.flight);
                Err(self.shared.failure(Fault::Cancelled))
            }
        }
    }

    /// Sends a request, and once more where the server did not take it because the session was lost, because it speaks another way
    /// than it used to, or because a tool's headers have changed.
    async fn send_until_taken(self: &Arc<Self>, request: &Request, ticket: &Ticket, client: &Client) -> Result<Reply, Failure> {
        let mut session = self.session();
        let (mut renewed, mut relisted) = (false, false);
        loop {
            self.set_log_level(request, &session, ticket).await?;
            let fault = match self.attempt(&session, request, ticket, Some(client)).await {
                Ok(result) => return self.check(request, &session, result),
                Err(Miss::Fault(fault)) => fault,
                Err(Miss::Session(fault)) if !renewed => {
                    self.renew(&session).await?;
                    renewed = true;
                    let old = std::mem::replace(&mut session, self.session());
                    if old.revision.era() == Era::Legacy || session.revision.era() == Era::Legacy {
                        continue;
                    }
                    fault // nothing is different: the server meant it
                }
                Err(Miss::Headers(_)) if !relisted => {
                    self.learn_headers(&session, ticket).await;
                    relisted = true;
                    continue;
                }
                Err(Miss::Session(fault) | Miss::Headers(fault)) => fault,
            };
            return Err(self.shared.failure(fault));
        }
    }

    fn check(&self, request: &Request, session: &Session, mut result: RawObject) -> Result<Reply, Failure> {
        let era = session.revision.era();
        if era == Era::Modern && request.method == Method::ToolsList {
            self.tool_headers.learn(self.shared.server(), request, &mut result);
        }
        let result = local::check_kind(result, request.method, era).map_err(|fault| self.shared.failure(fault))?;
        Ok(Reply { result, revision: session.revision })
    }

    /// Sends a request once.
    async fn attempt(
        self: &Arc<Self>,
        session: &Arc<Session>,
        request: &Request,
        ticket: &Ticket,
        client: Option<&Client>,
    ) -> Result<RawObject, Miss> {
        let exchange = self.post(session, request, ticket, client).await?;
        self.answer(exchange, session, &ticket.flight).await
    }

    async fn post(&self, session: &Session, request: &Request, ticket: &Ticket, client: Option<&Client>) -> Result<Exchange, Fault> {
        let text = outgoing::write_request(ticket.flight.id, request, session.revision, &self.shared.options, client);
        let mut headers = session.headers.clone();
        if session.revision.era() == Era::Modern {
            headers.insert(METHOD, encode_value(request.method.as_str()));
            if let Some(name) = request.name() {
                headers.insert(NAME, encode_value(&name));
            }
            headers.extend(self.tool_headers.of_request(request)?);
        }
        self.client.send(post(self.path.clone(), headers, text), ticket.flight.credential()).await
    }

    async fn set_log_level(self: &Arc<Self>, request: &Request, session: &Arc<Session>, call: &Ticket) -> Result<(), Failure> {
        if let Some(first) = self.logging.before(request, &self.shared.discovery()) {
            let ticket = Ticket::new(&self.shared, Purpose::Aside(call.flight.credential().cloned()));
            // A server that refuses this logs as it likes, which is no reason to fail the call.
            let _ = self.attempt(session, &first, &ticket, None).await;
        }
        Ok(())
    }

    /// Reads the list of tools again, for the headers of a call alone.
    async fn learn_headers(self: &Arc<Self>, session: &Arc<Session>, call: &Ticket) {
        let mut request = Request::new(Method::ToolsList, RawObject::new());
        for _ in 0..MOST_PAGES {
            let ticket = Ticket::new(&self.shared, Purpose::Aside(call.flight.credential().cloned()));
            let Ok(mut page) = self.attempt(session, &request, &ticket, None).await else { return };
            self.tool_headers.learn(self.shared.server(), &request, &mut page);
            match page.get("nextCursor").filter(|cursor| !cursor.is_null()) {
                Some(cursor) => request.params.set("cursor", cursor.clone()),
                None => return,
            }
        }
    }

    /// Sends a message of `caller` that has no answer.
    async fn tell(&self, session: &Session, message: &Message, caller: Option<&Arc<CallerToken>>) -> Result<(), Fault> {
        let mut text = Vec::new();
        message.write_to(&mut text);
        let sending = async {
            let exchange = self.client.send(post(self.path.clone(), session.headers.clone(), text), caller).await?;
            let status = exchange.status();
            exchange.collect(ACCEPT_BYTES).await?;
            if status.is_success() { Ok(()) } else { Err(Fault::Malformed(format!("HTTP {} to a message", status.as_u16()))) }
        };
        timeout(ACCEPT_LIMIT, sending).await.unwrap_or(Err(Fault::TimedOut(ACCEPT_LIMIT)))
    }

    fn tell_cancelled(self: &Arc<Self>, flight: &Flight) {
        let session = self.session();
        if session.revision.era() == Era::Modern {
            return;
        }
        let mut params = RawObject::new();
        params.set("requestId", RequestId::number(flight.id).as_json().clone());
        params.set("reason", RawJson::from_static("\"not wanted any more\""));
        let message = Message::Notification { method: "notifications/cancelled".to_owned(), params: Some(params) };
        let (http, caller) = (Arc::clone(self), flight.credential().cloned());
        self.tasks.spawn(async move {
            let _ = http.tell(&session, &message, caller.as_ref()).await; // nobody is left to hear that it was lost
        });
    }
}

impl Back for StreamableHttp {
    fn send_back(&self, message: Message, caller: Option<Arc<CallerToken>>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(fault) = self.tell(&self.session(), &message, caller.as_ref()).await {
                tracing::debug!(server = self.shared.server(), ?fault, "an answer to the server was lost");
            }
        })
    }
}
