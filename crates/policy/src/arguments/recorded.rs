//! What audit records tell of a call's arguments: what they mean, never what they are. Enough to ask another policy about the call.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::kinds::MOST_ENTRIES;
use super::{ArgumentKind, Kinds, strict};

/// The arguments of a call as its record tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// By argument, what it means; `null` where the call did not have it.
    pub attributes: Map<String, Value>,
    /// By argument, the characters of the text or the entries of the list.
    pub sizes: Map<String, Value>,
    /// How many arguments the call had that are not among the attributes; `None` where the record does not say.
    pub unrecorded: Option<u32>,
    names: Option<BTreeSet<String>>,
    /// Arguments that the call had and that are not known, though the record tells something of them.
    lost: BTreeSet<String>,
}

/// What is known of one argument of a recorded call.
pub(crate) enum Known<'a> {
    Is(&'a Value),
    Absent,
    Unknown,
}

impl Recorded {
    /// What a record tells; `names` are the arguments that the tool has by its schema, where that is known: others are taken for not given.
    #[must_use]
    pub fn new(
        attributes: Map<String, Value>,
        sizes: Map<String, Value>,
        unrecorded: Option<u32>,
        names: Option<BTreeSet<String>>,
    ) -> Self {
        Self { attributes, sizes, unrecorded, names, lost: BTreeSet::new() }
    }

    /// What is known of the argument of that name.
    pub(crate) fn get(&self, name: &str) -> Known<'_> {
        let is_none_of_its = || self.names.as_ref().is_some_and(|names| !names.contains(name));
        match self.attributes.get(name) {
            Some(Value::Null) => Known::Absent,
            Some(value) => Known::Is(value),
            None if self.lost.contains(name) => Known::Unknown,
            None if self.unrecorded == Some(0) || is_none_of_its() => Known::Absent,
            None => Known::Unknown,
        }
    }

    /// Whether of that argument nothing is told but how long it is.
    pub(crate) fn is_mere_length(&self, name: &str) -> bool {
        self.attributes
            .get(name)
            .is_some_and(|value| each(value).any(|value| ArgumentKind::Text.fits(value) && value.get("text").is_none()))
    }

    /// Whether this is all of the arguments.
    pub(crate) fn is_whole(&self) -> bool {
        if self.attributes.keys().any(|name| self.is_mere_length(name)) {
            return false;
        }
        let is_told = |name: &String| self.attributes.contains_key(name);
        let is_all = self.unrecorded == Some(0) || self.names.as_ref().is_some_and(|names| names.iter().all(is_told));
        is_all && self.lost.is_empty()
    }

    /// The arguments as engines see them, as far as they are known.
    pub(crate) fn value(&self) -> Value {
        let given = self.attributes.iter().filter(|(_, value)| !value.is_null());
        given.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
    }

    /// The same without what other rules declare to be something else than those did that it was recorded by.
    pub(crate) fn declared_by(mut self, kinds: &Kinds, server: &str, tool: &str) -> Self {
        let fits = |name: &String, value: &Value| match kinds.kind(server, tool, name) {
            Some(kind) => kind.fits(value),
            None => !value.is_object(), // no object is recorded but what was taken apart
        };
        let is_declared_by = |name: &String, value: &Value| value.is_null() || each(value).all(|value| fits(name, value));
        let others = self.attributes.iter().filter(|(name, value)| !is_declared_by(name, value));
        self.lost = others.map(|(name, _)| name.clone()).collect();
        self.attributes.retain(|name, _| !self.lost.contains(name));
        self
    }
}

/// The entries of a list, or the one value.
pub(super) fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice).iter()
}

impl ArgumentKind {
    /// Whether a recorded value was taken apart as this.
    pub(super) fn fits(self, value: &Value) -> bool {
        let member = match self {
            Self::Sql(_) => "tables",
            Self::Path => "below",
            Self::Url => "domains",
            Self::Text => return value.get("length").is_some_and(Value::is_u64),
        };
        value.get(member).is_some_and(Value::is_array)
    }

    /// What of an argument that was taken apart may be written down: of a mere text no more than its length.
    fn written_down(self, mut apart: Value) -> Value {
        let entries = match &mut apart {
            Value::Array(list) => list.as_mut_slice(),
            one => std::slice::from_mut(one),
        };
        for text in entries.iter_mut().filter(|_| self == Self::Text).filter_map(Value::as_object_mut) {
            text.remove("text");
        }
        apart
    }
}

impl Kinds {
    /// What may be written down of a call's arguments: of those that rules declare, what they mean, and how long they are. A text that nobody
    /// takes apart is written down only if it is one of the values that a rule names.
    pub(crate) fn record(&self, server: &str, tool: &str, text: &str) -> Option<Recorded> {
        let declared = self.declared(server, tool);
        if declared.is_empty() {
            return None; // as most tools: nothing is looked into
        }
        let members = strict::read(text)?;
        let mut recorded = Recorded::default();
        for (name, declared) in declared {
            let Some(value) = members.get(name) else {
                recorded.attributes.insert(name.to_owned(), Value::Null);
                continue;
            };
            if let (true, Some(size)) = (declared.is_measured, size(value)) {
                recorded.sizes.insert(name.to_owned(), size.into());
            }
            let means = match declared.kind {
                Some(kind) => super::kinds::apart(kind, value).ok().map(|apart| kind.written_down(apart)),
                None => may_be_told(value, &declared.values).then(|| value.clone()),
            };
            recorded.attributes.extend(means.map(|means| (name.to_owned(), means)));
        }
        let untold = members.keys().filter(|name| !recorded.attributes.contains_key(*name)).count();
        recorded.unrecorded = Some(u32::try_from(untold).unwrap_or(u32::MAX));
        Some(recorded)
    }
}

fn size(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => Some(text.chars().count() as u64),
        Value::Array(list) => Some(list.len() as u64),
        _ => None,
    }
}

/// Numbers, truth values and what the configuration itself names: nothing that a caller could hide something in.
fn may_be_told(value: &Value, named: &[Value]) -> bool {
    let may = |value: &Value| value.is_number() || value.is_boolean() || named.contains(value);
    match value {
        Value::Array(list) => list.len() <= MOST_ENTRIES && list.iter().all(may),
        value => may(value),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::json;

    use super::*;
    use crate::{Config, ServerRules};

    fn kinds(rules: Value) -> Kinds {
        let rules = ServerRules { arguments: serde_json::from_value(rules).unwrap(), ..ServerRules::default() };
        Kinds::of(&Config::default(), &[("s".to_owned(), rules)].into())
    }

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_what_a_rule_declares_is_written_down() {
        let kinds = kinds(json!([
            { "tools": ["t"], "argument": "p", "kind": "path", "longest": 9 },
            { "tools": ["t"], "argument": "n", "number": { "max": 3 } },
            { "tools": ["t"], "argument": "mode", "one_of": ["fast", "slow"] },
            { "tools": ["t"], "argument": "mode", "one_of": ["slow"] },
            { "tools": ["t"], "argument": "note", "longest": 3, "optional": true },
            { "tools": ["other"], "argument": "text", "kind": "path" },
        ]));
        let record = |arguments: Value| kinds.record("s", "t", &arguments.to_string());
        let told = record(json!({ "p": "a", "n": 2, "mode": "fast", "text": "secret" })).unwrap();
        let path = json!({ "text": "a", "absolute": false, "below": [".", "a"] });
        assert_eq!(told.attributes, object(json!({ "p": path, "n": 2, "mode": "fast", "note": null })));
        assert_eq!((told.sizes, told.unrecorded), (object(json!({ "p": 1 })), Some(1)));
        let hidden = record(json!({ "p": "../secret", "n": "secret", "mode": "secret", "note": "secret" })).unwrap();
        assert_eq!((hidden.attributes, hidden.unrecorded), (Map::new(), Some(4)), "texts of the caller's own");
        assert_eq!(hidden.sizes, object(json!({ "p": 9, "note": 6 })));
        assert_eq!(kinds.record("s", "else", "{}"), None);
        assert_eq!(kinds.record("s", "t", r#"{"n": 1, "n": 2}"#), None);
    }

    #[test]
    fn of_a_text_its_length_is_written_down_alone() {
        let kinds = kinds(json!([{ "tools": ["t"], "argument": "note", "kind": "text" }]));
        let record = |note: Value| kinds.record("s", "t", &json!({ "note": note }).to_string()).unwrap();
        let told = record(json!("secret"));
        assert_eq!((&told.attributes, told.unrecorded), (&object(json!({ "note": { "length": 6 } })), Some(0)));
        assert!(told.is_mere_length("note") && !told.is_mere_length("other") && !told.is_whole());
        assert_eq!(record(json!(["a", "bc"])).attributes, object(json!({ "note": [{ "length": 1 }, { "length": 2 }] })));
        let again = told.declared_by(&kinds, "s", "t");
        assert!(matches!(again.get("note"), Known::Is(_)), "it is declared as what it was recorded as");
    }

    #[test]
    fn what_is_not_told_is_not_taken_for_absent() {
        let mut told = Recorded::new(object(json!({ "a": 1, "b": null })), Map::new(), Some(1), None);
        assert!(matches!(told.get("a"), Known::Is(_)) && matches!(told.get("b"), Known::Absent));
        assert!(matches!(told.get("c"), Known::Unknown) && !told.is_whole());
        told.names = Some(["a", "b"].map(str::to_owned).into());
        assert!(matches!(told.get("c"), Known::Absent) && told.is_whole());
        assert!(matches!(Recorded::new(Map::new(), Map::new(), Some(0), None).get("c"), Known::Absent));
    }

    #[test]
    fn what_was_recorded_as_something_else_is_not_known() {
        let path = json!({ "text": "a", "absolute": false, "below": [".", "a"] });
        let told = Recorded::new(object(json!({ "p": path, "q": path, "n": 1 })), Map::new(), Some(0), None);
        let rules = json!([{ "tools": ["*"], "argument": "p", "kind": "path" }, { "tools": ["*"], "argument": "n", "kind": "url" }]);
        let told = told.declared_by(&kinds(rules), "s", "t");
        assert_eq!(told.attributes.keys().collect::<Vec<_>>(), ["p"]);
        assert!(matches!(told.get("q"), Known::Unknown) && matches!(told.get("other"), Known::Absent) && !told.is_whole());
    }
}
