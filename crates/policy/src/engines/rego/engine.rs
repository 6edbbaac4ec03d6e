//! The engine: one compiled set of modules, copied for each evaluation.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};
use serde_json::Value as Json;

use super::Config;
use super::looks::{Look, looks};
use crate::arguments::Known;
use crate::engines::Source;
use crate::rooms::{NoRoom, elsewhere};
use crate::{
    Answer, Arguments, Decision, Effect, EngineFailure, InvalidPolicy, Later, Making, Outcome, Place, PolicyEngine, Question, Reason,
    Verdict,
};

/// Longest evaluation: a policy that takes longer would hold up every call. Measured: 0.13 ms for a hundred rules.
const DEADLINE: Duration = Duration::from_millis(100);
/// How often the deadline is looked at, in steps of the interpreter: often enough, and no cost that could be measured.
const INTERVAL: NonZeroU32 = NonZeroU32::new(256).unwrap();

const PACKAGE: &str = "data.sallyport";
const ALLOW: &str = "data.sallyport.allow";
const DENY: &str = "data.sallyport.deny";
const ASK: &str = "data.sallyport.ask";

/// Policies in Rego.
pub struct Rego {
    place: Place,
    /// Locked for the time of a copy, which shares everything that was compiled.
    engine: Mutex<Engine>,
    /// Which of the three rules there are: to ask for one that there is not is an error.
    has_allow: bool,
    has_deny: bool,
    has_ask: bool,
    /// Where policies look at arguments.
    looks: Vec<Look>,
}

impl Rego {
    pub(super) fn build(config: &Config, making: &Making<'_>) -> Result<Self, Vec<InvalidPolicy>> {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(true);
        engine.set_execution_timer_config(ExecutionTimerConfig { limit: DEADLINE, check_interval: INTERVAL });
        let (mut errors, mut has_allow, mut has_deny, mut has_ask) = (Vec::new(), false, false, false);
        let mut looked_at = Vec::new();
        for source in config.texts(making)? {
            looked_at.extend(looks(&source));
            let Source { name, text } = source;
            match engine.add_policy(name.clone(), text) {
                Ok(package) if package == PACKAGE => {
                    let declares = |rule| engine.has_declared_rule_rooted_at(&name, rule).unwrap_or(false);
                    has_allow |= declares("allow");
                    has_deny |= declares("deny");
                    has_ask |= declares("ask");
                }
                Ok(_) => {} // one that the others import
                Err(error) => errors.push(not_rego(&name, &error.to_string())),
            }
        }
        if errors.is_empty() && !has_allow && !has_deny && !has_ask {
            let hint = "write `package sallyport` and the rules `allow`, `deny` or `ask`";
            errors.push(making.invalid(
                "",
                "no policy has `allow`, `deny` or `ask` in the package `sallyport`, so none can ever decide",
                hint,
            ));
        }
        if errors.is_empty() {
            let (place, engine) = (Place::new(&making.place), Mutex::new(engine));
            let mut rego = Self { place, engine, has_allow, has_deny, has_ask, looks: looked_at };
            match rego.prepare() {
                Ok(()) => return Ok(rego),
                Err(error) => errors.push(not_rego(&making.place, &error)),
            }
        }
        Err(errors)
    }

    /// Evaluates once, about nothing: what the compiler finds only then is an error of the configuration.
    fn prepare(&mut self) -> Result<(), String> {
        let engine = self.engine.get_mut().unwrap_or_else(PoisonError::into_inner);
        engine.set_input(Value::new_object());
        let rules = [(self.has_deny, DENY), (self.has_ask, ASK), (self.has_allow, ALLOW)];
        let compiled = rules.iter().filter(|(is_there, _)| *is_there).try_for_each(|(_, rule)| {
            // With nothing to look at built-in functions may fail: that says nothing about the policies.
            match engine.eval_rule((*rule).to_owned()) {
                Err(error) if is_about_the_text(&error.to_string()) => Err(error.to_string()),
                _ => Ok(()),
            }
        });
        engine.set_input(Value::Undefined);
        compiled
    }

    /// What a copy of the engine needs, to answer elsewhere.
    fn asked(&self) -> Asked {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Asked { engine, place: self.place.clone(), has_allow: self.has_allow, has_deny: self.has_deny, has_ask: self.has_ask }
    }

    /// Whether a policy looks at an argument that the record of a call does not tell: what it would say nobody knows.
    fn lacks_an_argument(&self, question: &Question<'_>) -> bool {
        let Arguments::Recorded(recorded) = question.resource.arguments else { return false };
        let is_unknown = |look: &&Look| match &look.argument {
            Some(name) if recorded.is_mere_length(name) => look.member.as_deref() != Some("length"),
            Some(name) => matches!(recorded.get(name), Known::Unknown),
            None => !recorded.is_whole(),
        };
        let mut lacks = false;
        for Look { place, argument, .. } in self.looks.iter().filter(is_unknown) {
            let what = argument.as_ref().map_or_else(|| "all arguments".to_owned(), |name| format!("`{name}`"));
            question.lacks(place, what);
            lacks = true;
        }
        lacks
    }

    /// A question as a document, or the answer to one that is none.
    fn document(&self, question: &Question<'_>) -> Result<Json, Verdict> {
        if self.lacks_an_argument(question) {
            return Err(Verdict::Silent);
        }
        question.document().map_err(|why| {
            let denied = Decision::new(Effect::Deny, Reason::Argument, self.place.clone());
            Verdict::Decided(Decision { detail: Some(why.into()), ..denied })
        })
    }
}

/// A copy of the engine, for one or several questions.
struct Asked {
    engine: Engine,
    place: Place,
    has_allow: bool,
    has_deny: bool,
    has_ask: bool,
}

impl Asked {
    fn answer(&self, document: Json) -> Outcome {
        let mut engine = self.engine.clone();
        engine.set_input(Value::from(document));
        if self.has_deny
            && let Some(detail) = reason(DENY, &rule(&mut engine, DENY)?)?
        {
            let denied = Decision::new(Effect::Deny, Reason::Forbidden, self.at("deny"));
            return Ok(Verdict::Decided(Decision { detail: detail.map(Into::into), ..denied }));
        }
        // Before `allow`, of which many write that it is false by default.
        if self.has_ask
            && let Some(detail) = reason(ASK, &rule(&mut engine, ASK)?)?
        {
            let asks = Decision::new(Effect::Ask, Reason::Asked, self.at("ask"));
            return Ok(Verdict::Decided(Decision { detail: detail.map(Into::into), ..asks }));
        }
        Ok(match if self.has_allow { rule(&mut engine, ALLOW)? } else { Value::Undefined } {
            Value::Bool(true) => Verdict::Decided(Decision::new(Effect::Allow, Reason::Permitted, self.at("allow"))),
            Value::Bool(false) => Verdict::Decided(Decision::new(Effect::Deny, Reason::Forbidden, self.at("allow"))),
            Value::Undefined => Verdict::Silent,
            _ => return Err(EngineFailure(format!("`{ALLOW}` is neither true nor false"))),
        })
    }

    fn at(&self, rule: &str) -> Place {
        Place::new(&format!("{}: {rule}", self.place))
    }
}

/// Denies where nothing was evaluated. That too many wait is no failure of the policies.
fn without_room(none: NoRoom, place: Place) -> Outcome {
    match none {
        NoRoom::Full => {
            let denied = Decision::new(Effect::Deny, Reason::EngineFailed, place);
            Ok(Verdict::Decided(Decision { detail: Some(none.to_string().into()), ..denied }))
        }
        NoRoom::Failed => Err(EngineFailure(format!("Rego: {none}"))),
    }
}

fn not_rego(place: &str, error: &str) -> InvalidPolicy {
    let hint = "Rego in version 1: `package sallyport`, then rules such as `allow if input.principal.kind == \"local\"`";
    InvalidPolicy { place: place.to_owned(), message: format!("it is not Rego: {}", error.trim()), hint: hint.to_owned() }
}

/// The compiler's errors point to a place of the text; so do those of evaluation, which say `error:` of a built-in function.
fn is_about_the_text(error: &str) -> bool {
    ["use of undefined variable", "unsafe", "not found", "could not find", "recursion", "conflicts"].iter().any(|part| error.contains(part))
}

fn rule(engine: &mut Engine, name: &str) -> Result<Value, EngineFailure> {
    engine.eval_rule(name.to_owned()).map_err(|error| EngineFailure(format!("`{name}` failed: {error}")))
}

/// Whether `deny` denies or `ask` asks, and why; an empty set does not.
fn reason(name: &str, value: &Value) -> Result<Option<Option<String>>, EngineFailure> {
    match value {
        Value::Undefined | Value::Bool(false) => Ok(None),
        Value::Bool(true) => Ok(Some(None)),
        Value::Set(reasons) => Ok(reasons.iter().next().map(|reason| reason.as_string().ok().map(|text| text.to_string()))),
        _ => Err(EngineFailure(format!("`{name}` is neither a set nor true nor false"))),
    }
}

impl PolicyEngine for Rego {
    fn name(&self) -> &'static str {
        "rego"
    }

    fn evaluate<'a>(&'a self, question: &'a Question<'a>) -> Answer<'a> {
        match self.document(question) {
            Ok(document) => {
                let (asked, place) = (self.asked(), self.place.clone());
                let answered = elsewhere(question.principal.tenant(), move || asked.answer(document));
                Answer::Later(Box::pin(async move { answered.await.unwrap_or_else(|none| without_room(none, place)) }))
            }
            Err(verdict) => Answer::Now(Ok(verdict)),
        }
    }

    /// A whole list is one piece of work.
    fn evaluate_all<'a>(&'a self, questions: &'a [&'a Question<'a>]) -> Later<'a, Vec<Outcome>> {
        let documents: Vec<Result<Json, Verdict>> = questions.iter().map(|question| self.document(question)).collect();
        let (asked, place, count) = (self.asked(), self.place.clone(), documents.len());
        let whose = questions.first().map_or("", |question| question.principal.tenant()); // one principal's list
        let answer = move || documents.into_iter().map(|document| document.map_or_else(Ok, |document| asked.answer(document))).collect();
        let answered = elsewhere(whose, answer);
        Box::pin(async move { answered.await.unwrap_or_else(|none| vec![without_room(none, place); count]) })
    }

    /// Rules may look at the time and the address.
    fn is_lasting(&self) -> bool {
        false
    }
}

impl fmt::Debug for Rego {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rego").field("place", &self.place).finish_non_exhaustive()
    }
}
