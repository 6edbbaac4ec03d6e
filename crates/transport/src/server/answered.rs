//! An answer, ready to be sent.

use http::StatusCode;

use super::parts::Parts;

/// An answer, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// The HTTP status that goes with it, where it can still be chosen.
    pub(crate) status: StatusCode,
    /// The JSON-RPC message.
    pub(crate) message: Parts,
    /// It is a JSON-RPC error.
    pub(crate) is_error: bool,
    /// The client has cancelled the request, so that nothing needs to be sent where a message can be left out.
    pub(crate) cancelled: bool,
    /// What `WWW-Authenticate` says, where it is to say more than its scheme.
    pub(crate) challenge: Option<Box<str>>,
}

impl Answered {
    /// An answer that is no error.
    pub(crate) fn new(status: StatusCode, message: Parts) -> Self {
        Self { status, message, is_error: false, cancelled: false, challenge: None }
    }

    /// An answer that says no, whatever status was chosen for it: at least 400.
    pub(crate) fn at_least_bad_request(mut self) -> Self {
        if self.status.is_success() {
            self.status = StatusCode::BAD_REQUEST;
        }
        self
    }
}
