//! A rule for an argument, asked about what the record of a call tells of it.

use std::borrow::Cow;

use serde_json::Value;

use super::{ArgumentGuard, Check, MOST_ENTRIES};
use crate::ArgumentKind;
use crate::arguments::recorded::each;
use crate::arguments::{Known, Recorded};

impl ArgumentGuard {
    /// What is wrong with a call's arguments, if anything.
    ///
    /// # Errors
    /// What would have to be known of the argument, where nothing that is known refuses it.
    pub(crate) fn refuses_recorded(&self, recorded: &Recorded) -> Result<Option<String>, String> {
        let argument = &self.argument;
        let value = match recorded.get(argument) {
            Known::Absent => return Ok((!self.is_optional).then(|| format!("it needs the argument `{argument}`"))),
            Known::Is(value) => Some(value),
            Known::Unknown => None,
        };
        let size = recorded.sizes.get(argument).and_then(Value::as_u64);
        let mut lacking = None;
        for check in &self.checks {
            match check.refuses_recorded(value, size) {
                Ok(Some(problem)) => return Ok(Some(format!("`{argument}` {problem}"))),
                Ok(None) => {}
                Err(what) => lacking = lacking.or(Some(what)),
            }
        }
        match lacking {
            Some("") => Err(format!("`{argument}`")),
            Some(what) => Err(format!("{what} of `{argument}`")),
            None => Ok(None),
        }
    }
}

impl Check {
    /// What is wrong with a value, of which the length may be known alone.
    ///
    /// # Errors
    /// What of it would have to be known; nothing, where it is the value itself.
    fn refuses_recorded(&self, value: Option<&Value>, size: Option<u64>) -> Result<Option<Cow<'static, str>>, &'static str> {
        if let Self::Longest(longest) = self {
            let size = size.ok_or("the length")?;
            return Ok((size > *longest as u64).then(|| "is too long".into()));
        }
        let value = value.ok_or("")?;
        if value.as_array().is_some_and(|list| list.len() > MOST_ENTRIES) {
            return Ok(Some("has too many entries".into()));
        }
        for entry in each(value) {
            if let Some(problem) = self.refuses_recorded_one(entry)? {
                return Ok(Some(problem));
            }
        }
        Ok(None)
    }

    fn refuses_recorded_one(&self, value: &Value) -> Result<Option<Cow<'static, str>>, &'static str> {
        let is_a = |kind: ArgumentKind| if kind.fits(value) { Ok(()) } else { Err("") };
        let text = || value.get("text").and_then(Value::as_str).ok_or("");
        match self {
            Self::Kind(kind) => is_a(*kind).map(|()| None),
            Self::Sql(sql) => {
                is_a(ArgumentKind::Sql(crate::Dialect::PostgreSql))?;
                Ok(sql.refuses_recorded(value)?.map(Cow::Owned))
            }
            Self::Path(path) => {
                is_a(ArgumentKind::Path)?;
                Ok(path.refuses_recorded(value).map(Cow::Borrowed))
            }
            Self::Url(url) => {
                is_a(ArgumentKind::Url)?;
                Ok(url.refuses(text()?).map(Cow::Owned))
            }
            Self::Number(_) | Self::OneOf(_) | Self::Longest(_) => {
                if value.is_object() {
                    Err("")
                } else {
                    Ok(self.refuses_one(value))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use globset::{Glob, GlobSet};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{ArgumentRule, Config, Kinds, ServerRules};

    fn guard(rule: Value) -> ArgumentGuard {
        let rule: ArgumentRule = serde_json::from_value(rule).unwrap();
        ArgumentGuard::build(&rule, GlobSet::new([Glob::new("*").unwrap()]).unwrap()).unwrap()
    }

    /// What is recorded of some arguments by a configuration with `rules`.
    fn record(rules: Value, arguments: &Value) -> Recorded {
        let rules = ServerRules { arguments: serde_json::from_value(rules).unwrap(), ..ServerRules::default() };
        let kinds = Kinds::of(&Config::default(), &[("s".to_owned(), rules)].into());
        kinds.record("s", "t", &arguments.to_string()).unwrap()
    }

    #[test]
    fn what_the_record_does_not_tell_is_named() {
        let declared = json!([{ "tools": ["*"], "argument": "p", "kind": "path" }]);
        let told = record(declared, &json!({ "p": "/srv/a", "mode": "fast" }));
        let judged = |rule: Value| guard(rule).refuses_recorded(&told);
        assert_eq!(judged(json!({ "tools": ["*"], "argument": "p", "path": { "below": ["/srv"] } })), Ok(None));
        assert!(judged(json!({ "tools": ["*"], "argument": "p", "path": { "below": ["/etc"] }, "longest": 3 })).unwrap().is_some());
        let long = json!({ "tools": ["*"], "argument": "p", "path": { "below": ["/srv"] }, "longest": 3 });
        assert_eq!(judged(long), Err("the length of `p`".into()));
        assert_eq!(judged(json!({ "tools": ["*"], "argument": "mode", "one_of": ["fast"] })), Err("`mode`".into()));
        assert_eq!(judged(json!({ "tools": ["*"], "argument": "p", "kind": "url" })), Err("`p`".into()));
    }

    proptest! {
        /// Judged by its record, a call is judged as it was, or it is said that it cannot be.
        #[test]
        fn a_record_is_judged_as_its_call_is(
            path in "[a./~:]{0,8}",
            url in "(https|http)://(example\\.com|[a-c.]{1,5})(:[0-9]{1,4})?/[a?#]{0,3}",
            number in prop_oneof![(-5_i64..20).prop_map(Value::from), "[a1]{0,2}".prop_map(Value::from)],
            mode in prop_oneof![Just(json!("fast")), Just(json!("slow")), Just(json!(["fast"])), Just(Value::Null), Just(json!(1))],
        ) {
            let arguments = json!({ "p": path, "u": url, "n": number, "m": mode });
            let rules = json!([
                { "tools": ["*"], "argument": "p", "path": { "below": ["/a", "a"] }, "longest": 5 },
                { "tools": ["*"], "argument": "u", "url": { "hosts": ["example.com", "*.b"] } },
                { "tools": ["*"], "argument": "n", "number": { "min": 0, "max": 9 } },
                { "tools": ["*"], "argument": "m", "one_of": ["fast", 1] },
                { "tools": ["*"], "argument": "gone", "longest": 1, "optional": true },
            ]);
            let told = record(rules.clone(), &arguments);
            for rule in rules.as_array().unwrap() {
                let guard = guard(rule.clone());
                let refused = guard.refuses(&arguments.to_string()).is_some();
                if let Ok(judged) = guard.refuses_recorded(&told) {
                    prop_assert_eq!(judged.is_some(), refused, "{} {} {:?}", rule, arguments, judged);
                } else {
                    prop_assert!(refused, "what is allowed by a rule that recorded it is told: {} {}", rule, arguments);
                }
            }
        }
    }
}
