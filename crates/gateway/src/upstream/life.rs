//! The life of one server as everybody sees it: whether it is there, what it offers, who waits for it.
//!
//! One task, the [keeper](super::keeper), changes it; all others look and wait.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use sallyport_protocol::{Cancel, Discovery, Failure, FailureKind, Listeners, McpServer, Retry, Revision, ServerIdentity};
use sallyport_telemetry::ServerMetrics;
use tokio::sync::{Notify, watch};

use crate::plan::ServerPlan;
use crate::upstream::deadline::Deadline;
use crate::upstream::health::{Outage, UpstreamState};
use crate::upstream::listing::{Freshness, Listing};
use crate::upstream::own_call::Own;
use crate::upstream::retry::Repeatable;

/// Calls that may wait for one start. More than any client has under way at once; beyond it, callers are told to come back.
const MOST_WAITING: usize = 512;
/// Calls under way at one server. The doors bound what one caller may have under way; this bounds what all together may pile up.
const MOST_IN_FLIGHT: usize = 16_384;
/// How long a call whose connection broke waits to hear why: the end of a child is known a moment after its pipe closes.
const REASON_WITHIN: Duration = Duration::from_millis(250);
/// Calls in a row without an answer after which a server is asked for a sign of life.
const SILENT_CALLS: u32 = 3;

/// What is called with the server's name when its listing is another now.
pub type OnChange = dyn Fn(&Arc<str>) + Send + Sync;

/// What the keeper is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Wait until the server is wanted.
    Rest,
    /// Keep it running.
    Run,
    /// End it.
    Stop,
}

/// The life of one server.
pub(crate) struct Life {
    pub(crate) name: Arc<str>,
    pub(crate) plan: ServerPlan,
    pub(crate) own: Own,
    pub(crate) metrics: ServerMetrics,
    pub(crate) listeners: Listeners,
    pub(crate) repeatable: Repeatable,
    /// There while the server is ready.
    pub(crate) link: ArcSwapOption<Link>,
    pub(crate) listing: ArcSwap<Listing>,
    pub(crate) state: watch::Sender<UpstreamState>,
    pub(crate) orders: watch::Sender<Order>,
    /// Whether the listing is more than pending, and those who are told of changes know it.
    pub(crate) is_listed: watch::Sender<bool>,
    pub(crate) on_change: Mutex<Option<Arc<OnChange>>>,
    /// The revision it spoke the last time: saves the probe at the next start.
    pub(crate) known: Mutex<Option<Revision>>,
    flights: Flights,
    waiting: AtomicUsize,
}

impl Life {
    pub(crate) fn new(plan: ServerPlan, identity: &ServerIdentity, metrics: ServerMetrics) -> Self {
        let name: Arc<str> = plan.name.as_str().into();
        Self {
            own: Own::new(&name, identity),
            name,
            repeatable: Repeatable::of(&plan),
            plan,
            metrics,
            listeners: Listeners::default(),
            link: ArcSwapOption::empty(),
            listing: ArcSwap::default(),
            state: watch::Sender::new(UpstreamState::Idle),
            orders: watch::Sender::new(Order::Rest),
            is_listed: watch::Sender::new(false),
            on_change: Mutex::new(None),
            known: Mutex::new(None),
            flights: Flights::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Asks the keeper to start the server where it rests.
    pub(crate) fn want(&self) {
        self.orders.send_if_modified(|order| {
            let rests = *order == Order::Rest;
            if rests {
                *order = Order::Run;
            }
            rests
        });
    }

    /// Takes note of a call under way, as long as the guard lives.
    ///
    /// # Errors
    /// Where the server is being stopped, or has too many.
    pub(crate) fn enter(&self) -> Result<Flight<'_>, Failure> {
        self.flights.enter().map_err(|refusal| match refusal {
            Refusal::Stopping => self.gone("it is being stopped", None),
            Refusal::Full => {
                let text = format!("server `{}` has {MOST_IN_FLIGHT} calls under way and takes no more", self.name);
                Failure::upstream(&self.name, FailureKind::Overloaded, Retry::Safe, text)
            }
        })
    }

    /// Lets no more calls in, and waits for those under way; at most `grace`.
    pub(crate) async fn drain(&self, grace: Duration) {
        if tokio::time::timeout(grace, self.flights.land()).await.is_err() {
            let left = self.flights.count.load(Ordering::SeqCst);
            tracing::warn!(server = %self.name, calls = left, "stopped with calls still under way after {grace:?}");
        }
    }

    /// The connection to the server, once there is one other than `besides`: starts it where needed, and waits for it as long
    /// as the call's deadline allows.
    ///
    /// # Errors
    /// `Unreachable` where it cannot be started, `TimedOut` where that takes too long, `Overloaded` where too many wait.
    pub(crate) async fn connection(&self, deadline: &Deadline, besides: Option<&Arc<Link>>) -> Result<Arc<Link>, Failure> {
        let _place = self.queue()?;
        let mut states = self.state.subscribe();
        loop {
            if let Some(link) = self.link.load_full().filter(|link| besides.is_none_or(|other| !Arc::ptr_eq(link, other))) {
                return Ok(link);
            }
            match &*states.borrow_and_update() {
                UpstreamState::Idle => self.want(),
                UpstreamState::Failed { outage, retry_at } => return Err(self.outage(outage, Some(*retry_at))),
                UpstreamState::Stopped => return Err(self.gone("it was stopped", None)),
                UpstreamState::Starting { .. } | UpstreamState::Ready { .. } => {}
            }
            match tokio::time::timeout_at(deadline.start_by(), states.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(self.gone("it was stopped", None)),
                Err(_) => return Err(self.slow_start(deadline)),
            }
        }
    }

    fn queue(&self) -> Result<Place<'_>, Failure> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= MOST_WAITING {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            let text = format!("server `{}` is starting, and {MOST_WAITING} calls wait for it already", self.name);
            return Err(Failure::upstream(&self.name, FailureKind::Overloaded, Retry::Safe, text));
        }
        Ok(Place(&self.waiting))
    }

    fn slow_start(&self, deadline: &Deadline) -> Failure {
        let limit = deadline.start_limit();
        let doing = match &*self.state.borrow() {
            UpstreamState::Starting { since, doing } => format!(" ({doing}, for {} s so far)", since.elapsed().as_secs()),
            _ => String::new(),
        };
        let text = format!("server `{}` was not ready within {limit:?}{doing}; the call was not sent, it is safe to repeat it", self.name);
        Failure::upstream(&self.name, FailureKind::TimedOut(limit), Retry::Safe, text)
    }

    /// What a call is told that meets a server which is not there.
    fn outage(&self, outage: &Outage, retry_at: Option<Instant>) -> Failure {
        let next = retry_at.map(|at| at.saturating_duration_since(Instant::now()).as_secs() + 1);
        let next = next.map(|seconds| format!("; the next attempt to start it is made within {seconds} s")).unwrap_or_default();
        let failure = self.gone(&format!("{}{next}", outage.why), outage.hint.clone());
        if outage.last_words.is_empty() { failure } else { failure.with_internal(outage.for_the_log()) }
    }

    fn gone(&self, why: &str, hint: Option<String>) -> Failure {
        let text = format!("server `{}` is not available: {why}", self.name);
        let failure = Failure::upstream(&self.name, FailureKind::Unreachable, Retry::Safe, text);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }

    pub(crate) fn set_state(&self, state: UpstreamState) {
        self.metrics.set_state(state.measured());
        self.state.send_replace(state);
    }

    /// Says what the start is at.
    pub(crate) fn set_doing(&self, now: impl Into<std::borrow::Cow<'static, str>>) {
        let since = match &*self.state.borrow() {
            UpstreamState::Starting { since, .. } => *since,
            _ => Instant::now(),
        };
        self.set_state(UpstreamState::Starting { since, doing: now.into() });
    }

    /// Publishes a listing.
    pub(crate) fn set_listing(&self, listing: Listing) {
        self.listing.store(Arc::new(listing));
        self.tell_change();
        self.is_listed.send_if_modified(|is_listed| !std::mem::replace(is_listed, true));
    }

    /// Says how far the lists, which stay as they are, can be relied on.
    pub(crate) fn set_freshness(&self, freshness: Freshness) {
        let listing = self.listing.load_full();
        if listing.freshness != freshness {
            self.set_listing(Listing { freshness, ..(*listing).clone() });
        }
    }

    fn tell_change(&self) {
        let notify = self.on_change.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(notify) = notify {
            notify(&self.name);
        }
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Life").field("name", &self.name).field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

/// A place in the queue behind a start.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection that serves calls.
pub(crate) struct Link {
    pub(crate) server: Arc<dyn McpServer>,
    pub(crate) discovery: Arc<Discovery>,
    pub(crate) since: Instant,
    /// It outlives a lost exchange: the next one connects anew (HTTP).
    pub(crate) reconnects: bool,
    /// Why it ended, once it did.
    end: OnceLock<Outage>,
    ended: Cancel,
    /// Calls in a row that got no answer.
    silent: AtomicU32,
    given_up: OnceLock<String>,
    give_up: Notify,
    /// Somebody should ask for a sign of life.
    pub(crate) doubt: Notify,
}

impl Link {
    pub(crate) fn new(server: Arc<dyn McpServer>, reconnects: bool) -> Arc<Self> {
        Arc::new(Self {
            discovery: server.discovery(),
            server,
            since: Instant::now(),
            reconnects,
            end: OnceLock::new(),
            ended: Cancel::new(),
            silent: AtomicU32::new(0),
            given_up: OnceLock::new(),
            give_up: Notify::new(),
            doubt: Notify::new(),
        })
    }

    /// Takes note that the server answered, well or not.
    pub(crate) fn answered(&self) {
        if self.silent.load(Ordering::Relaxed) != 0 {
            self.silent.store(0, Ordering::Relaxed);
        }
    }

    /// Takes note that a call got no answer.
    pub(crate) fn stayed_silent(&self) {
        if (self.silent.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(SILENT_CALLS) {
            self.doubt.notify_one();
        }
    }

    /// Asks the keeper to replace the connection.
    pub(crate) fn give_up(&self, why: String) {
        let _ = self.given_up.set(why); // the first reason stays
        self.give_up.notify_one();
    }

    /// Waits until somebody gave the connection up, and says why.
    pub(crate) async fn given_up(&self) -> String {
        self.give_up.notified().await;
        self.given_up.get().cloned().unwrap_or_default()
    }

    /// Says why the connection ended.
    pub(crate) fn set_end(&self, outage: Outage) {
        let _ = self.end.set(outage); // the first reason stays
        self.ended.cancel();
    }

    /// Why the connection ended; waits a moment to hear it.
    pub(crate) async fn end(&self) -> Option<&Outage> {
        let _ = tokio::time::timeout(REASON_WITHIN, self.ended.cancelled()).await;
        self.end.get()
    }
}

/// Why a call is not let in.
enum Refusal {
    Stopping,
    Full,
}

/// Counts the calls under way.
#[derive(Default)]
struct Flights {
    count: AtomicUsize,
    closed: AtomicBool,
    landed: Notify,
}

impl Flights {
    fn enter(&self) -> Result<Flight<'_>, Refusal> {
        let before = self.count.fetch_add(1, Ordering::SeqCst);
        let flight = Flight(self);
        // Counted first and looked after: whoever closes either sees this call or is seen by it.
        if self.closed.load(Ordering::SeqCst) {
            return Err(Refusal::Stopping);
        }
        if before >= MOST_IN_FLIGHT { Err(Refusal::Full) } else { Ok(flight) }
    }

    async fn land(&self) {
        self.closed.store(true, Ordering::SeqCst);
        while self.count.load(Ordering::SeqCst) > 0 {
            self.landed.notified().await;
        }
    }
}

/// A call under way.
pub(crate) struct Flight<'a>(&'a Flights);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.closed.load(Ordering::SeqCst) {
            self.0.landed.notify_one();
        }
    }
}
