//! What a token is good for (OAuth 2.1 §1.4.1): `server:tool`, or part of it.

use std::fmt;
use std::sync::Arc;

/// Most scopes of one token: far above what a person consents to, low enough that one look at each costs nothing.
const MOST: usize = 64;
/// Longest scope in bytes: a server's name (32) and a tool's (128) with room for a prefix.
const LONGEST: usize = 200;

/// The scopes of a token, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(Arc<[Arc<str>]>);

impl Scopes {
    /// Reads the form on the wire: scopes with one space between them (RFC 6749 §3.3). `None` if one of them has a character that none may
    /// have, is too long, or there are too many.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut scopes: Vec<Arc<str>> = Vec::new();
        for scope in text.split(' ').filter(|scope| !scope.is_empty()) {
            let fits = scope.len() <= LONGEST && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
            if !fits || scopes.len() == MOST {
                return None;
            }
            scopes.push(scope.into());
        }
        scopes.sort_unstable();
        scopes.dedup();
        Some(Self(scopes.into()))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|scope| &**scope)
    }

    /// Whether this very scope is among them.
    #[must_use]
    pub fn has(&self, scope: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(scope)).is_ok()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Scopes {
    /// As on the wire.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().enumerate().try_for_each(|(index, scope)| write!(out, "{}{scope}", if index == 0 { "" } else { " " }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn they_are_read_as_they_are_written() {
        let scopes = Scopes::parse("git:log  files:* git:log").unwrap();
        assert_eq!(scopes.to_string(), "files:* git:log");
        assert!(scopes.has("git:log") && !scopes.has("git"));
        assert!(Scopes::parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_scope_makes_all_of_them_none() {
        for text in ["a\"b", "a\\b", "a\tb", "ä", &"x".repeat(201), &(0..65).map(|number| number.to_string()).collect::<Vec<_>>().join(" ")]
        {
            assert_eq!(Scopes::parse(text), None, "{text}");
        }
    }
}
