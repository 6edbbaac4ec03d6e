//! Where a client may have its answers sent to.

use url::{Host, Url};

/// Longest address in bytes.
const LONGEST: usize = 2_048;

/// Schemes of addresses that a browser treats as code, files or something else than a program to hand the answer to.
const REFUSED: [&str; 16] = [
    "javascript",
    "data",
    "vbscript",
    "file",
    "filesystem",
    "blob",
    "about",
    "ws",
    "wss",
    "ftp",
    "mailto",
    "tel",
    "view-source",
    "intent",
    "chrome",
    "jar",
];

/// Says whether a client may register this address: https, http on this machine's loopback, or a scheme of the client's own.
///
/// # Errors
/// What is wrong with it.
pub fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > LONGEST
        || !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'`' | b'*'))
    {
        return Err("it is too long, or has characters that an address does not have");
    }
    let url = Url::parse(text).map_err(|_| "it is no absolute address")?;
    if text.contains('#') {
        return Err("it has a fragment");
    }
    if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
        return Err("it holds a user's name or password");
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(&url) => Ok(()),
        "http" => Err("it is neither https nor this machine's loopback"),
        scheme if REFUSED.contains(&scheme) => Err("its scheme is none to send an answer to"),
        _ => Ok(()),
    }
}

/// Whether what a client asks for is the address that it registered: the same text (RFC 9700 §2.1), or, for http on loopback, the same
/// but for the port, which a program learns only when it listens (RFC 8252 §7.3).
pub(super) fn matches(registered: &str, asked: &str) -> bool {
    if registered == asked {
        return check(asked).is_ok();
    }
    match (loopback_without_port(registered), loopback_without_port(asked)) {
        (Some(registered), Some(asked)) => registered == asked,
        _ => false,
    }
}

/// Whether any program on the user's machine could be the one that gets the answer.
pub(super) fn is_local(text: &str) -> bool {
    !text.starts_with("https:")
}

/// Who gets the answer, for people: the host with its port, or the scheme.
pub(super) fn receiver(text: &str) -> String {
    let Ok(url) = Url::parse(text) else { return text.to_owned() };
    match (url.scheme(), url.host_str(), url.port()) {
        ("https" | "http", Some(host), Some(port)) => format!("{host}:{port}"),
        ("https" | "http", Some(host), None) => host.to_owned(),
        (scheme, _, _) => format!("the program for {scheme}: on your machine"),
    }
}

/// What a page whose form is answered by a redirection there has to allow (`form-action`).
pub(super) fn form_target(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    match (url.scheme(), url.host()) {
        ("https" | "http", Some(Host::Domain(_) | Host::Ipv4(_))) => Some(url.origin().ascii_serialization()),
        (scheme, _) => Some(format!("{scheme}:")), // the grammar of policies knows no IPv6 address either
    }
}

/// The address with these parameters added to its query.
pub(super) fn with(redirect: &str, parameters: &[(&str, &str)]) -> String {
    let added = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{redirect}{}{added}", if redirect.contains('?') { '&' } else { '?' })
}

fn loopback_without_port(text: &str) -> Option<String> {
    check(text).ok()?;
    let mut url = Url::parse(text).ok()?;
    // What the parser had to repair (`http:\\`, `127.1`, `/../`) is not what was registered.
    if url.scheme() != "http" || !is_loopback(&url) || (url.as_str() != text && url.as_str() != format!("{text}/")) {
        return without_usual_port(text);
    }
    url.set_port(None).ok()?;
    Some(url.into())
}

/// `:80` is left out by the parser.
fn without_usual_port(text: &str) -> Option<String> {
    let rest = text.strip_prefix("http://")?;
    let (authority, _) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.strip_suffix(":80")?;
    loopback_without_port(&text.replacen(authority, host, 1))
}

fn authority(text: &str) -> &str {
    let rest = text.split_once("//").map_or("", |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// The three names that every system gives its loopback.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == std::net::Ipv6Addr::LOCALHOST,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_may_have_another_port_and_nothing_else() {
        for (registered, asked) in [
            ("http://localhost/callback", "http://localhost:49152/callback"),
            ("http://127.0.0.1:3000/cb", "http://127.0.0.1:4000/cb"),
            ("http://[::1]/cb?x=1", "http://[::1]:5/cb?x=1"),
            ("http://localhost:80/cb", "http://localhost:8080/cb"),
            ("https://app.example.com/cb", "https://app.example.com/cb"),
            ("cursor://anysphere.cursor/oauth", "cursor://anysphere.cursor/oauth"),
        ] {
            assert!(matches(registered, asked), "{registered} {asked}");
        }
        for (registered, asked) in [
            ("http://localhost/callback", "http://127.0.0.1/callback"),
            ("http://localhost/callback", "http://localhost/callback/more"),
            ("http://localhost/callback", "http://localhost.evil.com/callback"),
            ("http://localhost/callback", "http://localhost@evil.com/callback"),
            ("http://localhost/callback", "http://localhost:80@evil.com/callback"),
            ("http://localhost/callback", "http://localhost:1/callback#f"),
            ("http://localhost/callback", "http://localhost:1/x/../callback"),
            ("http://localhost/callback", "http://localhost:1\\@evil.com/callback"),
            ("http://localhost/callback", "https://localhost/callback"),
            ("http://127.0.0.1/callback", "http://127.1:80/callback"),
            ("https://app.example.com/cb", "https://app.example.com:444/cb"),
            ("https://app.example.com/cb", "https://app.example.com/cb?x=1"),
            ("https://app.example.com/cb", "https://app.example.com/CB"),
            ("https://app.example.com/cb", "https://app.example.com/cb/"),
            ("https://app.example.com/cb", "https://app.example.com.evil.com/cb"),
            ("https://app.example.com/cb", "https://evil.com/https://app.example.com/cb"),
        ] {
            assert!(!matches(registered, asked), "{registered} {asked}");
        }
    }

    #[test]
    fn what_is_no_place_for_an_answer_cannot_be_registered() {
        for text in [
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "data:text/html,x",
            "http://app.example.com/",
            "https://u@h/",
            "https://u:p@h/",
            "https://h/#f",
            "/relative",
            "https://h/a b",
            "https://h/\u{e4}",
            "http://10.0.0.1/",
            "https://h/\"onload=x",
            "https://@h/",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        assert!(check("https://h/cb?a=b").is_ok() && check("com.example.app:/cb").is_ok());
    }

    #[test]
    fn what_is_added_does_not_change_the_address() {
        assert_eq!(with("https://h/cb", &[("code", "a&b"), ("iss", "x y")]), "https://h/cb?code=a%26b&iss=x+y");
        assert_eq!(with("https://h/cb?a=b", &[("code", "c")]), "https://h/cb?a=b&code=c");
    }
}
