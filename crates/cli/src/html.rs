//! What the gateway's own pages have in common: plain HTML without scripts, forms and cookies.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use url::form_urlencoded::parse;

/// What a page may load, who may show it, and where its forms go: nothing, nobody, and back here.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A page of a status. Every text from outside in `body` has to be [escaped].
pub(crate) fn page(status: StatusCode, body: &str) -> Response<Bytes> {
    let text = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>Sallyport</title>\
         <style>body{{font:1rem/1.5 system-ui;max-width:42rem;margin:4rem auto;padding:0 1rem}}button{{font:inherit;padding:.4rem 1rem}}\
         dt{{font-weight:bold}}pre{{white-space:pre-wrap;overflow-wrap:anywhere;margin:0}}td,th{{text-align:left;padding-right:1rem}}</style>\
         {body}</html>"
    );
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        // Without any, a browser would send the form as if it came from nowhere, and the door refuses that.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Sends the browser elsewhere, by GET.
pub(crate) fn see_other(location: &str) -> Response<Bytes> {
    let mut response = page(StatusCode::SEE_OTHER, "");
    set(&mut response, header::LOCATION, location);
    response
}

/// The answer to a method that a page does not take; `taken` are those that it does.
pub(crate) fn not_allowed(taken: &'static str) -> Response<Bytes> {
    let mut response = page(StatusCode::METHOD_NOT_ALLOWED, "<p>This page is read, or sent back by its buttons.</p>");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(taken));
    response
}

/// Sets a header, where `value` can be one.
pub(crate) fn set(response: &mut Response<Bytes>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A text as it stands in a page, between tags or in a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// A field of the form that was sent.
pub(crate) fn field(request: &Request<Bytes>, name: &str) -> Option<String> {
    parse(request.body()).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// A cookie that came along.
pub(crate) fn cookie<'a>(request: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    let all = request.headers().get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_is_kept_framed_or_sends_what_is_typed_anywhere_it_likes() {
        for page in [page(StatusCode::OK, ""), see_other("/connect")] {
            let header = |name: HeaderName| page.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let policy = header(header::CONTENT_SECURITY_POLICY);
            for directive in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self';"] {
                assert!(policy.contains(directive), "{directive}: {policy}");
            }
            assert_eq!((header(header::CACHE_CONTROL), header(header::REFERRER_POLICY)), ("no-store", "same-origin"));
            assert_eq!((header(header::X_FRAME_OPTIONS), header(header::X_CONTENT_TYPE_OPTIONS)), ("DENY", "nosniff"));
        }
    }
}
