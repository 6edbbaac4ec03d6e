//! What the table of refusals is made of: calls, and with which arguments.

use std::collections::BTreeMap;

/// Refused calls. Without a rule a call is refused whatever its arguments are, else where one of its rules holds.
pub(super) type Rules = BTreeMap<i64, Vec<Rule>>;

/// Holds when every condition does.
pub(super) type Rule = Vec<Condition>;

/// What is asked of one argument. Each looks at the lower half of it, as the kernel does with what is asked about here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) compare: Compare,
    pub(super) value: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ne,
    /// Of the argument, these bits alone are compared.
    MaskedEq(u32),
}

/// A rule of these conditions: argument, comparison, value.
pub(super) fn all(conditions: &[(u8, Compare, u32)]) -> Rule {
    conditions.iter().map(|(argument, compare, value)| Condition { argument: *argument, compare: *compare, value: *value }).collect()
}
