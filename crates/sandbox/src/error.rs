//! Why a program was not started.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::layer::Layer;

/// Why a program was not started. Nothing of it has run.
#[derive(Debug, Clone)]
pub struct Error {
    message: String,
    layer: Option<Layer>,
    errno: Option<i32>,
    hint: Option<String>,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), layer: None, errno: None, hint: None }
    }

    pub(crate) fn io(message: impl fmt::Display, cause: &io::Error) -> Self {
        let mut error = Self::new(format!("{message}: {cause}"));
        error.errno = cause.raw_os_error();
        error
    }

    /// Says of what the message speaks.
    #[cfg(target_os = "linux")]
    pub(crate) fn within(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// This error of the weaker of two boundaries, after the stronger was refused; that is the one to be cured.
    pub(crate) fn after(mut self, refusal: Self) -> Self {
        self.message = format!("{}; and before that: {}", self.message, refusal.message);
        self.hint = refusal.hint.or(self.hint);
        self
    }

    /// What the launcher itself wrote before it ended; nothing in the usual case.
    #[cfg(target_os = "linux")]
    pub(crate) fn with_last_words(mut self, lines: &[String]) -> Self {
        if !lines.is_empty() {
            self.message = format!("{}; it wrote: {}", self.message, lines.join(" | "));
        }
        self
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn from_failure(name: &str, failure: &Failure, hint: Option<String>) -> Self {
        let cause = io::Error::from_raw_os_error(failure.errno);
        Self {
            message: format!("sandbox of {name}: layer {} is not in force: {}: {cause}", failure.layer, failure.step),
            layer: Some(failure.layer),
            errno: Some(failure.errno),
            hint,
        }
    }

    /// The layer that could not be put in force, if it was one.
    #[must_use]
    pub fn layer(&self) -> Option<Layer> {
        self.layer
    }

    /// The kernel's error number, if the kernel refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The step at which the launcher stopped, as it crosses to the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) layer: Layer,
    pub(crate) step: String,
    pub(crate) errno: i32,
}
