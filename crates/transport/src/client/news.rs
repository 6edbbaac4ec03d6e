//! What a server says unasked, and how it is kept coming: modern streams of changes, one subscription a resource.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sallyport_protocol::{CallerToken, Discovery, Era, Event, FailureKind, Method, RawJson, RawObject, Request};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::fault::Fault;
use super::shared::{Shared, Tasks};

/// The first wait before a lost stream is opened again; it doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait: a server that is back is noticed within a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Resources subscribed to at one modern server. Each is a stream, which over HTTP is a connection.
const MOST_SUBSCRIPTIONS: usize = 64;

/// How long to wait before a lost stream is opened again.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(FIRST_WAIT)
    }

    /// The next wait. A stream that was open, zero where it never was, for longer than that wait would be starts anew. Up to a quarter is
    /// added by chance, so that many gateways do not come back at once.
    pub(crate) fn next(&mut self, was_open: Duration) -> Duration {
        if was_open > self.0 {
            self.0 = FIRST_WAIT;
        }
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST_WAIT);
        let mut chance = [0];
        let _ = getrandom::fill(&mut chance); // zero does as well
        wait + wait * u32::from(chance[0]) / 1024
    }
}

/// A transport that carries modern streams of changes.
pub(crate) trait Listens: Send + Sync + 'static {
    fn shared(&self) -> &Arc<Shared>;

    /// Sends `subscriptions/listen`, for `caller` or the connection itself, and waits until the stream ends. What was acknowledged is told as soon as it is.
    /// Dropping the future ends the stream.
    fn listen(
        self: Arc<Self>,
        request: Request,
        acknowledged: oneshot::Sender<RawObject>,
        caller: Option<Arc<CallerToken>>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// The changes to listen to at a modern server, if it announces any.
pub(crate) fn wanted(discovery: &Discovery) -> Option<RawObject> {
    if discovery.revision.era() == Era::Legacy {
        return None;
    }
    let mut filter = RawObject::new();
    for (capability, name) in [("tools", "toolsListChanged"), ("prompts", "promptsListChanged"), ("resources", "resourcesListChanged")] {
        let announced = discovery.capabilities.get_object(capability).ok().flatten();
        if announced.is_some_and(|settings| settings.get("listChanged").is_some_and(|value| value.as_str() == "true")) {
            filter.set(name, RawJson::from_static("true"));
        }
    }
    (!filter.is_empty()).then_some(filter)
}

fn listen_request(filter: &RawObject) -> Request {
    let mut params = RawObject::new();
    params.set("notifications", filter.to_json());
    Request::new(Method::SubscriptionsListen, params)
}

/// Listens to changes of the lists for as long as the connection lasts. Each time the stream is opened again all lists count as changed.
pub(crate) async fn keep_listening<T: Listens>(transport: Arc<T>, filter: RawObject) {
    let shared = Arc::clone(transport.shared());
    keep_open(transport, &filter, &Openness::default(), First::default(), || shared.tell_all_changed()).await;
}

/// Whether a stream is open at the moment. Clones tell of the same stream.
#[derive(Clone, Debug, Default)]
struct Openness(Arc<AtomicBool>);

impl Openness {
    fn set(&self, is_open: bool) {
        self.0.store(is_open, Ordering::Release);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Who wanted a stream to be opened. Once it is open it is the connection's own, since it may outlast what was shown for it.
#[derive(Default)]
struct First {
    /// Hears the first acknowledgement.
    acknowledged: Option<oneshot::Sender<RawObject>>,
    caller: Option<Arc<CallerToken>>,
}

/// Keeps one stream open. `again` is called after each acknowledgement but the first.
async fn keep_open<T: Listens>(transport: Arc<T>, filter: &RawObject, openness: &Openness, mut first: First, again: impl Fn()) {
    let mut backoff = Backoff::new();
    let mut opened_before = false;
    loop {
        let (acknowledged, hears) = oneshot::channel();
        let mut opened = None;
        let caller = first.caller.clone();
        let heard = async {
            if let Ok(notifications) = hears.await {
                openness.set(true);
                opened = Some(Instant::now());
                first.caller = None;
                if opened_before {
                    again();
                } else if let Some(first) = first.acknowledged.take() {
                    let _ = first.send(notifications); // gave up waiting where it fails
                }
                opened_before = true;
            }
        };
        let listening = Arc::clone(&transport).listen(listen_request(filter), acknowledged, caller);
        let (ended, ()) = futures_util::join!(listening, heard);
        openness.set(false);
        if matches!(ended, Err(Fault::Error(_) | Fault::Malformed(_) | Fault::Unauthorized(_))) || transport.shared().is_over() {
            tracing::debug!(server = transport.shared().server(), ?ended, "listens no more");
            return;
        }
        sleep(backoff.next(opened.map_or(Duration::ZERO, |opened| opened.elapsed()))).await;
    }
}

/// Resources of a modern server that a legacy client subscribed to. Each has a stream of its own: a filter cannot be changed once it is
/// sent, so one stream for all would lose news whenever it was replaced.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<HashMap<String, Kept>>);

/// The stream of one resource.
#[derive(Debug)]
struct Kept {
    task: AbortHandle,
    openness: Openness,
}

impl Subscriptions {
    fn by_uri(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the subscription that a `resources/subscribe` of `caller` asks for, and waits for the server's word that it will send updates.
    pub(crate) async fn open<T: Listens>(
        &self,
        transport: &Arc<T>,
        tasks: &Tasks,
        request: &Request,
        caller: Option<Arc<CallerToken>>,
    ) -> Result<RawObject, Fault> {
        let uri = uri_of(request)?;
        let (hears, acknowledged) = oneshot::channel();
        let first = First { acknowledged: Some(hears), caller };
        {
            let mut open = self.by_uri();
            open.retain(|_, stream| !stream.task.is_finished());
            if open.get(&uri).is_some_and(|stream| stream.openness.is_open()) {
                return Ok(RawObject::new());
            }
            if let Some(lost) = open.remove(&uri) {
                lost.task.abort(); // it waits to be opened again, and who asks now shall know whether it can be
            }
            if open.len() >= MOST_SUBSCRIPTIONS {
                return Err(Fault::Refused(FailureKind::Overloaded, format!("more than {MOST_SUBSCRIPTIONS} resource subscriptions")));
            }
            let openness = Openness::default();
            let task = tasks.spawn(keep_subscribed(Arc::clone(transport), uri.clone(), openness.clone(), first));
            open.insert(uri.clone(), Kept { task, openness });
        }
        let honoured = timeout(transport.shared().options.probe_timeout, acknowledged).await;
        let uris = honoured.ok().and_then(Result::ok).and_then(|filter| filter.get("resourceSubscriptions")?.decode::<Vec<String>>().ok());
        if uris.is_some_and(|uris| uris.contains(&uri)) {
            return Ok(RawObject::new());
        }
        self.forget(&uri);
        Err(Fault::Refused(FailureKind::CannotCross, "it sends no updates of this resource".to_owned()))
    }

    /// Ends the subscription that `resources/unsubscribe` names.
    pub(crate) fn end(&self, request: &Request) -> Result<RawObject, Fault> {
        self.forget(&uri_of(request)?);
        Ok(RawObject::new())
    }

    fn forget(&self, uri: &str) {
        if let Some(stream) = self.by_uri().remove(uri) {
            stream.task.abort();
        }
    }
}

async fn keep_subscribed<T: Listens>(transport: Arc<T>, uri: String, openness: Openness, first: First) {
    let mut filter = RawObject::new();
    let Ok(uris) = RawJson::encode(&[&uri]) else { return };
    filter.set("resourceSubscriptions", uris);
    let shared = Arc::clone(transport.shared());
    let missed = || {
        let mut params = RawObject::new();
        params.set("uri", RawJson::string(&uri));
        shared.listeners().tell(&Event::ResourceUpdated { uri: uri.clone(), params });
    };
    keep_open(transport, &filter, &openness, first, missed).await;
}

fn uri_of(request: &Request) -> Result<String, Fault> {
    let uri = request.params.get_str("uri").map(std::borrow::Cow::into_owned);
    uri.ok_or_else(|| Fault::Refused(FailureKind::InvalidParams, "the parameters name no `uri`".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_stays_away_is_asked_ever_less_often_and_one_that_was_there_soon_again() {
        let mut backoff = Backoff::new();
        let waits: Vec<u64> = (0..6).map(|_| backoff.next(Duration::ZERO).as_secs()).collect();
        assert!(waits.is_sorted() && waits.first() == Some(&1), "{waits:?}");
        assert!(backoff.next(Duration::ZERO).as_secs() >= 60, "the longest wait, and by chance a little more");
        assert!(backoff.next(Duration::from_secs(59)).as_secs() >= 60, "open for less than the wait");
        assert_eq!(backoff.next(Duration::from_secs(61)).as_secs(), 1);
        assert_eq!(backoff.next(Duration::from_millis(2100)).as_secs(), 1, "open for longer than the wait");
    }
}
