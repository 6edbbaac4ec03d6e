//! Policies in [Rego](https://www.openpolicyagent.org/docs/policy-language), version 1, evaluated by regorus.
//!
//! The package is `sallyport`. Its rule `deny` may be a set of reasons, or `true`: it denies. Its rule `allow` allows when it is `true` and
//! denies when it is `false`; where it is undefined this engine says nothing. `input` is [`Question::document`](crate::Question::document).
//! While the arguments of a tool are not known, for a list, `input.action` is `list` and `input.args` undefined.

/// The policies.
pub use super::Sources as Config;
use crate::{InvalidPolicy, Making};
#[cfg(feature = "rego")]
pub use engine::Rego;

/// Compiles the policies.
///
/// # Errors
/// What cannot be compiled, with its place, or policies that can never decide.
#[cfg(feature = "rego")]
pub(super) fn build(config: Config, making: &Making<'_>) -> Result<Rego, Vec<InvalidPolicy>> {
    Rego::build(&config, making)
}

#[cfg(not(feature = "rego"))]
pub(super) fn build(_: Config, making: &Making<'_>) -> Result<super::NotBuilt, Vec<InvalidPolicy>> {
    Err(vec![making.invalid("", "this program was built without Rego", "build it with the feature `rego`")])
}

#[cfg(feature = "rego")]
mod engine;
#[cfg(feature = "rego")]
mod looks;

#[cfg(all(test, feature = "rego"))]
mod tests;
