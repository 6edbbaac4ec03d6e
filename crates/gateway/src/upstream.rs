//! One configured server: its life, its lists, the calls to it.
//!
//! | file | its subject |
//! | --- | --- |
//! | `call` | the way of one call: wait, send, watch the clock, send again where safe |
//! | `deadline` | the two limits of a call, and what moves the first |
//! | `retry` | which requests may be sent twice |
//! | `shape` | whether a result is one |
//! | `life`, `link`, `flights` | what everybody sees of a server, its connection, the calls under way |
//! | `keeper` | the one task that starts, serves, buries and restarts it |
//! | `health` | states, backoff, breaker |
//! | `reach`, `launch` | how a child, a remote and a built-in are reached |
//! | `listing`, `fetch`, `refresh` | the four lists: what they are, how one is fetched, when |
//! | `pins` | whether tools are what they were when they were seen first |
//! | `news`, `subscribed` | what a server says unasked, and was asked to say |
//! | `standby` | how a program that nobody calls goes down, and comes back |
//! | `way_out` | what credentials towards servers share |
//! | `own_call` | requests on the gateway's own account |

mod call;
mod deadline;
mod fetch;
mod flights;
mod health;
mod keeper;
mod launch;
mod life;
mod link;
mod listing;
mod news;
pub(crate) mod own_call;
mod pins;
mod reach;
mod refresh;
mod retry;
mod shape;
mod standby;
mod subscribed;
#[cfg(test)]
pub(crate) mod tests;
pub mod way_out;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sallyport_policy::{GivesUp, Permitted};
use sallyport_protocol::{
    Cancel, Client, Context, Era, Event, Failure, Listeners, Meta, Method, RawJson, RawObject, Reply, Request, ServerIdentity,
};
use sallyport_sandbox::install::Locked;
use sallyport_sandbox::{Exceeded, Host};
use sallyport_telemetry::{Folders, Metrics, StandbyState};

pub use health::{Outage, UpstreamState};
pub use launch::{Launched, alone as launch_alone};
pub(crate) use launch::{own_rules, trial};
pub use life::OnChange;
pub use listing::{Entry, Freshness, Listing};
pub use pins::Pins;

use crate::plan::ServerPlan;
use deadline::Deadline;
use keeper::Keeper;
use life::{Life, Order};
use pins::Pinning;
use sallyport_identity::upstream::{Owner, Subject};
pub use way_out::WayOut;
pub(crate) use way_out::{CONNECT_SCHEMA, CONNECT_TOOL};

/// How long an orderly end takes at the longest: twice what closing a child takes when it must be killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What all servers have around them.
#[derive(Debug)]
pub struct Surroundings {
    /// Where sandboxes are launched from.
    pub host: Host,
    /// Where servers' logs and installed packages lie.
    pub folders: Folders,
    /// Who the gateway says it is to a server.
    pub identity: ServerIdentity,
    /// Where figures go.
    pub metrics: Arc<Metrics>,
    /// What credentials towards servers share.
    pub way_out: Arc<WayOut>,
    /// What tools were when they were seen first.
    pub pins: Arc<Pins>,
}

/// In whose name a server is called, where each principal goes there in its own.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) owner: Owner,
    /// What the principal showed last.
    pub(crate) subject: Subject,
}

/// A request on its way to a server, with that server's own names and URIs.
#[derive(Clone, Debug)]
pub struct Routed {
    /// The server's name.
    pub server: Arc<str>,
    /// The request.
    pub request: Request,
}

impl GivesUp for Routed {
    /// The door passes on an unsubscription for what its session holds alone. Were it denied, the server would tell of changes for ever.
    fn gives_up(&self) -> bool {
        self.request.method == Method::ResourcesUnsubscribe
    }
}

/// One configured server. Dropping it ends the server in the background; [`stop`](Self::stop) waits for that.
pub struct Upstream {
    life: Arc<Life>,
    /// The keeper until its task is started, which needs a runtime.
    keeper: Mutex<Option<Keeper>>,
    kept: AtomicBool,
}

impl Upstream {
    /// A server as it is configured. Starts nothing.
    #[must_use]
    pub fn new(plan: ServerPlan, surroundings: Arc<Surroundings>) -> Arc<Self> {
        let reach = launch::way_to(&plan, &surroundings, None);
        let pinning = Pinning::of(&plan, &surroundings, None);
        Self::reached_by(plan, &surroundings.identity, &surroundings.metrics, reach, pinning, health::Pace::default())
    }

    /// The same, for one principal alone.
    pub(crate) fn of_person(plan: ServerPlan, surroundings: &Arc<Surroundings>, person: Person) -> Arc<Self> {
        let pinning = Pinning::of(&plan, surroundings, Some(&person));
        let reach = launch::way_to(&plan, surroundings, Some(person));
        Self::reached_by(plan, &surroundings.identity, &surroundings.metrics, reach, pinning, health::Pace::default())
    }

    /// Another version of the same server's package than the one that is locked; `None` where it is no package.
    pub(crate) fn of_canary(plan: ServerPlan, surroundings: &Arc<Surroundings>, locked: Locked) -> Option<Arc<Self>> {
        let metrics = surroundings.metrics.version(&plan.name, &locked.version);
        let pinning = Pinning::of(&plan, surroundings, None).of_canary();
        let life = Life::new(plan.clone(), &surroundings.identity, metrics, pinning).of_version(&locked);
        Some(Self::living(life, launch::way_to_canary(&plan, surroundings, locked)?, health::Pace::default()))
    }

    /// Takes note that this version, which came in beside another, is everybody's: its lists are fetched again, and what its tools say is
    /// what is recorded from now on.
    pub(crate) fn promote(&self) {
        self.life.pinning.promote();
        if let Some(link) = self.life.link.load_full() {
            link.server.listeners().tell(&Event::ToolsChanged);
        }
    }

    /// Puts this server, which was not started yet, in the place of `other`: what that one was subscribed to, this one will be.
    pub(crate) fn take_the_place_of(&self, other: &Self) {
        self.life.subscribed.take_over(&other.life.subscribed);
    }

    fn reached_by(
        plan: ServerPlan,
        identity: &ServerIdentity,
        metrics: &Metrics,
        reach: Box<dyn reach::Reach>,
        pinning: Pinning,
        pace: health::Pace,
    ) -> Arc<Self> {
        let metrics = metrics.server(&plan.name);
        Self::living(Life::new(plan, identity, metrics, pinning), reach, pace)
    }

    fn living(life: Life, reach: Box<dyn reach::Reach>, pace: health::Pace) -> Arc<Self> {
        let life = Arc::new(life);
        let keeper = Mutex::new(Some(Keeper::new(life.clone(), reach, pace)));
        Arc::new(Self { life, keeper, kept: AtomicBool::new(false) })
    }

    /// The server's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.life.name
    }

    /// The version of its package, where it came in beside another for a share of the callers.
    #[must_use]
    pub fn version(&self) -> Option<&Arc<str>> {
        self.life.version.as_ref()
    }

    /// What its package was when it was started last, by its key in the store.
    pub(crate) fn launched(&self) -> Option<Arc<String>> {
        self.life.launched.load_full()
    }

    /// What tells it from the other version of the same server, which may run beside it: its name, where it came in for all.
    pub(crate) fn scope(&self) -> &Arc<str> {
        &self.life.scope
    }

    /// Its part of the configuration.
    #[must_use]
    pub fn plan(&self) -> &ServerPlan {
        &self.life.plan
    }

    /// What state it is in.
    #[must_use]
    pub fn state(&self) -> UpstreamState {
        self.life.state.borrow().clone()
    }

    /// How it speaks, where it is connected.
    #[must_use]
    pub fn era(&self) -> Option<Era> {
        self.life.link.load().as_ref().map(|link| link.server.discovery().revision.era())
    }

    /// How far down its program is on standby, where it is connected and may be.
    #[must_use]
    pub fn standby(&self) -> Option<StandbyState> {
        self.life.link.load().as_ref()?.sleeper.as_ref().map(|sleeper| sleeper.state())
    }

    /// Which of its limits it had met when a call of it failed, since it was connected; it runs all the same.
    #[must_use]
    pub fn met(&self) -> Option<Exceeded> {
        self.life.link.load().as_ref()?.met()
    }

    /// The last good lists, and how far they can be relied on.
    #[must_use]
    pub fn listing(&self) -> Arc<Listing> {
        self.life.listing.load_full()
    }

    /// Begins to start the server and to fetch its lists, in the background. Must be called on a tokio runtime.
    pub fn start(&self) {
        self.keep();
        self.life.want();
    }

    /// The listing, once the server was asked for it, or could not be, and [`on_change`](Self::on_change) was told; waits for that
    /// at most `wait`. Starts the server where it has not told yet what it offers.
    pub async fn listed(&self, wait: Duration) -> Arc<Listing> {
        let mut is_listed = self.life.is_listed.subscribe();
        if !*is_listed.borrow_and_update() {
            self.start();
            let listed = async {
                tokio::select! {
                    _ = is_listed.wait_for(|is_listed| *is_listed) => {}
                    () = self.stopped() => {}
                }
            };
            let _ = tokio::time::timeout(wait, listed).await; // late: the listing says so itself
        }
        self.listing()
    }

    /// The same on behalf of a call, which waits as long as it would for the server to start.
    ///
    /// # Errors
    /// `Overloaded` where too many wait.
    pub(crate) async fn listed_for_call(&self, method: Method) -> Result<(), Failure> {
        let _place = self.life.queue()?;
        self.listed(Deadline::start(&self.life.plan.timeouts, method).start_limit()).await;
        Ok(())
    }

    /// What a call is told that cannot be decided, since the server has not told what it offers.
    pub(crate) fn not_listed(&self, method: Method) -> Failure {
        match &self.listing().freshness {
            Freshness::Gone { why, hint } => self.life.gone(why, hint.clone()),
            _ if matches!(self.state(), UpstreamState::Stopped) => self.life.gone("it was stopped", None),
            _ => self.life.slow_start(&Deadline::start(&self.life.plan.timeouts, method)),
        }
    }

    /// Sends a call that policy let through: the only way to a server. Starts the server where it is not running, waits for the
    /// answer within the configured limits, sends again once where that cannot do a thing twice.
    ///
    /// What policy has decided on can be sent:
    ///
    /// ```
    /// # use {sallyport_gateway::upstream::{Routed, Upstream}, sallyport_policy::Permitted, sallyport_protocol::Context};
    /// async fn send(server: &Upstream, call: Permitted<Routed>, context: Context) {
    ///     let _ = server.send(call, context).await;
    /// }
    /// ```
    ///
    /// and nothing else can:
    ///
    /// ```compile_fail,E0308
    /// # use {sallyport_gateway::upstream::{Routed, Upstream}, sallyport_policy::Permitted, sallyport_protocol::Context};
    /// async fn send(server: &Upstream, call: Routed, context: Context) {
    ///     let _ = server.send(call, context).await;
    /// }
    /// ```
    ///
    /// # Errors
    /// The server's own error; `Unreachable`, `TimedOut`, `Malformed`, `Overloaded`, `Cancelled`, each naming the server and
    /// saying whether the call may be repeated.
    pub async fn send(&self, call: Permitted<Routed>, context: Context) -> Result<Reply, Failure> {
        self.keep();
        let (routed, _) = call.into_parts();
        call::deliver(&self.life, routed.request, context).await
    }

    /// Asks for a page of the skills that the server lists. Like the four lists it is had without policy's leave: whoever shows it
    /// shows what policy lets be seen.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) async fn list_skills(&self, params: RawObject, meta: Meta, context: Context) -> Result<Reply, Failure> {
        self.keep();
        call::deliver(&self.life, Request { method: Method::SkillsList, params, meta }, context).await
    }

    /// Asks what a task is at, on the gateway's own account: nobody is shown the answer, so it needs no leave of policy's.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) async fn look_at_task(&self, params: RawObject, client: &Arc<Client>) -> Result<Reply, Failure> {
        self.keep();
        let context = Context { client: client.clone(), asker: Arc::new(own_call::Nobody), cancel: Cancel::new(), credential: None };
        call::deliver(&self.life, Request::new(Method::TasksGet, params), context).await
    }

    /// Ready once the server is stopped for good, which nobody keeps it from by waiting for it.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut states = self.life.state.subscribe();
        async move {
            let _ = states.wait_for(|state| matches!(state, UpstreamState::Stopped)).await; // nobody is left to say so: the same
        }
    }

    /// Asks for what the other version of this server was asked, and has answered well: to tell of changes of a resource, or no longer
    /// to. So a caller that is moved from one to the other goes on hearing of it.
    pub(crate) fn follow(&self, method: Method, uri: &str) {
        let mut params = RawObject::new();
        params.set("uri", RawJson::string(uri));
        let request = Request::new(method, params);
        self.life.subscribed.note(&request, None);
        let Some(link) = self.life.link.load_full() else { return }; // it is asked when it is reached
        let life = self.life.clone();
        tokio::spawn(async move {
            if let Err(failure) = own_call::ask(&*link.server, &life.own, request, life.plan.timeouts.call).await {
                tracing::debug!(server = %life.name, version = life.version.as_deref(), "it does not follow a subscription: {failure}");
            }
        });
    }

    /// Sets who is told that the [`listing`](Self::listing) is another now, its freshness included. Called on the server's own
    /// task: must not block.
    pub fn on_change(&self, notify: Arc<OnChange>) {
        *self.life.on_change.lock().unwrap_or_else(PoisonError::into_inner) = Some(notify);
    }

    /// Who hears what the server says unasked, under its own names and URIs. `*Changed` is told when the listing is another
    /// already.
    #[must_use]
    pub fn listeners(&self) -> &Listeners {
        &self.life.listeners
    }

    /// Ends the server for good: no more calls are let in, those under way may finish for at most `grace`, then it is closed in
    /// order (a child: stdin closed, SIGTERM, SIGKILL).
    pub async fn stop(&self, grace: Duration) {
        self.life.drain(grace).await;
        let stopped = self.stopped();
        self.life.orders.send_replace(Order::Stop);
        if self.kept.load(Ordering::Acquire) {
            if tokio::time::timeout(STOP_WITHIN, stopped).await.is_err() {
                tracing::error!(server = %self.name(), "did not end within {STOP_WITHIN:?}");
            }
        } else {
            self.life.set_state(UpstreamState::Stopped);
        }
    }

    /// Starts the keeper's task, once.
    fn keep(&self) {
        if self.kept.load(Ordering::Acquire) {
            return;
        }
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            tokio::spawn(keeper.run());
            self.kept.store(true, Ordering::Release);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.life.orders.send_replace(Order::Stop); // the keeper ends, and with it the hold on the server
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Upstream").field("life", &self.life).finish_non_exhaustive()
    }
}
