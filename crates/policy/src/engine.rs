//! What every policy engine is.

use std::fmt;

use crate::{Action, Decision, Principal, Resource};

/// Evaluates rules. One evaluation serves both moments: what a list shows and what a call may do.
pub trait PolicyEngine: fmt::Debug + Send + Sync {
    /// The engine's name in decisions and logs.
    fn name(&self) -> &'static str;

    /// What the rules say.
    ///
    /// # Errors
    /// When no answer can be found; [`Policy`](crate::Policy) then denies.
    fn evaluate(&self, principal: &Principal, action: Action, resource: &Resource<'_>) -> Result<Decision, EngineFailure>;
}

/// Why an engine could not answer; for the log, not for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFailure(pub String);

impl fmt::Display for EngineFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "policy engine: {}", self.0)
    }
}

impl std::error::Error for EngineFailure {}
