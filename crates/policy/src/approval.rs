//! What a person's approval is bound to: one call of one caller, to the last argument.

use std::fmt;

use sallyport_protocol::RawJson;
use sha2::{Digest as _, Sha256};

use crate::{Action, Arguments, Principal, Resource};

/// The digest of one call: who calls, what of which server, with which arguments. The order of an object's members does not count; all
/// else does, to the way in which a number is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Binding([u8; 32]);

impl Binding {
    /// What this very call is bound to; `None` as long as a tool's arguments are not known, or where they are not JSON.
    #[must_use]
    pub fn of(principal: &Principal, action: Action, resource: &Resource<'_>) -> Option<Self> {
        let arguments = match resource.arguments {
            Arguments::Given(text) => RawJson::parse(text.to_owned()).ok()?.in_order(),
            Arguments::Unknown if resource.kind == crate::ResourceKind::Tool => return None,
            Arguments::Recorded(_) => return None, // nobody calls anything
            Arguments::Unknown => Vec::new(),
        };
        let mut digest = Sha256::new();
        let parts = [principal.tenant(), principal.id(), action.as_str(), resource.server, resource.kind.as_str(), resource.name];
        for part in parts.map(str::as_bytes).into_iter().chain([arguments.as_slice()]) {
            // With its length before it no part can run into the next.
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Some(Self(digest.finalize().into()))
    }

    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, ..] = self.0;
        write!(out, "Binding({first:02x}{second:02x}…)")
    }
}

/// Why what a rule holds back may go on. Whatever a rule denies is denied all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// A person has approved this very call.
    Call(Binding),
    /// It is about a call that was let through when it began: its task, its answers.
    Begun,
}

impl Approval {
    /// Whether it is good for what is asked.
    pub(crate) fn covers(&self, principal: &Principal, action: Action, resource: &Resource<'_>) -> bool {
        match self {
            Self::Call(binding) => Binding::of(principal, action, resource).as_ref() == Some(binding),
            Self::Begun => true,
        }
    }
}

#[cfg(test)]
mod tests;
