//! Who may speak to the door at all: `Host`, `Origin`, and what browsers ask first (CORS).

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use url::{Host, Url};

use super::body::ResponseBody;

/// For how long a browser may remember that it may ask, in seconds: long enough to be cheap, short enough to forget.
const PREFLIGHT_SECONDS: &str = "600";

/// Headers that a page may send, besides those that begin with `mcp-`.
const PAGE_HEADERS: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::ACCEPT, header::AUTHORIZATION, HeaderName::from_static("last-event-id")];

/// Headers that a page may read.
const SHOWN_HEADERS: &str = "Mcp-Session-Id, WWW-Authenticate";

/// Which hosts and origins are let in.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Names (without port) by which the door may be called, besides those of this machine's loopback and the address
    /// that a connection came to. A page of a hostile name that resolves to us (DNS rebinding) names none of them.
    pub names: Vec<String>,
    /// Origins of pages that may call, besides pages from this machine's loopback: `https://app.example.com`.
    pub origins: Vec<String>,
}

/// A request that is not let in: what is wrong with it.
pub(crate) struct Refused(pub(crate) &'static str);

impl Hosts {
    /// Checks `Host` and `Origin` of a request that came to the address `local`.
    pub(crate) fn admit<B>(&self, request: &Request<B>, local: IpAddr) -> Result<(), Refused> {
        let host = host_of(request).ok_or(Refused("header `Host` is missing or there twice"))?;
        if !self.is_own(host, local) {
            return Err(Refused("header `Host` names another host"));
        }
        match single(request.headers(), &header::ORIGIN) {
            Ok(None) => Ok(()),
            Ok(Some(origin)) if self.is_allowed(origin) => Ok(()),
            _ => Err(Refused("pages of this origin may not call")),
        }
    }

    fn is_own(&self, host: &str, local: IpAddr) -> bool {
        let name = without_port(host);
        if self.names.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return true;
        }
        match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => is_loopback(address) || address.to_canonical() == local.to_canonical(),
            Err(_) => is_localhost(name),
        }
    }

    fn is_allowed(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        self.origins.iter().any(|own| own.eq_ignore_ascii_case(origin)) || is_loopback_origin(origin)
    }
}

fn is_loopback_origin(origin: &str) -> bool {
    let Ok(url) = Url::parse(origin) else { return false };
    let plain = matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none() && url.username().is_empty();
    plain
        && match url.host() {
            Some(Host::Domain(name)) => is_localhost(name),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}

fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The host that a request names: in its target (absolute form) and in `Host`, which must be there once.
fn host_of<B>(request: &Request<B>) -> Option<&str> {
    let named = single(request.headers(), &header::HOST).ok()??.to_str().ok()?;
    match request.uri().authority() {
        Some(authority) if authority.as_str() != named => None,
        _ => Some(named),
    }
}

/// A header that may be there once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Refused("a header is there twice")),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    }
}

/// The answer to a browser that asks whether a page may call; its `Origin` was [admitted](Hosts::admit) already.
pub(crate) fn preflight<B>(request: &Request<B>) -> Option<Response<ResponseBody>> {
    let asks = request.method() == Method::OPTIONS && request.headers().contains_key(header::ORIGIN);
    if !asks || !request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    if let Some(allowed) = allowed_headers(request.headers()) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    Some(response)
}

/// Of the headers that a page wants to send those that it may: `Mcp-Param-*` differs from tool to tool.
fn allowed_headers(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS)?.to_str().ok()?;
    let allowed: Vec<&str> = wanted
        .split(',')
        .map(str::trim)
        .filter(|name| HeaderName::try_from(*name).is_ok_and(|name| PAGE_HEADERS.contains(&name) || name.as_str().starts_with("mcp-")))
        .collect();
    HeaderValue::try_from(allowed.join(", ")).ok()
}

/// Lets the page of an admitted origin read the response.
pub(crate) fn show_to(origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SHOWN_HEADERS));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn admits(hosts: &Hosts, host: &str, origin: Option<&str>) -> bool {
        let mut request = Request::builder().uri("/mcp").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        hosts.admit(&request.body(()).unwrap(), "192.0.2.7".parse().unwrap()).is_ok()
    }

    #[test]
    fn names_of_this_machine_pass_and_others_do_not() {
        let hosts = Hosts { names: vec!["gate.example.com".into()], origins: vec!["https://app.example.com".into()] };
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:7420", "[::1]:7420", "[::1]", "192.0.2.7:1", "gate.example.com:443"] {
            assert!(admits(&hosts, host, None), "{host}");
        }
        for host in ["evil.example.com", "localhost.evil.com", "127.0.0.1.evil.com:80", "192.0.2.8", "", "[::2]", "localhost:80:80"] {
            assert!(!admits(&hosts, host, None), "{host}");
        }
    }

    #[test]
    fn pages_of_other_origins_do_not_pass() {
        let hosts = Hosts { names: Vec::new(), origins: vec!["https://app.example.com".into()] };
        for origin in ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:3000", "https://app.example.com"] {
            assert!(admits(&hosts, "localhost", Some(origin)), "{origin}");
        }
        for origin in [
            "null",
            "https://evil.example.com",
            "http://localhost.evil.com",
            "file://localhost",
            "http://app.example.com",
            "http://u@localhost",
        ] {
            assert!(!admits(&hosts, "localhost", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn a_second_host_is_refused() {
        let request = Request::builder().uri("/mcp").header("host", "localhost").header("host", "evil.example.com").body(()).unwrap();
        assert!(Hosts::default().admit(&request, "127.0.0.1".parse().unwrap()).is_err());
        let request = Request::builder().uri("http://evil.example.com/mcp").header("host", "localhost").body(()).unwrap();
        assert!(Hosts::default().admit(&request, "127.0.0.1".parse().unwrap()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(host in "\\PC{0,30}", origin in "\\PC{0,30}") {
            let value = |text: &str| HeaderValue::from_bytes(text.as_bytes());
            if let (Ok(host), Ok(origin)) = (value(&host), value(&origin)) {
                let request = Request::builder().uri("/").header("host", host).header("origin", origin).body(()).unwrap();
                let _ = Hosts::default().admit(&request, "127.0.0.1".parse().unwrap());
            }
        }
    }
}
