//! What one limit counted of one caller.

use std::time::Duration;

use super::rule::{Budget, Compiled, Rate};
use super::{Exceeded, LimitKind};
use crate::Place;

/// How long to wait for another call's end, of which nobody knows when it comes.
const SOON: Duration = Duration::from_secs(1);

/// Whose count it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) limit: [u8; 32],
    pub(super) tenant: Box<str>,
    pub(super) principal: Option<Box<str>>,
    /// Server and tool; one that is not listed has no count of its own.
    pub(super) tool: Option<(Box<str>, Option<Box<str>>)>,
}

#[derive(Debug, Default)]
pub(super) struct Count {
    /// When all calls of the rate are there again (the generic cell rate algorithm of ITU-T I.371: a token bucket in whole numbers).
    back: Duration,
    running: u64,
    /// When the budget's time is over.
    over: Duration,
    calls: u64,
    bytes: u64,
    cost: u64,
}

impl Count {
    /// # Errors
    /// The part of the limit that another call would go beyond.
    pub(super) fn check(&mut self, rule: &Compiled, tool: &str, now: Duration) -> Result<(), Exceeded> {
        if now >= self.over {
            (self.calls, self.bytes, self.cost) = (0, 0, 0);
        }
        self.check_rate(rule, now)?;
        if let Some(most) = rule.at_once.filter(|most| self.running >= (*most).into()) {
            let (used, place) = (self.running, part(rule, "at_once"));
            return Err(Exceeded { kind: LimitKind::AtOnce, place, unit: "calls at once", most: most.into(), used, retry_after: SOON });
        }
        rule.budget.as_ref().map_or(Ok(()), |budget| self.check_budget(rule, budget, tool, now))
    }

    fn check_rate(&self, rule: &Compiled, now: Duration) -> Result<(), Exceeded> {
        let Some(rate) = rule.rate else { return Ok(()) };
        let room = rate.interval() * (rate.calls - 1);
        let missing = self.back.saturating_sub(now);
        match missing.checked_sub(room).filter(|wait| !wait.is_zero()) {
            None => Ok(()),
            Some(retry_after) => {
                let most = rate.calls.into();
                Err(Exceeded { kind: LimitKind::Rate, place: part(rule, "rate"), unit: "calls", most, used: most, retry_after })
            }
        }
    }

    fn check_budget(&self, rule: &Compiled, budget: &Budget, tool: &str, now: Duration) -> Result<(), Exceeded> {
        let cost = budget.cost_of(tool);
        let spent = [
            ("calls", "calls", budget.calls, self.calls, 1),
            ("bytes", "bytes", budget.bytes, self.bytes, 1),
            ("cost", "of cost", budget.cost, self.cost, cost),
        ];
        for (key, unit, most, used, more) in spent {
            if let Some(most) = most.filter(|most| used.saturating_add(more) > *most) {
                let (place, retry_after) = (part(rule, &format!("budget.{key}")), self.over.saturating_sub(now));
                return Err(Exceeded { kind: LimitKind::Budget, place, unit, most, used, retry_after });
            }
        }
        Ok(())
    }

    /// Counts a call that [`check`](Self::check) let through.
    pub(super) fn take(&mut self, rule: &Compiled, tool: &str, now: Duration) {
        self.running += 1;
        if let Some(interval) = rule.rate.map(Rate::interval) {
            self.back = self.back.max(now) + interval;
        }
        if let Some(budget) = &rule.budget {
            if now >= self.over {
                self.over = now + budget.window();
            }
            self.calls = self.calls.saturating_add(1);
            self.cost = self.cost.saturating_add(budget.cost_of(tool));
        }
    }

    pub(super) fn spend(&mut self, bytes: u64, window: Duration, now: Duration) {
        if now >= self.over {
            (self.calls, self.bytes, self.cost) = (0, 0, 0);
            self.over = now + window;
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Whether a new count would say the same.
    pub(super) fn is_at_rest(&self, now: Duration) -> bool {
        self.running == 0 && self.back <= now && self.over <= now
    }
}

fn part(rule: &Compiled, key: &str) -> Place {
    Place::new(&format!("{}.{key}", rule.place))
}
