//! What went wrong with a request: who failed, whether to try again, what may be told to whom.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::jsonrpc::ErrorObject;
use crate::raw::RawJson;

/// A request that was not answered well. It becomes a wire answer in one place only: the gateway's `failure.rs`.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// Who failed.
    pub source: FailureSource,
    /// Whether sending it again may do a thing twice.
    pub retry: Retry,
    /// What the client is told: lower case, no full stop, names the subject.
    pub public: Cow<'static, str>,
    /// What the operator reads besides, in the log alone.
    pub internal: Option<String>,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
    /// What `WWW-Authenticate` says over HTTP: how the client would be let in (RFC 6750 §3). In a box, since nearly none has it.
    pub challenge: Option<Box<str>>,
}

/// What went wrong.
#[derive(Clone, Debug)]
pub enum FailureKind {
    /// The upstream answered with a JSON-RPC error of its own.
    Upstream(ErrorObject),
    /// The text was no JSON, or no message.
    NotAMessage(ErrorObject),
    /// Method, parameters or name do not fit.
    InvalidParams,
    /// There is no such method here.
    MethodNotFound,
    /// There is no such tool, prompt, toolset or server (or it is not the caller's to see).
    NotFound,
    /// There is no such resource: its URI.
    ResourceNotFound(String),
    /// 2026-07-28: header and body differ.
    HeaderMismatch,
    /// 2026-07-28: the client did not declare a capability: `requiredCapabilities`.
    MissingCapability(RawJson),
    /// A revision that is not spoken here: the one that was asked for.
    UnsupportedVersion(String),
    /// A session that is not there (any more).
    UnknownSession,
    /// HTTP alone was wrong: the status that says so (405, 406, 413, 415, …).
    Http(u16),
    /// Who calls is not known.
    Unauthenticated,
    /// Policy said no.
    Denied,
    /// A person has to approve this very call first.
    ApprovalNeeded(Box<ApprovalNeeded>),
    /// The caller's token is not good for this: the scope that it lacks.
    InsufficientScope(String),
    /// The upstream cannot be reached: not started, crashed, refused the connection.
    Unreachable,
    /// The upstream was ended because it went beyond the limit of this name, which is for the operator to set.
    LimitExceeded(&'static str),
    /// The caller's calls are beyond what they may come to now.
    Limited(Limited),
    /// The upstream did not answer within this limit.
    TimedOut(Duration),
    /// The client wanted it no longer.
    Cancelled,
    /// The upstream's answer is none.
    Malformed,
    /// More than a bound allows.
    TooLarge,
    /// Too much at once.
    Overloaded,
    /// A question, subscription or task that the two revisions at hand cannot both express.
    CannotCross,
    /// A fault of ours.
    Internal,
}

/// Which approval a call waits for.
#[derive(Clone, Debug)]
pub struct ApprovalNeeded {
    /// Names it to people.
    pub handle: String,
    /// Until when it can be had, in seconds since 1970.
    pub expires: i64,
    /// The question (2025-11-25, elicitation in mode `url`) that sends the client's user to where it is given; `None` where the client
    /// cannot be asked so.
    pub opens: Option<RawJson>,
}

/// Where a limit on calls stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Its place in the configuration.
    pub limit: Cow<'static, str>,
    /// How much there may be of what it counts.
    pub most: u64,
    /// How much there is.
    pub used: u64,
    /// When to try again.
    pub retry_after: Duration,
}

/// Who failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureSource {
    /// The one who asked.
    Client,
    /// We.
    Gateway,
    /// The server of that name.
    Upstream(String),
}

/// Whether a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It was never carried out: sending it again cannot do a thing twice.
    Safe,
    /// It may have been carried out.
    Unknown,
    /// It will fail again.
    Never,
}

impl Failure {
    /// A failure with no more than a public text.
    #[must_use]
    pub fn new(kind: FailureKind, source: FailureSource, retry: Retry, public: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, source, retry, public: public.into(), internal: None, hint: None, challenge: None }
    }

    /// The client's fault: it will fail again.
    #[must_use]
    pub fn client(kind: FailureKind, public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(kind, FailureSource::Client, Retry::Never, public)
    }

    /// Our fault.
    #[must_use]
    pub fn internal(public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FailureKind::Internal, FailureSource::Gateway, Retry::Unknown, public)
    }

    /// An upstream's fault.
    #[must_use]
    pub fn upstream(server: &str, kind: FailureKind, retry: Retry, public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(kind, FailureSource::Upstream(server.to_owned()), retry, public)
    }

    /// Adds what the operator reads.
    #[must_use]
    pub fn with_internal(mut self, text: impl fmt::Display) -> Self {
        self.internal = Some(text.to_string());
        self
    }

    /// The same of something that goes on with what was sent before: that this part was not carried out makes the whole no safer to repeat.
    #[must_use]
    pub fn after_it_was_sent(mut self) -> Self {
        if self.retry == Retry::Safe {
            self.retry = Retry::Unknown;
        }
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what `WWW-Authenticate` says over HTTP.
    #[must_use]
    pub fn with_challenge(mut self, challenge: impl Into<Box<str>>) -> Self {
        self.challenge = Some(challenge.into());
        self
    }

    /// A short name of the kind, for logs, metrics and audit records.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.kind {
            FailureKind::Upstream(_) => "upstream_error",
            FailureKind::NotAMessage(_) => "not_a_message",
            FailureKind::InvalidParams => "invalid_params",
            FailureKind::MethodNotFound => "method_not_found",
            FailureKind::NotFound => "not_found",
            FailureKind::ResourceNotFound(_) => "resource_not_found",
            FailureKind::HeaderMismatch => "header_mismatch",
            FailureKind::MissingCapability(_) => "missing_capability",
            FailureKind::UnsupportedVersion(_) => "unsupported_version",
            FailureKind::UnknownSession => "unknown_session",
            FailureKind::Http(_) => "http",
            FailureKind::Unauthenticated => "unauthenticated",
            FailureKind::Denied => "denied",
            FailureKind::ApprovalNeeded(_) => "approval_needed",
            FailureKind::InsufficientScope(_) => "insufficient_scope",
            FailureKind::Unreachable => "unreachable",
            FailureKind::LimitExceeded(_) => "limit_exceeded",
            FailureKind::Limited(_) => "limited",
            FailureKind::TimedOut(_) => "timed_out",
            FailureKind::Cancelled => "cancelled",
            FailureKind::Malformed => "malformed",
            FailureKind::TooLarge => "too_large",
            FailureKind::Overloaded => "overloaded",
            FailureKind::CannotCross => "cannot_cross",
            FailureKind::Internal => "internal",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.public)?;
        match &self.internal {
            Some(internal) => write!(out, " ({internal})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
