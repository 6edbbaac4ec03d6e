//! What every policy engine is.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::{Decision, InvalidPolicy, Kinds, Question, ServerRules};

/// Evaluates rules. One evaluation serves both moments: what a list shows and what a call may do.
pub trait PolicyEngine: fmt::Debug + Send + Sync {
    /// The engine's name in decisions and logs.
    fn name(&self) -> &'static str;

    /// What the rules say.
    fn evaluate<'a>(&'a self, question: &'a Question<'a>) -> Answer<'a>;

    /// What the rules say of each question of a list, in its order. An engine that has to ask elsewhere asks once for all.
    fn evaluate_all<'a>(&'a self, questions: &'a [&'a Question<'a>]) -> Later<'a, Vec<Outcome>> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(questions.len());
            for question in questions {
                outcomes.push(self.evaluate(question).await_it().await);
            }
            outcomes
        })
    }

    /// Tells what a server offers by now. Says which rules cannot hold with it; the engine then denies the use of that server, to them.
    fn learn(&self, _server: &str, _to: Offered<'_>, _tools: &[KnownTool<'_>]) -> Vec<InvalidPolicy> {
        Vec::new()
    }

    /// Forgets what servers offer to one principal: it has no connections of its own any more.
    fn forget(&self, _principal: &str) {}

    /// Whether it has to [`learn`](Self::learn) what a server offers before it can decide.
    fn needs_tools(&self) -> bool {
        false
    }

    /// Whether it looks at [`Question::arguments`].
    fn reads_arguments(&self) -> bool {
        true
    }

    /// Whether an answer for a list stays the same until the rules, the caller or the lists change.
    fn is_lasting(&self) -> bool {
        true
    }
}

/// An engine's answer: there already, or being waited for.
#[allow(missing_debug_implementations, reason = "a future has nothing to show")]
pub enum Answer<'a> {
    /// It is there.
    Now(Outcome),
    /// It comes from elsewhere.
    Later(Later<'a, Outcome>),
}

impl Answer<'_> {
    /// Waits for it where that is necessary.
    pub async fn await_it(self) -> Outcome {
        match self {
            Self::Now(outcome) => outcome,
            Self::Later(answer) => answer.await,
        }
    }
}

/// Something that is being waited for.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A verdict, or why there is none: [`Policy`](crate::Policy) then denies.
pub type Outcome = Result<Verdict, EngineFailure>;

/// What one engine's rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A rule decides.
    Decided(Decision),
    /// No rule speaks of it: the other engines decide, and `policy.default` after them.
    Silent,
}

/// To whom a server offers its tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered<'a> {
    /// To everybody.
    ToAll,
    /// To the one principal with this [`full_id`](crate::Principal::full_id), over a connection of its own.
    To(&'a str),
    /// To whoever has no connection of their own yet, before anybody can know what else there is: rules may speak of other tools.
    AtFirst,
}

/// A tool as its server describes it.
#[derive(Clone, Copy, Debug)]
pub struct KnownTool<'a> {
    /// Its own name.
    pub name: &'a str,
    /// Its `inputSchema`, as JSON text.
    pub input_schema: Option<&'a str>,
}

/// What an engine needs from the world: this crate knows no clock and opens no connection.
pub trait World: fmt::Debug + Send + Sync {
    /// How long ago some moment in the past was; only ever grows.
    fn elapsed(&self) -> Duration;

    /// Sends a request and gives back the body of an answer with status 200, or why there is none. Follows no redirect.
    fn post<'a>(&'a self, request: Outgoing<'a>) -> Later<'a, Result<Vec<u8>, String>>;

    /// The value of a reference to a secret.
    ///
    /// # Errors
    /// Why there is none.
    fn secret(&self, reference: &str) -> Result<String, String>;
}

/// A world without others: whoever asks there gets no answer. For configurations that are only looked at.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl World for Nowhere {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn post<'a>(&'a self, _: Outgoing<'a>) -> Later<'a, Result<Vec<u8>, String>> {
        Box::pin(std::future::ready(Err("nothing is asked here".to_owned())))
    }

    fn secret(&self, _: &str) -> Result<String, String> {
        Ok(String::new())
    }
}

/// What an engine is made with, beside its own configuration.
#[derive(Debug)]
pub struct Making<'a> {
    /// Where its entry stands in the configuration, e.g. `policy.engines[0].cedar`.
    pub place: String,
    /// The servers that there are.
    pub servers: &'a BTreeMap<String, ServerRules>,
    /// What arguments are declared to be.
    pub kinds: &'a Arc<Kinds>,
    /// Where it can ask.
    pub world: &'a Arc<dyn World>,
}

impl Making<'_> {
    /// Something that is wrong with the entry, at `key` of it.
    pub(crate) fn invalid(&self, key: &str, message: impl Into<String>, hint: impl Into<String>) -> InvalidPolicy {
        let place = if key.is_empty() { self.place.clone() } else { format!("{}.{key}", self.place) };
        InvalidPolicy { place, message: message.into(), hint: hint.into() }
    }
}

/// One request to a decision point.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    /// Where to.
    pub url: &'a str,
    /// The bearer token to show, if any.
    pub bearer: Option<&'a str>,
    /// The JSON to send.
    pub body: Vec<u8>,
    /// How long the answer may take, all in all.
    pub deadline: Duration,
    /// Most bytes of the answer.
    pub most: usize,
}

/// Why an engine could not answer; for the log, not for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFailure(pub String);

impl fmt::Display for EngineFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "policy engine: {}", self.0)
    }
}

impl std::error::Error for EngineFailure {}
