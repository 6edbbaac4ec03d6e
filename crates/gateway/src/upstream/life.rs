//! The life of one server as everybody sees it: whether it is there, what it offers, who waits for it.
//!
//! One task, the [keeper](super::keeper), changes it; all others look and wait.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use sallyport_protocol::{Failure, FailureKind, Listeners, Retry, Revision, ServerIdentity};
use sallyport_sandbox::install::Locked;
use sallyport_telemetry::ServerMetrics;
use tokio::sync::watch;

use crate::plan::{ServerPlan, Source};
use crate::upstream::deadline::Deadline;
use crate::upstream::flights::{self, Flight, Flights, Refusal};
use crate::upstream::health::{Outage, UpstreamState};
use crate::upstream::link::Link;
use crate::upstream::listing::{Freshness, Listing};
use crate::upstream::own_call::Own;
use crate::upstream::pins::Pinning;
use crate::upstream::retry::Repeatable;
use crate::upstream::subscribed::Subscribed;

/// Calls that may wait for one start. More than any client has under way at once; beyond it, callers are told to come back.
const MOST_WAITING: usize = 512;

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
    /// Tells it from another version of the same server.
    pub(crate) scope: Arc<str>,
    /// The version of its package, where it was started for a share of the callers.
    pub(crate) version: Option<Arc<str>>,
    pub(crate) plan: ServerPlan,
    pub(crate) own: Own,
    pub(crate) pinning: Pinning,
    pub(crate) metrics: ServerMetrics,
    pub(crate) listeners: Listeners,
    pub(crate) repeatable: Repeatable,
    pub(crate) subscribed: Subscribed,
    /// There while the server is ready.
    pub(crate) link: ArcSwapOption<Link>,
    pub(crate) listing: ArcSwap<Listing>,
    pub(crate) state: watch::Sender<UpstreamState>,
    pub(crate) orders: watch::Sender<Order>,
    /// Whether the listing is more than pending, and those who are told of changes know it.
    pub(crate) is_listed: watch::Sender<bool>,
    pub(crate) on_change: Mutex<Option<Arc<OnChange>>>,
    /// What its package was when it was started last, by its key in the store.
    pub(crate) launched: ArcSwapOption<String>,
    /// The revision it spoke the last time: saves the probe at the next start.
    pub(crate) known: Mutex<Option<Revision>>,
    flights: Flights,
    waiting: AtomicUsize,
}

impl Life {
    pub(crate) fn new(plan: ServerPlan, identity: &ServerIdentity, metrics: ServerMetrics, pinning: Pinning) -> Self {
        let name: Arc<str> = plan.name.as_str().into();
        Self {
            own: Own::new(&name, identity),
            pinning,
            scope: name.clone(),
            version: None,
            name,
            repeatable: Repeatable::of(&plan),
            plan,
            metrics,
            listeners: Listeners::default(),
            subscribed: Subscribed::default(),
            link: ArcSwapOption::empty(),
            listing: ArcSwap::default(),
            state: watch::Sender::new(UpstreamState::Idle),
            orders: watch::Sender::new(Order::Rest),
            is_listed: watch::Sender::new(false),
            on_change: Mutex::new(None),
            launched: ArcSwapOption::empty(),
            known: Mutex::new(None),
            flights: Flights::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The same of another version of its package than the one that is locked.
    pub(crate) fn of_version(self, locked: &Locked) -> Self {
        // No server's name has a line's end in it.
        let scope = format!("{}\n{}", self.name, locked.key()).into();
        Self { scope, version: Some(locked.version.as_str().into()), ..self }
    }

    /// Whether the server is a program of its own.
    pub(crate) fn is_child(&self) -> bool {
        matches!(self.plan.source, Source::Stdio(_))
    }

    /// The hint at what a child wrote.
    pub(crate) fn log_hint(&self) -> Option<String> {
        self.is_child().then(|| format!("`sallyport logs {}` shows what it wrote", self.plan.in_commands()))
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
                let text = format!("server `{}` has {} calls under way and takes no more", self.name, flights::MOST_IN_FLIGHT);
                Failure::upstream(&self.name, FailureKind::Overloaded, Retry::Safe, text)
            }
        })
    }

    /// Lets no more calls in, and waits for those under way; at most `grace`.
    pub(crate) async fn drain(&self, grace: Duration) {
        if tokio::time::timeout(grace, self.flights.land()).await.is_err() {
            let left = self.flights.count();
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
                UpstreamState::Failed { outage, retry_at } => return Err(self.outage(outage, *retry_at)),
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

    /// A place among the calls that wait for the server to be there.
    ///
    /// # Errors
    /// `Overloaded` where too many wait.
    pub(crate) fn queue(&self) -> Result<Place<'_>, Failure> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= MOST_WAITING {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            let text = format!("server `{}` is starting, and {MOST_WAITING} calls wait for it already", self.name);
            return Err(Failure::upstream(&self.name, FailureKind::Overloaded, Retry::Safe, text));
        }
        Ok(Place(&self.waiting))
    }

    pub(crate) fn slow_start(&self, deadline: &Deadline) -> Failure {
        let limit = deadline.start_limit();
        let doing = match &*self.state.borrow() {
            UpstreamState::Starting { since, doing } => format!(" ({doing}, for {} s so far)", since.elapsed().as_secs()),
            _ => String::new(),
        };
        let text = format!("server `{}` was not ready within {limit:?}{doing}; the call was not sent, it is safe to repeat it", self.name);
        Failure::upstream(&self.name, FailureKind::TimedOut(limit), Retry::Safe, text)
    }

    /// What a call is told that meets a server which is not there.
    fn outage(&self, outage: &Outage, retry_at: Instant) -> Failure {
        let seconds = retry_at.saturating_duration_since(Instant::now()).as_secs() + 1;
        let why = format!("{}; the next attempt to reach it is made within {seconds} s", outage.why);
        let failure = self.gone(&why, outage.hint.clone());
        let kind = outage.limit.map_or(FailureKind::Unreachable, FailureKind::LimitExceeded);
        let failure = Failure { kind, ..failure };
        if outage.last_words.is_empty() { failure } else { failure.with_internal(outage.for_the_log()) }
    }

    pub(crate) fn gone(&self, why: &str, hint: Option<String>) -> Failure {
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
    pub(crate) fn set_doing(&self, now: impl Into<Cow<'static, str>>) {
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
pub(crate) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
