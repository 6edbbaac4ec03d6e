//! Arguments taken apart by what they are declared to be, for every engine in the same form.
//!
//! A query becomes `{ kind, tables, functions, columns, aliases }`, a path `{ text, absolute, below }`, an address
//! `{ text, scheme, host, port, path, domains }`, a text whose length counts `{ text, length }`; everything else stays what it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use globset::{Glob, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ArgumentRule, Dialect, path, sql, strict, url};
use crate::{Config, ServerRules};

/// Most entries of a list that are taken apart: no tool takes as many paths in one call.
pub(super) const MOST_ENTRIES: usize = 1000;

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArgumentKind {
    /// One statement in SQL, in that dialect: `{ sql = "postgresql" }`.
    Sql(Dialect),
    /// A path.
    Path,
    /// An address.
    Url,
    /// A text of which the length counts, in characters.
    Text,
}

/// What each argument of each tool is, as far as rules say.
#[derive(Clone, Debug, Default)]
pub struct Kinds(HashMap<String, Vec<Declared>>);

/// One argument of some tools.
#[derive(Clone, Debug)]
struct Declared {
    tools: GlobSet,
    argument: String,
    said: Said,
}

/// What rules say of one argument.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// `None`: a number or one of some values, which stays as it is.
    pub(super) kind: Option<ArgumentKind>,
    /// The values that are named.
    pub(super) values: Vec<Value>,
    /// Its length counts.
    pub(super) is_measured: bool,
}

impl Kinds {
    /// Gathers what the rules for arguments say that they are. Rules that cannot be understood are somebody else's to refuse.
    pub(crate) fn of(config: &Config, servers: &BTreeMap<String, ServerRules>) -> Self {
        let declared = |(name, own): (&String, &ServerRules)| {
            let matches = |glob: &str| Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(name));
            let spread = config.rules.iter().filter(|rule| matches(&rule.server)).flat_map(|rule| &rule.arguments);
            (name.clone(), own.arguments.iter().chain(spread).filter_map(Declared::of).collect())
        };
        // Where no rules declare anything, as mostly, nothing is looked up.
        Self(servers.iter().map(declared).filter(|(_, declared): &(_, Vec<_>)| !declared.is_empty()).collect())
    }

    /// What rules say of each argument of that tool that they are about.
    pub(super) fn declared(&self, server: &str, tool: &str) -> BTreeMap<&str, Said> {
        let mut all: BTreeMap<&str, Said> = BTreeMap::new();
        for declared in self.0.get(server).into_iter().flatten().filter(|declared| declared.tools.is_match(tool)) {
            let said = all.entry(&declared.argument).or_default();
            said.kind = said.kind.or(declared.said.kind);
            said.values.extend_from_slice(&declared.said.values);
            said.is_measured |= declared.said.is_measured;
        }
        all
    }

    /// Whether to understand the arguments of that tool takes more than a look.
    pub(crate) fn is_work(&self, server: &str, tool: &str) -> bool {
        let declared = self.0.get(server).into_iter().flatten();
        declared.filter(|declared| matches!(declared.said.kind, Some(ArgumentKind::Sql(_)))).any(|declared| declared.tools.is_match(tool))
    }

    /// What the argument of a tool is taken apart as.
    pub(super) fn kind(&self, server: &str, tool: &str, argument: &str) -> Option<ArgumentKind> {
        let mut declared = self.0.get(server)?.iter().filter(|declared| declared.argument == argument && declared.tools.is_match(tool));
        declared.find_map(|declared| declared.said.kind)
    }

    /// The arguments of a tool that are taken apart.
    #[cfg(feature = "cedar")]
    pub(crate) fn told(&self, server: &str, tool: &str) -> Vec<(&str, ArgumentKind)> {
        let declared = self.0.get(server).into_iter().flatten().filter(|declared| declared.tools.is_match(tool));
        let mut told: Vec<(&str, ArgumentKind)> = Vec::new();
        for (name, kind) in declared.filter_map(|declared| Some((declared.argument.as_str(), declared.said.kind?))) {
            if told.iter().all(|(known, _)| *known != name) {
                told.push((name, kind));
            }
        }
        told
    }

    /// Takes the arguments of a call apart.
    ///
    /// # Errors
    /// Which argument nobody can understand, and why.
    pub(crate) fn understand(&self, server: &str, tool: &str, text: &str) -> Result<Value, String> {
        let mut members = strict::read(text).ok_or("its arguments can be read in several ways")?;
        let mut done = BTreeSet::new();
        for declared in self.0.get(server).into_iter().flatten().filter(|declared| declared.tools.is_match(tool)) {
            let Some(kind) = declared.said.kind else { continue };
            let Some(value) = members.get_mut(&declared.argument).filter(|value| !value.is_null()) else { continue };
            if !done.insert(&declared.argument) {
                continue; // an earlier rule about the same argument has taken it apart
            }
            *value = apart(kind, value).map_err(|why| format!("`{}` {why}", declared.argument))?;
        }
        Ok(Value::Object(members))
    }
}

impl Declared {
    fn of(rule: &ArgumentRule) -> Option<Self> {
        let mut tools = GlobSetBuilder::new();
        for glob in &rule.tools {
            tools.add(Glob::new(glob).ok()?);
        }
        let said = rule.kind.or(match rule {
            ArgumentRule { sql: Some(sql), .. } => Some(ArgumentKind::Sql(sql.dialect)),
            ArgumentRule { path: Some(_), .. } => Some(ArgumentKind::Path),
            ArgumentRule { url: Some(_), .. } => Some(ArgumentKind::Url),
            _ => None,
        });
        let said = Said { kind: said, values: rule.one_of.clone().unwrap_or_default(), is_measured: rule.longest.is_some() };
        Some(Self { tools: tools.build().ok()?, argument: rule.argument.clone(), said })
    }
}

pub(super) fn apart(kind: ArgumentKind, value: &Value) -> Result<Value, String> {
    match value {
        Value::String(text) => kind.apart(text),
        Value::Array(list) if list.len() > MOST_ENTRIES => Err("has too many entries".into()),
        Value::Array(list) => {
            let text = |value: &Value| value.as_str().ok_or_else(other_type).and_then(|text| kind.apart(text));
            list.iter().map(text).collect()
        }
        _ => Err(other_type()),
    }
}

fn other_type() -> String {
    "has another type than its rule is for".into()
}

impl ArgumentKind {
    /// Takes one text apart.
    ///
    /// # Errors
    /// Why it cannot be understood.
    pub(super) fn apart(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Sql(dialect) => sql::apart(text, dialect).map_err(|why| format!("is {why}")),
            Self::Path => path::apart(text).map_err(|why| format!("is a path {why}")),
            Self::Url => url::apart(text).ok_or_else(|| "is an address that can be read in several ways".into()),
            Self::Text => Ok(json!({ "text": text, "length": text.chars().count() })),
        }
    }
}

#[cfg(test)]
mod tests;
