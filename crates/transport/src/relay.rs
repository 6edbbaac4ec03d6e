//! Relays a stdio client to a gateway that runs already: message by message, in both eras, changing none.
//!
//! The gateway may restart in between: a request that was never sent is sent again, and a legacy session that is lost is
//! opened anew with the client's own `initialize`. A request that was sent is never sent twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use rustls_pki_types::CertificateDer;
use sallyport_protocol::{Cancel, ErrorObject, Failure, FailureKind, Message, Method, RequestId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use url::Url;

use crate::frame::{Line, LineError, LineReader, LineWriter, QUEUE_BYTES};
use crate::server::batch::is_batch;
use crate::server::era::Spoken;

mod link;
mod unfold;

use link::{Lane, Link};

/// Bytes of a line at most: as long as the gateway takes.
const LINE_BYTES: usize = 16 * 1024 * 1024;

/// Requests that run at once; the next line is read when one of them ends.
const MOST_RUNNING: u32 = 256;

/// How long requests that run when the client leaves may still take.
const DRAIN: Duration = Duration::from_secs(20);

/// How long the last answers may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Relays the client at `read` and `write` to the MCP endpoint at `url`, showing `bearer` there, until the client closes its
/// end: what runs then may finish within 20 seconds. Once `shutdown` is ready, which is when the client's patience is over, nothing may.
/// `trust` are certificates to trust besides those that the system trusts.
///
/// # Errors
/// Where `url` is none that can be spoken to, or the token cannot be a header.
pub async fn relay_stdio<R, W>(
    read: R,
    write: W,
    url: &Url,
    bearer: Option<&str>,
    trust: &[CertificateDer<'static>],
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let bad = |what: String| Failure::client(FailureKind::Unreachable, what);
    let bearer = bearer.map(|token| HeaderValue::try_from(format!("Bearer {token}"))).transpose();
    let bearer = bearer.map_err(|_| bad("the gateway's key cannot be a header".to_owned()))?;
    let (lines, writing) = LineWriter::new(write, QUEUE_BYTES);
    let link = Link::new(url, bearer, trust, lines.clone()).map_err(|why| bad(format!("the gateway cannot be reached: {why}")))?;
    let relay = Relay { link, lines, slots: Arc::new(Semaphore::new(MOST_RUNNING as usize)), running: Arc::default() };
    let mut writing = std::pin::pin!(writing);
    tokio::select! {
        outcome = &mut writing => tracing::debug!(?outcome, "the client reads no more"),
        () = relay.run(LineReader::new(read, LINE_BYTES)) => {}
        () = shutdown => relay.running.cancel_all(|_| true),
    }
    relay.link.close().await;
    drop(relay);
    if tokio::time::timeout(LAST_WORDS, writing).await.is_err() {
        tracing::debug!("the client did not read the last answers");
    }
    Ok(())
}

/// The requests that run. Those of revision 2026-07-28 are cancelled by closing their connection; the others by telling the gateway,
/// and what it answers then is not passed on.
#[derive(Default)]
struct Running(Mutex<Vec<Entry>>);

struct Entry {
    id: RequestId,
    cancel: Cancel,
    /// It is of 2026-07-28.
    modern: bool,
    /// It is a subscription, which does not end by itself.
    listens: bool,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, id: &RequestId, method: &str, modern: bool) -> Cancel {
        let cancel = Cancel::new();
        let listens = method == Method::SubscriptionsListen.as_str();
        self.lock().push(Entry { id: id.clone(), cancel: cancel.clone(), modern, listens });
        cancel
    }

    fn finish(&self, id: &RequestId) {
        self.lock().retain(|entry| entry.id != *id);
    }

    /// Cancels what `which` names.
    fn cancel_all(&self, which: impl Fn(&Entry) -> bool) {
        self.lock().iter().filter(|entry| which(entry)).for_each(|entry| entry.cancel.cancel());
    }

    /// Cancels a request, and says whether it is one of 2026-07-28.
    fn cancel(&self, id: &RequestId) -> bool {
        self.lock().iter().find(|entry| entry.id == *id).inspect(|entry| entry.cancel.cancel()).is_some_and(|entry| entry.modern)
    }
}

struct Relay {
    link: Arc<Link>,
    lines: LineWriter,
    slots: Arc<Semaphore>,
    running: Arc<Running>,
}

impl Relay {
    async fn run<R: AsyncRead + Unpin>(&self, mut reader: LineReader<R>) {
        loop {
            match reader.next().await {
                Ok(Some(line)) => self.take(line).await,
                Ok(None) => break,
                Err(LineError::TooLong) => {
                    let error = ErrorObject::new(ErrorObject::INVALID_REQUEST, "the line is too long");
                    say(&self.lines, &Message::Error { id: None, error }).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "stdin broke");
                    break;
                }
            }
        }
        self.running.cancel_all(|entry| entry.listens);
        if tokio::time::timeout(DRAIN, self.slots.acquire_many(MOST_RUNNING)).await.is_err() {
            self.running.cancel_all(|_| true);
        }
    }

    async fn take(&self, line: Bytes) {
        if is_batch(&line) {
            let link = Arc::clone(&self.link);
            return self.spawn(async move { link.batch(line).await }).await;
        }
        let message = match Message::parse(&line) {
            Ok(message) => message,
            Err(bad) => return say(&self.lines, &Message::Error { id: bad.id, error: bad.error }).await,
        };
        match message {
            Message::Request { id, method, params } if Spoken::of(params.as_ref(), None).is_modern() => {
                let cancel = self.running.start(&id, &method, true);
                self.pass(line, id, Lane::modern(&method, params.unwrap_or_default()), cancel).await;
            }
            // Nothing else can be sent before its answer has come.
            Message::Request { id, method, .. } if method == Method::Initialize.as_str() => self.link.initialize(line, &id).await,
            Message::Request { id, method, .. } => {
                let cancel = self.running.start(&id, &method, false);
                self.pass(line, id, Lane::Legacy, cancel).await;
            }
            Message::Notification { method, params } if method == "notifications/cancelled" => {
                let id = params.as_ref().and_then(|params| params.get("requestId").and_then(RequestId::from_json));
                // Told or not, the client is not to be answered any more.
                if !id.is_some_and(|id| self.running.cancel(&id)) {
                    self.link.tell(line).await;
                }
            }
            Message::Notification { method, .. } => {
                self.link.tell(line).await;
                if method == "notifications/initialized" {
                    self.link.listen();
                }
            }
            Message::Result { .. } | Message::Error { .. } => self.link.tell(line).await,
        }
    }

    /// Passes a request on, and its answer back unless it is cancelled before.
    async fn pass(&self, line: Bytes, id: RequestId, lane: Lane, cancel: Cancel) {
        let (link, running) = (Arc::clone(&self.link), Arc::clone(&self.running));
        self.spawn(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                () = link.request(line, &id, lane) => {}
            }
            running.finish(&id);
        })
        .await;
    }

    async fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        tokio::spawn(async move {
            future.await;
            drop(slot);
        });
    }
}

async fn say(lines: &LineWriter, message: &Message) {
    if lines.send(Line::new(message.to_line())).await.is_err() {
        tracing::debug!("the client reads no more");
    }
}
