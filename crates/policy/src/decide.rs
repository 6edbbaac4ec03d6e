//! The one place where permits are made.

use std::collections::BTreeMap;
use std::fmt;

use crate::engines::allowlist::Allowlist;
use crate::{
    Action, Config, Decision, Denied, Effect, EngineFailure, InvalidPolicy, Permitted, Place, PolicyEngine, Principal, Reason, Resource,
    ServerRules,
};

/// The policy in force.
pub struct Policy {
    engine: Box<dyn PolicyEngine>,
    on_failure: Box<dyn Fn(&EngineFailure) + Send + Sync>,
}

impl Policy {
    /// The policy that the configuration describes; `servers` holds the rules that stand on the servers themselves, with
    /// an entry for every configured server.
    ///
    /// # Errors
    /// Every rule that cannot be understood or can never match.
    pub fn build(config: &Config, servers: &BTreeMap<String, ServerRules>) -> Result<Self, Vec<InvalidPolicy>> {
        Ok(Self::new(Box::new(Allowlist::build(config, servers)?)))
    }

    /// The policy of one engine.
    #[must_use]
    pub fn new(engine: Box<dyn PolicyEngine>) -> Self {
        Self { engine, on_failure: Box::new(|_| {}) }
    }

    /// The same policy, telling `observer` of every failure of its engine (this crate writes no log itself).
    #[must_use]
    pub fn observed(mut self, observer: impl Fn(&EngineFailure) + Send + Sync + 'static) -> Self {
        self.on_failure = Box::new(observer);
        self
    }

    /// Lets `value`, which is to perform `action` on `resource`, through or not.
    ///
    /// # Errors
    /// The value with the decision that stops it.
    pub fn decide<T>(&self, principal: &Principal, action: Action, resource: &Resource<'_>, value: T) -> Result<Permitted<T>, Denied<T>> {
        let decision = self.evaluate(principal, action, resource);
        match decision.effect {
            Effect::Allow => Ok(Permitted::new(value, decision)),
            Effect::Deny => Err(Denied { value, decision }),
        }
    }

    /// Whether [`decide`](Self::decide) would let it through: what lists are filtered with.
    #[must_use]
    pub fn allows(&self, principal: &Principal, action: Action, resource: &Resource<'_>) -> bool {
        self.evaluate(principal, action, resource).is_allow()
    }

    /// The engine's answer; an engine without an answer denies.
    fn evaluate(&self, principal: &Principal, action: Action, resource: &Resource<'_>) -> Decision {
        let decision = self.engine.evaluate(principal, action, resource).unwrap_or_else(|failure| {
            (self.on_failure)(&failure);
            Decision::new(Effect::Deny, Reason::EngineFailed, Place::new(self.engine.name()))
        });
        // Last, so that nobody gets a token for more only to be denied all the same.
        match principal.scopes().filter(|_| decision.is_allow()).and_then(|scopes| scopes.missing(resource)) {
            None => decision,
            Some(missing) => Decision { detail: Some(missing.into()), ..Decision::new(Effect::Deny, Reason::Scope, Place::new("scope")) },
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Policy").field("engine", &self.engine).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug)]
    struct Broken;

    impl PolicyEngine for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }

        fn evaluate(&self, _: &Principal, _: Action, _: &Resource<'_>) -> Result<Decision, EngineFailure> {
            Err(EngineFailure("out of order".into()))
        }
    }

    #[test]
    fn an_engine_that_fails_denies_and_is_reported() {
        let failures = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&failures);
        let policy = Policy::new(Box::new(Broken)).observed(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let tool = Resource::tool("files", "read", Some(true), true);

        let denied = policy.decide(&Principal::local_user(), Action::Call, &tool, "call").unwrap_err();
        assert_eq!(denied.value, "call");
        assert_eq!(denied.decision.to_string(), "denied by `broken`: the policy engine failed");
        assert!(!policy.allows(&Principal::local_user(), Action::List, &tool));
        assert_eq!(failures.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_permit_carries_the_value_and_why_it_passed() {
        let policy = Policy::build(&Config::default(), &[("files".to_owned(), ServerRules::default())].into()).unwrap();
        let tool = Resource::tool("files", "read", None, false);
        let permit = policy.decide(&Principal::local_user(), Action::Call, &tool, "call").unwrap();
        assert_eq!(*permit.value(), "call");
        let (value, decision) = permit.into_parts();
        assert_eq!((value, decision.place.as_str()), ("call", "policy.default"));
    }
}
