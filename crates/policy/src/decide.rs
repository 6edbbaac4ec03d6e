//! The one place where permits are made.

mod recorded;
mod shadow;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::engine::{Later, Nowhere};
use crate::engines::EngineConfig;
use crate::engines::allowlist::Allowlist;
use crate::{
    Action, Approval, Circumstances, Config, Decision, Denied, Effect, EngineFailure, GivesUp, InvalidPolicy, Kinds, KnownTool, Making,
    Offered, Outcome, Permitted, Place, PolicyEngine, Principal, Question, Reason, Resource, ResourceKind, ServerRules, Verdict, World,
};

use shadow::Shadow;
pub use shadow::TrialFault;

/// The policy in force.
pub struct Policy {
    /// All are asked: one that denies or fails denies, else one that asks for a person does, else what one allows is allowed.
    engines: Vec<Box<dyn PolicyEngine>>,
    /// The same with the engines that are being tried, where there are any.
    shadow: Option<Arc<Shadow>>,
    /// What holds where no engine speaks.
    default: Option<Effect>,
    kinds: Arc<Kinds>,
    on_failure: Box<dyn Fn(&EngineFailure) + Send + Sync>,
}

/// A decision that the policy which is being tried would have made in another way.
#[derive(Debug)]
pub struct Difference<'a> {
    /// What was asked.
    pub question: &'a Question<'a>,
    /// What was decided.
    pub decided: &'a Decision,
    /// What would have been.
    pub tried: &'a Decision,
}

/// A decision, and what each engine said.
#[derive(Debug)]
pub struct Explanation {
    /// What comes of it.
    pub decision: Decision,
    /// Each engine in the order that they are asked in.
    pub said: Vec<(&'static str, Outcome)>,
    /// The arguments as they were understood, or why they are not.
    pub arguments: Result<Option<serde_json::Value>, String>,
}

impl Policy {
    /// The policy that the configuration describes; `servers` holds the rules that stand on the servers themselves, with
    /// an entry for every configured server. An engine that asks elsewhere gets no answer, and denies: see [`build_in`](Self::build_in).
    ///
    /// # Errors
    /// Every rule that cannot be understood or can never match.
    pub fn build(config: &Config, servers: &BTreeMap<String, ServerRules>) -> Result<Self, Vec<InvalidPolicy>> {
        Self::build_in(config, servers, &(Arc::new(Nowhere) as Arc<dyn World>))
    }

    /// The same, with engines that ask in `world`.
    ///
    /// # Errors
    /// As [`build`](Self::build), and secrets that cannot be had.
    pub fn build_in(config: &Config, servers: &BTreeMap<String, ServerRules>, world: &Arc<dyn World>) -> Result<Self, Vec<InvalidPolicy>> {
        let kinds = Arc::new(Kinds::of(config, servers));
        let mut errors = Vec::new();
        let mut with = |configs: &[EngineConfig], key: &str| {
            let mut engines: Vec<Box<dyn PolicyEngine>> = Vec::with_capacity(1 + configs.len());
            match Allowlist::build(config, servers) {
                Ok(allowlist) => engines.push(Box::new(allowlist)),
                Err(wrong) if key == "engines" => errors.extend(wrong),
                Err(_) => {} // told once is enough
            }
            for (index, engine) in configs.iter().enumerate() {
                let place = format!("policy.{key}[{index}].{}", engine.name());
                match engine.clone().build(&Making { place, servers, kinds: &kinds, world }) {
                    Ok(engine) => engines.push(engine),
                    Err(wrong) => errors.extend(wrong),
                }
            }
            let mut policy = Self::of(engines, kinds.clone());
            policy.default = config.default.or_else(|| (!configs.is_empty()).then_some(Effect::Deny));
            policy
        };
        let mut policy = with(&config.engines, "engines");
        if !config.shadow.is_empty() {
            policy.shadow = Some(Arc::new(Shadow::new(with(&config.shadow, "shadow"))));
        }
        if errors.is_empty() { Ok(policy) } else { Err(errors) }
    }

    /// The policy of one engine.
    #[must_use]
    pub fn new(engine: Box<dyn PolicyEngine>) -> Self {
        Self::of(vec![engine], Arc::default())
    }

    fn of(engines: Vec<Box<dyn PolicyEngine>>, kinds: Arc<Kinds>) -> Self {
        Self { engines, shadow: None, default: None, kinds, on_failure: Box::new(|_| {}) }
    }

    /// The same policy, telling `observer` of every failure of its engines (this crate writes no log itself).
    #[must_use]
    pub fn observed(mut self, observer: impl Fn(&EngineFailure) + Send + Sync + 'static) -> Self {
        self.on_failure = Box::new(observer);
        self
    }

    /// The same policy, telling `observer` of every call that the policy which is being tried would have decided in another way.
    #[must_use]
    pub fn compared(mut self, observer: impl Fn(&Difference<'_>) + Send + Sync + 'static) -> Self {
        self.shadow = self.shadow.and_then(Arc::into_inner).map(|shadow| Arc::new(shadow.compared(observer)));
        self
    }

    /// The same policy, whose trials `run` takes up, so that no call waits for them; `observer` hears what goes wrong with them. A bounded
    /// number is under way at once; calls beyond that are not tried.
    #[must_use]
    pub fn tried_beside(
        mut self,
        run: impl Fn(Later<'static, ()>) + Send + Sync + 'static,
        observer: impl Fn(&TrialFault<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.shadow = self.shadow.and_then(Arc::into_inner).map(|shadow| Arc::new(shadow.beside(run, observer)));
        self
    }

    /// Tells all engines what a server offers by now.
    ///
    /// # Errors
    /// The rules that cannot hold with it; their engines deny the use of that server until they are right.
    pub fn learn(&self, server: &str, tools: &[KnownTool<'_>]) -> Vec<InvalidPolicy> {
        self.learn_for(Offered::ToAll, server, tools)
    }

    /// The same, of what it offers to some alone: nobody else is decided by it.
    ///
    /// # Errors
    /// As [`learn`](Self::learn).
    pub fn learn_for(&self, to: Offered<'_>, server: &str, tools: &[KnownTool<'_>]) -> Vec<InvalidPolicy> {
        let of_shadow = self.shadow.iter().flat_map(|shadow| shadow.policy.learn_for(to, server, tools));
        self.engines.iter().flat_map(|engine| engine.learn(server, to, tools)).chain(of_shadow).collect()
    }

    /// Forgets what servers offer to one principal alone.
    pub fn forget(&self, principal: &str) {
        self.engines.iter().for_each(|engine| engine.forget(principal));
        self.shadow.iter().for_each(|shadow| shadow.policy.forget(principal));
    }

    /// Whether an engine has to [`learn`](Self::learn) what a server offers before it can decide.
    #[must_use]
    pub fn needs_tools(&self) -> bool {
        self.engines.iter().any(|engine| engine.needs_tools()) || self.shadow.as_ref().is_some_and(|shadow| shadow.policy.needs_tools())
    }

    /// Whether nothing can be decided about a server before it is [learned](Self::learn) what it offers. What is being tried can wait for that.
    #[must_use]
    pub fn decides_by_tools(&self) -> bool {
        self.engines.iter().any(|engine| engine.needs_tools())
    }

    /// Whether what a caller may see in lists stays the same until the policy, the caller or the lists change.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.engines.iter().all(|engine| engine.is_lasting())
    }

    /// Lets `value`, which is to perform `action` on `resource`, through or not.
    ///
    /// # Errors
    /// The value with the decision that stops it.
    pub async fn decide<T>(
        &self,
        principal: &Principal,
        action: Action,
        resource: &Resource<'_>,
        circumstances: Circumstances,
        value: T,
    ) -> Result<Permitted<T>, Denied<T>> {
        self.decide_approved(principal, action, resource, circumstances, None, value).await
    }

    /// The same, of what a person may have approved. All engines are asked again, and one that denies denies; an approval of anything
    /// else than what is asked changes nothing.
    ///
    /// # Errors
    /// The value with the decision that stops it.
    pub async fn decide_approved<T>(
        &self,
        principal: &Principal,
        action: Action,
        resource: &Resource<'_>,
        circumstances: Circumstances,
        approval: Option<Approval>,
        value: T,
    ) -> Result<Permitted<T>, Denied<T>> {
        let question = Question::new(principal, action, resource, circumstances, &self.kinds);
        let decision = self.evaluate(&question).await;
        // What an approval is brought for was tried out when it was held.
        if let Some(shadow) = self.shadow.as_ref().filter(|_| approval.is_none()) {
            shadow.try_out(&question, &decision).await;
        }
        match decision.effect {
            Effect::Allow => Ok(Permitted::new(value, decision)),
            Effect::Ask if approval.is_some_and(|approval| approval.covers(principal, action, resource)) => {
                Ok(Permitted::new(value, Decision::new(Effect::Allow, Reason::Approved, decision.place)))
            }
            Effect::Ask | Effect::Deny => Err(Denied { value, decision }),
        }
    }

    /// Whether what was let through when it began would be let through now. Tries nothing out: it is no request.
    pub async fn allows(&self, principal: &Principal, action: Action, resource: &Resource<'_>, circumstances: Circumstances) -> bool {
        self.evaluate(&Question::new(principal, action, resource, circumstances, &self.kinds)).await.is_allow()
    }

    /// Lets `value` through where it takes nothing, and gives up what was let through before.
    ///
    /// # Errors
    /// The value, where it is anything else: that has to be [decided](Self::decide).
    pub fn give_up<T: GivesUp>(&self, value: T) -> Result<Permitted<T>, T> {
        match value.gives_up() {
            true => Ok(Permitted::new(value, Decision::new(Effect::Allow, Reason::GivenUp, Place::new("policy")))),
            false => Err(value),
        }
    }

    /// Whether each of some resources may be seen in a list, in their order: whether there is a call of it that
    /// [`decide`](Self::decide) might let through.
    pub async fn allows_each(&self, principal: &Principal, circumstances: Circumstances, resources: &[Resource<'_>]) -> Vec<bool> {
        let question = |resource| Question::new(principal, Action::List, resource, circumstances, &self.kinds);
        let questions: Vec<Question<'_>> = resources.iter().map(question).collect();
        let mut allowed = vec![None; questions.len()];
        for engine in &self.engines {
            let open: Vec<usize> = (0..questions.len()).filter(|at| allowed[*at] != Some(false)).collect();
            let asked: Vec<&Question<'_>> = open.iter().map(|at| &questions[*at]).collect();
            let outcomes = engine.evaluate_all(&asked).await;
            for (place, at) in open.into_iter().enumerate() {
                match self.or_failed(&**engine, outcomes.get(place)) {
                    Verdict::Decided(decision) => allowed[at] = Some(may_be_used(&decision, &resources[at])),
                    Verdict::Silent => {}
                }
            }
        }
        let by_default = self.by_default(principal);
        let may = |(allowed, resource): (Option<bool>, &Resource<'_>)| {
            allowed.unwrap_or_else(|| may_be_used(&by_default, resource)) && missing_scope(principal, resource).is_none()
        };
        allowed.into_iter().zip(resources).map(may).collect()
    }

    /// What is decided, and what each engine says to it. Lets nothing through.
    pub async fn explain(
        &self,
        principal: &Principal,
        action: Action,
        resource: &Resource<'_>,
        circumstances: Circumstances,
    ) -> Explanation {
        let question = Question::new(principal, action, resource, circumstances, &self.kinds);
        let decision = self.evaluate(&question).await;
        question.understand().await;
        let mut said = Vec::with_capacity(self.engines.len());
        for engine in &self.engines {
            said.push((engine.name(), engine.evaluate(&question).await_it().await));
        }
        let arguments = question.arguments().map(|arguments| arguments.cloned()).map_err(str::to_owned);
        Explanation { decision, said, arguments }
    }

    /// What is decided, of somebody whose token may be good for less.
    async fn evaluate(&self, question: &Question<'_>) -> Decision {
        let decision = self.evaluate_engines(question).await;
        // Last, so that nobody gets a token for more only to be denied all the same.
        match missing_scope(question.principal, &question.resource).filter(|_| !decision.is_deny()) {
            None => decision,
            Some(missing) => Decision { detail: Some(missing.into()), ..Decision::new(Effect::Deny, Reason::Scope, Place::new("scope")) },
        }
    }

    /// All engines' answer. Those that come after one that denies are not asked: nothing would change.
    async fn evaluate_engines(&self, question: &Question<'_>) -> Decision {
        let (mut asking, mut allowed) = (None, None);
        for engine in &self.engines {
            if engine.reads_arguments() {
                question.understand().await;
            }
            let outcome = engine.evaluate(question).await_it().await;
            match self.or_failed(&**engine, Some(&outcome)) {
                Verdict::Decided(decision) => match decision.effect {
                    Effect::Allow => allowed = allowed.or(Some(decision)),
                    Effect::Ask => asking = asking.or(Some(decision)),
                    Effect::Deny => return decision,
                },
                Verdict::Silent => {}
            }
        }
        asking.or(allowed).unwrap_or_else(|| self.by_default(question.principal))
    }

    /// An engine without an answer denies.
    fn or_failed(&self, engine: &dyn PolicyEngine, outcome: Option<&Outcome>) -> Verdict {
        match outcome {
            Some(Ok(verdict)) => verdict.clone(),
            failed => {
                let missing = EngineFailure("it answered fewer questions than it was asked".to_owned());
                (self.on_failure)(failed.and_then(|failed| failed.as_ref().err()).unwrap_or(&missing));
                Verdict::Decided(Decision::new(Effect::Deny, Reason::EngineFailed, Place::new(engine.name())))
            }
        }
    }

    fn by_default(&self, principal: &Principal) -> Decision {
        let local = if principal.is_local_user() { Effect::Allow } else { Effect::Deny };
        Decision::new(self.default.unwrap_or(local), Reason::Default, Place::new("policy.default"))
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Policy").field("engines", &self.engines).field("shadow", &self.shadow).finish_non_exhaustive()
    }
}

/// Whether there is a use of `resource` that comes of a decision about its list. Nobody is asked about a prompt: it is held for ever.
fn may_be_used(decision: &Decision, resource: &Resource<'_>) -> bool {
    match decision.effect {
        Effect::Allow => true,
        Effect::Ask => resource.kind != ResourceKind::Prompt,
        Effect::Deny => false,
    }
}

/// The scope for `resource` that the principal's token lacks.
fn missing_scope(principal: &Principal, resource: &Resource<'_>) -> Option<String> {
    principal.scopes().and_then(|scopes| scopes.missing(resource))
}

#[cfg(test)]
mod tests;
