//! What may go wrong with a request, as the client saw it.

use std::fmt;

use serde_json::Value;

/// Why there is no result.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A JSON-RPC error.
    Error {
        /// JSON-RPC's own code, or one of MCP's.
        code: i64,
        /// The text for the person.
        message: String,
        /// `data`, or null.
        data: Value,
        /// The HTTP status it came with, where it came over HTTP.
        status: Option<u16>,
    },
    /// An answer of HTTP without a message of JSON-RPC in it.
    Http {
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
    /// The connection or stream ended first; the text says which.
    Closed(String),
    /// No answer within the client's patience.
    TimedOut,
    /// Something the revision does not allow, said or asked for.
    NotSpoken(String),
}

impl Fault {
    /// Reads the `error` member of a message.
    pub(super) fn of_error(error: &Value, status: Option<u16>) -> Self {
        Self::Error {
            code: error["code"].as_i64().unwrap_or_default(),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
            data: error["data"].clone(),
            status,
        }
    }

    /// The JSON-RPC code, if it is an error of JSON-RPC.
    #[must_use]
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Error { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// `error.data`, if it is an error of JSON-RPC.
    #[must_use]
    pub fn data(&self) -> Option<&Value> {
        match self {
            Self::Error { data, .. } => Some(data),
            _ => None,
        }
    }

    /// The HTTP status, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Error { status, .. } => *status,
            Self::Http { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error { code, message, data, .. } => {
                write!(out, "error {code}: {message}")?;
                if data.is_null() { Ok(()) } else { write!(out, " {data}") }
            }
            Self::Http { status, body } => write!(out, "HTTP {status}: {body}"),
            Self::Closed(what) => write!(out, "closed: {what}"),
            Self::TimedOut => out.write_str("no answer in time"),
            Self::NotSpoken(what) => out.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}

/// What a request gave: the result as it stood on the wire, or why there is none.
pub type Answer = Result<Value, Fault>;
