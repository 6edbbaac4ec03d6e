//! What a principal wants to do with a resource.

use std::fmt;

/// The kinds of request that policy tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// See it in a list.
    List,
    /// `tools/call`.
    Call,
    /// `resources/read`.
    Read,
    /// `prompts/get`.
    Get,
    /// `completion/complete` on a prompt or resource template.
    Complete,
    /// Be told of changes of a resource.
    Subscribe,
}

impl Action {
    /// Every action.
    pub const ALL: &[Self] = &[Self::List, Self::Call, Self::Read, Self::Get, Self::Complete, Self::Subscribe];

    /// The name in logs and audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Call => "call",
            Self::Read => "read",
            Self::Get => "get",
            Self::Complete => "complete",
            Self::Subscribe => "subscribe",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
