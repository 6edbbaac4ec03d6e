//! Why a request was not answered well, before it is known whom to tell.

use std::time::Duration;

use sallyport_protocol::{ErrorObject, Failure, FailureKind, FailureSource, Retry};

/// What became of a request instead of a result.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The server answered with an error.
    Error(ErrorObject),
    /// The server's answer is none: what is wrong with it.
    Malformed(String),
    /// The answer is longer than this many bytes.
    TooLarge(usize),
    /// It was never sent.
    NotSent(String),
    /// It was sent, and then the way back was lost.
    Lost(String),
    /// The server wants a credential, or another one: the HTTP status.
    Unauthorized(u16),
    /// There is no credential that the request could go with: why.
    NoCredential(Box<Failure>),
    /// The server has too much to do and has done nothing: the HTTP status.
    Busy(u16),
    /// No answer within this time.
    TimedOut(Duration),
    /// The client wanted it no longer.
    Cancelled,
    /// The request cannot be put to this server.
    Refused(FailureKind, String),
}

impl Fault {
    /// The fault as the failure of the server of that name.
    pub(crate) fn of(self, server: &str) -> Failure {
        let fail = |kind, retry, text: String| Failure::upstream(server, kind, retry, text);
        match self {
            Self::Error(error) => {
                let text = format!("server `{server}` answered with error {}: {}", error.code, error.message);
                fail(FailureKind::Upstream(error), Retry::Never, text)
            }
            Self::Malformed(what) => {
                fail(FailureKind::Malformed, Retry::Unknown, format!("server `{server}` gave a malformed answer: {what}"))
            }
            Self::TooLarge(limit) => {
                fail(FailureKind::TooLarge, Retry::Unknown, format!("server `{server}` gave an answer of more than {limit} bytes"))
            }
            Self::NotSent(why) => fail(FailureKind::Unreachable, Retry::Safe, format!("server `{server}` cannot be reached: {why}")),
            Self::Lost(why) => {
                fail(FailureKind::Unreachable, Retry::Unknown, format!("server `{server}` was lost before it answered: {why}"))
            }
            Self::Unauthorized(status) => {
                fail(FailureKind::Unreachable, Retry::Never, format!("server `{server}` wants another credential (HTTP {status})"))
                    .with_hint("give the server its credential under `headers`")
            }
            Self::NoCredential(failure) => *failure,
            Self::Busy(status) => fail(FailureKind::Overloaded, Retry::Safe, format!("server `{server}` is overloaded (HTTP {status})")),
            Self::TimedOut(limit) => fail(
                FailureKind::TimedOut(limit),
                Retry::Unknown,
                format!("server `{server}` did not answer within {} s", limit.as_secs_f32()),
            ),
            Self::Cancelled => {
                Failure::new(FailureKind::Cancelled, FailureSource::Client, Retry::Unknown, "the request was cancelled by the client")
            }
            Self::Refused(kind, why) => fail(kind, Retry::Never, format!("server `{server}`: {why}")),
        }
    }
}
