//! Requests of HTTP, as every transport over it builds them.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use sallyport_protocol::{Failure, FailureKind, Retry};
use url::Url;

use super::Target;
use super::fault::Fault;
use super::http1::{Body, HttpClient};
use super::shared::Shared;

/// The client for a target's origin.
pub(crate) fn client(shared: &Shared, target: &Target) -> Result<Arc<HttpClient>, Failure> {
    HttpClient::new(&target.url, &target.trust, shared.options.connect_timeout).map_err(|why| {
        Failure::upstream(shared.server(), FailureKind::Unreachable, Retry::Never, format!("server `{}` cannot be reached: {why}", shared.server()))
    })
}

/// What goes with every request to a target.
pub(crate) fn headers(target: &Target) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let host = target.url.host_str().unwrap_or_default();
    let authority = target.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    if let Ok(authority) = HeaderValue::try_from(authority) {
        headers.insert(http::header::HOST, authority);
    }
    headers.insert(http::header::USER_AGENT, HeaderValue::from_static(concat!("sallyport/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in &target.headers {
        let mut value = value.clone();
        value.set_sensitive(true);
        headers.insert(name.clone(), value);
    }
    headers
}

/// Path and query of a URL, as a request's target.
pub(crate) fn path(url: &Url) -> Result<Uri, Fault> {
    let text = &url[url::Position::BeforePath..url::Position::AfterQuery];
    text.parse().map_err(|_| Fault::Malformed("a URL that HTTP cannot carry".to_owned()))
}

/// A request without a body.
pub(crate) fn bare(method: Method, path: Uri, headers: HeaderMap) -> Request<Body> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = method;
    *request.uri_mut() = path;
    *request.headers_mut() = headers;
    request
}

/// A POST of one message.
pub(crate) fn post(path: Uri, headers: HeaderMap, text: Vec<u8>) -> Request<Body> {
    let mut request = bare(Method::POST, path, headers);
    *request.body_mut() = Full::new(Bytes::from(text));
    request
}
