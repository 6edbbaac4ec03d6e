//! What came of asking another policy, by who called what.

use std::collections::BTreeMap;
use std::path::Path;

use owo_colors::OwoColorize;
use sallyport_policy::{Effect, Lack, Principal, Replayed};
use sallyport_telemetry::AuditRecord;
use serde_json::{Value, json};

use super::named;
use crate::output::{self, Failure};
use crate::policy::records::LeftOut;
use crate::tools::shown;

/// Most lines of one kind that a person is shown; programs get all.
const MOST_LINES: usize = 50;
/// Most different lines that are kept: resources have as many URIs as somebody likes.
const MOST_KEPT: usize = 10_000;

/// Everything that was found.
#[derive(Default)]
pub(super) struct Report {
    replayed: u64,
    differences: BTreeMap<Difference, Count>,
    lacking: BTreeMap<Lacking, u64>,
    calls_lacking: u64,
    /// What found no place any more.
    untold: u64,
}

/// Calls that would have been decided in another way, all in the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Difference {
    from: String,
    to: &'static str,
    what: What,
    tenant: String,
    principal: String,
    place: String,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct What {
    server: String,
    method: String,
    target: String,
}

/// How many, and an example.
struct Count {
    calls: u64,
    /// Which place decided it then.
    was: String,
    /// What the new policy says of the first of them.
    why: String,
}

/// A rule that looks at what is not recorded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Lacking {
    what: What,
    lack: Lack,
}

impl Report {
    pub(super) fn add(&mut self, record: &AuditRecord<'_>, principal: &Principal, replayed: Replayed) {
        let text = |text: &Option<sallyport_telemetry::audit::Text<'_>>| text.as_ref().map(ToString::to_string).unwrap_or_default();
        let what = What { server: text(&record.server), method: record.method.to_string(), target: text(&record.target) };
        match replayed {
            Replayed::Lacking(lacks) => {
                self.calls_lacking += 1;
                for lack in lacks {
                    match count_in(&mut self.lacking, Lacking { what: what.clone(), lack }, || 0) {
                        Some(calls) => *calls += 1,
                        None => self.untold += 1,
                    }
                }
            }
            Replayed::Decided(decision) => {
                self.replayed += 1;
                let from = text(&record.decision);
                // What a person approved was let through by a policy that asks.
                let is_approved = record.approval.is_some() && from == Effect::Allow.as_str() && decision.effect == Effect::Ask;
                if from == decision.effect.as_str() || is_approved {
                    return;
                }
                let difference = Difference {
                    from,
                    to: decision.effect.as_str(),
                    what,
                    tenant: principal.tenant().to_owned(),
                    principal: principal.id().to_owned(),
                    place: decision.place.to_string(),
                };
                let first = || Count { calls: 0, was: text(&record.rule), why: decision.to_string() };
                match count_in(&mut self.differences, difference, first) {
                    Some(count) => count.calls += 1,
                    None => self.untold += 1,
                }
            }
        }
    }

    /// Whether nothing could be asked.
    pub(super) fn is_empty(&self) -> bool {
        self.replayed + self.calls_lacking == 0
    }

    /// Whether a call would have been decided in another way.
    pub(super) fn differs(&self) -> bool {
        !self.differences.is_empty()
    }

    /// For programs.
    pub(super) fn as_json(&self, file: &Path, left_out: &LeftOut) -> Value {
        let what = |What { server, method, target }: &What| json!({ "server": server, "method": method, "target": target });
        let with = |mut value: Value, more: Value| {
            if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
                value.extend(more);
            }
            value
        };
        let differences = self.differences.iter().map(|(difference, count)| {
            let Difference { from, to, tenant, principal, place, .. } = difference;
            let more = json!({
                "from": from, "to": to, "principal": principal, "tenant": Some(tenant).filter(|tenant| !tenant.is_empty()),
                "place": place, "was": count.was, "why": count.why, "calls": count.calls,
            });
            with(what(&difference.what), more)
        });
        let lacking = self.lacking.iter().map(|(lacking, calls)| {
            with(what(&lacking.what), json!({ "place": lacking.lack.place.as_str(), "looks_at": lacking.lack.what, "calls": calls }))
        });
        json!({
            "file": named(file),
            "differs": self.differs(),
            "replayed": self.replayed,
            "differences": differences.collect::<Vec<_>>(),
            "not_replayed": { "calls": self.calls_lacking, "because": lacking.collect::<Vec<_>>() },
            "left_out": left_out.iter().map(|(why, records)| json!({ "why": why, "records": records })).collect::<Vec<_>>(),
            "untold": self.untold,
        })
    }

    /// For a person.
    pub(super) fn tell(&self, file: &Path, left_out: &LeftOut) -> Result<(), Failure> {
        let changed: u64 = self.differences.values().map(|count| count.calls).sum();
        output::line(format!("{} recorded calls under {}: {changed} would be decided in another way", self.replayed, named(file)))?;
        let mut kind = ("", "");
        for (difference, Count { calls, was, why }) in self.differences.iter().take(MOST_LINES) {
            if kind != (&*difference.from, difference.to) {
                kind = (&difference.from, difference.to);
                let told = format!("{} → {}", difference.from, difference.to);
                output::line(if difference.to == "allow" { told.yellow().to_string() } else { told.red().to_string() })?;
            }
            let Difference { what: What { server, target, .. }, tenant, principal, .. } = difference;
            let who = if tenant.is_empty() { principal.clone() } else { format!("{principal} of {tenant}") };
            output::line(shown(&format!("{calls:>7}  {server}/{target} by {who}: {why} (was: `{was}`)")))?;
        }
        more(self.differences.len())?;
        if self.calls_lacking > 0 {
            output::line(format!("{} {} calls", "cannot be replayed".yellow(), self.calls_lacking))?;
        }
        for (Lacking { what: What { server, target, .. }, lack: Lack { place, what } }, calls) in self.lacking.iter().take(MOST_LINES) {
            output::line(shown(&format!("{calls:>7}  {server}/{target}: `{place}` looks at {what}, which is not recorded")))?;
        }
        more(self.lacking.len())?;
        for (why, records) in left_out.iter() {
            output::line(shown(&format!("left out {records} records {why}")))?;
        }
        Ok(())
    }
}

/// The entry of `key`, made if there is room.
fn count_in<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, first: impl FnOnce() -> V) -> Option<&mut V> {
    if map.len() >= MOST_KEPT && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_insert_with(first))
}

fn more(lines: usize) -> Result<(), Failure> {
    if lines > MOST_LINES { output::line(format!("         and {} more (all with --json)", lines - MOST_LINES)) } else { Ok(()) }
}
