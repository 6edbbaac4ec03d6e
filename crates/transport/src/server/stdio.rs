//! The stdio front door: one client, one line a message, both eras, decided for each message.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sallyport_protocol::{
    Cancel, Endpoint, Era, ErrorObject, Failure, FailureKind, Front, Incoming, Message, Method, Peer, RawObject, RequestId, ServerIdentity,
};
use sallyport_telemetry::metric::DoorMetrics;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answered::Answered;
use super::asker::Outlet;
use super::batch::{self, Work};
use super::call::Loss;
use super::door::Door;
use super::era::Spoken;
use super::subscription::Listening;
use super::{legacy, modern};
use crate::frame::{Line, LineError, LineReader, LineWriter, QUEUE_BYTES};
use crate::session::{Session, SessionBounds, Sessions, notification};

/// Bytes of a line at most: as long as a body over HTTP may be.
const LINE_BYTES: usize = 16 * 1024 * 1024;

/// How long the last answers may take to be written when all else has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How the stdio front door is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who we say we are.
    pub identity: ServerIdentity,
    /// What the client sees.
    pub endpoint: Endpoint,
    /// How long requests that run when the client leaves may still take.
    pub drain: Duration,
}

impl Options {
    /// A door to everything, which waits 20 seconds for requests that still run.
    #[must_use]
    pub fn new(identity: ServerIdentity) -> Self {
        Self { identity, endpoint: Endpoint::All, drain: Duration::from_secs(20) }
    }
}

/// The one client of the door.
struct Desk {
    door: Arc<Door>,
    session: Arc<Session>,
    incoming: Incoming,
    lines: LineWriter,
}

/// Serves the client at `read` and `write` until it closes its end or `shutdown` is ready, then lets what runs finish.
///
/// # Errors
/// Where the front does not admit the client.
pub async fn serve<R, W>(
    read: R,
    write: W,
    front: Arc<dyn Front>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let incoming =
        Incoming { tenant: None, endpoint: options.endpoint, credential: None, certificate: None, peer: Peer::Stdio, recognised: None };
    let caller = front.admit(&incoming).decided().await?.id;
    let door = Door::new(front, options.identity, Sessions::new(SessionBounds::default(), DoorMetrics::default()));
    let (session, _) = door
        .sessions
        .create(caller, incoming.endpoint.clone())
        .map_err(|error| Failure::internal("no session could be made").with_internal(error))?;
    let (lines, writing) = LineWriter::new(write, QUEUE_BYTES);
    let desk = Desk { door, session, incoming, lines };
    let mut writing = pin!(writing);
    tokio::select! {
        outcome = &mut writing => {
            tracing::debug!(?outcome, "the client reads no more");
            desk.drain(Duration::ZERO).await;
        }
        () = desk.run(LineReader::new(read, LINE_BYTES), shutdown, options.drain) => {}
    }
    drop(desk);
    if tokio::time::timeout(LAST_WORDS, writing).await.is_err() {
        tracing::debug!("the client did not read the last answers");
    }
    Ok(())
}

impl Desk {
    async fn run<R: AsyncRead + Unpin>(&self, mut reader: LineReader<R>, shutdown: impl Future<Output = ()>, drain: Duration) {
        let mut shutdown = pin!(shutdown);
        let news = self.session.news.attach();
        let _open = self.session.hold_open();
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                line = reader.next() => match line {
                    Ok(Some(line)) => self.take(&line).await,
                    Ok(None) => break,
                    Err(LineError::TooLong) => self.refuse(ErrorObject::new(ErrorObject::INVALID_REQUEST, "the line is too long"), None).await,
                    Err(error) => {
                        tracing::debug!(%error, "stdin broke");
                        break;
                    }
                },
                Some(message) = poll_fn(|cx| self.session.news.poll_next(news, cx)) => self.say(Line::new(message.text)).await,
            }
        }
        self.drain(drain).await;
    }

    /// Lets what runs finish.
    async fn drain(&self, limit: Duration) {
        self.door.end_streams();
        if tokio::time::timeout(limit, self.door.idle()).await.is_err() {
            tracing::warn!("requests that still ran when the client left were given up");
        }
        self.door.forget(&self.session);
    }

    async fn take(&self, line: &Bytes) {
        if batch::is_batch(line) {
            return self.take_batch(line).await;
        }
        match Message::parse(line) {
            Ok(Message::Request { id, method, params }) => match Spoken::of(params.as_ref(), None) {
                Spoken::Modern(meta) => self.begin_modern(modern::Asked { id, method, params, meta, headers: None }).await,
                Spoken::Legacy => self.begin_legacy(legacy::Asked { id, method, params }).await,
            },
            Ok(other) => legacy::take(&self.session, other),
            Err(bad) => self.refuse(bad.error, bad.id).await,
        }
    }

    async fn take_batch(&self, line: &Bytes) {
        match batch::read(&self.session, line) {
            Ok(messages) => {
                let outlet = Outlet::Lines(self.lines.clone());
                if let Some(batch) = batch::begin(&self.door, &self.session, &self.incoming, messages, &outlet) {
                    self.run_work(Work::Batch(batch));
                }
            }
            Err(bad) => self.refuse(bad.error, bad.id).await,
        }
    }

    async fn begin_legacy(&self, asked: legacy::Asked) {
        match legacy::begin(&self.door, &self.session, &self.incoming, asked, Outlet::Lines(self.lines.clone())) {
            legacy::Begun::Answered(answered) => self.say(answered.message.into_line()).await,
            legacy::Begun::Call(call) => self.run_work(Work::Call(call)),
        }
    }

    async fn begin_modern(&self, asked: modern::Asked<'_>) {
        let outlet = Outlet::Lines(self.lines.clone());
        match modern::begin(&self.door, &self.incoming, asked, outlet, Loss::MeansNothing) {
            modern::Begun::Answered(answered) => self.say(answered.message.into_line()).await,
            modern::Begun::Call(mut call) => match call.list_in(&self.session) {
                Ok(()) => self.run_work(Work::Call(call)),
                Err(failure) => self.say_refused(&failure, Some(call.method), &call.id).await,
            },
            modern::Begun::Listen(listen) => {
                let cancel = Cancel::new();
                if self.session.start(&listen.id, &cancel) {
                    self.run_listen(*listen, cancel);
                } else {
                    let failure = Failure::client(FailureKind::Overloaded, "too many requests of this client are running already");
                    self.say_refused(&failure, Some(Method::SubscriptionsListen), &listen.id).await;
                }
            }
        }
    }

    fn run_work(&self, work: Work) {
        let lines = self.lines.clone();
        self.door.spawn(async move {
            let answered = work.await;
            if !answered.cancelled {
                say(&lines, answered.message.into_line()).await;
            }
        });
    }

    fn run_listen(&self, listen: modern::Listen, cancel: Cancel) {
        let (door, session, incoming, lines) =
            (Arc::clone(&self.door), Arc::clone(&self.session), self.incoming.clone(), self.lines.clone());
        self.door.spawn(async move {
            let id = listen.id.clone();
            match Listening::open(&door, incoming, listen).await {
                Ok(listening) => {
                    pass_on(&listening, &lines, &cancel).await;
                    if listening.was_ended() {
                        say(&lines, Line::new(torn_down(&id))).await;
                    }
                }
                Err(failure) => {
                    let answered: Answered = door.refuse(&failure, Some(Method::SubscriptionsListen), Era::Modern, Some(&id));
                    say(&lines, answered.message.into_line()).await;
                }
            }
            session.finish(&id);
        });
    }

    async fn refuse(&self, error: ErrorObject, id: Option<RequestId>) {
        let failure = Failure::client(FailureKind::NotAMessage(error), "the line is no JSON-RPC message");
        let answered = self.door.refuse(&failure, None, Era::Legacy, id.as_ref());
        self.say(answered.message.into_line()).await;
    }

    async fn say_refused(&self, failure: &Failure, method: Option<Method>, id: &RequestId) {
        let answered = self.door.refuse(failure, method, Era::Modern, Some(id));
        self.say(answered.message.into_line()).await;
    }

    async fn say(&self, line: Line) {
        say(&self.lines, line).await;
    }
}

/// Passes the messages of a subscription on until it ends or the client cancels it.
async fn pass_on(listening: &Listening, lines: &LineWriter, cancel: &Cancel) {
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            message = poll_fn(|cx| listening.poll_next(cx)) => match message {
                Some(message) => say(lines, Line::new(message)).await,
                None => return,
            },
        }
    }
}

/// What a client on stdio is told besides the final result when the gateway tears a subscription down: no stream of its own
/// ends there (2026-07-28, basic/utilities/cancellation).
fn torn_down(id: &RequestId) -> Bytes {
    let mut params = RawObject::new();
    params.set("requestId", id.as_json().clone());
    notification("notifications/cancelled", &params)
}

async fn say(lines: &LineWriter, line: Line) {
    if let Err(error) = lines.send(line).await {
        tracing::debug!(%error, "an answer could not be written");
    }
}
