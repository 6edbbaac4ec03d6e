//! From a validated configuration to a running gateway, and from one configuration to the next.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use futures_util::future::{join, join_all};
use sallyport_policy::{InvalidPolicy, Policy, PrincipalKind};
use sallyport_protocol::{Endpoint, Listener, ServerIdentity};
use sallyport_secrets::SecretReference;
use sallyport_telemetry::metric::DoorMetrics;
use sallyport_telemetry::{Audit, Metrics};

use crate::approvals::Approvals;
use crate::canaries::Canaries;
use crate::catalogue::Catalogue;
use crate::decide;
use crate::gateway::{Gateway, Inner, Parts, Server, generation, has_personal, members};
use crate::limits::CallLimits;
use crate::news::{Audience, News, Relay};
use crate::packages::{self, Entry};
use crate::persons::Persons;
use crate::plan::{Plan, ServerPlan, Start};
use crate::questions::Questions;
use crate::tasks::Tasks;
use crate::trust::{self, Trust};
use crate::upstream::{Surroundings, Upstream, own_rules};

/// The one key of a tenant that only a restart puts in force.
pub(crate) const VAULT_KEY: &str = "vault.key";

/// Why a configuration that is valid in itself could not be put in force.
#[derive(Debug)]
pub struct BuildError {
    /// What is wrong: one line each.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong, and what to do about it.
#[derive(Debug)]
pub struct Fault {
    /// Names the subject.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for BuildError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.faults.iter().map(|fault| fault.message.as_str()).collect();
        out.write_str(&lines.join("; "))
    }
}

impl std::error::Error for BuildError {}

impl BuildError {
    /// The same, about a tenant.
    pub(crate) fn of_tenant(mut self, name: &str) -> Self {
        self.faults.iter_mut().for_each(|fault| fault.message = format!("tenant `{name}`: {}", fault.message));
        self
    }
}

/// What a reload changed, by servers' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New ones.
    pub added: Vec<String>,
    /// Ones that are gone.
    pub removed: Vec<String>,
    /// Ones that were started anew, since their part of the configuration is another, or since a file that was kept from them is.
    pub changed: Vec<String>,
    /// What only a restart of the gateway puts in force: keys of the configuration.
    pub needs_restart: Vec<&'static str>,
}

impl Gateway {
    /// Makes a gateway of a configuration. Starts nothing: see [`start`](Self::start).
    ///
    /// # Errors
    /// Keys that cannot be read, a policy that does not hold together.
    pub fn build(plan: Plan, audit: Audit, metrics: Arc<Metrics>, surroundings: Arc<Surroundings>) -> Result<Self, BuildError> {
        let gateway = Self::build_one(plan, audit, metrics, surroundings)?;
        let tenants = gateway.prepare_tenants(&gateway.plan())?;
        tenants.check_keys(&gateway.0.parts.load().identity)?;
        gateway.0.tenants.store(tenants.into_tenants());
        Ok(gateway)
    }

    /// The same without its tenants.
    pub(crate) fn build_one(plan: Plan, audit: Audit, metrics: Arc<Metrics>, surroundings: Arc<Surroundings>) -> Result<Self, BuildError> {
        let (trust, policy, limits) = (trust::build(&plan, &surroundings, &BTreeMap::new())?, decide::policy_of(&plan)?, limits(&plan)?);
        surroundings.way_out.sealed_with(plan.vault_key.clone());
        let questions = Questions::new()
            .map_err(|_| BuildError { faults: vec![Fault { message: "this system has no random numbers".into(), hint: None }] })?;
        let run_id = run_id();
        let approvals = Approvals::new(&surroundings);
        let (news, tasks) = (Arc::new(News::default()), Arc::new(Tasks::default()));
        let inner = Arc::new_cyclic(|inner| {
            let adopter =
                Adopter { inner: inner.clone(), news: news.clone(), tasks: tasks.clone(), metrics: metrics.clone(), surroundings };
            let mut servers = adopter.servers(&plan, &BTreeMap::new());
            let canaries = adopter.with_canaries(&mut servers, &plan, &Canaries::default());
            let parts = Parts { canaries, ..parts(plan, trust, (policy, limits), servers, &metrics, generation(&run_id, 0)) };
            Inner {
                parts: ArcSwap::from_pointee(parts),
                news,
                tasks,
                subscriptions: Default::default(),
                questions,
                approvals,
                audit,
                metrics,
                adopter,
                run_id,
                rebuilding: Default::default(),
                tenants: Default::default(),
            }
        });
        Ok(Self(inner))
    }

    /// Begins to start the servers that are to be there from the first list on.
    pub fn start(&self) {
        self.start_own();
        self.tenants().iter().for_each(Self::start_own);
        self.open_links_of_tenants();
    }

    /// The same without its tenants'.
    pub(crate) fn start_own(&self) {
        self.0.parts.load().upstreams().filter(|upstream| upstream.plan().start == Start::Eager).for_each(|upstream| upstream.start());
    }

    /// The configuration in force.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        self.0.parts.load().plan.clone()
    }

    /// Whether each program is still kept from the gateway's own files (one that was put in the place of another is not), and was given the
    /// secrets that are in the files of its own.
    #[must_use]
    pub fn keeps_its_files(&self) -> bool {
        let surroundings = self.0.adopter.surroundings();
        let is_kept = |server: &Server| server.kept.holds(&own_rules::kept_from(server.upstream.plan(), &surroundings.folders));
        self.0.parts.load().servers.values().all(is_kept) && self.tenants().iter().all(Self::keeps_its_files)
    }

    /// Whether the locks say what they said when they were read last: what each server runs, for whom. One that cannot be read says nothing.
    #[must_use]
    pub fn follows_its_locks(&self) -> bool {
        let said = |entry: Option<&Entry>| {
            entry.map(|entry| {
                (entry.locked.key(), entry.canary.as_ref().map(|canary| (canary.locked.key(), canary.share, canary.salt.clone())))
            })
        };
        let drafts = self.0.adopter.surroundings().folders.lock_drafts_folder();
        let follows = |server: &Server| {
            packages::entry(server.upstream.plan(), &drafts).is_ok_and(|now| said(now.as_ref()) == said(server.locked.as_deref()))
        };
        self.0.parts.load().servers.values().all(follows) && self.tenants().iter().all(Self::follows_its_locks)
    }

    /// The servers, by name; behind them the newer versions of some, which a share of the callers gets.
    #[must_use]
    pub fn upstreams(&self) -> Vec<Arc<Upstream>> {
        self.0.parts.load().upstreams().cloned().collect()
    }

    /// Names that are not offered, since another holds them or one that looks alike.
    #[must_use]
    pub fn refusals(&self) -> Vec<crate::catalogue::Refusal> {
        self.0.parts.load().catalogue.load().refusals().to_vec()
    }

    /// Puts another configuration in force. Servers whose part did not change go on; calls in flight at the others finish, for at most `grace`.
    ///
    /// # Errors
    /// As [`build`](Self::build); the configuration in force then stays in force.
    pub async fn reload(&self, plan: Plan, grace: Duration) -> Result<Changes, BuildError> {
        // All of it, before anything is another.
        let (tenants, own) = (self.prepare_tenants(&plan)?, self.prepare(plan)?);
        tenants.check_keys(&own.trust.identity)?;
        let (of_tenants, mut changes) = join(self.commit_tenants(tenants, grace), self.commit(own, grace)).await;
        changes.added.extend(of_tenants.added);
        changes.removed.extend(of_tenants.removed);
        changes.changed.extend(of_tenants.changed);
        Ok(changes)
    }

    /// Makes ready what another configuration needs.
    pub(crate) fn prepare(&self, plan: Plan) -> Result<Prepared, BuildError> {
        let before = self.0.parts.load();
        let trust = trust::build(&plan, &self.0.adopter.surroundings(), &before.issuers)?;
        Ok(Prepared { policy: decide::policy_of(&plan)?, limits: limits(&plan)?, trust, plan })
    }

    /// Puts it in force.
    pub(crate) async fn commit(&self, prepared: Prepared, grace: Duration) -> Changes {
        let Prepared { plan, trust, policy, limits } = prepared;
        let before = self.0.parts.load_full();
        let mut servers = self.0.adopter.servers(&plan, &before.servers);
        let canaries = self.0.adopter.with_canaries(&mut servers, &plan, &before.canaries);
        let changes = changes(&before, &plan, &servers);
        let parts = parts(plan, trust, (policy, limits.continuing(&before.limits)), servers, &self.0.metrics, String::new());
        let persons = carried_over(&before, &parts);
        let going_on = persons.programs();
        self.0.replace(Parts { canaries, persons, ..parts }).await;
        self.start_own();
        let now = self.0.parts.load_full();
        let mut left: Vec<_> = before.upstreams().filter(|old| !now.upstreams().any(|new| Arc::ptr_eq(new, old))).collect();
        let own = before.persons.programs();
        left.extend(own.iter().filter(|old| !going_on.iter().any(|new| Arc::ptr_eq(new, old))));
        // Callers' own connections to what ends here have its scope, and so have programs of other callers, which go on.
        let goes_on = |one: &Upstream| now.upstreams().chain(&going_on).any(|upstream| std::ptr::eq(Arc::as_ptr(upstream), one));
        let ends = |one: &Upstream| !goes_on(one) && left.iter().any(|upstream| upstream.scope() == one.scope());
        self.0.questions.abandon(ends);
        self.0.tasks.abandon(ends);
        join_all(left.iter().map(|upstream| upstream.stop(grace))).await;
        let measured = |upstream: &Upstream| (upstream.name().clone(), upstream.version().cloned());
        for gone in left.iter().map(|upstream| measured(upstream)).filter(|old| !now.upstreams().any(|new| measured(new) == *old)) {
            self.0.metrics.forget(&gone.0, gone.1.as_deref());
        }
        changes
    }

    /// Ends all servers: calls in flight finish, for at most `grace`; then each child is told to end, and made to.
    pub async fn stop(&self, grace: Duration) {
        let tenants = self.tenants();
        join_all(tenants.iter().chain([self]).map(|gateway| gateway.stop_own(grace))).await;
    }

    /// The same without its tenants'.
    pub(crate) async fn stop_own(&self, grace: Duration) {
        self.0.questions.abandon(|_| true);
        self.0.tasks.abandon(|_| true);
        let parts = self.0.parts.load_full();
        let everybody = parts.persons.all();
        let elsewhere = everybody.iter().flat_map(|(_, parts)| parts.servers.values()).map(|server| &server.upstream);
        let elsewhere = elsewhere.filter(|upstream| upstream.plan().is_personal() && !upstream.plan().is_program());
        let own: Vec<Arc<Upstream>> = parts.persons.programs().into_iter().chain(elsewhere.cloned()).collect();
        join_all(self.upstreams().iter().chain(&own).map(|upstream| upstream.stop(grace))).await;
    }

    /// Where the HTTP front door counts what it has open, for [`metrics`](Self::metrics).
    #[must_use]
    pub fn door_metrics(&self) -> DoorMetrics {
        self.0.metrics.door()
    }

    /// The figures for `/metrics`, in the text format of OpenMetrics.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.0.metrics.set_parked_calls(self.0.questions.waiting());
        self.0.metrics.encode()
    }
}

/// A configuration that can be put in force.
pub(crate) struct Prepared {
    plan: Plan,
    pub(crate) trust: Trust,
    policy: Policy,
    limits: CallLimits,
}

/// Makes servers and listens to them, in their own name and for the merged endpoints.
#[derive(Debug)]
pub(crate) struct Adopter {
    inner: Weak<Inner>,
    news: Arc<News>,
    tasks: Arc<Tasks>,
    metrics: Arc<Metrics>,
    surroundings: Arc<Surroundings>,
}

impl Adopter {
    pub(crate) fn surroundings(&self) -> Arc<Surroundings> {
        self.surroundings.clone()
    }

    pub(crate) fn inner(&self) -> Weak<Inner> {
        self.inner.clone()
    }

    /// The servers of a configuration; those of `before` that are configured as they were go on, unless a file that was kept
    /// from them was replaced (the new one is not), a secret of theirs is another, or their package is locked to another version.
    fn servers(&self, plan: &Plan, before: &BTreeMap<Arc<str>, Server>) -> BTreeMap<Arc<str>, Server> {
        let server = |name: &str, server: &ServerPlan| {
            let (kept, old) = (own_rules::kept_from(server, &self.surroundings.folders), before.get(name));
            let locked = self.locked(server, old);
            if let Some(same) = old.filter(|old| old.may_go_on(server, &kept, locked.as_deref())) {
                return self.listen(same.upstream.clone(), kept, locked, plan);
            }
            let upstream = Upstream::new(server.clone(), self.surroundings.clone());
            old.iter().for_each(|old| upstream.take_the_place_of(&old.upstream));
            self.listen(upstream, kept, locked, plan)
        };
        plan.servers.iter().map(|(name, plan)| (Arc::from(name.as_str()), server(name, plan))).collect()
    }

    /// What is locked for a server; where its lock cannot be read, what was.
    fn locked(&self, server: &ServerPlan, old: Option<&Server>) -> Option<Arc<Entry>> {
        match packages::entry(server, &self.surroundings.folders.lock_drafts_folder()) {
            Ok(entry) => entry.map(Arc::new),
            Err(error) => {
                tracing::error!(server = server.name, hint = error.hint(), "the changed lock is not used: {error}");
                old.filter(|old| old.upstream.plan() == server)?.locked.clone()
            }
        }
    }

    pub(crate) fn listen(&self, upstream: Arc<Upstream>, kept: own_rules::Kept, locked: Option<Arc<Entry>>, plan: &Plan) -> Server {
        let relay = self.relay(&upstream, plan, None);
        let inner = self.inner.clone();
        upstream.on_change(Arc::new(move |_| {
            if let Some(inner) = inner.upgrade() {
                inner.rebuild();
            }
        }));
        let metrics = match upstream.version() {
            Some(version) => self.metrics.version(upstream.name(), version),
            None => self.metrics.server(upstream.name()),
        };
        Server { upstream, metrics, kept, locked, version: None, _relay: relay }
    }

    /// What passes on what a server says; to `audience`, where not all are to hear it.
    pub(crate) fn relay(&self, upstream: &Upstream, plan: &Plan, audience: Option<Audience>) -> Arc<dyn Listener> {
        let toolsets = plan.toolsets.keys().map(|name| Endpoint::Toolset(name.as_str().into()));
        let merged = std::iter::once(Endpoint::All).chain(toolsets).collect();
        let (server, scope) = (upstream.name().clone(), upstream.scope().clone());
        let (news, tasks, inner) = (self.news.clone(), self.tasks.clone(), self.inner.clone());
        let relay: Arc<dyn Listener> =
            Arc::new(Relay { server, scope, audience, news, tasks, inner, merged, has_one_caller: plan.has_one_caller() });
        upstream.listeners().add(&relay);
        relay
    }
}

fn parts(
    plan: Plan,
    trust: Trust,
    (policy, limits): (Policy, CallLimits),
    servers: BTreeMap<Arc<str>, Server>,
    metrics: &Metrics,
    generation: String,
) -> Parts {
    let members = members(&servers);
    decide::learn(&policy, &members);
    let catalogue = Catalogue::new(generation, members, &plan.toolsets);
    Parts {
        plan: Arc::new(plan),
        identity: Arc::new(trust.identity),
        issuers: trust.issuers,
        authorization_server: trust.server,
        policy: Arc::new(policy),
        limits: Arc::new(limits),
        has_personal: has_personal(&servers),
        servers,
        catalogue: ArcSwap::from_pointee(catalogue),
        identity_of_gateway: ServerIdentity::new("sallyport", env!("CARGO_PKG_VERSION")),
        unresolved: metrics.server(""),
        canaries: Canaries::default(),
        persons: Persons::default(),
        person: None,
    }
}

/// The programs of callers of their own that go on in another configuration: of servers that are what they were, and of callers who are
/// still let in.
fn carried_over(before: &Parts, now: &Parts) -> Persons {
    let is_same_trust = before.plan.identity == now.plan.identity;
    before.persons.carried_over(|principal, name, own| {
        let is_let_in = match principal.kind() {
            // Keys of the configuration are called by their references, which no key in the store is.
            PrincipalKind::Key(name) if SecretReference::is_meant_by(name) => now.identity.keys().any(|(_, holder)| holder == principal),
            PrincipalKind::Key(_) => is_same_trust,
            PrincipalKind::LocalUser => before.identity.needs_credential() == now.identity.needs_credential(),
            PrincipalKind::User { .. } | PrincipalKind::Client { .. } => is_same_trust,
        };
        let is_same = |server: &Server| own.may_go_on(server.upstream.plan(), &server.kept, server.locked.as_deref());
        is_let_in && now.servers.get(name).is_some_and(is_same)
    })
}

fn limits(plan: &Plan) -> Result<CallLimits, BuildError> {
    let told = |rule: InvalidPolicy| Fault { message: format!("{}: {}", rule.place, rule.message), hint: Some(rule.hint) };
    CallLimits::build(&plan.limits).map_err(|invalid| BuildError { faults: invalid.into_iter().map(told).collect() })
}

fn changes(before: &Parts, now: &Plan, servers: &BTreeMap<Arc<str>, Server>) -> Changes {
    let names = |of: &BTreeMap<Arc<str>, Server>, keep: &dyn Fn(&Arc<str>, &Server) -> bool| {
        of.iter().filter(|(name, server)| keep(name, server)).map(|(name, _)| name.to_string()).collect()
    };
    let is_another = |name: &Arc<str>, new: &Server| before.servers.get(name).is_some_and(|old| !Arc::ptr_eq(&old.upstream, &new.upstream));
    let plan = &before.plan;
    let restart = [
        ("listen", plan.listen != now.listen),
        ("tls", plan.tls.is_some() != now.tls.is_some()),
        ("behind_proxy", plan.proxies.is_some() != now.proxies.is_some()),
        ("trusted_proxies", plan.proxies.is_some() && now.proxies.is_some() && plan.proxies != now.proxies),
        ("allowed_origins", plan.allowed_origins != now.allowed_origins),
        ("allowed_hosts", plan.allowed_hosts != now.allowed_hosts),
        ("public_url", plan.public_url != now.public_url),
        (VAULT_KEY, plan.vault_key != now.vault_key),
    ];
    Changes {
        added: names(servers, &|name, _| !before.servers.contains_key(name)),
        removed: names(&before.servers, &|name, _| !servers.contains_key(name)),
        changed: names(servers, &is_another),
        needs_restart: restart.into_iter().filter(|(_, other)| *other).map(|(key, _)| key).collect(),
    }
}

/// Different at every start of the program; no secret.
fn run_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", now.as_nanos())
}
