//! A rule for an argument, ready to look at calls.

mod replay;

use std::borrow::Cow;

use globset::GlobSet;
use serde_json::Value;

use super::object::Object;
use super::rule::ArgumentRule;
use super::sql::SqlGuard;
use super::{ArgumentKind, NumberRule, PathRule, UrlRule};

/// Most entries of a list that is looked at: no tool takes as many paths in one call.
const MOST_ENTRIES: usize = 1000;

/// What one argument of some tools has to be.
#[derive(Clone, Debug)]
pub(crate) struct ArgumentGuard {
    tools: GlobSet,
    argument: String,
    is_optional: bool,
    checks: Vec<Check>,
}

#[derive(Clone, Debug)]
enum Check {
    Kind(ArgumentKind),
    Sql(SqlGuard),
    Path(PathRule),
    Url(UrlRule),
    Number(NumberRule),
    OneOf(Vec<Value>),
    Longest(usize),
}

impl ArgumentGuard {
    /// # Errors
    /// Each thing that is wrong with the rule, and the key it is wrong with.
    pub(crate) fn build(rule: &ArgumentRule, tools: GlobSet) -> Result<Self, Vec<(&'static str, String)>> {
        let mut problems = Vec::new();
        if rule.argument.is_empty() {
            problems.push(("argument", "an argument without a name can never be given".to_owned()));
        }
        if rule.tools.is_empty() {
            problems.push(("tools", "the rule is for no tool".to_owned()));
        }
        let checks = checks(rule, &mut problems);
        if checks.is_empty() && problems.is_empty() {
            problems.push(("argument", "the rule says nothing about its argument".to_owned()));
        }
        match problems.is_empty() {
            true => Ok(Self { tools, argument: rule.argument.clone(), is_optional: rule.optional, checks }),
            false => Err(problems),
        }
    }

    /// Whether the rule is about this tool.
    pub(crate) fn concerns(&self, tool: &str) -> bool {
        self.tools.is_match(tool)
    }

    /// Whether to look at an argument takes more than a look.
    pub(crate) fn is_work(&self) -> bool {
        self.checks.iter().any(|check| matches!(check, Check::Sql(_) | Check::Kind(ArgumentKind::Sql(_))))
    }

    /// What is wrong with a call's arguments, if anything.
    pub(crate) fn refuses(&self, arguments: &str) -> Option<String> {
        let Ok(object) = serde_json::from_str::<Object<'_>>(arguments) else {
            return Some("its arguments can be read in several ways".to_owned());
        };
        let argument = &self.argument;
        let Some(text) = object.get(argument) else {
            return (!self.is_optional).then(|| format!("it needs the argument `{argument}`"));
        };
        let Ok(value) = serde_json::from_str::<Value>(text) else {
            return Some(format!("`{argument}` cannot be understood"));
        };
        let problem = self.checks.iter().find_map(|check| check.refuses(&value))?;
        Some(format!("`{argument}` {problem}"))
    }
}

fn checks(rule: &ArgumentRule, problems: &mut Vec<(&'static str, String)>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut add = |key, problem: Option<String>, check| match problem {
        Some(problem) => problems.push((key, problem)),
        None => checks.push(check),
    };
    if let Some(longest) = rule.longest {
        add("longest", None, Check::Longest(usize::try_from(longest).unwrap_or(usize::MAX)));
    }
    if let Some(path) = &rule.path {
        add("path", path.problem(), Check::Path(path.clone()));
    }
    if let Some(url) = &rule.url {
        add("url", url.problem(), Check::Url(url.clone()));
    }
    if let Some(number) = rule.number {
        add("number", number.problem().map(str::to_owned), Check::Number(number));
    }
    if let Some(values) = &rule.one_of {
        let problem = (values.is_empty() || values.iter().any(|value| value.is_object() || value.is_array() || value.is_null()))
            .then(|| "`one_of` takes texts, numbers and truth values, at least one".to_owned());
        add("one_of", problem, Check::OneOf(values.clone()));
    }
    if let Some(kind) = rule.kind {
        add("kind", None, Check::Kind(kind));
    }
    match rule.sql.as_ref().map(SqlGuard::build) {
        Some(Ok(sql)) => checks.push(Check::Sql(sql)),
        Some(Err(problem)) => problems.push(("sql", problem)),
        None => {}
    }
    checks
}

impl Check {
    /// What is wrong with a value; of a list, with the first entry that something is wrong with.
    fn refuses(&self, value: &Value) -> Option<Cow<'static, str>> {
        match (self, value) {
            (Self::Longest(longest), Value::String(text)) => (text.chars().count() > *longest).then(|| "is too long".into()),
            (Self::Longest(longest), Value::Array(list)) => (list.len() > *longest).then(|| "has too many entries".into()),
            (_, Value::Array(list)) if list.len() > MOST_ENTRIES => Some("has too many entries".into()),
            (_, Value::Array(list)) => list.iter().find_map(|value| self.refuses_one(value)),
            (_, value) => self.refuses_one(value),
        }
    }

    fn refuses_one(&self, value: &Value) -> Option<Cow<'static, str>> {
        match (self, value) {
            (Self::Kind(kind), Value::String(text)) => kind.apart(text).err().map(Cow::Owned),
            (Self::Sql(sql), Value::String(text)) => sql.refuses(text).map(Cow::Owned),
            (Self::Path(path), Value::String(text)) => path.refuses(text).map(Cow::Owned),
            (Self::Url(url), Value::String(text)) => url.refuses(text).map(Cow::Owned),
            (Self::Number(rule), Value::Number(number)) => {
                (!number.as_f64().is_some_and(|number| rule.admits(number))).then(|| "is a number that is not allowed".into())
            }
            (Self::OneOf(values), value) => (!values.contains(value)).then(|| "is none of the values that are allowed".into()),
            _ => Some("has another type than its rule is for".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn guard(rule: Value) -> ArgumentGuard {
        let rule: ArgumentRule = serde_json::from_value(rule).unwrap();
        ArgumentGuard::build(&rule, GlobSet::empty()).unwrap()
    }

    #[test]
    fn each_entry_of_a_list_is_checked() {
        let guard = guard(serde_json::json!({ "tools": ["read"], "argument": "paths", "path": { "below": ["/a"] }, "longest": 2 }));
        assert_eq!(guard.refuses(r#"{"paths": ["/a/b", "/a/c"]}"#), None);
        assert_eq!(guard.refuses(r#"{"paths": []}"#), None);
        for arguments in [r#"{"paths": ["/a/b", "/b"]}"#, r#"{"paths": ["/a", "/a", "/a"]}"#, r#"{"paths": [["/a"]]}"#, r#"{"paths": [1]}"#]
        {
            assert!(guard.refuses(arguments).is_some(), "{arguments}");
        }
    }

    #[test]
    fn an_argument_that_is_missing_or_of_another_type_is_refused() {
        let rule = serde_json::json!({ "tools": ["*"], "argument": "limit", "number": { "min": 1, "max": 100 } });
        let strict = guard(rule.clone());
        let mut optional = rule;
        optional["optional"] = true.into();
        let optional = guard(optional);
        assert_eq!(strict.refuses("{}").as_deref(), Some("it needs the argument `limit`"));
        assert_eq!(optional.refuses("{}"), None);
        for guard in [strict, optional] {
            assert_eq!(guard.refuses(r#"{"limit": 7.5, "other": "x"}"#), None);
            for value in ["0", "101", "\"7\"", "null", "true", "{}", "1e400", "[1, 1000]"] {
                assert!(guard.refuses(&format!("{{\"limit\": {value}}}")).is_some(), "{value}");
            }
            assert!(guard.refuses("[]").is_some() && guard.refuses("null").is_some());
        }
    }

    #[test]
    fn a_value_is_one_of_those_allowed_with_its_type() {
        let guard = guard(serde_json::json!({ "tools": ["*"], "argument": "mode", "one_of": ["fast", 1, true] }));
        for value in ["\"fast\"", "1", "true", "\"f\\u0061st\""] {
            assert_eq!(guard.refuses(&format!("{{\"mode\": {value}}}")), None, "{value}");
        }
        for value in ["\"slow\"", "\"1\"", "false", "null", "{\"fast\": 1}"] {
            assert!(guard.refuses(&format!("{{\"mode\": {value}}}")).is_some(), "{value}");
        }
    }
}
