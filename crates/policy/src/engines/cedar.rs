//! Policies in [Cedar](https://docs.cedarpolicy.com).
//!
//! Each tool is an action of its own, `Action::"SERVER/TOOL"` in the group `Action::"call"`, because an action's context is what Cedar gives
//! types to: `context.args` has the members that the tool's `inputSchema` tells. So a server's policies can be checked strictly as soon as
//! its tools are known, and until they are, and while a policy does not fit them, the server is closed. For a list the arguments are
//! unknown, and Cedar evaluates what it can without them.

#[cfg(feature = "cedar")]
mod compiled;
#[cfg(feature = "cedar")]
mod engine;
#[cfg(feature = "cedar")]
mod mentions;
#[cfg(feature = "cedar")]
mod names;
#[cfg(feature = "cedar")]
mod prepared;
#[cfg(feature = "cedar")]
mod replay;
#[cfg(feature = "cedar")]
mod request;
#[cfg(feature = "cedar")]
mod schema;
#[cfg(feature = "cedar")]
mod shape;
#[cfg(feature = "cedar")]
mod text;

/// The policies.
pub use super::Sources as Config;
use crate::{InvalidPolicy, Making};
#[cfg(feature = "cedar")]
pub use engine::Cedar;

/// Parses the policies and checks what can be checked before any tool is known.
///
/// # Errors
/// Each policy that cannot be understood, does not fit the schema, or can never match.
#[cfg(feature = "cedar")]
pub(super) fn build(config: Config, making: &Making<'_>) -> Result<Cedar, Vec<InvalidPolicy>> {
    Cedar::build(&config, making)
}

#[cfg(not(feature = "cedar"))]
pub(super) fn build(_: Config, making: &Making<'_>) -> Result<super::NotBuilt, Vec<InvalidPolicy>> {
    Err(vec![making.invalid("", "this program was built without Cedar", "build it with the feature `cedar`")])
}

#[cfg(all(test, feature = "cedar"))]
mod tests;
