//! How the configuration writes a rule for an argument.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ArgumentKind, PathRule, SqlRule, UrlRule};

/// What one argument of some tools has to be. A call without the argument, with another type, or with anything in it that cannot be
/// understood is denied. Several checks hold together, and so do several rules. Where a tool takes a list, each of its entries is checked.
/// Arguments that no rule names pass as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArgumentRule {
    /// Patterns over the server's own tool names.
    pub tools: Vec<String>,
    /// The argument's name.
    pub argument: String,
    /// Lets a call leave the argument out. Default: `false`, because what a server does without it the rule does not know.
    #[serde(default)]
    pub optional: bool,
    /// What it is, for the policies of engines to look at: `"path"`, `"url"`, `{ sql = "postgresql" }`, or `"text"` where its length counts. A
    /// call whose argument cannot be understood as that is denied. `sql`, `path` and `url` beside it say so as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ArgumentKind>,
    /// It is one query in SQL that only reads, and only what is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlRule>,
    /// It is a path below one of some folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRule>,
    /// It is an address of one of some hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<UrlRule>,
    /// It is a number between two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NumberRule>,
    /// It is one of these texts, numbers or truth values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<Value>>,
    /// Most characters of the text, or most entries of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<u32>,
}

/// A number between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NumberRule {
    /// The least that is let through, a whole number. Default: no least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// The most that is let through, a whole number. Default: no most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
}

impl NumberRule {
    pub(super) fn problem(self) -> Option<&'static str> {
        match (self.min, self.max) {
            (None, None) => Some("`number` needs `min` or `max`"),
            (Some(min), Some(max)) if min > max => Some("no number lies between `min` and `max`"),
            _ => None,
        }
    }

    pub(super) fn admits(self, number: f64) -> bool {
        self.min.is_none_or(|min| number >= whole(min)) && self.max.is_none_or(|max| number <= whole(max))
    }
}

/// Beyond 2^53 the nearest number that an argument, too, is understood as.
#[expect(clippy::cast_precision_loss, reason = "the argument it is compared with has lost it as well")]
fn whole(number: i64) -> f64 {
    number as f64
}
