//! Host names, in the one form in which they are compared and dialled.

use std::fmt;

/// A host name: labels of letters, digits and inner hyphens (RFC 1123), in lower case, without a dot at the end.
///
/// Everything that names a host is read into this type before it is compared: the configuration, a DNS question, a `CONNECT`
/// line, a SOCKS request, a TLS server name. So there is no second reading that a comparison could miss: no NUL, no `@`, no
/// Unicode, and nothing that a resolver would take for an address (`127.1`, `0x7f.1`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// RFC 1035, without the root's empty label.
const LONGEST_NAME: usize = 253;
/// RFC 1035.
const LONGEST_LABEL: usize = 63;

impl Name {
    /// Reads a name; `None` if it is not one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= LONGEST_NAME && text.split('.').all(is_label) && !ends_in_number(text);
        fits.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// The name in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `suffix` with at least one more label before it.
    #[must_use]
    pub fn is_below(&self, suffix: &Self) -> bool {
        self.0.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }

    /// Whether it means the machine itself, which a program inside finds in its own `/etc/hosts`.
    #[must_use]
    pub fn is_localhost(&self) -> bool {
        &*self.0 == "localhost" || self.0.ends_with(".localhost")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether `getaddrinfo` or a browser would read it as an IPv4 address: the last label is decimal or hexadecimal.
fn ends_in_number(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or(text);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit()) || hexadecimal.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        Name::new(text).map(|name| name.to_string())
    }

    #[test]
    fn a_name_is_taken_in_lower_case() {
        assert_eq!(shown("API.GitHub.com").as_deref(), Some("api.github.com"));
        assert_eq!(shown("db").as_deref(), Some("db"));
        assert_eq!(shown("xn--bcher-kva.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(shown(&format!("{}.a", "a".repeat(63))).map(|name| name.len()), Some(65));
    }

    #[test]
    fn what_could_be_read_another_way_is_no_name() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a\0.com",
            "a.com\0",
            "user@a.com",
            "a.com:80",
            "a.com/",
            "a.com\r\n",
            " a.com",
            "a_b.com",
            "-a.com",
            "a-.com",
            "bücher.de",
            "a。com",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0x1",
            "0177.0.0.0x1",
            "1.2.3.0x",
            "[::1]",
            "::1",
            "%31.a",
            &"a".repeat(64),
            &"a.".repeat(127),
        ] {
            assert_eq!(shown(text), None, "{text:?}");
        }
    }

    #[test]
    fn below_means_at_a_dot() {
        let below = |name: &str, suffix: &str| Name::new(name).zip(Name::new(suffix)).is_some_and(|(name, suffix)| name.is_below(&suffix));
        assert!(below("a.example.com", "example.com"));
        assert!(below("a.b.example.com", "example.com"));
        assert!(!below("example.com", "example.com"));
        assert!(!below("evilexample.com", "example.com"));
        assert!(!below("example.com.evil", "example.com"));
    }
}
