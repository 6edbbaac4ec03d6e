//! Why a package is not there.

use std::fmt;
use std::io;

use super::Package;

/// Why a package is not there, or why a command that would install one was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    message: String,
    hint: Option<String>,
    last_words: Vec<String>,
}

impl Error {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, last_words: Vec::new() }
    }

    pub(super) fn io(message: impl fmt::Display, cause: &io::Error) -> Self {
        Self::new(format!("{message}: {cause}"))
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn with_last_words(self, last_words: Vec<String>) -> Self {
        Self { last_words, ..self }
    }

    /// The same, said of a package.
    pub(super) fn about(self, package: &Package, said: &str) -> Self {
        Self { message: format!("package {package} {said} {}", self.message), ..self }
    }

    /// The same, with what led to it.
    pub(super) fn after(self, said: &str) -> Self {
        Self { message: format!("{said}; {}", self.message), ..self }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The last lines that the package manager wrote. For the operator alone.
    #[must_use]
    pub fn last_words(&self) -> &[String] {
        &self.last_words
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        Self { message: error.to_string(), hint: error.hint().map(str::to_owned), last_words: Vec::new() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
