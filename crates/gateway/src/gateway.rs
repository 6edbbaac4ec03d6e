//! The gateway: what a configuration becomes, and what the front doors open to.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::future::{join_all, try_join_all};
use sallyport_identity::authorization_server::AuthorizationServer;
use sallyport_identity::resource_server::Verified;
use sallyport_identity::resource_server::remote_issuer::RemoteIssuer;
use sallyport_identity::{Authentication, Identity, Unauthenticated};
use sallyport_policy::{Policy, Principal};
use sallyport_protocol::{
    Admission, Answer, BoxFuture, Caller, Cancel, Context, Discovery, Endpoint, Era, Failure, FailureKind, FailureSource, Front, Incoming,
    Listener, Method, RawJson, Recognised, Reply, Request, Retry, ServerIdentity,
};
use sallyport_telemetry::{Audit, Metrics, ServerMetrics};

use crate::approvals::Approvals;
use crate::build::Adopter;
use crate::canaries::Canaries;
use crate::catalogue::view::Kind;
use crate::catalogue::{Catalogue, Member};
use crate::heard::Heard;
use crate::limits::CallLimits;
use crate::news::News;
use crate::packages::Entry;
use crate::persons::Persons;
use crate::plan::{Plan, ServerPlan};
use crate::questions::Questions;
use crate::subscriptions::Subscriptions;
use crate::tasks::Tasks;
use crate::tenants::Tenants;
use crate::upstream::{Freshness, Upstream, own_rules};
use crate::{about, decide, failure};

/// How long a list or a greeting waits for servers that have not answered yet. Clients give a server 10 to 30 s to start; what
/// comes later is told by `list_changed`.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running gateway. Clones are the same gateway.
#[derive(Clone, Debug)]
pub struct Gateway(pub(crate) Arc<Inner>);

/// What lives as long as the gateway.
#[derive(Debug)]
pub(crate) struct Inner {
    /// What the configuration in force became; a reload swaps it whole.
    pub(crate) parts: ArcSwap<Parts>,
    pub(crate) news: Arc<News>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) questions: Questions,
    pub(crate) approvals: Approvals,
    pub(crate) audit: Audit,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) adopter: Adopter,
    /// Tells this run of the program from all others.
    pub(crate) run_id: String,
    /// Serialises the makers of catalogues; held for no longer than making one takes.
    pub(crate) rebuilding: std::sync::Mutex<u64>,
    /// The tenants, each a gateway of its own that has none.
    pub(crate) tenants: ArcSwapOption<Tenants>,
}

/// What one configuration became.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) plan: Arc<Plan>,
    pub(crate) identity: Arc<Identity>,
    /// The issuers that are trusted, by name: what is known of them stays when the configuration changes.
    pub(crate) issuers: BTreeMap<String, RemoteIssuer>,
    /// The authorization server inside the gateway.
    pub(crate) authorization_server: Option<AuthorizationServer>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) limits: Arc<CallLimits>,
    pub(crate) servers: BTreeMap<Arc<str>, Server>,
    /// Some of the servers are ones that every principal has a connection of its own to.
    pub(crate) has_personal: bool,
    pub(crate) catalogue: ArcSwap<Catalogue>,
    /// What the gateway says it is.
    pub(crate) identity_of_gateway: ServerIdentity,
    /// The figures of requests that reached no server.
    pub(crate) unresolved: ServerMetrics,
    /// Newer versions of some of the servers, for a share of the callers.
    pub(crate) canaries: Canaries,
    /// What principals see that have connections of their own.
    pub(crate) persons: Persons,
    /// Whose parts these are, where they are one principal's.
    pub(crate) person: Option<Arc<str>>,
}

/// One server and what listens to it.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) metrics: ServerMetrics,
    /// The gateway's own files that are kept from it, as they were when it was started.
    pub(crate) kept: own_rules::Kept,
    /// What its package is locked to, as the lock was read last.
    pub(crate) locked: Option<Arc<Entry>>,
    /// The version of its package, where it is locked.
    pub(crate) version: Option<Arc<str>>,
    /// Held so that the upstream's listeners still know it.
    pub(crate) _relay: Arc<dyn Listener>,
}

impl Server {
    /// Whether it is what another configuration wants as it runs. What nothing is locked for was what the lock was made of, or will be.
    pub(crate) fn may_go_on(&self, plan: &ServerPlan, kept: &own_rules::Kept, locked: Option<&Entry>) -> bool {
        let runs = self.upstream.launched().map(|key| key.to_string()).or_else(|| Some(self.locked.as_ref()?.locked.key()));
        let is_locked_so = runs.zip(locked).is_none_or(|(runs, locked)| runs == locked.locked.key());
        self.upstream.plan() == plan && self.kept.holds(kept) && is_locked_so
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server").field("name", self.upstream.name()).finish_non_exhaustive()
    }
}

impl Parts {
    /// The same with other servers, or with one principal's own connections to them.
    pub(crate) fn with_servers(
        &self,
        servers: BTreeMap<Arc<str>, Server>,
        catalogue: ArcSwap<Catalogue>,
        person: Option<Arc<str>>,
    ) -> Self {
        Self {
            plan: self.plan.clone(),
            identity: self.identity.clone(),
            issuers: self.issuers.clone(),
            authorization_server: self.authorization_server.clone(),
            policy: self.policy.clone(),
            limits: self.limits.clone(),
            has_personal: has_personal(&servers),
            servers,
            catalogue,
            identity_of_gateway: self.identity_of_gateway.clone(),
            unresolved: self.unresolved.clone(),
            canaries: Canaries::default(),
            persons: Persons::default(),
            person,
        }
    }

    /// Who calls, where nobody has to be asked for that: the door has asked already.
    pub(crate) fn known(&self, incoming: &Incoming) -> Option<Arc<Verified>> {
        recognised(incoming).or_else(|| match self.identity.authenticate(incoming) {
            Authentication::Known(known) => known.ok(),
            Authentication::Asks(_) => None,
        })
    }

    /// Who sends a request. The door has found that out, for tokens a moment ago: then it is not done again.
    pub(crate) async fn authenticate(&self, incoming: &Incoming, method: Method) -> Result<Principal, Failure> {
        // Who has gone may still have its subscriptions ended, however old its token is by now.
        let is_believed = |known: &Arc<Verified>| known.is_fresh() || method == Method::ResourcesUnsubscribe;
        if let Some(known) = recognised(incoming).filter(is_believed) {
            return Ok(known.principal.clone());
        }
        let known = match self.identity.authenticate(incoming) {
            Authentication::Known(known) => known,
            Authentication::Asks(asks) => asks.await,
        };
        known.map(|known| known.principal.clone()).map_err(|refusal| self.refuse(refusal, incoming.tenant.as_deref(), &incoming.endpoint))
    }

    /// Lets a caller in that was recognised, if there is such an endpoint.
    fn let_in(&self, known: Result<Arc<Verified>, Unauthenticated>, tenant: Option<&str>, endpoint: &Endpoint) -> Result<Caller, Failure> {
        let known = known.map_err(|refusal| self.refuse(refusal, tenant, endpoint))?;
        self.catalogue.load().view(endpoint)?;
        Ok(Caller { id: known.caller.clone(), recognised: Recognised(known) })
    }

    fn refuse(&self, refusal: Unauthenticated, tenant: Option<&str>, endpoint: &Endpoint) -> Failure {
        let refusal = self.identity.told(refusal);
        let (kind, fault) = match refusal {
            Unauthenticated::Token(fault) if fault.may_pass() => {
                return Failure::client(FailureKind::Http(503), refusal.to_string()).with_hint(refusal.hint());
            }
            Unauthenticated::Token(fault) => (FailureKind::Unauthenticated, Some(fault)),
            _ => (FailureKind::Unauthenticated, None),
        };
        let failure = Failure::client(kind, refusal.as_str()).with_hint(refusal.hint());
        match self.identity.resource_server() {
            Some(server) => failure.with_challenge(server.challenge(tenant, endpoint, fault)),
            None => failure,
        }
    }

    /// Refuses what a caller's token is not good for, with where it gets one that is.
    pub(crate) fn ask_for_scope(&self, tenant: Option<&str>, endpoint: &Endpoint, what: String, scope: &str) -> Failure {
        let kind = FailureKind::InsufficientScope(scope.to_owned());
        let failure = Failure::new(kind, FailureSource::Gateway, Retry::Never, what).with_hint("get a token that is good for it too");
        match self.identity.resource_server() {
            Some(server) => failure.with_challenge(server.step_up(tenant, endpoint, scope)),
            None => failure,
        }
    }

    /// The server of that name.
    pub(crate) fn server(&self, name: &str) -> Result<&Server, Failure> {
        let missing =
            || Failure::new(FailureKind::NotFound, FailureSource::Gateway, Retry::Never, format!("there is no server `{name}` any more"));
        self.servers.get(name).ok_or_else(missing)
    }

    /// Waits, for a bounded time, for the servers of an endpoint that have not said yet what they offer.
    pub(crate) async fn wait_for_listings(&self, endpoint: &Endpoint) {
        let catalogue = self.catalogue.load();
        if catalogue.is_complete() {
            return; // as nearly always: no call looks at every server
        }
        let members = catalogue.members_of(&waited_for(endpoint)).into_iter();
        let pending = members.filter(|member| matches!(member.listing.freshness, Freshness::Pending)).map(|member| member.name.clone());
        let pending = pending.collect();
        drop(catalogue);
        self.wait_for_servers(pending).await;
    }

    /// Waits in the same way for the servers that a request of an extension may be for.
    pub(crate) async fn wait_for_extensions(&self, request: &Request, endpoint: &Endpoint) {
        let pending = self.catalogue.load().pending_for(request, endpoint, &self.plan.toolsets);
        self.wait_for_servers(pending).await;
    }

    async fn wait_for_servers(&self, names: Vec<Arc<str>>) {
        let servers = names.iter().filter_map(|name| self.servers.get(name));
        join_all(servers.map(|server| server.upstream.listed(PATIENCE))).await;
    }
}

/// A toolset's servers are known only when their lists are: it waits for all.
fn waited_for(endpoint: &Endpoint) -> Endpoint {
    match endpoint {
        Endpoint::Toolset(_) => Endpoint::All,
        other => other.clone(),
    }
}

impl Inner {
    /// Waits for the lists of the server that a request names, where without them it could not be found or not be decided: as long as the
    /// call would wait for that server in any case. Where they do not come, policy has the word, and denies what it does not know.
    ///
    /// # Errors
    /// `Cancelled`, and `Overloaded` where too many wait already.
    pub(crate) async fn wait_for_target(
        &self,
        parts: &Parts,
        principal: &Principal,
        request: &Request,
        endpoint: &Endpoint,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        if !parts.policy.decides_by_tools() && !matches!(endpoint, Endpoint::Toolset(_)) {
            return Ok(());
        }
        let pending = parts.catalogue.load().pending_for(request, endpoint, &parts.plan.toolsets);
        if pending.is_empty() {
            return Ok(());
        }
        let upstreams: Vec<&Arc<Upstream>> = pending.iter().filter_map(|name| Some(&parts.servers.get(name)?.upstream)).collect();
        let waiting = try_join_all(upstreams.iter().map(|upstream| upstream.listed_for_call(request.method)));
        tokio::select! {
            biased;
            waited = waiting => waited?,
            () = cancel.cancelled() => return Err(Failure::client(FailureKind::Cancelled, "the request was cancelled")),
        };
        let has_told = upstreams.iter().any(|upstream| !matches!(upstream.listing().freshness, Freshness::Pending));
        if has_told && !parts.catalogue.load().pending_for(request, endpoint, &parts.plan.toolsets).is_empty() {
            self.rebuild_early(parts, principal);
        }
        Ok(())
    }

    /// Puts the catalogue of `parts` together again that waits still, though its servers have told: whoever does so for all comes later, or,
    /// where another configuration is in force by now, not at all. What changed is told here, since whoever comes later finds no change.
    fn rebuild_early(&self, parts: &Parts, principal: &Principal) {
        match parts.person {
            Some(_) => self.rebuild_own(parts, principal),
            None => self.news.tell_changes(&self.rebuild_of(parts)),
        }
    }

    /// Puts the catalogue together again and tells what changed. Called whenever a server's lists or state changed.
    pub(crate) fn rebuild(&self) {
        let parts = self.parts.load();
        let changes = self.rebuild_of(&parts);
        self.rebuild_everybody(&parts, &changes);
        self.rebuild_views(&parts, &changes);
        self.news.tell_changes(&changes);
    }

    /// Puts the catalogue of `parts` together again, and says what changed: to be told to all who see it, for nobody finds it changed again.
    #[must_use]
    pub(crate) fn rebuild_of(&self, parts: &Parts) -> Vec<(Endpoint, Kind)> {
        let mut made = self.rebuilding.lock().unwrap_or_else(PoisonError::into_inner);
        *made += 1;
        let members = members(&parts.servers);
        decide::learn_of(parts, &members);
        let catalogue = Catalogue::new(generation(&self.run_id, *made), members, &parts.plan.toolsets);
        let before = parts.catalogue.swap(Arc::new(catalogue));
        let now = parts.catalogue.load();
        warn_of_refusals(&before, &now);
        now.changes_since(&before)
    }

    /// The name of a catalogue that is the first of its kind.
    pub(crate) fn next_generation(&self) -> String {
        let mut made = self.rebuilding.lock().unwrap_or_else(PoisonError::into_inner);
        *made += 1;
        generation(&self.run_id, *made)
    }

    /// Puts another configuration in force and tells what changed.
    pub(crate) async fn replace(&self, parts: Parts) {
        // Principals' own connections are opened anew, but for programs that go on: until they are in force, all of these wait.
        let own = parts.persons.waiting_scopes();
        let before = {
            let _made = self.rebuilding.lock().unwrap_or_else(PoisonError::into_inner);
            self.parts.swap(Arc::new(parts))
        };
        let now = self.parts.load_full();
        self.subscriptions.retain(|scope| own.contains(scope) || now.servers.contains_key(scope));
        self.tasks.retain(|server| now.servers.contains_key(server));
        self.rebuild();
        self.tell_difference(&before.catalogue.load(), &self.parts.load().catalogue.load());
        self.tell_moved(&before, &now).await;
    }

    fn tell_difference(&self, before: &Catalogue, now: &Catalogue) {
        warn_of_refusals(before, now);
        self.news.tell_changes(&now.changes_since(before));
    }
}

fn warn_of_refusals(before: &Catalogue, now: &Catalogue) {
    for refusal in now.refusals().iter().filter(|refusal| !before.refusals().contains(refusal)) {
        tracing::warn!(
            name = refusal.exposed, server = %refusal.refused.0, tool = refusal.refused.1, holder = %refusal.holder.0,
            holder_tool = refusal.holder.1, "a name is taken, or looks like one that is: not offered"
        );
    }
}

/// Names a state of the catalogue; two runs of the program never use the same.
pub(crate) fn generation(run_id: &str, number: u64) -> String {
    format!("{run_id}-{number}")
}

/// Whether every principal has connections of its own to some of these.
pub(crate) fn has_personal(servers: &BTreeMap<Arc<str>, Server>) -> bool {
    servers.values().any(|server| server.upstream.plan().is_personal())
}

pub(crate) fn members(servers: &BTreeMap<Arc<str>, Server>) -> Vec<Member> {
    servers.values().map(|Server { upstream, .. }| Member::new(upstream.plan(), upstream.name(), upstream.listing())).collect()
}

/// Who the door has recognised.
fn recognised(incoming: &Incoming) -> Option<Arc<Verified>> {
    Arc::clone(&incoming.recognised.as_ref()?.0).downcast().ok()
}

impl Gateway {
    /// What a caller sees of the configuration in force where it is there already, as it is for whoever was admitted; everybody's part, where
    /// the caller is not known.
    fn seen_already(&self, incoming: &Incoming) -> Option<Arc<Parts>> {
        let parts = self.0.parts.load_full();
        match parts.known(incoming) {
            Some(known) => self.0.seen_already(&parts, &known.principal, incoming.credential.as_ref()),
            None => Some(parts),
        }
    }
}

impl Front for Gateway {
    fn admit(&self, incoming: &Incoming) -> Admission {
        let gateway = match self.of(incoming) {
            Ok(gateway) => gateway,
            Err(none) => return Admission::Known(Err(none)),
        };
        let parts = gateway.0.parts.load();
        let asks: BoxFuture<'static, _> = match parts.identity.authenticate(incoming) {
            Authentication::Known(known) if known.as_ref().is_ok_and(|known| parts.is_to_be_made_for(&known.principal)) => {
                Box::pin(std::future::ready(known))
            }
            Authentication::Known(known) => {
                return Admission::Known(parts.let_in(known, incoming.tenant.as_deref(), &incoming.endpoint));
            }
            Authentication::Asks(asks) => Box::pin(asks),
        };
        let (parts, tenant, endpoint) = (Arc::clone(&parts), incoming.tenant.clone(), incoming.endpoint.clone());
        let gateway = gateway.0.clone();
        Admission::Asks(Box::pin(async move {
            let known = asks.await;
            if let Ok(known) = &known {
                gateway.drawn_by(&parts, &known.principal).await; // what is asked of it from now on needs no waiting
            }
            parts.let_in(known, tenant.as_deref(), &endpoint)
        }))
    }

    fn discover(&self, incoming: &Incoming) -> BoxFuture<'static, Result<Discovery, Failure>> {
        let (gateway, incoming) = (self.of(incoming), incoming.clone());
        Box::pin(async move {
            let gateway = gateway?.0;
            let parts = gateway.parts.load_full();
            let principal = parts.authenticate(&incoming, Method::Discover).await?;
            let parts = gateway.seen_by(&parts, &principal, incoming.credential.as_ref()).await;
            parts.wait_for_listings(&incoming.endpoint).await;
            Ok(about::discovery(&parts, &principal, &incoming).await)
        })
    }

    fn serve(&self, request: Request, incoming: Incoming, context: Context) -> BoxFuture<'static, Result<Reply, Failure>> {
        match self.of(&incoming) {
            Ok(gateway) => Box::pin(gateway.0.serve(request, incoming, context)),
            Err(none) => Box::pin(std::future::ready(Err(none))),
        }
    }

    fn watch(&self, incoming: &Incoming, listener: &Arc<dyn Listener>) -> Option<Arc<dyn Listener>> {
        // Who is not known listens to nothing: the door has admitted them, so this is the configuration's doing, at this very moment.
        let gateway = self.of(incoming).ok()?;
        let known = gateway.0.parts.load().known(incoming)?;
        let heard: Arc<dyn Listener> = Heard::new(&gateway.0, incoming, &known.principal, listener);
        gateway.0.news.listen(&incoming.endpoint, &known.principal, &heard);
        Some(heard)
    }

    fn input_schema(&self, incoming: &Incoming, tool: &str) -> Option<RawJson> {
        let gateway = self.of(incoming).ok()?;
        // Where a view is not made yet, what the locked versions take is checked: never nothing.
        let parts = gateway.seen_already(incoming).unwrap_or_else(|| gateway.0.parts.load_full());
        let catalogue = parts.catalogue.load();
        catalogue.view(&incoming.endpoint).ok()?.tools.get(tool)?.header_schema.clone()
    }

    fn answer(&self, failure: &Failure, method: Option<Method>, era: Era) -> Answer {
        failure::answer(failure, method, era)
    }
}

#[cfg(test)]
pub(crate) mod tests;
