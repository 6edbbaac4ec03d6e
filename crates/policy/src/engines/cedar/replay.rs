//! Policies asked about recorded calls, of whose arguments not all are known.

use std::sync::Arc;

use cedar_policy::{Policy, PolicySet};

use super::compiled::Slice;
use super::engine::Cedar;
use super::mentions::Mentions;
use super::prepared::Prepared;
use super::shape::Shape;
use crate::arguments::Known;
use crate::{Effect, Outcome, Question, Recorded, Verdict};

impl Cedar {
    /// Asks with the policies that look at nothing unknown. What the others would say matters unless one of these forbids it, or permits it
    /// where none of the others forbids.
    pub(super) fn replayed(&self, question: &Question<'_>, slice: &Slice, recorded: &Recorded) -> Outcome {
        let unknown = unknown(slice, recorded);
        let looks_at = |policy: &Policy| {
            let mentions = Mentions::of(policy);
            let is_lacking =
                |name: &&str| mentions.has(name) && (!recorded.is_mere_length(name) || mentions.has("text") || mentions.has_whole(name));
            unknown.iter().copied().find(is_lacking)
        };
        let (mut known, mut left) = (Vec::new(), Vec::new());
        for policy in slice.policies.policies() {
            match looks_at(policy) {
                None => known.push(policy.clone()),
                Some(name) => left.push((policy, name)),
            }
        }
        let outcome = self.by_those(question, slice, known)?;
        let is_allowed = match &outcome {
            Verdict::Decided(decision) if decision.effect == Effect::Deny => return Ok(outcome),
            Verdict::Decided(_) => true,
            Verdict::Silent => false,
        };
        // A further permit changes nothing, unless an annotation makes something else of it.
        let is_plain = |policy: &Policy| policy.effect() == cedar_policy::Effect::Permit && !slice.asking.contains_key(policy.id());
        for (policy, name) in left.iter().filter(|(policy, _)| !is_allowed || !is_plain(policy)) {
            question.lacks(policy.id().as_ref(), format!("`{name}`"));
        }
        Ok(outcome)
    }

    fn by_those(&self, question: &Question<'_>, slice: &Slice, policies: Vec<Policy>) -> Outcome {
        let mentions = policies.iter().map(Mentions::of).fold(Mentions::default(), |all, own| all.and(&own));
        let policies = PolicySet::from_policies(policies).map_err(|error| crate::EngineFailure(error.to_string()))?;
        let slice = slice.with(policies, mentions);
        self.asked(question, &slice, || Prepared::new(question, &slice).map(Arc::new))
    }
}

/// The arguments of the tool that may have been given and are not known, all of them or but for their length, or that the record knows as
/// something else.
fn unknown<'s>(slice: &'s Slice, recorded: &Recorded) -> Vec<&'s str> {
    let Some(Shape::Record(members)) = &slice.arguments else { return Vec::new() };
    let is_unknown = |name: &str, shape: &Shape| match recorded.get(name) {
        Known::Absent => false,
        Known::Is(value) => shape.value(value).is_none() || recorded.is_mere_length(name),
        Known::Unknown => true,
    };
    members.iter().filter(|(name, member)| is_unknown(name, &member.shape)).map(|(name, _)| name.as_str()).collect()
}
