//! The engine: one compiled set of policies for each server whose tools are known.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::Effect::{Forbid, Permit};
use cedar_policy::{Authorizer, Decision as Answered, EntityUid, Policy, PolicyId};

use super::Config;
use super::compiled::{Compiled, Slice, compile, ill_typed};
use super::names::{CALL, OTHER_ACTIONS, of_server, other_action};
use super::prepared::{Lately, Prepared};
use super::request::{Asked, NotAsked};
use super::schema::schema;
use super::text::{Placed, parse, told_apart};
use crate::{
    Answer, Arguments, Decision, Effect, EngineFailure, InvalidPolicy, Kinds, KnownTool, Making, Offered, Outcome, Place, PolicyEngine,
    Principal, Question, Reason, Resource, ResourceKind, ServerRules, Verdict,
};

/// Policies in Cedar.
pub struct Cedar {
    place: Place,
    policies: Vec<Placed>,
    kinds: Arc<Kinds>,
    authorizer: Authorizer,
    /// By server. What is not there is not known yet.
    servers: RwLock<HashMap<String, Listings>>,
    lately: Lately,
    is_lasting: bool,
}

/// What a server offers, to everybody and to those who have connections of their own. Whoever tells of them forgets them again.
#[derive(Default)]
struct Listings {
    common: Option<Known>,
    own: HashMap<String, Known>,
    first: Option<Known>,
}

impl Listings {
    /// What decides about one of the server's things for a principal. What there is at first stays, whatever there is beside it later.
    fn seen_by(&self, principal: &Principal, thing: &Resource<'_>) -> Option<&Known> {
        let own = if self.own.is_empty() { None } else { self.own.get(&*principal.full_id()) };
        let known = own.or(self.common.as_ref());
        let first =
            self.first.as_ref().filter(|first| known.is_none() || (first.lists(thing) && !known.is_some_and(|known| known.lists(thing))));
        first.or(known)
    }

    fn all(&self) -> impl Iterator<Item = &Known> {
        self.common.iter().chain(self.own.values())
    }
}

/// One list of tools of a server.
#[derive(Clone)]
struct Known {
    /// The tools when it was compiled, to see whether they are others.
    tools: Arc<Vec<(String, Option<String>)>>,
    /// What it came to; `None` where a policy does not fit.
    compiled: Option<Arc<Compiled>>,
}

impl Known {
    fn lists(&self, thing: &Resource<'_>) -> bool {
        thing.kind == ResourceKind::Tool && self.tools.iter().any(|(name, _)| name == thing.name)
    }
}

impl Cedar {
    pub(super) fn build(config: &Config, making: &Making<'_>) -> Result<Self, Vec<InvalidPolicy>> {
        let (mut policies, mut errors) = (Vec::new(), Vec::new());
        for source in config.texts(making)? {
            match parse(&source) {
                Ok(placed) => policies.extend(placed),
                Err(wrong) => errors.extend(wrong),
            }
        }
        told_apart(&mut policies);
        errors.extend(policies.iter().flat_map(|policy| misnamed(policy, making.servers)));
        errors.extend(policies.iter().filter_map(asks_and_forbids));
        if errors.is_empty() {
            // What names no tool has to fit whatever the tools turn out to be.
            let general: Vec<&Placed> = policies.iter().filter(|policy| names_no_tool(policy)).collect();
            if let Ok(schema) = schema(&BTreeMap::new(), &BTreeSet::new()) {
                errors.extend(ill_typed(&general, schema));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            place: Place::new(&making.place),
            is_lasting: !policies
                .iter()
                .any(|policy| policy.mentions.has("now") || policy.mentions.has("address") || policy.mentions.has("loopback")),
            policies,
            kinds: making.kinds.clone(),
            authorizer: Authorizer::new(),
            servers: RwLock::default(),
            lately: Lately::default(),
        })
    }

    fn answer(&self, question: &Question<'_>) -> Outcome {
        let server = question.resource.server;
        if question.replaying.is_some() && !self.knows(question) {
            return Ok(Verdict::Silent);
        }
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        let known = servers.get(server).and_then(|listings| listings.seen_by(question.principal, &question.resource)).cloned();
        drop(servers);
        let known = known
            .ok_or_else(|| EngineFailure(format!("the tools of `{server}` are not known yet, so no policy can be checked against them")))?;
        let compiled = known
            .compiled
            .ok_or_else(|| EngineFailure(format!("a policy does not fit the tools of `{server}`: `{}` is closed", self.place)))?;
        if question.resource.kind == ResourceKind::Tool {
            // No failure of ours: whoever calls can name what there is not as often as they like.
            let Some(slice) = compiled.tools.get(question.resource.name) else {
                return Ok(self.denied(Reason::Unlisted, self.place.clone(), None));
            };
            return match question.resource.arguments {
                Arguments::Recorded(recorded) => self.replayed(question, slice, recorded),
                Arguments::Unknown | Arguments::Given(_) => self.asked(question, slice, || self.lately.of(question, slice)),
            };
        }
        let missing = || EngineFailure("Cedar has no name for what is asked".to_owned());
        let slice = compiled.other(&question.resource, other_action(question)).ok_or_else(missing)?;
        self.asked(question, &slice, || Prepared::new(question, &slice).map(Arc::new))
    }

    /// Whether the tools are known that a recorded call is about; they may be others by now.
    fn knows(&self, question: &Question<'_>) -> bool {
        let Resource { server, name, kind, .. } = question.resource;
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        let listing = servers.get(server).and_then(|listings| listings.seen_by(question.principal, &question.resource));
        let what = match listing.map(|known| &known.compiled) {
            None => format!("the tools of `{server}`, which are not known"),
            Some(None) => format!("the tools of `{server}`, which a policy does not fit"),
            Some(Some(compiled)) if kind == ResourceKind::Tool && !compiled.tools.contains_key(name) => {
                format!("a tool that `{server}` does not list")
            }
            Some(Some(_)) => return true,
        };
        question.lacks(self.place.as_str(), what);
        false
    }

    /// Asks Cedar, with what `prepare` tells of the caller. Who has no policy about it says nothing.
    pub(super) fn asked(
        &self,
        question: &Question<'_>,
        slice: &Slice,
        prepare: impl FnOnce() -> Result<Arc<Prepared>, NotAsked>,
    ) -> Outcome {
        if slice.policies.is_empty() {
            return Ok(Verdict::Silent);
        }
        let arguments = match question.arguments() {
            Ok(arguments) => arguments,
            Err(why) => return Ok(self.denied(Reason::Argument, self.place.clone(), Some(why.to_owned()))),
        };
        let asked = prepare().and_then(|prepared| Ok((Asked::new(question, slice, &prepared, arguments)?, prepared)));
        let (asked, prepared) = match asked {
            Ok(asked) => asked,
            Err(NotAsked::Argument(why)) => return Ok(self.denied(Reason::Argument, self.place.clone(), Some(why))),
            Err(NotAsked::Failed(failure)) => return Err(failure),
        };
        let is_open = slice.arguments.is_some() && arguments.is_none();
        if is_open { self.may(slice, &prepared, &asked) } else { self.is(slice, &prepared, &asked) }
    }

    /// With everything known.
    fn is(&self, slice: &Slice, prepared: &Prepared, asked: &Asked) -> Outcome {
        let response = self.authorizer.is_authorized(&asked.request, &prepared.policies, &prepared.entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(EngineFailure(error.to_string())); // Cedar would leave out the policy, and a `forbid` that is left out forbids nothing
        }
        // Of policies that allow, one that asks for a person comes first.
        let asking = |policy: &&PolicyId| slice.asking.contains_key(*policy);
        let first = || response.diagnostics().reason().filter(asking).min().or_else(|| response.diagnostics().reason().min());
        let Some(policy) = first() else { return Ok(Verdict::Silent) };
        let place = Place::new(policy.as_ref());
        Ok(match (response.decision(), slice.asking.get(policy)) {
            (Answered::Allow, Some(why)) => asks(place, why),
            (Answered::Allow, None) => permitted(place),
            (Answered::Deny, _) => self.denied(Reason::Forbidden, place, slice.policies.annotation(policy, "reason").map(str::to_owned)),
        })
    }

    /// With arguments that nobody knows yet: allowed where it might be.
    fn may(&self, slice: &Slice, prepared: &Prepared, asked: &Asked) -> Outcome {
        let mut response = self.authorizer.is_authorized_partial(&asked.request, &prepared.policies, &prepared.entities);
        if !asked.bindings.is_empty() {
            let bindings = asked.bindings.iter().map(|(name, value)| (name.as_str(), value));
            response = response
                .reauthorize_with_bindings(bindings, &self.authorizer, &prepared.entities)
                .map_err(|error| EngineFailure(error.to_string()))?;
        }
        if let Some(policy) = response.definitely_errored().next() {
            return Err(EngineFailure(format!("policy {policy} cannot be evaluated")));
        }
        let with = |effect| move |policy: &Policy| policy.effect() == effect;
        let first = |policies: &mut dyn Iterator<Item = Policy>| policies.map(|policy| policy.id().clone()).min();
        // What is forbidden whatever the arguments are. Where some arguments alone are forbidden, the others are not.
        if let Some(policy) = first(&mut response.definitely_satisfied().filter(with(Forbid))) {
            return Ok(self.denied(Reason::Forbidden, Place::new(policy.as_ref()), None));
        }
        let permits = || response.definitely_satisfied().chain(response.nontrivial_residuals()).filter(with(Permit));
        let plain = first(&mut permits().filter(|policy| !slice.asking.contains_key(policy.id())));
        let Some(policy) = plain.or_else(|| first(&mut permits())) else { return Ok(Verdict::Silent) };
        let place = Place::new(policy.as_ref());
        Ok(match slice.asking.get(&policy) {
            Some(why) => asks(place, why),
            None => permitted(place),
        })
    }

    fn denied(&self, reason: Reason, place: Place, detail: Option<String>) -> Verdict {
        Verdict::Decided(Decision { detail: detail.map(Into::into), ..Decision::new(Effect::Deny, reason, place) })
    }
}

impl PolicyEngine for Cedar {
    fn name(&self) -> &'static str {
        "cedar"
    }

    fn evaluate<'a>(&'a self, question: &'a Question<'a>) -> Answer<'a> {
        Answer::Now(self.answer(question))
    }

    fn learn(&self, server: &str, to: Offered<'_>, tools: &[KnownTool<'_>]) -> Vec<InvalidPolicy> {
        let now: Vec<_> = tools.iter().map(|tool| (tool.name.to_owned(), tool.input_schema.map(str::to_owned))).collect();
        // Most principals are offered the same: that is compiled, kept and told of once.
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        let same = servers.get(server).and_then(|listings| listings.all().find(|known| *known.tools == now)).cloned();
        let same = same.filter(|_| to != Offered::AtFirst);
        let first = servers.get(server).and_then(|listings| listings.first.as_ref());
        let at_first: BTreeSet<String> =
            first.iter().flat_map(|first| first.tools.iter()).map(|(name, _)| of_server(server, name)).collect();
        drop(servers);
        let is_new = same.is_none();
        let (known, errors) = match same {
            Some(known) => (known, Vec::new()),
            None => match compile(&self.policies, server, tools, &|name| to == Offered::AtFirst || at_first.contains(name), &self.kinds) {
                Ok(compiled) => (Known { tools: Arc::new(now), compiled: Some(Arc::new(compiled)) }, Vec::new()),
                Err(errors) => (Known { tools: Arc::new(now), compiled: None }, errors),
            },
        };
        if is_new {
            self.lately.forget();
        }
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        let listings = servers.entry(server.to_owned()).or_default();
        match to {
            Offered::To(principal) => _ = listings.own.insert(principal.to_owned(), known),
            Offered::ToAll => listings.common = Some(known),
            Offered::AtFirst => listings.first = Some(known),
        }
        errors
    }

    fn forget(&self, principal: &str) {
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        servers.values_mut().for_each(|listings| _ = listings.own.remove(principal));
    }

    fn needs_tools(&self) -> bool {
        true
    }

    fn is_lasting(&self) -> bool {
        self.is_lasting
    }
}

impl fmt::Debug for Cedar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cedar").field("place", &self.place).field("policies", &self.policies.len()).finish_non_exhaustive()
    }
}

fn permitted(place: Place) -> Verdict {
    Verdict::Decided(Decision::new(Effect::Allow, Reason::Permitted, place))
}

fn asks(place: Place, why: &Arc<str>) -> Verdict {
    let why = (!why.is_empty()).then(|| Arc::clone(why));
    Verdict::Decided(Decision { detail: why, ..Decision::new(Effect::Ask, Reason::Asked, place) })
}

/// A `forbid` that asks: nobody could tell whether it forbids.
fn asks_and_forbids(placed: &Placed) -> Option<InvalidPolicy> {
    let is_both = placed.policy.effect() == Forbid && placed.asks.is_some();
    is_both.then(|| InvalidPolicy {
        place: placed.place(),
        message: "a `forbid` cannot ask for an approval: what one policy forbids stays forbidden".into(),
        hint: "write `@ask(\"why\")` before a `permit` for the same, and leave it out of the `forbid`".into(),
    })
}

fn names_no_tool(policy: &Placed) -> bool {
    policy.head.actions.as_ref().is_none_or(|actions| actions.iter().all(|action| !action.id().unescaped().contains('/')))
}

/// Names in a head that nothing can have, whatever the tools are.
fn misnamed(policy: &Placed, servers: &BTreeMap<String, ServerRules>) -> Vec<InvalidPolicy> {
    let named = policy.head.actions.iter().flatten().chain(&policy.head.resource);
    named.filter_map(|uid| Some(InvalidPolicy { place: policy.place(), ..misnaming(uid, servers)? })).collect()
}

fn misnaming(uid: &EntityUid, servers: &BTreeMap<String, ServerRules>) -> Option<InvalidPolicy> {
    let (id, of_type) = (uid.id().unescaped(), uid.type_name().to_string());
    let invalid = |message: String, hint: String| Some(InvalidPolicy { place: String::new(), message, hint });
    let server = match (of_type.as_str(), id.split_once('/')) {
        ("Server", _) => id,
        (_, Some((server, _))) => server,
        ("Action", None) if id == CALL || OTHER_ACTIONS.iter().any(|(name, _)| *name == id) => return None,
        ("Action", None) => {
            let hint = "actions are `SERVER/TOOL`, `call` for every tool, `read`, `subscribe`, `get`, `complete` and `method`";
            return invalid(format!("there is no action {id:?}, so the policy can never match"), hint.to_owned());
        }
        _ => {
            return invalid(
                format!("{uid} can be no resource, so the policy can never match"),
                "write `SERVER/NAME`, or `Server::\"SERVER\"`".to_owned(),
            );
        }
    };
    if servers.contains_key(server) {
        return None;
    }
    let names: Vec<&str> = servers.keys().map(String::as_str).take(20).collect(); // enough to see a misspelling
    invalid(format!("no server is called {server:?}, so the policy can never match"), format!("the servers are: {}", names.join(", ")))
}
