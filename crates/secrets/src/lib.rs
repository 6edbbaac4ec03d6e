//! Hands out secrets by reference, and keeps them out of sight.
//!
//! The configuration holds a [`SecretReference`] such as `env:GITHUB_TOKEN`; [`resolve`] reads what it names as late as
//! possible into a [`Secret`], which cannot be printed or serialised and is overwritten when dropped.
#![forbid(unsafe_code)]

mod error;
mod providers;
mod reference;
mod secret;

pub use error::SecretError;
pub use reference::{InvalidReference, SecretReference};
pub use secret::Secret;

/// Looks whether the secret that `reference` names is there, in a place and form that are safe, as far as that shows without reading it.
///
/// # Errors
/// Why [`resolve`] would fail, now.
pub fn look(reference: &SecretReference) -> Result<(), SecretError> {
    reference.provider().look(reference.locator()).map_err(|problem| SecretError::new(reference.clone(), problem))
}

/// Reads the secret that `reference` names, now.
///
/// # Errors
/// When the provider does not have it, or has it in a form or place that is not safe to use; the error names the
/// reference and never any part of a value.
pub fn resolve(reference: &SecretReference) -> Result<Secret, SecretError> {
    reference.provider().read(reference.locator()).map_err(|problem| SecretError::new(reference.clone(), problem))
}
