//! Addresses of hosts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::{Host, Url};

/// An address of one of some hosts.
///
/// What a name resolves to is checked where it is dialled: by the `network` of the server's sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UrlRule {
    /// The hosts: a name (`api.example.com`), every name below one (`*.example.com`) or an IP address, with `:PORT` behind it if the
    /// port is not the scheme's own; an IPv6 address in brackets.
    pub hosts: Vec<String>,
    /// The schemes. Default: `https` alone, because what goes in the clear can be read and changed on its way.
    #[serde(default = "https")]
    pub schemes: Vec<String>,
}

fn https() -> Vec<String> {
    vec!["https".into()]
}

impl UrlRule {
    pub(super) fn problem(&self) -> Option<String> {
        if self.hosts.is_empty() || self.schemes.is_empty() {
            return Some("`url` lets nothing through without hosts and schemes".into());
        }
        if let Some(scheme) = self.schemes.iter().find(|scheme| !matches!(scheme.as_str(), "http" | "https" | "ws" | "wss" | "ftp")) {
            return Some(format!("{scheme:?} is no scheme with a host: use http, https, ws, wss or ftp"));
        }
        self.hosts
            .iter()
            .find(|host| Pattern::parse(host).is_none())
            .map(|host| format!("{host:?} is no host: write NAME, *.NAME or an IP address"))
    }

    /// What is wrong with `text`, if anything.
    pub(super) fn refuses(&self, text: &str) -> Option<String> {
        let Some(url) = strict(text) else { return Some("is an address that can be read in several ways".into()) };
        if !self.schemes.iter().any(|scheme| scheme == url.scheme()) {
            return Some(format!("is an address with another scheme than {}", self.schemes.join(", ")));
        }
        let is_allowed = self.hosts.iter().filter_map(|host| Pattern::parse(host)).any(|pattern| pattern.matches(&url));
        (!is_allowed).then(|| "is an address of a host that is not allowed".into())
    }
}

/// Takes an address apart: `{ text, scheme, host, port, path, domains }`, `domains` being the host and each name that it is below. `None`
/// where parsers may read it in several ways. What stands behind `?` is not told: that is where keys are.
pub(super) fn apart(text: &str) -> Option<Value> {
    let url = strict(text)?;
    let host = url.host_str()?.to_owned();
    let domains: Vec<&str> = match url.host()? {
        Host::Domain(_) => host
            .split_inclusive('.')
            .scan(0, |at, label| Some(std::mem::replace(at, *at + label.len())))
            .filter_map(|at| host.get(at..))
            .collect(),
        Host::Ipv4(_) | Host::Ipv6(_) => vec![host.as_str()],
    };
    let whole = format!("{}{}", url.origin().ascii_serialization(), url.path());
    Some(json!({
        "text": whole, "scheme": url.scheme(), "host": host, "port": url.port_or_known_default().unwrap_or(0), "path": url.path(),
        "domains": domains,
    }))
}

/// An address that every parser reads the same way: no spaces, no backslashes, no user, nothing but ASCII in its host, and the host in the
/// text just as it was understood (not `0x7f.1` for 127.0.0.1).
fn strict(text: &str) -> Option<Url> {
    if text.bytes().any(|byte| byte <= b' ' || byte == b'\\' || byte == 0x7f) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = url.host_str()?;
    let written = authority.strip_prefix_ignoring_case(host)?;
    let is_port = written.is_empty() || written.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (is_port && !host.ends_with('.')).then_some(url)
}

/// A part of a host's name (RFC 1123, section 2.1).
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

trait IgnoringCase {
    fn strip_prefix_ignoring_case(&self, prefix: &str) -> Option<&str>;
}

impl IgnoringCase for str {
    fn strip_prefix_ignoring_case(&self, prefix: &str) -> Option<&str> {
        let (head, tail) = self.split_at_checked(prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then_some(tail)
    }
}

/// One entry of `hosts`.
#[derive(Debug, PartialEq)]
struct Pattern {
    host: Host,
    /// Every name below it, not itself.
    below: bool,
    port: Option<u16>,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let (below, text) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        // A host and a port as `http` understands them; its own port would be lost in it, so that it is looked for in the text.
        let url = strict(&format!("http://{text}"))?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || text.ends_with('/') {
            return None;
        }
        let port = if url.port().is_some() { url.port() } else { text.ends_with(":80").then_some(80) };
        let host = url.host()?.to_owned();
        let is_right = match &host {
            Host::Domain(name) => name.split('.').all(is_label),
            Host::Ipv4(_) | Host::Ipv6(_) => !below,
        };
        is_right.then_some(Self { host, below, port })
    }

    fn matches(&self, url: &Url) -> bool {
        let port = match self.port {
            Some(port) => url.port_or_known_default() == Some(port),
            None => url.port().is_none(),
        };
        port && match (&self.host, url.host()) {
            (Host::Domain(suffix), Some(Host::Domain(name))) if self.below => {
                name.strip_suffix(suffix.as_str()).is_some_and(|label| label.len() > 1 && label.ends_with('.'))
            }
            (own, Some(host)) => *own == host.to_owned(),
            (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(hosts: &[&str]) -> UrlRule {
        UrlRule { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), schemes: https() }
    }

    #[test]
    fn named_hosts_pass() {
        let rule = rule(&["api.example.com", "*.example.org:8443", "192.0.2.7", "[2001:db8::1]:444"]);
        assert_eq!(rule.problem(), None);
        for url in [
            "https://api.example.com",
            "https://API.example.com/a?b#c",
            "https://api.example.com:443/",
            "https://a.b.example.org:8443/x",
            "https://192.0.2.7/",
            "https://[2001:db8::1]:444/",
        ] {
            assert_eq!(rule.refuses(url), None, "{url}");
        }
    }

    #[test]
    fn tricks_do_not_pass() {
        let rule = rule(&["example.com", "*.example.org", "127.0.0.1"]);
        for url in [
            "http://example.com/",
            "https://example.com:8443/",
            "https://example.com.evil.net/",
            "https://evil.net/example.com",
            "https://example.com@evil.net/",
            "https://evil.net#@example.com",
            "https://user@example.com/",
            "https://example.com\\@evil.net/",
            "https://example.com\u{0}.evil.net",
            "https://example.com\t",
            " https://example.com",
            "https://example.com./",
            "https://example.org/",
            "https://.example.org/",
            "https://evilexample.org/",
            "https://ex\u{e4}mple.com/",
            "https://ｅxample.com/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://127.1/",
            "https://[::ffff:127.0.0.1]/",
            "https:example.com",
            "https:///example.com",
            "//example.com/",
            "example.com",
            "file:///example.com",
            "javascript:alert(1)",
            "https://example.com%2eevil.net/",
            "https://example.com:443:80/",
            "",
        ] {
            assert!(rule.refuses(url).is_some(), "{url:?}");
        }
    }

    #[test]
    fn what_is_no_host_is_a_slip() {
        for host in ["", "*", "*.", "a b", "https://example.com", "example.com/x", "*.192.0.2.1", "user@example.com", "example.com:x"] {
            assert!(rule(&[host]).problem().is_some(), "{host:?}");
        }
        assert!(UrlRule { schemes: vec!["file".into()], ..rule(&["example.com"]) }.problem().is_some());
    }
}
