//! Which members of the context a policy looks at: nothing else is worked out for a request.

use std::collections::BTreeSet;

use cedar_policy::Policy;
use serde_json::Value;

/// The names of all members that a policy looks at anywhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Mentions {
    names: BTreeSet<String>,
    /// Those that are taken as one value.
    whole: BTreeSet<String>,
    /// It takes the arguments, or all of the context, as one value.
    takes_all: bool,
    /// It looks at the context at all.
    looks_at_context: bool,
}

impl Mentions {
    /// What a policy mentions; everything, where that cannot be told.
    pub(super) fn of(policy: &Policy) -> Self {
        let mut mentions = Self::default();
        match policy.to_json() {
            Ok(json) => mentions.walk(json.get("conditions").unwrap_or(&Value::Null), false),
            Err(_) => (mentions.takes_all, mentions.looks_at_context) = (true, true),
        }
        mentions
    }

    /// What both mention.
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.names.extend(other.names.iter().cloned());
        self.whole.extend(other.whole.iter().cloned());
        self.takes_all |= other.takes_all;
        self.looks_at_context |= other.looks_at_context;
        self
    }

    /// Whether a member of that name is looked at.
    pub(super) fn has(&self, name: &str) -> bool {
        self.takes_all || self.names.contains(name)
    }

    /// Whether it looks at the caller and at what is called alone, so that it says the same of each call.
    pub(super) fn is_of_no_call(&self) -> bool {
        !self.looks_at_context
    }

    /// Whether a member of that name is taken as one value, whatever is in it.
    pub(super) fn has_whole(&self, name: &str) -> bool {
        self.takes_all || self.whole.contains(name)
    }

    /// `is_member_taken`: one member of the value here is all that is looked at.
    fn walk(&mut self, node: &Value, is_member_taken: bool) {
        match node {
            Value::Array(list) => list.iter().for_each(|node| self.walk(node, false)),
            Value::Object(node) => {
                for (key, inner) in node {
                    let name = inner.get("attr").and_then(Value::as_str).filter(|_| matches!(key.as_str(), "." | "has"));
                    let is_access = name.is_some(); // a record may have members of those names
                    self.names.extend(name.map(str::to_owned));
                    self.whole.extend(name.filter(|_| key == "." && !is_member_taken).map(str::to_owned));
                    let is_context = key == "Var" && inner == "context";
                    self.looks_at_context |= is_context;
                    self.takes_all |= (is_context || key == "." && name == Some("args")) && !is_member_taken;
                    self.walk(inner, is_access || (key == "left" && is_member_taken));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn of(condition: &str) -> Mentions {
        Mentions::of(&Policy::parse(None, format!("permit(principal, action, resource) when {{ {condition} }};")).unwrap())
    }

    #[test]
    fn what_is_looked_at_is_known() {
        let mentions = of("context.args has sql && context.args.sql.tables.contains(\"a\") && context.loopback");
        assert!(["args", "sql", "tables", "loopback"].iter().all(|name| mentions.has(name)));
        assert!(!mentions.has("now") && !mentions.takes_all);
    }

    #[test]
    fn what_looks_at_no_call_is_known() {
        for condition in ["true", "principal.tenant == \"context\" && resource.readOnly", "principal in Group::\"context\""] {
            assert!(of(condition).is_of_no_call(), "{condition}");
        }
        for condition in ["context.loopback", "context has address", "principal.groups.contains(context.args.group)", "[context] == []"] {
            assert!(!of(condition).is_of_no_call(), "{condition}");
        }
        assert!(!of("true").and(&of("context.loopback")).is_of_no_call());
    }

    #[test]
    fn who_takes_all_gets_all() {
        for condition in ["context.args == {}", "context == {}", "[context.args].contains({})", "{x: context.args}.x has y"] {
            assert!(of(condition).takes_all, "{condition}");
        }
        assert!(of("context.args.a.b has c").names.len() == 4);
        for (condition, is_whole) in [
            ("context.args.a == context.args.b", true),
            ("context.args.a.contains({})", true),
            ("context.args.a.length < 3", false),
            ("context.args has a", false),
        ] {
            assert_eq!(of(condition).has_whole("a"), is_whole, "{condition}");
        }
    }
}
