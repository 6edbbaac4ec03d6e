//! How often, how many at once and how much: what of a caller's calls may go on now.
//!
//! Exact within one process: a call takes from every limit that is about it or from none, under one lock. Pure: time is passed in.

mod count;
mod rule;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{InvalidPolicy, Place, Principal};
use count::{Count, Key};
use rule::Compiled;
pub use rule::{Across, Budget, LimitRule, Rate};

/// Most counts at once: callers times tools, some 200 bytes each.
const MOST_COUNTS: usize = 100_000;
/// How long to wait between two looks for counts that nobody needs: looking at all of them takes milliseconds.
const SWEEP: Duration = Duration::from_secs(1);

/// The limits in force, and what was counted.
#[derive(Debug, Default)]
pub struct Limits {
    rules: Vec<Compiled>,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    by_key: HashMap<Key, Count>,
    swept: Duration,
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

/// The limits that a call is concerned by.
#[derive(Debug)]
struct Concerned {
    counts: Arc<Mutex<Counts>>,
    /// Each count, with the time of its budget where that bounds bytes.
    keys: Vec<(Key, Option<Duration>)>,
    counts_at_once: bool,
}

impl Limits {
    /// The limits that the configuration describes, and nothing counted yet.
    ///
    /// # Errors
    /// Every rule that cannot be understood or limits nothing.
    pub fn build(rules: &[LimitRule]) -> Result<Self, Vec<InvalidPolicy>> {
        Ok(Self { rules: rule::compile(rules)?, counts: Arc::default() })
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
        let concerned: Vec<(&Compiled, Key)> =
            self.rules.iter().filter(|rule| rule.concerns(call)).map(|rule| (rule, rule.key(call))).collect();
        if concerned.is_empty() {
            return Ok(Held(Account(None)));
        }
        let mut counts = locked(&self.counts);
        for (rule, key) in &concerned {
            counts.count(key, now).ok_or_else(|| full(rule))?.check(rule, call.tool, now)?;
        }
        for (rule, key) in &concerned {
            if let Some(count) = counts.by_key.get_mut(key) {
                count.take(rule, call.tool, now);
            }
        }
        drop(counts);
        let counts_at_once = concerned.iter().any(|(rule, _)| rule.at_once.is_some());
        let keys = concerned.into_iter().map(|(rule, key)| (key, rule.window_of_bytes())).collect();
        Ok(Held(Account(Some(Arc::new(Concerned { counts: Arc::clone(&self.counts), keys, counts_at_once })))))
    }
}

impl Counts {
    /// The count of `key`, new where there is none; `None` where there is no room for it.
    ///
    /// A count is forgotten only when it says what a new one would: forgetting it forgives nothing. Where all others still say something,
    /// whoever was not counted yet has to wait.
    fn count(&mut self, key: &Key, now: Duration) -> Option<&mut Count> {
        if !self.by_key.contains_key(key) && self.by_key.len() >= MOST_COUNTS {
            if now < self.swept + SWEEP {
                return None;
            }
            self.swept = now;
            self.by_key.retain(|_, count| !count.is_at_rest(now));
            if self.by_key.len() >= MOST_COUNTS {
                return None;
            }
        }
        if !self.by_key.contains_key(key) {
            self.by_key.insert(key.clone(), Count::default()); // once a caller: the key is not copied for each call
        }
        self.by_key.get_mut(key)
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
        self.0.0.as_ref().is_some_and(|concerned| concerned.counts_at_once)
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
        self.0.as_ref().is_some_and(|concerned| concerned.keys.iter().any(|(_, window)| window.is_some()))
    }

    /// Counts bytes of the call and its answer at the time `now`: they are known only afterwards, so that a budget of bytes ends with the
    /// call that goes beyond it. Where the budget's time is over by then, they begin the next.
    pub fn spend(&self, bytes: u64, now: Duration) {
        let Some(concerned) = &self.0 else { return };
        let mut counts = locked(&concerned.counts);
        for (key, window) in &concerned.keys {
            if let (Some(window), Some(count)) = (window, counts.count(key, now)) {
                count.spend(bytes, *window, now);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(concerned) = &self.0.0 else { return };
        let mut counts = locked(&concerned.counts);
        for (key, _) in &concerned.keys {
            if let Some(count) = counts.by_key.get_mut(key) {
                count.end();
            }
        }
    }
}

fn locked(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn full(rule: &Compiled) -> Exceeded {
    let most = MOST_COUNTS as u64;
    Exceeded { kind: LimitKind::Rate, place: rule.place.clone(), unit: "callers counted", most, used: most, retry_after: SWEEP }
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
