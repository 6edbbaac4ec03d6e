//! Tenants: each is a gateway of its own, with its own servers, callers, policy, tasks and figures, in a folder of its own. So nothing of one
//! is within reach of another; what they share is the front door, which says whom a request is to.
//!
//! A name that there is not leads to a gateway too: one that knows nobody. So a caller of another tenant is told of a name that there is
//! what it is told of any other, after the same steps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use sallyport_identity::Identity;
use sallyport_identity::resource_server::resource::split_tenant;
use sallyport_protocol::{Failure, FailureKind, Incoming};
use sallyport_telemetry::{Audit, Metrics};
use url::Url;

use crate::approvals::settings::ApprovalsPlan;
use crate::build::{BuildError, Changes, Fault, Prepared, VAULT_KEY};
use crate::egress;
use crate::gateway::Gateway;
use crate::plan::{IdentityPlan, IssuerPlan, Plan};
use crate::upstream::{Outage, Pins, Surroundings, WayOut};

/// The tenant that an unknown name leads to. No configuration, claim or key can have this name.
const NOBODY: &str = "\n";

/// The tenants of a gateway.
#[derive(Debug)]
pub(crate) struct Tenants {
    known: BTreeMap<Arc<str>, Gateway>,
    nobody: Gateway,
}

/// Tenants that can be put in force: those that are new, and what is to become of the others.
pub(crate) struct PreparedTenants {
    tenants: Option<Tenants>,
    changed: Vec<(Arc<str>, Gateway, Prepared)>,
    added: Vec<(Arc<str>, Gateway)>,
}

impl PreparedTenants {
    /// Makes sure that a key opens one tenant, or the gateway itself, whichever references it is had by.
    ///
    /// # Errors
    /// Each key that opens another, too.
    pub(crate) fn check_keys(&self, own: &Identity) -> Result<(), BuildError> {
        let mut opens: HashMap<[u8; 32], String> = own.keys().map(|(digest, _)| (digest, "the gateway itself".to_owned())).collect();
        let mut faults = Vec::new();
        let mut check = |name: &str, identity: &Identity| {
            for (digest, holder) in identity.keys() {
                if let Some(other) = opens.insert(digest, format!("tenant `{name}`")) {
                    let message = format!("tenant `{name}`: the key of `{}` opens {other}, too", holder.id());
                    faults.push(Fault { message, hint: Some("give each tenant keys of its own".to_owned()) });
                }
            }
        };
        self.changed.iter().for_each(|(name, _, prepared)| check(name, &prepared.trust.identity));
        self.added.iter().for_each(|(name, gateway)| check(name, &gateway.0.parts.load().identity));
        if faults.is_empty() { Ok(()) } else { Err(BuildError { faults }) }
    }
}

impl Gateway {
    /// The gateway of the tenant that a request is to.
    ///
    /// # Errors
    /// `Http(404)` where there are no tenants at all.
    pub(crate) fn of(&self, incoming: &Incoming) -> Result<Self, Failure> {
        let Some(name) = &incoming.tenant else { return Ok(self.clone()) };
        match &*self.0.tenants.load() {
            Some(tenants) => Ok(tenants.known.get(name).unwrap_or(&tenants.nobody).clone()),
            None => Err(Failure::client(FailureKind::Http(404), "there is no such endpoint")),
        }
    }

    /// The gateway of the tenant of that name.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Option<Self> {
        self.0.tenants.load().as_ref()?.known.get(name).cloned()
    }

    /// The gateway that a name leads to that there is not: it knows nobody.
    #[must_use]
    pub fn nobody(&self) -> Option<Self> {
        Some(self.0.tenants.load().as_ref()?.nobody.clone())
    }

    /// Whether there are tenants.
    #[must_use]
    pub fn has_tenants(&self) -> bool {
        self.0.tenants.load().is_some()
    }

    /// The gateways of all tenants, by their names.
    #[must_use]
    pub fn tenants(&self) -> Vec<Self> {
        self.0.tenants.load().iter().flat_map(|tenants| tenants.known.values().cloned()).collect()
    }

    /// Takes note of where browsers reach the gateway and its tenants: scheme, host and port.
    pub fn reached_at(&self, base: &Url) {
        self.way_out().reached_at(base.clone());
        self.tenants().iter().chain(&self.nobody()).for_each(|tenant| tenant.way_out().reached_at(base.clone()));
    }

    /// Makes ready what the tenants of a configuration need.
    pub(crate) fn prepare_tenants(&self, plan: &Plan) -> Result<PreparedTenants, BuildError> {
        let (mut known, mut changed, mut added) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (name, plan) in &plan.tenants {
            let gateway = match self.tenant(name) {
                Some(gateway) => {
                    changed.push((name.clone(), gateway.clone(), gateway.prepare(plan.clone()).map_err(|error| error.of_tenant(name))?));
                    gateway
                }
                None => {
                    let gateway = self.build_tenant(name, plan.clone()).map_err(|error| error.of_tenant(name))?;
                    added.push((name.clone(), gateway.clone()));
                    gateway
                }
            };
            known.insert(name.clone(), gateway);
        }
        let nobody = (!known.is_empty()).then(|| self.build_nobody(plan)).transpose()?;
        Ok(PreparedTenants { tenants: nobody.map(|nobody| Tenants { known, nobody }), changed, added })
    }

    fn build_tenant(&self, name: &str, plan: Plan) -> Result<Self, BuildError> {
        let surroundings = self.0.adopter.surroundings().of_tenant(name, &self.0.audit);
        Self::build_one(plan, self.0.audit.clone(), surroundings.metrics.clone(), Arc::new(surroundings))
    }

    /// The one that an unknown name leads to. It finds out who calls as the tenants do, and knows nobody.
    fn build_nobody(&self, plan: &Plan) -> Result<Self, BuildError> {
        let shared = plan.identity.issuers.iter().filter(|issuer| issuer.terms.tenant_claim.is_some());
        let nobody = Plan {
            tenant: Some(NOBODY.into()),
            tenants: BTreeMap::new(),
            public_url: plan.public_url.as_ref().map(|public| public.of_tenant(NOBODY)),
            keys: Vec::new(),
            identity: IdentityPlan {
                api_keys: plan.tenants.values().any(|tenant| tenant.identity.api_keys),
                certificates: Vec::new(),
                issuers: shared.cloned().map(|issuer: IssuerPlan| issuer.of_tenant(NOBODY)).collect(),
                server: None,
            },
            policy: <_>::default(),
            limits: Vec::new(),
            approvals: approvals_of_nobody(plan),
            toolsets: BTreeMap::new(),
            servers: BTreeMap::new(),
            disabled: Vec::new(),
            warnings: Vec::new(),
            ..plan.clone()
        };
        let surroundings = Arc::new(self.0.adopter.surroundings().of_nobody());
        Self::build_one(nobody, self.0.audit.clone(), self.0.metrics.clone(), surroundings)
    }

    /// Opens the vaults that links of tenants lead to, so that the first who asks for one waits no longer than the next: that would tell of a
    /// tenant.
    pub(crate) fn open_links_of_tenants(&self) {
        let granting = self.tenants().into_iter().filter(Self::grants_access);
        let ways: Vec<Arc<WayOut>> = granting.map(|tenant| tenant.way_out()).collect();
        if ways.is_empty() {
            return; // then links are looked for in nobody's vault alone, whichever name is asked for
        }
        let nobodys = self.nobody().map(|nobody| nobody.way_out());
        drop(tokio::task::spawn_blocking(move || {
            for way in ways.into_iter().chain(nobodys) {
                if let Err(Outage { why, hint, .. }) = way.logins() {
                    tracing::error!(hint, "a vault cannot be used: {why}");
                }
            }
        }));
    }

    /// Puts tenants in force. Those that are gone are told nothing any more from here on, and end within `grace`.
    pub(crate) async fn commit_tenants(&self, prepared: PreparedTenants, grace: Duration) -> Changes {
        let PreparedTenants { tenants, changed, added } = prepared;
        let before = self.0.tenants.swap(tenants.map(Arc::new));
        let is_known = |name: &Arc<str>| self.0.tenants.load().as_ref().is_some_and(|now| now.known.contains_key(name));
        let gone: Vec<(Arc<str>, Gateway)> =
            before.iter().flat_map(|before| before.known.clone()).filter(|(name, _)| !is_known(name)).collect();
        let mut changes = Changes::default();
        for (name, gateway) in &added {
            gateway.start_own();
            changes.added.extend(gateway.server_names(name));
        }
        changes.removed.extend(gone.iter().flat_map(|(name, gateway)| gateway.server_names(name)));
        let stopped = join_all(gone.iter().map(|(_, gateway)| gateway.stop_own(grace)));
        let changed = join_all(changed.into_iter().map(|(name, gateway, prepared)| async move {
            let Changes { added, removed, changed, needs_restart } = gateway.commit(prepared, grace).await;
            let named = |servers: Vec<String>| servers.into_iter().map(|server| format!("{name}/{server}")).collect::<Vec<_>>();
            (named(added), named(removed), named(changed), needs_restart.contains(&VAULT_KEY))
        }));
        for (added, removed, changed, needs_restart) in join(stopped, changed).await.1 {
            changes.needs_restart.extend(needs_restart.then_some(VAULT_KEY));
            changes.added.extend(added);
            changes.removed.extend(removed);
            changes.changed.extend(changed);
        }
        self.open_links_of_tenants();
        changes
    }

    fn server_names(&self, tenant: &str) -> Vec<String> {
        self.plan().servers.keys().map(|server| format!("{tenant}/{server}")).collect()
    }

    /// The gateway that metadata at this path are of, and the rest of the path: an endpoint's.
    pub(crate) fn of_resource<'a>(&self, path: &'a str) -> Option<(Self, Option<&'a str>, &'a str)> {
        match split_tenant(path) {
            None => Some((self.clone(), None, path)),
            Some((name, rest)) => {
                let tenants = self.0.tenants.load();
                let tenants = tenants.as_ref()?;
                Some((tenants.known.get(name).unwrap_or(&tenants.nobody).clone(), Some(name), rest))
            }
        }
    }
}

/// Where calls of some tenant are approved on a page, there is one that knows no approver.
fn approvals_of_nobody(plan: &Plan) -> ApprovalsPlan {
    let some = plan.tenants.values().map(|tenant| &tenant.approvals.approvers).find(|approvers| !approvers.is_empty());
    ApprovalsPlan { approvers: some.cloned().unwrap_or_default(), ..ApprovalsPlan::default() }
}

impl PreparedTenants {
    /// The tenants of a gateway that has had none so far.
    pub(crate) fn into_tenants(self) -> Option<Arc<Tenants>> {
        self.tenants.map(Arc::new)
    }
}

impl Surroundings {
    /// The same for a tenant: in folders of its own, with figures and a vault of its own. What it connects to is recorded in `audit`.
    #[must_use]
    pub fn of_tenant(&self, name: &str, audit: &Audit) -> Self {
        let (folders, metrics) = (self.folders.of_tenant(name), Arc::new(Metrics::new()));
        Self {
            host: self.host.clone().with_egress(egress::recorded_in(audit.clone(), metrics.clone(), name)).with_scope(name),
            identity: self.identity.clone(),
            way_out: Arc::new(WayOut::of_tenant(name, &folders, &self.way_out)),
            pins: Arc::new(Pins::new(&folders)),
            folders,
            metrics,
        }
    }

    /// The same for the tenant that there is not.
    fn of_nobody(&self) -> Self {
        Self {
            host: self.host.clone(),
            folders: self.folders.clone(),
            identity: self.identity.clone(),
            metrics: self.metrics.clone(),
            way_out: Arc::new(WayOut::of_nobody(&self.folders, &self.way_out)),
            pins: self.pins.clone(),
        }
    }
}
