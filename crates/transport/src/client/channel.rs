//! A connection on which all messages share one stream each way: stdio, and HTTP+SSE.

use std::sync::Arc;

use bytes::Bytes;
use sallyport_protocol::{
    BoxFuture, CallerToken, Context, Discovery, Failure, FailureKind, Message, RawJson, RawObject, Reply, Request, RequestId, Retry,
    Revision,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::era::{self, Agreed, Handshake, Negotiable, Verdict};
use super::fault::Fault;
use super::flight::{Flight, Outcome, Purpose, Ticket};
use super::http_sse::Posts;
use super::local::{self, Logging, Way};
use super::message::{self, Received};
use super::news::{self, Listens, Subscriptions};
use super::outgoing;
use super::question::Back;
use super::shared::{Shared, Tasks};
use crate::frame::{Line, LineWriter};

/// A connection on which all messages share one stream each way.
#[derive(Debug)]
pub(crate) struct Channel {
    shared: Arc<Shared>,
    out: Out,
    logging: Logging,
    subscriptions: Subscriptions,
    tasks: Tasks,
}

/// The way to the server.
#[derive(Debug)]
pub(crate) enum Out {
    /// A child's stdin.
    Lines(LineWriter),
    /// One POST a message.
    Posts(Posts),
}

impl Channel {
    pub(crate) fn new(shared: Arc<Shared>, out: Out, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self { shared, out, logging: Logging::default(), subscriptions: Subscriptions::default(), tasks })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Agrees with the server on a revision, and starts to listen to its news.
    pub(crate) async fn negotiate(self: &Arc<Self>) -> Result<(), Failure> {
        match era::negotiate(self.as_ref(), self.shared.options.known).await? {
            Agreed::On(discovery) => self.shared.set_discovery(discovery),
            Agreed::Nothing(fault) => return Err(self.shared.failure(fault)),
        }
        if let Some(filter) = news::wanted(&self.shared.discovery()) {
            self.tasks.spawn(news::keep_listening(Arc::clone(self), filter));
        }
        Ok(())
    }

    /// The same where only the legacy way is possible.
    pub(crate) async fn negotiate_legacy(self: &Arc<Self>) -> Result<(), Failure> {
        match era::initialize_alone(self.as_ref()).await? {
            Handshake::Done(discovery) => {
                self.shared.set_discovery(discovery);
                Ok(())
            }
            Handshake::Modern => {
                Err(self.shared.failure(Fault::Malformed("it refuses `initialize` on a transport that has nothing else".to_owned())))
            }
            Handshake::Refused(fault) => Err(self.shared.failure(fault)),
        }
    }

    /// Closes the way to the server; what was queued is still sent.
    pub(crate) fn close(&self) {
        if let Out::Lines(writer) = &self.out {
            writer.close();
        }
        self.shared.end("it was closed");
    }

    pub(crate) async fn handle(self: &Arc<Self>, request: Request, context: Context) -> Result<Reply, Failure> {
        let discovery = self.shared.discovery();
        let outcome = match local::way(&request, discovery.revision.era()) {
            Ok(Way::Send) => self.call(&request, context, &discovery).await,
            Ok(Way::Empty) => Ok(RawObject::new()),
            Ok(Way::Subscribe) => self.subscriptions.open(self, &self.tasks, &request, context.credential).await,
            Ok(Way::Unsubscribe) => self.subscriptions.end(&request, context.credential.as_ref()),
            Err(fault) => Err(fault),
        };
        match outcome {
            Ok(result) => Ok(Reply { result, revision: discovery.revision }),
            Err(fault) => Err(self.shared.failure(fault)),
        }
    }

    async fn call(self: &Arc<Self>, request: &Request, context: Context, discovery: &Discovery) -> Outcome {
        if let Some(first) = self.logging.before(request, discovery) {
            // A server that refuses this logs as it likes, which is no reason to fail the call.
            let _ = self.ask(&first, discovery.revision, Purpose::Aside(context.credential.clone())).await;
        }
        let (client, cancel) = (Arc::clone(&context.client), context.cancel.clone());
        let (ticket, outcome) = Ticket::awaited(&self.shared, Purpose::call(request, context));
        let text = outgoing::write_request(ticket.flight.id, request, discovery.revision, &self.shared.options, Some(&client));
        tokio::select! {
            biased;
            outcome = self.exchange(text, outcome, ticket.flight.credential()) => outcome.and_then(|result| local::check_kind(result, request.method, discovery.revision.era())),
            () = cancel.cancelled() => {
                self.tell_cancelled(&ticket.flight);
                Err(Fault::Cancelled)
            }
        }
    }

    /// Sends a request of our own, which may be for a call.
    async fn ask(&self, request: &Request, revision: Revision, purpose: Purpose) -> Outcome {
        let (ticket, outcome) = Ticket::awaited(&self.shared, purpose);
        let text = outgoing::write_request(ticket.flight.id, request, revision, &self.shared.options, None);
        self.exchange(text, outcome, ticket.flight.credential()).await
    }

    async fn exchange(&self, text: Vec<u8>, outcome: oneshot::Receiver<Outcome>, caller: Option<&Arc<CallerToken>>) -> Outcome {
        // Looked at after the request was entered, so that an end between the two is not missed.
        if let Some(closed) = self.shared.ended() {
            return Err(Fault::NotSent(closed.why));
        }
        self.send(text, caller).await?;
        outcome.await.unwrap_or_else(|_| Err(Fault::Lost("the connection was dropped".to_owned())))
    }

    async fn send(&self, text: Vec<u8>, caller: Option<&Arc<CallerToken>>) -> Result<(), Fault> {
        match &self.out {
            Out::Lines(writer) => writer.send(Line::new(text)).await.map_err(|error| Fault::NotSent(error.to_string())),
            Out::Posts(posts) => posts.send(text, caller).await.inspect_err(|fault| {
                if let Fault::NotSent(why) = fault {
                    self.shared.end(why);
                }
            }),
        }
    }

    fn tell_cancelled(self: &Arc<Self>, flight: &Flight) {
        let mut params = RawObject::new();
        params.set("requestId", RequestId::number(flight.id).as_json().clone());
        params.set("reason", RawJson::from_static("\"not wanted any more\""));
        self.tell("notifications/cancelled", Some(params), flight.credential().cloned());
    }

    /// Sends a notification of `caller`, without waiting until it is sent.
    fn tell(self: &Arc<Self>, method: &str, params: Option<RawObject>, caller: Option<Arc<CallerToken>>) {
        let text = Message::Notification { method: method.to_owned(), params }.to_line();
        if let Out::Lines(writer) = &self.out
            && writer.try_send(Line::new(text.clone()))
        {
            return;
        }
        let channel = Arc::clone(self);
        self.tasks.spawn(async move {
            let _ = channel.send(text, caller.as_ref()).await; // a notification has nobody to hear that it was lost
        });
    }

    /// Takes one text from the server.
    pub(crate) fn take(self: &Arc<Self>, text: &Bytes) {
        message::read(text, |received| match received {
            Received::Message(Message::Result { id, result }) => match id.as_u64() {
                Some(id) => self.end(Some(id), Ok(result)),
                // Only a server that could not read a request has an excuse for not naming it, and it has no result either.
                None => self.shared.note_babble(text),
            },
            Received::Message(Message::Error { id, error }) => self.end(id.and_then(|id| id.as_u64()), Err(Fault::Error(error))),
            Received::Message(other) => self.shared.take_unasked(other, None, &(Arc::clone(self) as Arc<dyn Back>)),
            Received::Malformed { id, what } => {
                tracing::warn!(server = self.shared.server(), what, "malformed message");
                self.end(id, Err(Fault::Malformed(what)));
            }
            Received::Babble => self.shared.note_babble(text),
        });
    }

    /// Ends the request of that id, or the only one there is where the id is missing.
    fn end(&self, id: Option<u64>, outcome: Outcome) {
        if !self.shared.flights.end(id, outcome) {
            tracing::debug!(server = self.shared.server(), "ignored an answer to no request in flight");
        }
    }

    /// Some legacy servers end at the first request that is not `initialize`.
    fn ended_by_probe(&self, why: &str) -> Failure {
        let kind = FailureKind::UnsupportedVersion(Revision::LATEST.as_str().to_owned());
        let text = format!("server `{}` ended when it was asked how it speaks: {why}", self.shared.server());
        Failure::upstream(self.shared.server(), kind, Retry::Safe, text)
    }

    /// Notes a text that was too long to read: it may have been the answer to any request in flight, and the others cannot be told apart.
    pub(crate) fn take_too_long(&self, limit: usize) {
        tracing::warn!(server = self.shared.server(), limit, "message too long");
        self.shared.flights.end_all(&Fault::TooLarge(limit));
    }
}

impl Back for Channel {
    fn send_back(&self, message: Message, caller: Option<Arc<CallerToken>>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _ = self.send(message.to_line(), caller.as_ref()).await; // where it fails, the connection ends and everybody learns it
        })
    }
}

impl Negotiable for Channel {
    fn shared(&self) -> &Shared {
        &self.shared
    }

    async fn discover(&self, request: Request) -> Result<Verdict, Failure> {
        match timeout(self.shared.options.probe_timeout, self.ask(&request, Revision::LATEST, Purpose::Own)).await {
            Err(_) | Ok(Err(Fault::Malformed(_) | Fault::TooLarge(_))) => Ok(Verdict::NotModern),
            Ok(Ok(result)) => Ok(era::judge_discover(Ok(result))),
            Ok(Err(Fault::Error(error))) => Ok(era::judge_discover(Err(error))),
            Ok(Err(Fault::Lost(why) | Fault::NotSent(why))) => Err(self.ended_by_probe(&why)),
            Ok(Err(fault)) => Err(self.shared.failure(fault)),
        }
    }

    async fn initialize(&self, request: Request) -> Result<Handshake, Failure> {
        let limit = self.shared.options.probe_timeout;
        let answer = match timeout(limit, self.ask(&request, Revision::LATEST_LEGACY, Purpose::Own)).await {
            Ok(Err(fault @ (Fault::Lost(_) | Fault::NotSent(_)))) => return Err(self.shared.failure(fault)),
            Ok(answer) => answer,
            Err(_) => return Err(self.shared.failure(Fault::TimedOut(limit))),
        };
        let handshake = era::judge_initialize(answer);
        if matches!(handshake, Handshake::Done(_)) {
            let initialized = Message::Notification { method: "notifications/initialized".to_owned(), params: None };
            self.send(initialized.to_line(), None).await.map_err(|fault| self.shared.failure(fault))?;
        }
        Ok(handshake)
    }
}

impl Listens for Channel {
    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    async fn listen(
        self: Arc<Self>,
        request: Request,
        acknowledged: oneshot::Sender<RawObject>,
        caller: Option<Arc<CallerToken>>,
    ) -> Result<(), Fault> {
        let (ticket, outcome) = Ticket::awaited(&self.shared, Purpose::listen(acknowledged, caller));
        let mut stream = OpenStream { channel: &self, flight: Some(&ticket.flight) };
        let text = outgoing::write_request(ticket.flight.id, &request, Revision::LATEST, &self.shared.options, None);
        let outcome = self.exchange(text, outcome, ticket.flight.credential()).await;
        stream.flight = None; // it ended by itself
        outcome.map(|_| ())
    }
}

/// A stream of changes. Dropped while it is open, it tells the server that nobody listens any more.
struct OpenStream<'c> {
    channel: &'c Arc<Channel>,
    flight: Option<&'c Flight>,
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        if let Some(flight) = self.flight {
            self.channel.tell_cancelled(flight);
        }
    }
}
