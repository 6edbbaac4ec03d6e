//! The policy engines, one file each. The allow-list is always there; the others are there where the configuration names them.

use crate::{InvalidPolicy, Making, PolicyEngine};

pub mod allowlist;
mod sources;

pub use sources::{Source, Sources};

sallyport_registry::registry! {
    /// An engine that is asked beside the rules.
    #[derive(serde::Serialize)]
    pub EngineConfig builds PolicyEngine, or Vec<InvalidPolicy>, given (making: &Making<'_>) {
        /// Policies in Cedar, checked against the schemas of the tools.
        cedar => Cedar,
        /// Policies in Rego, evaluated here.
        rego => Rego,
        /// A decision point elsewhere, asked by AuthZEN or by OPA's REST API.
        remote => Remote,
    }
}

impl EngineConfig {
    /// The policies' texts, where they are kept here and not elsewhere.
    #[must_use]
    pub fn sources(&self) -> Option<&Sources> {
        match self {
            Self::Cedar(sources) | Self::Rego(sources) => Some(sources),
            Self::Remote(_) => None,
        }
    }

    /// The same, to put in what files hold.
    pub fn sources_mut(&mut self) -> Option<&mut Sources> {
        match self {
            Self::Cedar(sources) | Self::Rego(sources) => Some(sources),
            Self::Remote(_) => None,
        }
    }
}

/// An engine that this program was built without. There is none of its kind.
#[cfg(not(all(feature = "cedar", feature = "rego")))]
#[derive(Debug)]
pub enum NotBuilt {}

#[cfg(not(all(feature = "cedar", feature = "rego")))]
impl PolicyEngine for NotBuilt {
    fn name(&self) -> &'static str {
        match *self {}
    }

    fn evaluate<'a>(&'a self, _: &'a crate::Question<'a>) -> crate::Answer<'a> {
        match *self {}
    }
}
