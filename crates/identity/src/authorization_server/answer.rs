//! The forms that answers have.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode, header};
use serde::Serialize;

/// What every answer carries: nothing of a login is to stay in a cache, be guessed at by a browser, or be named to other sites. Not
/// `no-referrer`, with which browsers send forms with `Origin: null`.
const ALWAYS: [(HeaderName, &str); 3] =
    [(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff"), (header::REFERRER_POLICY, "same-origin")];

/// An answer for programs.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(body).unwrap_or_default(); // maps with text keys cannot fail
    with_type(status, body.into(), "application/json")
}

/// A document that anybody may keep for `seconds`.
pub(super) fn document(body: &impl Serialize, seconds: i64) -> Response<Bytes> {
    let mut response = json(StatusCode::OK, body);
    if let Ok(value) = HeaderValue::try_from(format!("public, max-age={seconds}")) {
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    response
}

/// The style of the pages.
pub(super) fn style() -> Response<Bytes> {
    let mut response = with_type(StatusCode::OK, Bytes::from_static(include_bytes!("pages/style.css")), "text/css; charset=utf-8");
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

/// A page for people, which nobody may frame, which runs no script, and whose forms go to us and, by redirection, to `form_target`.
pub(super) fn page(status: StatusCode, html: String, form_target: Option<&str>) -> Response<Bytes> {
    let mut response = with_type(status, html.into(), "text/html; charset=utf-8");
    let targets = form_target.map_or_else(String::new, |target| format!(" {target}"));
    let policy = format!("default-src 'none'; style-src 'self'; form-action 'self'{targets}; base-uri 'none'; frame-ancestors 'none'");
    let headers = response.headers_mut();
    let closed = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy).unwrap_or(closed));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// Sends the browser elsewhere, by GET.
pub(super) fn see_other(location: &str) -> Response<Bytes> {
    let mut response = bare(StatusCode::SEE_OTHER);
    match HeaderValue::try_from(location) {
        Ok(location) => drop(response.headers_mut().insert(header::LOCATION, location)),
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR, // every location was checked to be ASCII
    }
    response
}

/// A status alone.
pub(super) fn bare(status: StatusCode) -> Response<Bytes> {
    with_type(status, Bytes::new(), "text/plain")
}

fn with_type(status: StatusCode, body: Bytes, kind: &'static str) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
