//! What a configuration says about policy.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engines::EngineConfig;
use crate::{ArgumentRule, Effect};

/// The `[policy]` table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Policy")]
pub struct Config {
    /// What holds where no rule speaks. Without it, the one person at this machine (stdio, or loopback without keys) is
    /// allowed and everybody else denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Effect>,
    /// Engines that are asked beside the rules, in any number: `{ cedar = { … } }`, `{ rego = { … } }`, `{ remote = { … } }`. One that
    /// denies, or that cannot answer, denies; otherwise one that asks for a person's approval holds the call, and one that allows allows; where none speaks, `default` decides, which is then `deny`
    /// for everybody unless it is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<EngineConfig>,
    /// Engines whose answers are only told, not followed: what `engines` would be with a change that is being tried. Where they would have
    /// decided another way, the gateway's log says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<EngineConfig>,
    /// Rules over servers, beside those that stand on the servers themselves. All rules of a server hold together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// Rules for every server whose name matches a glob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PolicyRule")]
pub struct Rule {
    /// Glob over server names, e.g. `git*`; every server if left out.
    #[serde(default = "every_server")]
    pub server: String,
    /// As `read_only` of a server, for every server that `server` matches.
    #[serde(default)]
    pub read_only: bool,
    /// As `allow` of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// As `ask` of a server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ask: Vec<String>,
    /// As `deny` of a server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// As `arguments` of a server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<ArgumentRule>,
}

fn every_server() -> String {
    "*".into()
}

/// The rules that stand on a server: which of its tools, prompts and resources may be seen and used.
///
/// Globs (`*`, `?`, `[ab]`, `{a,b}`) match the whole of a tool's or prompt's own name or a resource's own URI, upper and
/// lower case apart. `deny` wins over all; what `ask` names waits for a person's approval; what `allow` names is allowed; with `read_only`, so is what changes nothing.
/// As soon as `allow` or `read_only` is given, everything else is denied. A method of an extension that nobody here knows is
/// denied as soon as any rule is given, unless `allow` names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerRules {
    /// Allow what changes nothing: prompts, resources, and tools that are annotated so (`readOnlyHint`) by a built-in or
    /// a server with `trust_annotations = true`.
    pub read_only: bool,
    /// Allow what one of these globs matches. An empty list allows nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Ask a person about each call of what one of these globs matches, whether `allow` names it or not. It stands in lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ask: Vec<String>,
    /// Deny what one of these globs matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// Deny calls whose arguments are not as they have to be. Allows nothing that the other rules do not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<ArgumentRule>,
}

/// A rule that cannot be understood or can never match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPolicy {
    /// Where it stands, e.g. `policy.rules[1].deny[0]`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for InvalidPolicy {}
