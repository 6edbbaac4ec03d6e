//! What Cedar is told of a caller before a tool. It is the same for all calls that one token is shown for, and made at the first of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityUid, Policy, PolicySet, PrincipalConstraint, Request, RestrictedExpression,
};

use super::compiled::Slice;
use super::mentions::Mentions;
use super::names::uid;
use super::request::{NotAsked, failed};
use crate::question::kind;
use crate::{Pin, Principal, Question};

/// Most callers times tools that are kept, a few KiB each. Where more are about, some of their calls cost 14 µs more (measured).
const MOST: usize = 2000;

/// A caller before a tool.
pub(super) struct Prepared {
    pub(super) user: EntityUid,
    pub(super) entities: Entities,
    /// Those whose heads leave room for the caller, and that do not say already that they are about none of its calls. The others cannot match,
    /// and what is not looked into cannot fail.
    pub(super) policies: PolicySet,
}

/// What was prepared lately.
#[derive(Default)]
pub(super) struct Lately(RwLock<HashMap<Key, Kept>>);

/// The addresses of the caller and of the slice, and what the tool is like.
type Key = (usize, usize, ([bool; 5], Pin));

struct Kept {
    prepared: Arc<Prepared>,
    /// As long as they are held nobody else gets their addresses.
    _whose: (Principal, Arc<Slice>),
}

impl Lately {
    /// What is prepared for who asks about the tool that `slice` is for.
    pub(super) fn of(&self, question: &Question<'_>, slice: &Arc<Slice>) -> Result<Arc<Prepared>, NotAsked> {
        let (caller, resource) = (question.principal, &question.resource);
        let key = (caller.address(), Arc::as_ptr(slice).addr(), resource.traits());
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).map(|kept| Arc::clone(&kept.prepared));
        if let Some(known) = known {
            return Ok(known);
        }
        let prepared = Arc::new(Prepared::new(question, slice)?);
        let kept = Kept { prepared: Arc::clone(&prepared), _whose: (caller.clone(), Arc::clone(slice)) };
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.clear(); // who still calls is soon back, and what nobody asks for any more is not
        }
        all.insert(key, kept);
        Ok(prepared)
    }

    /// Lets go of what was prepared for tools that are no longer as they were.
    pub(super) fn forget(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Prepared {
    /// Prepares for who asks about what `slice` is for.
    pub(super) fn new(question: &Question<'_>, slice: &Slice) -> Result<Self, NotAsked> {
        let caller = question.principal;
        let user = uid("User", &caller.full_id()).ok_or_else(|| failed("it has no name for the principal"))?;
        let groups: HashSet<EntityUid> = caller.groups().iter().filter_map(|group| uid("Group", group)).collect();
        let mut policies: Vec<Policy> = slice.policies.policies().filter(|policy| leaves_room(policy, &user, &groups)).cloned().collect();
        let thing = slice.thing(&question.resource).ok_or_else(|| failed("it has no name for the resource"))?;
        let who = entity(caller, user.clone(), groups, &slice.mentions)?;
        let entities = Entities::from_entities(slice.does.iter().cloned().chain([thing, who]), None).map_err(failed)?;
        let may_match = |policy: &Policy| !slice.of_no_call.contains(policy.id()) || matches(policy, &user, slice, &entities);
        policies.retain(may_match);
        let policies = PolicySet::from_policies(policies).map_err(failed)?;
        Ok(Self { user, entities, policies })
    }
}

/// Whether the head of a policy leaves room for the caller. Groups are in no other groups.
fn leaves_room(policy: &Policy, user: &EntityUid, groups: &HashSet<EntityUid>) -> bool {
    match policy.principal_constraint() {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => true,
        PrincipalConstraint::Eq(named) => named == *user,
        PrincipalConstraint::In(named) | PrincipalConstraint::IsIn(_, named) => named == *user || groups.contains(&named),
    }
}

/// Whether a policy that looks at nothing of a call matches, or cannot say so.
fn matches(policy: &Policy, user: &EntityUid, slice: &Slice, entities: &Entities) -> bool {
    let request = Request::new(user.clone(), slice.action.clone(), slice.resource.clone(), Context::empty(), None);
    let (Ok(request), Ok(alone)) = (request, PolicySet::from_policies([policy.clone()])) else { return true };
    let response = Authorizer::new().is_authorized(&request, &alone, entities);
    let said = response.diagnostics();
    said.reason().next().is_some() || said.errors().next().is_some()
}

/// The caller, with those attributes that policies look at.
fn entity(caller: &Principal, user: EntityUid, groups: HashSet<EntityUid>, looked_at: &Mentions) -> Result<Entity, NotAsked> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let id = caller.full_id();
    let told = [("id", &*id), ("kind", kind(caller)), ("tenant", caller.tenant())];
    let told = told.into_iter().filter(|(name, _)| looked_at.has(name));
    let mut attributes: HashMap<String, RestrictedExpression> = told.map(|(name, value)| (name.to_owned(), text(value))).collect();
    if let Some(scopes) = caller.scopes().filter(|_| looked_at.has("scopes")) {
        attributes.insert("scopes".to_owned(), RestrictedExpression::new_set(scopes.iter().map(text)));
    }
    Entity::new(user, attributes, groups).map_err(failed)
}
