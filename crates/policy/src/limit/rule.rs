//! How the configuration writes a limit.

use std::collections::BTreeMap;
use std::time::Duration;

use globset::{Glob, GlobMatcher, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Metered;
use super::count::Key;
use crate::{InvalidPolicy, Place};

/// Most limits of one configuration: every call looks at each.
const MOST_RULES: usize = 100;
/// Longest time of a rate or budget, in seconds: 31 days, a month's budget.
const LONGEST: u32 = 31 * 86_400;

/// What the calls of some tools by some callers may come to. Several that are about one call hold together. What is counted is forgotten when the
/// gateway ends, and kept when it reads its configuration again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Limit")]
pub struct LimitRule {
    /// Globs over who calls: `local`, `key:NAME`, `user:SUBJECT@ISSUER`, `client:NAME@ISSUER`. Default: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principals: Option<Vec<String>>,
    /// Glob over server names. Default: every server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Globs over the servers' own tool names. Default: every tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// What is counted together. Default: `tool`, each caller's calls of each tool on their own; those of names that a server does not list
    /// count as one tool's.
    #[serde(default)]
    pub across: Across,
    /// How many calls in how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How many calls at once. A call counts for as long as its server works on it: also while it waits for an answer of its caller, and
    /// while it goes on as a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_once: Option<u32>,
    /// What may be spent in how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// What a limit counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Across {
    /// Each caller's calls of each tool.
    #[default]
    Tool,
    /// Each caller's calls of all the tools.
    Principal,
    /// All callers' calls of all the tools.
    Tenant,
}

/// Calls in a time: so many at once, then as they come back, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many calls.
    pub calls: u32,
    /// In how many seconds.
    pub seconds: u32,
}

/// What may be spent in a time, which begins with the first call. At least one of `calls`, `bytes` and `cost`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// In how many seconds: 86400 is a day.
    pub seconds: u32,
    /// How many calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// How many bytes of arguments and results. They are known when a call is over: the one that goes beyond is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How much by what each call costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
    /// What a call costs, by the tool's own name. Default: 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub costs: BTreeMap<String, u64>,
}

/// A limit, ready to look at calls.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) place: Place,
    /// What makes it the same limit in another configuration: the SHA-256 of what is written, which is looked up faster than the text.
    identity: [u8; 32],
    principals: Option<GlobSet>,
    server: Option<GlobMatcher>,
    tools: Option<GlobSet>,
    across: Across,
    pub(super) rate: Option<Rate>,
    pub(super) at_once: Option<u32>,
    pub(super) budget: Option<Budget>,
}

impl Rate {
    /// From one call to the next, once the first ones are used.
    pub(super) fn interval(self) -> Duration {
        Duration::from_secs(self.seconds.into()) / self.calls
    }
}

impl Budget {
    pub(super) fn window(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    pub(super) fn cost_of(&self, tool: &str) -> u64 {
        self.costs.get(tool).copied().unwrap_or(1)
    }
}

impl Compiled {
    pub(super) fn concerns(&self, call: &Metered<'_>) -> bool {
        self.server.as_ref().is_none_or(|glob| glob.is_match(call.server))
            && self.tools.as_ref().is_none_or(|globs| globs.is_match(call.tool))
            && self.principals.as_ref().is_none_or(|globs| globs.is_match(call.principal.id()))
    }

    /// The time of the budget, where that bounds bytes.
    pub(super) fn window_of_bytes(&self) -> Option<Duration> {
        self.budget.as_ref().filter(|budget| budget.bytes.is_some()).map(Budget::window)
    }

    pub(super) fn key(&self, call: &Metered<'_>) -> Key {
        let principal = (self.across != Across::Tenant).then(|| call.principal.id().into());
        let tool = (self.across == Across::Tool).then(|| (call.server.into(), call.is_listed.then(|| call.tool.into())));
        Key { limit: self.identity, tenant: call.tenant.into(), principal, tool }
    }
}

/// # Errors
/// Every rule that cannot be understood or limits nothing.
pub(super) fn compile(rules: &[LimitRule]) -> Result<Vec<Compiled>, Vec<InvalidPolicy>> {
    let mut errors = Vec::new();
    if rules.len() > MOST_RULES {
        errors.push(invalid("limits", format!("there are {} limits", rules.len()), format!("write at most {MOST_RULES}")));
        return Err(errors);
    }
    let mut compiled: Vec<Compiled> = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let place = format!("limits[{index}]");
        check(rule, &place, &mut errors);
        let written = serde_json::to_string(rule).unwrap_or_default();
        let twins = rules.iter().take(index).filter(|other| *other == rule).count();
        let server = rule.server.as_ref().and_then(|glob| one(glob, &format!("{place}.server"), &mut errors));
        compiled.push(Compiled {
            identity: Sha256::digest(format!("{twins} {written}")).into(),
            principals: rule.principals.as_ref().map(|list| set(list, &format!("{place}.principals"), &mut errors)),
            server: server.map(|glob| glob.compile_matcher()),
            tools: rule.tools.as_ref().map(|list| set(list, &format!("{place}.tools"), &mut errors)),
            across: rule.across,
            rate: rule.rate,
            at_once: rule.at_once,
            budget: rule.budget.clone(),
            place: Place::new(&place),
        });
    }
    if errors.is_empty() { Ok(compiled) } else { Err(errors) }
}

fn check(rule: &LimitRule, place: &str, errors: &mut Vec<InvalidPolicy>) {
    if rule.rate.is_none() && rule.at_once.is_none() && rule.budget.is_none() {
        errors.push(invalid(place, "it limits nothing".into(), "write `rate`, `at_once` or `budget`".into()));
    }
    let seconds = [("rate", rule.rate.map(|rate| rate.seconds)), ("budget", rule.budget.as_ref().map(|budget| budget.seconds))];
    for (key, _) in seconds.iter().filter(|(_, given)| given.is_some_and(|seconds| seconds == 0 || seconds > LONGEST)) {
        errors.push(invalid(&format!("{place}.{key}.seconds"), "the time cannot be that".into(), format!("write 1 to {LONGEST}")));
    }
    let nothing = "nothing could ever be called";
    if rule.rate.is_some_and(|rate| rate.calls == 0) || rule.at_once == Some(0) {
        errors.push(invalid(place, nothing.into(), "write at least 1, or use `deny`".into()));
    }
    if let Some(budget) = &rule.budget {
        let bounds = [budget.calls, budget.bytes, budget.cost];
        if bounds.iter().all(Option::is_none) {
            errors.push(invalid(&format!("{place}.budget"), "it bounds nothing".into(), "write `calls`, `bytes` or `cost`".into()));
        }
        if bounds.contains(&Some(0)) {
            errors.push(invalid(&format!("{place}.budget"), nothing.into(), "write at least 1, or use `deny`".into()));
        }
        if !budget.costs.is_empty() && budget.cost.is_none() {
            errors.push(invalid(&format!("{place}.budget.costs"), "no budget is spent by them".into(), "write `cost` too".into()));
        }
    }
}

fn one(glob: &str, place: &str, errors: &mut Vec<InvalidPolicy>) -> Option<Glob> {
    let hint = "`*` matches anything, `?` one character, `[ab]` one of these, `{a,b}` either";
    Glob::new(glob).map_err(|error| errors.push(invalid(place, format!("not a pattern: {}", error.kind()), hint.into()))).ok()
}

fn set(list: &[String], place: &str, errors: &mut Vec<InvalidPolicy>) -> GlobSet {
    if list.is_empty() {
        errors.push(invalid(place, "an empty list names nobody".into(), "leave the key out for all".into()));
    }
    let mut builder = GlobSetBuilder::new();
    for (index, glob) in list.iter().enumerate() {
        if let Some(glob) = one(glob, &format!("{place}[{index}]"), errors) {
            builder.add(glob);
        }
    }
    builder.build().unwrap_or_else(|error| {
        errors.push(invalid(place, format!("the patterns are too much: {}", error.kind()), "write fewer".into()));
        GlobSet::empty()
    })
}

fn invalid(place: &str, message: String, hint: String) -> InvalidPolicy {
    InvalidPolicy { place: place.to_owned(), message, hint }
}
