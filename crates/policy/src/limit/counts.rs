//! What was counted of everybody, and where a call is counted.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::count::{Count, Key};
use super::rule::Compiled;
use super::{Exceeded, LimitKind, Metered, locked};

/// Most counts at once: callers times tools, some 200 bytes each.
pub(super) const MOST_COUNTS: usize = 100_000;
/// How long to wait between two looks for counts that nobody needs: looking at all of them takes milliseconds.
const SWEEP: Duration = Duration::from_secs(1);
/// Most callers times tools that are known with all their counts, some 300 bytes each. Where more are about, some of their calls look each count up.
const MOST_KNOWN: usize = 10_000;
/// Longest names of caller and tool together, in bytes, that are known so: a caller may ask for a tool by any name.
const LONGEST_KNOWN: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) by_key: HashMap<Key, Arc<Mutex<Count>>>,
    /// What calls of late are counted in, by a hash of who called what. Of two with the same hash the later is there.
    pub(super) lately: HashMap<u64, Arc<Concerned>>,
    swept: Duration,
}

/// What one caller's calls of one tool are counted in: found at the first of them, and shared by all.
#[derive(Debug)]
pub(super) struct Concerned {
    tenant: Box<str>,
    principal: Box<str>,
    server: Box<str>,
    tool: Box<str>,
    is_listed: bool,
    rules: Arc<[Compiled]>,
    /// Each of the rules that is about them, by its place among all, with its count.
    counts: Vec<(usize, Arc<Mutex<Count>>)>,
}

impl Counts {
    /// What a call is counted in.
    ///
    /// # Errors
    /// The first limit that has no room for another count.
    pub(super) fn concerned(&mut self, rules: &Arc<[Compiled]>, call: &Metered<'_>, now: Duration) -> Result<Arc<Concerned>, Exceeded> {
        let hash = self.lately.hasher().hash_one((call.tenant, call.principal.id(), call.server, call.tool));
        if let Some(known) = self.lately.get(&hash).filter(|known| known.is_of(rules, call)) {
            return Ok(Arc::clone(known));
        }
        let mut counts = Vec::new();
        for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.concerns(call)) {
            counts.push((at, self.count(rule.key(call), now).ok_or_else(|| full(rule))?));
        }
        let concerned = Arc::new(Concerned {
            tenant: call.tenant.into(),
            principal: call.principal.id().into(),
            server: call.server.into(),
            tool: call.tool.into(),
            is_listed: call.is_listed,
            rules: Arc::clone(rules),
            counts,
        });
        if call.tool.len() + call.principal.id().len() <= LONGEST_KNOWN {
            if self.lately.len() >= MOST_KNOWN {
                self.lately.clear(); // who still calls is soon back
            }
            self.lately.insert(hash, Arc::clone(&concerned));
        }
        Ok(concerned)
    }

    /// The count of `key`, new where there is none; `None` where there is no room for it.
    ///
    /// A count is forgotten only when it says what a new one would, and when no call holds it that may still charge bytes: forgetting it forgives
    /// nothing. Where all others still say something, whoever was not counted yet has to wait.
    fn count(&mut self, key: Key, now: Duration) -> Option<Arc<Mutex<Count>>> {
        if let Some(count) = self.by_key.get(&key) {
            return Some(Arc::clone(count));
        }
        if self.by_key.len() >= MOST_COUNTS {
            if now < self.swept + SWEEP {
                return None;
            }
            self.swept = now;
            self.lately.clear();
            self.by_key.retain(|_, count| Arc::strong_count(count) > 1 || !locked(count).is_at_rest(now));
            if self.by_key.len() >= MOST_COUNTS {
                return None;
            }
        }
        Some(Arc::clone(self.by_key.entry(key).or_default()))
    }
}

impl Concerned {
    /// Whether this was found for such a call, by the same rules.
    fn is_of(&self, rules: &Arc<[Compiled]>, call: &Metered<'_>) -> bool {
        Arc::ptr_eq(&self.rules, rules)
            && *self.tool == *call.tool
            && self.is_listed == call.is_listed
            && *self.server == *call.server
            && *self.principal == *call.principal.id()
            && *self.tenant == *call.tenant
    }

    /// No limit is about the calls.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &Compiled> {
        self.counts.iter().filter_map(|(at, _)| self.rules.get(*at))
    }

    /// Each rule with its count, which nobody else changes meanwhile.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&Compiled, MutexGuard<'_, Count>)> {
        self.rules().zip(self.counts.iter().map(|(_, count)| locked(count)))
    }
}

fn full(rule: &Compiled) -> Exceeded {
    let most = MOST_COUNTS as u64;
    Exceeded { kind: LimitKind::Rate, place: rule.place.clone(), unit: "callers counted", most, used: most, retry_after: SWEEP }
}
