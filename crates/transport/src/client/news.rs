//! What a server says unasked, and how it is kept coming: modern streams of changes, one subscription a resource.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sallyport_protocol::{CallerToken, Discovery, Era, Event, FailureKind, Method, RawJson, RawObject, Request, Retry, TokenDigest};
use tokio::sync::{oneshot, watch};
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
    keep_open(transport, &filter, &watch::Sender::default(), None, || shared.tell_all_changed()).await;
}

/// How a stream stands.
#[derive(Clone, Debug, Default)]
enum Stand {
    /// It is opened for the first time.
    #[default]
    Opening,
    /// It is open, and carries this.
    Open(RawObject),
    /// It was, and waits to be opened again.
    Lost,
}

/// Keeps one stream open, by the token of `caller`, else the connection's own. `again` is called after each acknowledgement but the first.
async fn keep_open<T: Listens>(
    transport: Arc<T>,
    filter: &RawObject,
    stand: &watch::Sender<Stand>,
    caller: Option<Arc<CallerToken>>,
    again: impl Fn(),
) {
    let mut backoff = Backoff::new();
    let mut opened_before = false;
    loop {
        let (acknowledged, hears) = oneshot::channel();
        let mut opened = None;
        let heard = async {
            if let Ok(notifications) = hears.await {
                stand.send_replace(Stand::Open(notifications));
                opened = Some(Instant::now());
                if std::mem::replace(&mut opened_before, true) {
                    again();
                }
            }
        };
        let listening = Arc::clone(&transport).listen(listen_request(filter), acknowledged, caller.clone());
        let (ended, ()) = futures_util::join!(listening, heard);
        if opened_before {
            stand.send_replace(Stand::Lost);
        }
        let for_good = match &ended {
            Err(Fault::Error(_) | Fault::Malformed(_) | Fault::Unauthorized(_)) => true,
            // Its token is good for nothing any more, and no other is shown in its place.
            Err(Fault::NoCredential(failure)) => caller.is_some() && failure.retry == Retry::Never,
            _ => false,
        };
        if for_good || transport.shared().is_over() {
            tracing::debug!(server = transport.shared().server(), ?ended, "listens no more");
            return;
        }
        sleep(backoff.next(opened.map_or(Duration::ZERO, |opened| opened.elapsed()))).await;
    }
}

/// A resource, and the token of who subscribed to it: what one token is good for is heard by no other.
type Key = (String, Option<TokenDigest>);

/// Resources of a modern server that were subscribed to. Each has a stream of its own: a filter cannot be changed once it is
/// sent, so one stream for all would lose news whenever it was replaced.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<HashMap<Key, Kept>>);

/// The stream of one subscription.
#[derive(Debug)]
struct Kept {
    task: AbortHandle,
    stand: watch::Receiver<Stand>,
}

impl Kept {
    /// Whether it is open, or may be in a moment.
    fn may_carry(&self) -> bool {
        !self.task.is_finished() && !matches!(*self.stand.borrow(), Stand::Lost)
    }
}

impl Subscriptions {
    fn by_key(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
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
        let key = key_of(request, caller.as_ref())?;
        let mut stand = self.stream(transport, tasks, &key, caller)?;
        let told = stand.wait_for(|stand| !matches!(stand, Stand::Opening));
        let is_honoured = match timeout(transport.shared().options.probe_timeout, told).await {
            Ok(Ok(stand)) => matches!(&*stand, Stand::Open(honoured) if names(honoured, &key.0)),
            _ => false,
        };
        if is_honoured {
            return Ok(RawObject::new());
        }
        self.forget(&key, |kept| kept.stand.same_channel(&stand));
        Err(Fault::Refused(FailureKind::CannotCross, "it sends no updates of this resource".to_owned()))
    }

    /// The stream of a subscription: the one that there is, or is being opened, else a new one.
    fn stream<T: Listens>(
        &self,
        transport: &Arc<T>,
        tasks: &Tasks,
        key: &Key,
        caller: Option<Arc<CallerToken>>,
    ) -> Result<watch::Receiver<Stand>, Fault> {
        let mut open = self.by_key();
        open.retain(|_, stream| !stream.task.is_finished());
        if let Some(there) = open.get(key).filter(|stream| stream.may_carry()) {
            return Ok(there.stand.clone());
        }
        if let Some(lost) = open.remove(key) {
            lost.task.abort(); // it waits to be opened again, and who asks now shall know whether it can be
        }
        if open.len() >= MOST_SUBSCRIPTIONS {
            return Err(Fault::Refused(FailureKind::Overloaded, format!("more than {MOST_SUBSCRIPTIONS} resource subscriptions")));
        }
        let (keeper, stand) = watch::channel(Stand::Opening);
        let task = tasks.spawn(keep_subscribed(Arc::clone(transport), key.clone(), keeper, caller));
        open.insert(key.clone(), Kept { task, stand: stand.clone() });
        Ok(stand)
    }

    /// Ends the subscription of `caller` that `resources/unsubscribe` names.
    pub(crate) fn end(&self, request: &Request, caller: Option<&Arc<CallerToken>>) -> Result<RawObject, Fault> {
        self.forget(&key_of(request, caller)?, |_| true);
        Ok(RawObject::new())
    }

    /// Ends a stream, if it is the one that is meant: another may have taken its place.
    fn forget(&self, key: &Key, is_meant: impl Fn(&Kept) -> bool) {
        let mut open = self.by_key();
        if open.get(key).is_some_and(is_meant)
            && let Some(stream) = open.remove(key)
        {
            stream.task.abort();
        }
    }
}

async fn keep_subscribed<T: Listens>(transport: Arc<T>, (uri, by): Key, stand: watch::Sender<Stand>, caller: Option<Arc<CallerToken>>) {
    let mut filter = RawObject::new();
    let Ok(uris) = RawJson::encode(&[&uri]) else { return };
    filter.set("resourceSubscriptions", uris);
    let shared = Arc::clone(transport.shared());
    let missed = || {
        let mut params = RawObject::new();
        params.set("uri", RawJson::string(&uri));
        shared.listeners().tell(&Event::ResourceUpdated { uri: uri.clone(), params, by });
    };
    keep_open(transport, &filter, &stand, caller, missed).await;
}

/// Whether what a server will send has updates of that resource among it.
fn names(honoured: &RawObject, uri: &str) -> bool {
    let uris = honoured.get("resourceSubscriptions").and_then(|uris| uris.decode::<Vec<String>>().ok());
    uris.is_some_and(|uris| uris.iter().any(|honoured| honoured == uri))
}

fn key_of(request: &Request, caller: Option<&Arc<CallerToken>>) -> Result<Key, Fault> {
    let uri = request.params.get_str("uri").map(std::borrow::Cow::into_owned);
    let uri = uri.ok_or_else(|| Fault::Refused(FailureKind::InvalidParams, "the parameters name no `uri`".to_owned()))?;
    Ok((uri, caller.map(|caller| caller.digest())))
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
