//! Requests of HTTP, as every transport over it builds them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use sallyport_protocol::{Failure, FailureKind, Retry};
use url::Url;

use super::Target;
use super::credentials::Sender;
use super::fault::Fault;
use super::http1::{Body, HttpClient};
use super::shared::Shared;

/// The way to a target's origin.
pub(crate) fn client(shared: &Shared, target: &Target) -> Result<Sender, Failure> {
    let client = HttpClient::new(&target.url, &target.trust, shared.options.connect_timeout).map_err(|why| {
        Failure::upstream(
            shared.server(),
            FailureKind::Unreachable,
            Retry::Never,
            format!("server `{}` cannot be reached: {why}", shared.server()),
        )
    })?;
    Ok(Sender { client, credentials: target.credentials.clone() })
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
    if let Some(value) = basic(&target.url) {
        headers.insert(http::header::AUTHORIZATION, value);
    }
    for (name, value) in &target.headers {
        let mut value = value.clone();
        value.set_sensitive(true);
        headers.insert(name.clone(), value);
    }
    headers
}

/// The credential in a URL (`https://user:password@host`), if there is one.
fn basic(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let plain = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    let credential = STANDARD.encode(format!("{}:{}", plain(url.username()), plain(url.password().unwrap_or_default())));
    let mut value = HeaderValue::try_from(format!("Basic {credential}")).ok()?;
    value.set_sensitive(true);
    Some(value)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_credential_in_the_url_becomes_a_header_and_yields_to_one_that_is_given() {
        let mut target = Target::new(Url::parse("http://me:p%40ss@[::1]:8080/mcp?x=1").unwrap());
        let sent = headers(&target);
        assert_eq!(sent[http::header::AUTHORIZATION], "Basic bWU6cEBzcw==");
        assert_eq!(sent[http::header::HOST], "[::1]:8080");
        assert_eq!(path(&target.url).unwrap(), "/mcp?x=1");
        target.headers = vec![(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))];
        let sent = headers(&target);
        assert_eq!(sent[http::header::AUTHORIZATION], "Bearer x");
        assert!(sent[http::header::AUTHORIZATION].is_sensitive());
    }
}
