//! What is wrong with a request, as OAuth tells it (RFC 6749 §5.2 and its kin).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use sallyport_store::StoreError;

use super::answer;

/// Why a request is not answered as it wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// The code that programs go by.
    pub(super) error: &'static str,
    /// What people read.
    pub(super) description: String,
    /// In how many seconds another try makes sense.
    pub(super) retry_after: Option<i64>,
}

impl Problem {
    pub(super) fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description: description.into(), retry_after: None }
    }

    pub(super) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    pub(super) fn invalid_grant(description: impl Into<String>) -> Self {
        Self::new("invalid_grant", description)
    }

    /// With 401, by which clients learn that they have to register again.
    pub(super) fn invalid_client(description: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, ..Self::new("invalid_client", description) }
    }

    /// Something on our side, which the log tells and the caller does not learn.
    pub(super) fn internal(what: &str) -> Self {
        Self::failed(what, None)
    }

    /// The same, with what whoever runs the gateway can do about it.
    pub(super) fn failed(what: &str, hint: Option<&str>) -> Self {
        tracing::error!(hint, "the authorization server failed: {what}");
        let told = Self::new("server_error", "the authorization server failed; its log says why");
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, ..told }
    }

    pub(super) fn response(&self) -> Response<Bytes> {
        let body = serde_json::json!({ "error": self.error, "error_description": self.description });
        let mut response = answer::json(self.status, &body);
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"oauth\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::failed(&error.to_string(), error.hint())
    }
}
