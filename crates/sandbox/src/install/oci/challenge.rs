//! How a registry says what it wants to be shown: `WWW-Authenticate` (RFC 9110, section 11; the token's part is Docker's).

use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

/// Most of what a registry says of it: challenges are short, and a reader of hostile ones takes longer than they are.
const MOST_CHALLENGES: usize = 4;
const LONGEST_CHALLENGE: usize = 2 * 1024;

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token of another server.
    Bearer {
        /// Where it is had.
        realm: String,
        /// For whom.
        service: Option<String>,
    },
    /// A name and a password.
    Basic,
}

impl Challenge {
    /// The first that is understood, a token before a password.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let is_short = |value: &&HeaderValue| value.len() <= LONGEST_CHALLENGE;
        let values = || headers.get_all(WWW_AUTHENTICATE).iter().filter(is_short).take(MOST_CHALLENGES);
        let texts = || values().filter_map(|value| value.to_str().ok());
        let bearer = texts().find_map(|text| after_scheme(text, "bearer")).and_then(|parameters| {
            let realm = parameter(parameters, "realm")?;
            Some(Self::Bearer { realm, service: parameter(parameters, "service") })
        });
        bearer.or_else(|| texts().find_map(|text| after_scheme(text, "basic")).map(|_| Self::Basic))
    }
}

/// What follows the scheme, wherever in the list of challenges it stands.
fn after_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    outside_quotes(text).filter(|at| *at == 0 || text.get(..*at).is_some_and(|before| before.trim_end().ends_with(','))).find_map(|at| {
        let rest = text.get(at..)?;
        let (name, rest) = rest.split_at_checked(scheme.len())?;
        (name.eq_ignore_ascii_case(scheme) && (rest.is_empty() || rest.starts_with([' ', ',']))).then_some(rest)
    })
}

/// The first parameter of that name, its quotes undone.
fn parameter(text: &str, name: &str) -> Option<String> {
    outside_quotes(text).filter(|at| text.get(..*at).is_none_or(|before| before.ends_with([' ', ',', '\t']))).find_map(|at| {
        let (found, rest) = text.get(at..)?.split_once('=')?;
        if !found.trim().eq_ignore_ascii_case(name) {
            return None;
        }
        match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => rest.split([',', ' ']).next().map(str::to_owned),
        }
    })
}

/// The places in `text` that are inside of no quotes.
fn outside_quotes(text: &str) -> impl Iterator<Item = usize> {
    let mut inside = false;
    let mut escaped = false;
    text.char_indices().filter_map(move |(at, character)| {
        match character {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
        (!inside && character != '"').then_some(at)
    })
}

fn unquoted(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return Some(value),
            '\\' => value.push(characters.next()?),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn of(lines: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, line.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
    }

    #[test]
    fn what_registries_say_is_understood() {
        let hub = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull""#;
        assert_eq!(of(&[hub]), bearer("https://auth.example/token", Some("registry.example")));
        assert_eq!(of(&["bearer service=x, realm=https://a.example/"]), bearer("https://a.example/", Some("x")));
        assert_eq!(of(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(of(&["Basic realm=\"x\", Bearer realm=\"https://a\""]), bearer("https://a", None));
        assert_eq!(of(&["Basic realm=\"x\"", "Bearer realm=\"https://a\""]), bearer("https://a", None));
        assert_eq!(of(&[r#"Bearer realm="https://a/\"q\"""#]), bearer("https://a/\"q\"", None));
    }

    #[test]
    fn what_only_looks_like_a_challenge_is_none() {
        for text in
            ["", "Negotiate", "Bearer", "Bearer realm=\"https://a", "Digest realm=\"Basic x, Bearer realm=y\"", "BearerX realm=\"a\""]
        {
            assert_eq!(of(&[text]), None, "{text}");
        }
        assert_eq!(of(&[&format!("Basic realm=\"x\",{}", " ".repeat(LONGEST_CHALLENGE))]), None, "longer than any is");
        assert_eq!(of(&[]), None);
    }
}
