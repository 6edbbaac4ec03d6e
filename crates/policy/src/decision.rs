//! Decisions, and the proof that one was made.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answers of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It may go on.
    Allow,
    /// It may go on once a person has approved this very call.
    Ask,
    /// It ends here.
    Deny,
}

impl Effect {
    /// The name in configuration, logs and audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// An answer with its reason and the place in the configuration that gave it. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub effect: Effect,
    /// Why.
    pub reason: Reason,
    /// Which entry of the configuration says so.
    pub place: Place,
    /// What exactly, where the reason alone does not tell. It never quotes more of a call than a name.
    pub detail: Option<Arc<str>>,
}

/// What may give up something that was let through before: the request that ends a subscription.
pub trait GivesUp {
    /// Whether it does, and nothing else.
    fn gives_up(&self) -> bool;
}

/// Why a decision fell as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A `deny` list names it.
    DenyListed,
    /// An `ask` list names it.
    AskListed,
    /// A policy of an engine wants a person's approval.
    Asked,
    /// A person has approved it.
    Approved,
    /// An `allow` list names it.
    AllowListed,
    /// `read_only` lets it pass: it is known to change nothing.
    ReadOnly,
    /// `read_only` stops it: nobody says that it changes nothing.
    NotReadOnly,
    /// `read_only` stops it: its server says that it changes nothing and is not believed.
    NotBelieved,
    /// The server has an `allow` list, and this is not on it.
    NotListed,
    /// One of its arguments is not as a rule says it has to be.
    Argument,
    /// A policy of an engine allows it.
    Permitted,
    /// A policy of an engine forbids it.
    Forbidden,
    /// No rule speaks of it; the default decides.
    Default,
    /// It gives up what its caller was let have: nobody has to allow that.
    GivenUp,
    /// The token that was shown is not good for it; the detail is the scope that it lacks.
    Scope,
    /// Its server lists no such tool, so that no policy can be checked against it.
    Unlisted,
    /// The engine could not decide.
    EngineFailed,
}

/// A path into the configuration such as `servers.github.deny`, or the name of the engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(Arc<str>);

impl Place {
    /// The place called `path`.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self(path.into())
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Decision {
    /// An answer that its reason explains.
    #[must_use]
    pub fn new(effect: Effect, reason: Reason, place: Place) -> Self {
        Self { effect, reason, place, detail: None }
    }

    /// Whether the answer is [`Effect::Allow`].
    #[must_use]
    pub fn is_allow(&self) -> bool {
        self.effect == Effect::Allow
    }

    /// Whether the answer is [`Effect::Deny`]: what is not may be seen in lists.
    #[must_use]
    pub fn is_deny(&self) -> bool {
        self.effect == Effect::Deny
    }

    /// What could be changed so that the denied thing is allowed; empty when it is.
    #[must_use]
    pub fn hint(&self) -> String {
        let place = self.place.as_str();
        match self.reason {
            Reason::DenyListed => format!("`{place}` denies it"),
            Reason::NotListed => format!("add it to `{place}`"),
            Reason::NotReadOnly => format!("`{place}` stops tools that may change something; name it in `allow` beside it"),
            Reason::NotBelieved => format!(
                "`{place}` stops it: its server calls it read-only; set `trust_annotations = true` on the server or name it in `allow`"
            ),
            Reason::Default if self.is_deny() => "add a rule for the server, or set `policy.default = \"allow\"`".into(),
            Reason::Argument => format!("`{place}` says what is allowed"),
            Reason::Scope => "get a token that is good for it too".into(),
            Reason::Forbidden => format!("`{place}` forbids it"),
            Reason::Unlisted => "its server's list says which tools there are".into(),
            Reason::EngineFailed => "the gateway's log says what went wrong".into(),
            _ if self.effect == Effect::Ask => "a person has to approve each such call".into(),
            Reason::AskListed | Reason::Asked | Reason::Approved => String::new(),
            Reason::AllowListed | Reason::ReadOnly | Reason::Permitted | Reason::Default | Reason::GivenUp => String::new(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::DenyListed => "it is on a deny list",
            Self::AskListed => "it is on an ask list",
            Self::Asked => "a policy wants a person's approval",
            Self::Approved => "a person has approved it",
            Self::AllowListed => "it is on an allow list",
            Self::ReadOnly => "it changes nothing",
            Self::NotReadOnly => "only what changes nothing is allowed",
            Self::NotBelieved => "only what changes nothing is allowed, and its server is not trusted to say so",
            Self::NotListed => "it is not on the allow list",
            Self::Argument => "an argument is not as it has to be",
            Self::Permitted => "a policy allows it",
            Self::Forbidden => "a policy forbids it",
            Self::Default => "no rule speaks of it",
            Self::GivenUp => "it gives something up",
            Self::Scope => "the token is not good for it",
            Self::Unlisted => "its server does not list it",
            Self::EngineFailed => "the policy engine failed",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.effect {
            Effect::Allow => "allowed",
            Effect::Ask => "held for a person's approval",
            Effect::Deny => "denied",
        };
        match &self.detail {
            None => write!(formatter, "{verb} by `{}`: {}", self.place, self.reason),
            Some(detail) => write!(formatter, "{verb} by `{}`: {detail}", self.place),
        }
    }
}

/// A value that policy let through.
///
/// The fields are private and [`Policy::decide`](crate::Policy::decide) is the only maker, so that a function which takes
/// `Permitted<T>` cannot be reached around policy. It is not `Clone`: one decision lets one call through.
#[derive(Debug)]
#[must_use = "a permit is for the next step"]
pub struct Permitted<T> {
    value: T,
    decision: Decision,
}

impl<T> Permitted<T> {
    pub(crate) fn new(value: T, decision: Decision) -> Self {
        Self { value, decision }
    }

    /// What was let through.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Why it was let through.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Spends the permit.
    pub fn into_parts(self) -> (T, Decision) {
        (self.value, self.decision)
    }
}

/// A value that policy stopped, or holds back for a person's approval, handed back for the answer and the audit record.
#[derive(Debug)]
pub struct Denied<T> {
    /// What was stopped.
    pub value: T,
    /// Why. Its effect is [`Effect::Ask`] where an approval lets it through.
    pub decision: Decision,
}
