//! How often, how many at once and how much: what of a caller's calls may go on now.
//!
//! Exact within one process: a call takes from every limit that is about it or from none, under one lock. Pure: time is passed in.

mod count;
mod counts;
mod rule;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{InvalidPolicy, Place, Principal};
use counts::{Concerned, Counts};
use rule::Compiled;
pub use rule::{Across, Budget, LimitRule, Rate};

/// The limits in force, and what was counted.
#[derive(Debug, Default)]
pub struct Limits {
    rules: Arc<[Compiled]>,
    counts: Arc<Mutex<Counts>>,
}

/// A call, as limits see it.
#[derive(Clone, Copy, Debug)]
pub struct Metered<'a> {
    /// Whose caller it is; `""` where there is one tenant.
    pub tenant: &'a str,
    /// Who calls.
    pub principal: &'a Principal,
    /// The server's name in the configuration.
    pub server: &'a str,
    /// The tool's own name at its server.
    pub tool: &'a str,
    /// Whether the server lists a tool of this name. Names that it does not are the caller's to invent, and are counted together.
    pub is_listed: bool,
}

/// Which part of a limit it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Calls in a time.
    Rate,
    /// Calls at once.
    AtOnce,
    /// What is spent in a time.
    Budget,
}

/// Why a call may not go on now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which part of a limit it was.
    pub kind: LimitKind,
    /// Where it stands in the configuration.
    pub place: Place,
    /// What it counts.
    pub unit: &'static str,
    /// How much of it there may be.
    pub most: u64,
    /// How much there is.
    pub used: u64,
    /// When a call may go on, if nothing else takes its place; where that depends on other calls' ends, a second.
    pub retry_after: Duration,
}

/// A call within its limits. It counts as running until this is dropped.
#[derive(Debug)]
#[must_use = "the call counts as running only as long as this lives"]
pub struct Held(Account);

/// What a call counts in: its bytes are charged there, which may become known when it runs no longer.
#[derive(Clone, Debug)]
pub struct Account(Option<Arc<Concerned>>);

impl Limits {
    /// The limits that the configuration describes, and nothing counted yet.
    ///
    /// # Errors
    /// Every rule that cannot be understood or limits nothing.
    pub fn build(rules: &[LimitRule]) -> Result<Self, Vec<InvalidPolicy>> {
        Ok(Self { rules: rule::compile(rules)?.into(), counts: Arc::default() })
    }

    /// The same limits with what `before` counted, for the rules that are in both: a configuration that is read again forgives nothing.
    #[must_use]
    pub fn continuing(self, before: &Self) -> Self {
        Self { counts: Arc::clone(&before.counts), ..self }
    }

    /// Lets a call go on, and counts it, at the time `now`: since whenever, but never less than before.
    ///
    /// # Errors
    /// The first limit that it would go beyond; it then counts nowhere.
    pub fn take(&self, call: &Metered<'_>, now: Duration) -> Result<Held, Exceeded> {
        if self.rules.is_empty() {
            return Ok(Held(Account(None)));
        }
        let mut all = locked(&self.counts);
        let concerned = all.concerned(&self.rules, call, now)?;
        for (rule, mut count) in concerned.counts() {
            count.check(rule, call.tool, now)?;
        }
        for (rule, mut count) in concerned.counts() {
            count.take(rule, call.tool, now);
        }
        drop(all); // until here nobody else takes; what ends or is charged meanwhile goes beyond nothing
        Ok(Held(Account(Some(concerned).filter(|concerned| !concerned.is_empty()))))
    }
}

impl Held {
    /// Whether any limit is about the call.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.0.0.is_some()
    }

    /// Whether a limit counts how many such calls run at once.
    #[must_use]
    pub fn counts_at_once(&self) -> bool {
        self.0.0.as_ref().is_some_and(|concerned| concerned.rules().any(|rule| rule.at_once.is_some()))
    }

    /// Where its bytes are charged.
    #[must_use]
    pub fn account(&self) -> Account {
        self.0.clone()
    }
}

impl Account {
    /// Whether [`spend`](Self::spend) would count anything.
    #[must_use]
    pub fn counts_bytes(&self) -> bool {
        self.0.as_ref().is_some_and(|concerned| concerned.rules().any(|rule| rule.window_of_bytes().is_some()))
    }

    /// Counts bytes of the call and its answer at the time `now`: they are known only afterwards, so that a budget of bytes ends with the
    /// call that goes beyond it. Where the budget's time is over by then, they begin the next.
    pub fn spend(&self, bytes: u64, now: Duration) {
        let Some(concerned) = &self.0 else { return };
        for (rule, mut count) in concerned.counts() {
            if let Some(window) = rule.window_of_bytes() {
                count.spend(bytes, window, now);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(concerned) = &self.0.0 else { return };
        concerned.counts().for_each(|(_, mut count)| count.end());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LimitKind {
    /// The name in the configuration, in failures and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::AtOnce => "at_once",
            Self::Budget => "budget",
        }
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "beyond `{}`: {} {} of {}", self.place, self.used, self.unit, self.most)
    }
}

#[cfg(test)]
mod tests;
