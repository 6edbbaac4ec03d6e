//! What policy needs from the gateway: the moment of a request, what servers offer, and a way to decision points elsewhere.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sallyport_policy::{
    Circumstances, EngineFailure, InvalidPolicy, KnownTool, Later, Offered, Origin, Outgoing, Policy, TrialFault, World,
};
use sallyport_protocol::Peer;
use sallyport_secrets::SecretReference;
use sallyport_transport::client::post::JsonClient;
use url::Url;

use crate::build::{BuildError, Fault};
use crate::catalogue::Member;
use crate::gateway::Parts;
use crate::plan::Plan;
use crate::seldom::Seldom;
use crate::upstream::{CONNECT_SCHEMA, CONNECT_TOOL};

/// The moment of a request that came from `peer`.
pub(crate) fn circumstances(peer: Peer) -> Circumstances {
    let origin = match peer {
        Peer::Stdio | Peer::Loopback => Origin::ThisMachine,
        Peer::Remote(address) | Peer::Proxied(Some(address)) => Origin::Address(address),
        Peer::Proxied(None) => Origin::Unknown,
    };
    Circumstances { time: SystemTime::now(), origin }
}

/// The policy of a configuration. What its engines fail with, and what one on trial would have decided, goes to the log.
///
/// # Errors
/// Every rule that cannot be understood or can never match, and secrets that cannot be had.
pub fn policy_of(plan: &Plan) -> Result<Policy, BuildError> {
    let rules = plan.servers.iter().map(|(name, server)| (name.clone(), server.rules.clone())).collect();
    let world: Arc<dyn World> = Arc::new(Outside::default());
    let fault = |rule: InvalidPolicy| Fault { message: format!("{}: {}", rule.place, rule.message), hint: Some(rule.hint) };
    let policy = Policy::build_in(&plan.policy, &rules, &world)
        .map_err(|invalid| BuildError { faults: invalid.into_iter().map(fault).collect() })?;
    tell_of_asking(&policy, plan);
    // A call can be made that some policies fail at, as often as its caller likes.
    let (untold, failed, missed) = (Seldom::default(), Seldom::default(), Seldom::default());
    let told = move |fault: &TrialFault<'_>| match fault {
        TrialFault::Failed(failure) => failed.tell(|others| tracing::warn!(others, "`policy.shadow` has no answer: {failure}")),
        TrialFault::Missed(calls) => {
            missed.tell(|_| tracing::warn!(calls, "`policy.shadow` was not asked about all calls: too many at once, or too long"))
        }
    };
    let policy = policy.tried_beside(|trial| drop(tokio::spawn(trial)), told);
    let denies = move |failure: &EngineFailure| {
        untold.tell(|others| tracing::error!(others, "policy denies, since an engine failed: {failure}"));
    };
    Ok(policy.observed(denies).compared(|difference| {
        let (question, tried) = (difference.question, difference.tried);
        tracing::warn!(
            principal = %question.principal.full_id(), action = question.action.as_str(), server = question.resource.server,
            name = question.resource.name, decided = %difference.decided, tried = %tried,
            "`policy.shadow` would have decided in another way"
        );
    }))
}

/// Tells policy what the servers offer, as far as they have told it. What does not fit is told in the log, once for each state of a server.
pub(crate) fn learn(policy: &Policy, members: &[Member]) {
    tell(policy, members.iter(), Offered::ToAll);
}

/// The same of what they offer to the principal whose parts these are: over its own connections, that is to nobody else.
pub(crate) fn learn_of(parts: &Parts, members: &[Member]) {
    let is_own = |name: &str| parts.servers.get(name).is_some_and(|server| server.upstream.plan().is_personal());
    match &parts.person {
        None => learn(&parts.policy, members),
        Some(person) => tell(&parts.policy, members.iter().filter(|member| is_own(&member.name)), Offered::To(person)),
    }
}

/// Tells policy of the tool by which users are asked for access: servers that ask so have it before anything else, and beside it.
fn tell_of_asking(policy: &Policy, plan: &Plan) {
    let tool = KnownTool { name: CONNECT_TOOL, input_schema: Some(CONNECT_SCHEMA) };
    let asking = plan.servers.iter().filter(|(_, server)| server.is_granted_by_users());
    asking.for_each(|(name, _)| tell_of(policy, Offered::AtFirst, name, &[tool]));
}

fn tell<'a>(policy: &Policy, members: impl Iterator<Item = &'a Member>, to: Offered<'_>) {
    if !policy.needs_tools() {
        return;
    }
    for Member { name, listing, .. } in members.filter(|member| member.listing.freshness.is_shown()) {
        let tools = listing.tools.iter();
        let known =
            tools.map(|tool| KnownTool { name: &tool.name, input_schema: tool.raw.get("inputSchema").map(|schema| schema.as_str()) });
        let known: Vec<_> = known.collect();
        if !matches!(&known[..], [one] if one.name == CONNECT_TOOL) {
            tell_of(policy, to, name, &known);
        }
    }
}

fn tell_of(policy: &Policy, to: Offered<'_>, name: &str, tools: &[KnownTool<'_>]) {
    for InvalidPolicy { place, message, hint } in policy.learn_for(to, name, tools) {
        tracing::error!(server = %name, hint, "server `{name}` is closed, since a policy does not fit: {place}: {message}");
    }
}

/// Decision points elsewhere: each origin has its connections.
struct Outside {
    began: Instant,
    clients: Mutex<HashMap<String, JsonClient>>,
}

impl Default for Outside {
    fn default() -> Self {
        Self { began: Instant::now(), clients: Mutex::default() }
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Outside")
    }
}

impl Outside {
    fn client(&self, url: &Url) -> Result<JsonClient, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = url.origin().ascii_serialization();
        if let Some(client) = clients.get(&origin) {
            return Ok(client.clone());
        }
        let client = JsonClient::new(url)?;
        clients.insert(origin, client.clone()); // as many as the configuration names
        Ok(client)
    }
}

impl World for Outside {
    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn post<'a>(&'a self, request: Outgoing<'a>) -> Later<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let url = Url::parse(request.url).map_err(|error| error.to_string())?;
            self.client(&url)?.post(&url, request.bearer, request.body, request.deadline, request.most).await
        })
    }

    fn secret(&self, reference: &str) -> Result<String, String> {
        let reference: SecretReference = reference.parse().map_err(|_| format!("`{reference}` is no reference to a secret"))?;
        let secret = sallyport_secrets::resolve(&reference).map_err(|error| error.to_string())?;
        Ok(secret.expose().to_owned())
    }
}

#[cfg(test)]
mod tests;
