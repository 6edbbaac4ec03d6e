//! Why a tool did not do what it was asked to.

use std::borrow::Cow;
use std::fmt;

/// A failure that the model is told of; or the end of a call that nobody waits for.
#[derive(Debug)]
pub(crate) struct ToolError {
    message: String,
    hint: Option<Cow<'static, str>>,
    cancelled: bool,
}

impl ToolError {
    /// A failure: lower case, no full stop, names its subject.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, cancelled: false }
    }

    /// A failure over one of the arguments.
    pub(crate) fn argument(name: &str, reason: impl fmt::Display) -> Self {
        Self::new(format!("argument `{name}`: {reason}"))
    }

    /// A fault of ours.
    pub(crate) fn internal(error: impl fmt::Display) -> Self {
        Self::new(format!("internal fault: {error}"))
    }

    /// Nobody waits any more.
    pub(crate) fn cancelled() -> Self {
        Self { message: "cancelled".to_owned(), hint: None, cancelled: true }
    }

    /// Adds what to do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(out, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
