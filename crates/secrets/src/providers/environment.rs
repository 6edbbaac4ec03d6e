//! `env:NAME`: an environment variable of the gateway.

use std::borrow::Cow;
use std::env::VarError;
use std::path::Path;

use crate::error::Problem;
use crate::secret::Secret;

pub(super) const SCHEME: &str = "env";
pub(super) const PLACEHOLDER: &str = "NAME";
pub(super) const PATTERN: &str = "[A-Za-z_][A-Za-z0-9_]*";

/// POSIX names: anything else cannot be exported by a shell and is a slip of the pen.
pub(super) fn accepts(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A variable has no folder.
pub(super) fn anchored<'a>(name: &'a str, _: &Path) -> Cow<'a, str> {
    Cow::Borrowed(name)
}

pub(super) fn look(name: &str) -> Result<(), Problem> {
    match std::env::var_os(name) {
        Some(value) if value.is_empty() => Err(Problem::Empty),
        Some(_) => Ok(()),
        None => Err(Problem::VariableNotSet),
    }
}

pub(super) fn read(name: &str) -> Result<Secret, Problem> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Err(Problem::Empty),
        Ok(value) => Ok(Secret::new(value)),
        Err(VarError::NotPresent) => Err(Problem::VariableNotSet),
        Err(VarError::NotUnicode(_)) => Err(Problem::NotText),
    }
}
