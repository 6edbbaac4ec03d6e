//! What can be wrong with a secret.

use std::fmt;
use std::io;

use crate::SecretReference;
use crate::providers::Provider;

/// Why a secret could not be had. Prints the reference and the problem, never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError {
    reference: SecretReference,
    problem: Problem,
}

/// What a provider found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    VariableNotSet,
    RelativePath,
    Unreadable(io::ErrorKind),
    NotRegular,
    TooLarge,
    OpenToOthers { mode: u32 },
    Empty,
    NotText,
}

impl SecretError {
    pub(crate) fn new(reference: SecretReference, problem: Problem) -> Self {
        Self { reference, problem }
    }

    /// The reference that could not be resolved.
    #[must_use]
    pub fn reference(&self) -> &SecretReference {
        &self.reference
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let locator = self.reference.locator();
        match self.problem {
            Problem::VariableNotSet => format!("set {locator} in the environment that starts the gateway"),
            Problem::RelativePath => "give an absolute path; `~` and variables are not expanded".into(),
            Problem::Unreadable(io::ErrorKind::NotFound) => "check the path; `~` and variables are not expanded".into(),
            Problem::Unreadable(_) => "the file must be readable by the user who runs the gateway".into(),
            Problem::NotRegular => "name a regular file, not a folder, pipe, socket or device".into(),
            Problem::TooLarge => "check the path: secrets are short".into(),
            Problem::OpenToOthers { .. } => format!("chmod 600 '{locator}'"),
            Problem::Empty if self.reference.provider() == Provider::Environment => {
                format!("set {locator} to a value, or remove the reference")
            }
            Problem::Empty => "write the secret into the file, or remove the reference".into(),
            Problem::NotText => "secrets are UTF-8 text without NUL; encode binary ones, e.g. as base64".into(),
        }
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "secret `{}`: {}", self.reference, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VariableNotSet => formatter.write_str("the environment variable is not set"),
            Self::RelativePath => formatter.write_str("the path is relative"),
            Self::Unreadable(io::ErrorKind::NotFound) => formatter.write_str("there is no such file"),
            Self::Unreadable(kind) => write!(formatter, "the file cannot be read: {kind}"),
            Self::NotRegular => formatter.write_str("it is not a regular file"),
            Self::TooLarge => {
                let most = crate::providers::LARGEST_FILE / 1024;
                write!(formatter, "the file is larger than {most} KiB")
            }
            Self::OpenToOthers { mode } => {
                write!(formatter, "others than its owner may use the file (mode {mode:03o})")
            }
            Self::Empty => formatter.write_str("it is empty"),
            Self::NotText => formatter.write_str("it is not text"),
        }
    }
}

impl std::error::Error for SecretError {}
