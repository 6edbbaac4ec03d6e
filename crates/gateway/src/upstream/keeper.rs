//! Keeps one server running as long as it is wanted: starts it, fetches its lists, notices its end, starts it again.
//!
//! One task a server, the only one that changes its [`Life`]:
//! rest → start → serve → (ended: start at once, or pause and start; unused: rest) → … → stop.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sallyport_protocol::{Era, FailureKind, Listener, Method, RawObject, Request};
use sallyport_telemetry::{BreakerState, StandbyState};
use tokio::sync::watch;

use crate::plan::Start;
use crate::upstream::health::{Health, Outage, Pace, UpstreamState};
use crate::upstream::life::{Life, Order};
use crate::upstream::link::Link;
use crate::upstream::listing::Freshness;
use crate::upstream::news::News;
use crate::upstream::reach::{Hold, Reach, Reached};
use crate::upstream::{own_call, refresh, standby};

/// How long an orderly end may take: half of it after stdin is closed, half after SIGTERM. Interpreters leave within a second.
const CLOSE_WITHIN: Duration = Duration::from_secs(4);
/// How long what is left of a broken server may take to end.
const CLEAR_WITHIN: Duration = Duration::from_secs(1);
/// A connection that gives way to the next sooner than this, twice in a row, goes in circles: a grant that is not enough for its server. Nobody
/// has read a page and agreed to it twice within that time.
const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Keeper {
    life: Arc<Life>,
    reach: Box<dyn Reach>,
    health: Health,
    orders: watch::Receiver<Order>,
    /// It was stopped because nobody called it, and was not started since.
    went_unused: bool,
    /// Its last connection gave way soon.
    gave_way_soon: bool,
}

/// How a time of service ended.
enum Ending {
    Ordered,
    Unused,
    Died(Outage),
}

impl Keeper {
    pub(crate) fn new(life: Arc<Life>, reach: Box<dyn Reach>, pace: Pace) -> Self {
        let orders = life.orders.subscribe();
        Self { life, reach, health: Health::new(pace), orders, went_unused: false, gave_way_soon: false }
    }

    /// Keeps the server until it is ordered to stop.
    pub(crate) async fn run(mut self) {
        while self.is_wanted().await {
            let begun = Instant::now();
            match self.start().await {
                None => {} // ordered to stop
                Some(Ok(reached)) => {
                    if std::mem::take(&mut self.went_unused)
                        && let Some(sleeper) = reached.hold.sleeper()
                    {
                        sleeper.started_again(begun.elapsed());
                    }
                    self.serve(reached).await;
                }
                Some(Err(outage)) => {
                    let wait = self.health.start_failed();
                    self.fail(outage, wait);
                    self.pause(wait).await;
                }
            }
            if matches!(&*self.life.state.borrow(), UpstreamState::Failed { .. }) {
                self.life.metrics.set_breaker(BreakerState::HalfOpen); // the next start tries whether it is back
            }
        }
        self.life.set_state(UpstreamState::Stopped);
    }

    /// Waits until there is something to do; `false` says that it is to stop.
    async fn is_wanted(&mut self) -> bool {
        let order = self.orders.wait_for(|order| *order != Order::Rest).await;
        order.is_ok_and(|order| *order == Order::Run)
    }

    async fn start(&mut self) -> Option<Result<Reached, Outage>> {
        self.life.set_doing("starting");
        let known = *self.life.known.lock().unwrap_or_else(PoisonError::into_inner);
        let doing = |now| self.life.set_doing(now);
        tokio::select! {
            biased;
            () = stopped(&mut self.orders) => None,
            outcome = self.reach.reach(known, &doing) => Some(outcome),
        }
    }

    /// Lets calls through to a server that was reached, until it ends.
    async fn serve(&mut self, reached: Reached) {
        let life = self.life.clone();
        let link = Link::new(reached.server, reached.reconnects, reached.hold.sleeper(), reached.hold.look());
        let news = Arc::new(News::new(Arc::downgrade(&life)));
        let ears: Arc<dyn Listener> = news.clone();
        link.server.listeners().add(&ears);
        if let Some(key) = reached.hold.package() {
            life.launched.store(Some(Arc::new(key)));
        }
        self.open(&link);
        let ending = tokio::select! {
            biased;
            () = stopped(&mut self.orders) => Ending::Ordered,
            outage = reached.hold.ended() => Ending::Died(outage),
            why = link.given_up() => Ending::Died(Outage::new(why)),
            outage = watch_over(&life, &link) => Ending::Died(outage),
            // Its first turn is before the descent's: a server is not idle before it has said what it offers.
            never = refresh::keep_listed(&life, &link, &news) => match never {},
            () = standby::descend(&life, link.sleeper.clone()) => Ending::Unused,
        };
        life.link.store(None);
        match ending {
            Ending::Ordered => {
                link.set_end(Outage::new("it was stopped"));
                reached.hold.close(CLOSE_WITHIN).await;
            }
            Ending::Unused => {
                tracing::info!(server = %life.name, "stopped, since nobody called it");
                link.set_end(Outage::new("it was stopped, since nobody called it"));
                reached.hold.close(CLOSE_WITHIN).await;
                self.went_unused = true;
                life.metrics.set_standby(StandbyState::Stopped);
                self.rest();
            }
            Ending::Died(outage) => self.bury(&link, &*reached.hold, outage).await,
        }
    }

    fn open(&self, link: &Arc<Link>) {
        let revision = link.discovery.revision;
        *self.life.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(revision);
        self.life.link.store(Some(link.clone()));
        self.life.metrics.set_breaker(BreakerState::Closed);
        tracing::info!(server = %self.life.name, %revision, identity = link.discovery.identity.name(), "ready");
        self.life.set_state(UpstreamState::Ready { revision, identity: link.discovery.identity.clone() });
    }

    /// Clears away a server that ended by itself, and decides when it is started again.
    async fn bury(&mut self, link: &Link, hold: &dyn Hold, outage: Outage) {
        link.set_end(outage.clone());
        if self.life.is_child() {
            self.life.metrics.child_restarted();
        }
        let wait = if outage.at_once { Duration::ZERO } else { self.health.ended(link.since.elapsed()) };
        if !wait.is_zero() {
            self.fail(outage, wait);
            hold.close(CLEAR_WITHIN).await;
            return self.pause(wait).await;
        }
        let rests = self.life.plan.start == Start::Lazy && !self.gives_way(link, &outage);
        if outage.at_once {
            tracing::info!(server = %self.life.name, "connecting again: {}", outage.why);
        } else {
            tracing::warn!(server = %self.life.name, "ended: {}", outage.for_the_log());
        }
        self.life.set_freshness(Freshness::Stale { why: format!("the server went away ({}) and is started again", outage.why) });
        self.life.set_doing("starting again");
        hold.close(CLEAR_WITHIN).await;
        if rests {
            self.rest();
        }
    }

    /// Whether the server is to be reached anew without a call: what it offers is another thing now, and its clients wait to be told of that.
    fn gives_way(&mut self, link: &Link, outage: &Outage) -> bool {
        let is_soon = outage.at_once && link.since.elapsed() < SOON;
        let was_soon = std::mem::replace(&mut self.gave_way_soon, is_soon);
        outage.at_once && !(was_soon && is_soon)
    }

    /// Waits for the next call; one that waits already sees the state and asks for a start.
    fn rest(&self) {
        self.life.orders.send_if_modified(|order| {
            let runs = *order == Order::Run;
            if runs {
                *order = Order::Rest;
            }
            runs
        });
        self.life.set_state(UpstreamState::Idle);
    }

    /// Opens the breaker: calls fail at once, and the entries leave every list.
    fn fail(&self, outage: Outage, wait: Duration) {
        self.life.metrics.set_breaker(BreakerState::Open);
        tracing::warn!(server = %self.life.name, "not available, next attempt in {wait:.1?}: {}", outage.for_the_log());
        self.life.set_freshness(Freshness::Gone { why: outage.why.clone(), hint: outage.hint.clone() });
        let retry_at = std::time::Instant::now() + wait;
        self.life.set_state(UpstreamState::Failed { outage, retry_at });
    }

    async fn pause(&mut self, wait: Duration) {
        let _ = tokio::time::timeout(wait, stopped(&mut self.orders)).await;
    }
}

async fn stopped(orders: &mut watch::Receiver<Order>) {
    let _ = orders.wait_for(|order| *order == Order::Stop).await;
}

/// Asks a server that left several calls without an answer for a sign of life. Returns when it gives none.
async fn watch_over(life: &Life, link: &Link) -> Outage {
    let limit = life.plan.timeouts.call; // a server that is merely busy, with one thread and several calls, answers within it
    loop {
        link.doubt.notified().await;
        let method = if link.discovery.revision.era() == Era::Modern { Method::Discover } else { Method::Ping };
        match own_call::ask(&*link.server, &life.own, Request::new(method, RawObject::new()), limit).await {
            Err(failure) if matches!(failure.kind, FailureKind::TimedOut(_) | FailureKind::Unreachable) => {
                return Outage::new(format!("it left several calls without an answer and gave no sign of life within {limit:?}"));
            }
            _ => link.answered(), // an error is an answer too
        }
    }
}
