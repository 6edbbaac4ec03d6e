//! A policy that is being tried: what it would have decided is told, and no call waits for it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{Difference, Policy};
use crate::{Arguments, Decision, EngineFailure, Later, Question, Resource};

/// Calls that are tried at once: an engine elsewhere answers within a second, and each keeps a copy of its call's arguments.
const AT_ONCE: usize = 64;
/// Longest arguments that are copied for that.
const LONGEST: usize = 256 * 1024;

/// What goes wrong with a trial, which no caller hears of.
#[derive(Debug)]
pub enum TrialFault<'a> {
    /// An engine that is being tried failed.
    Failed(&'a EngineFailure),
    /// A call was not tried: too many were at that moment, or its arguments are too long. So many there were since the start.
    Missed(u64),
}

type Run = dyn Fn(Later<'static, ()>) + Send + Sync;

/// The engines that are being tried, and who hears of it.
pub(super) struct Shadow {
    pub(super) policy: Policy,
    /// Runs a trial beside the call; without it the call waits.
    run: Option<Box<Run>>,
    on_fault: Arc<dyn Fn(&TrialFault<'_>) + Send + Sync>,
    on_difference: Box<dyn Fn(&Difference<'_>) + Send + Sync>,
    running: Arc<AtomicUsize>,
    missed: AtomicU64,
}

impl Shadow {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            run: None,
            on_fault: Arc::new(|_| {}),
            on_difference: Box::new(|_| {}),
            running: Arc::default(),
            missed: AtomicU64::new(0),
        }
    }

    pub(super) fn compared(self, observer: impl Fn(&Difference<'_>) + Send + Sync + 'static) -> Self {
        Self { on_difference: Box::new(observer), ..self }
    }

    pub(super) fn beside(
        self,
        run: impl Fn(Later<'static, ()>) + Send + Sync + 'static,
        observer: impl Fn(&TrialFault<'_>) + Send + Sync + 'static,
    ) -> Self {
        let on_fault: Arc<dyn Fn(&TrialFault<'_>) + Send + Sync> = Arc::new(observer);
        let told = Arc::clone(&on_fault);
        let policy = self.policy.observed(move |failure| told(&TrialFault::Failed(failure)));
        Self { policy, run: Some(Box::new(run)), on_fault, ..self }
    }

    /// Compares what is decided with what these engines would.
    pub(super) async fn try_out(self: &Arc<Self>, question: &Question<'_>, decided: &Decision) {
        let Some(run) = &self.run else { return self.compare(question, decided).await };
        match self.apart(question, decided) {
            Some(trial) => run(trial),
            None => {
                let missed = self.missed.fetch_add(1, Ordering::Relaxed) + 1;
                (self.on_fault)(&TrialFault::Missed(missed));
            }
        }
    }

    async fn compare(&self, question: &Question<'_>, decided: &Decision) {
        let tried = self.policy.evaluate(question).await;
        if tried.effect != decided.effect {
            (self.on_difference)(&Difference { question, decided, tried: &tried });
        }
    }

    /// The same as a value that holds all it needs; `None` where there is no room for it.
    fn apart(self: &Arc<Self>, question: &Question<'_>, decided: &Decision) -> Option<Later<'static, ()>> {
        let place = Place::of(&self.running)?;
        let Resource { server, kind, name, annotations, trusted, pin, arguments } = question.resource;
        let given = match arguments {
            Arguments::Given(text) if text.len() > LONGEST => return None,
            Arguments::Given(text) => Some(text.to_owned()),
            Arguments::Unknown | Arguments::Recorded(_) => None,
        };
        let (server, name, action, circumstances) = (server.to_owned(), name.to_owned(), question.action, question.circumstances);
        let (this, principal, decided) = (Arc::clone(self), question.principal.clone(), decided.clone());
        Some(Box::pin(async move {
            let arguments = given.as_deref().map_or(Arguments::Unknown, Arguments::Given);
            let resource = Resource { server: &server, kind, name: &name, annotations, trusted, pin, arguments };
            let question = Question::new(&principal, action, &resource, circumstances, &this.policy.kinds);
            this.compare(&question, &decided).await;
            drop(place);
        }))
    }
}

/// One of the trials at once.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn of(running: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |running: usize| (running < AT_ONCE).then_some(running + 1);
        running.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Self(Arc::clone(running)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Shadow").field("policy", &self.policy).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::sync::Mutex;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::rooms::Settled as _;
    use crate::{Action, Answer, Circumstances, Effect, Outcome, PolicyEngine, Principal};

    /// An engine whose answer is never there at once, and fails.
    #[derive(Debug)]
    struct Elsewhere;

    impl PolicyEngine for Elsewhere {
        fn name(&self) -> &'static str {
            "elsewhere"
        }

        fn evaluate<'a>(&'a self, _: &'a Question<'a>) -> Answer<'a> {
            Answer::Later(Box::pin(async { Outcome::Err(EngineFailure("no answer".into())) }))
        }
    }

    #[test]
    fn no_call_waits_and_what_goes_wrong_is_told() {
        let (trials, told) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (kept, heard, differed) = (Arc::clone(&trials), Arc::clone(&told), Arc::clone(&told));
        let mut policy = Policy::of(Vec::new(), Arc::default());
        policy.default = Some(Effect::Allow);
        policy.shadow = Some(Arc::new(Shadow::new(Policy::new(Box::new(Elsewhere)))));
        let policy = policy
            .tried_beside(move |trial| kept.lock().unwrap().push(trial), move |fault| heard.lock().unwrap().push(format!("{fault:?}")))
            .compared(move |difference| {
                differed.lock().unwrap().push(format!("{} {}", difference.question.resource.name, difference.tried))
            });
        let call = |arguments: &str| {
            let tool = Resource::tool("s", "t", None, false).with(Arguments::Given(arguments));
            let (me, now) = (Principal::local_user(), Circumstances::local(UNIX_EPOCH));
            assert!(policy.decide(&me, Action::Call, &tool, now, ()).settled().is_ok());
        };
        for _ in 0..AT_ONCE {
            call("{}");
        }
        assert!(told.lock().unwrap().is_empty() && trials.lock().unwrap().len() == AT_ONCE, "none has begun");
        call("{}");
        assert_eq!(*told.lock().unwrap(), ["Missed(1)"]);
        for trial in std::mem::take(&mut *trials.lock().unwrap()) {
            trial.settled();
        }
        let said = std::mem::take(&mut *told.lock().unwrap());
        assert_eq!(said.len(), 1 + 2 * AT_ONCE);
        assert!(said[1].contains("no answer") && said[2] == "t denied by `elsewhere`: the policy engine failed", "{:?}", &said[1..3]);
        call(&format!("\"{}\"", "x".repeat(LONGEST)));
        assert_eq!(*told.lock().unwrap(), ["Missed(2)"]);
    }
}
