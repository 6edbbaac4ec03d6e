//! What a server says when it refuses a request: `WWW-Authenticate` (RFC 9110 section 11.6.1, RFC 6750 section 3, RFC 9728 section 5.1).

use url::Url;

/// Bytes of a header that are read: challenges have a few hundred.
const LONGEST: usize = 8 * 1024;
/// Scopes that a challenge may ask for: a server's whole list has dozens.
const MOST_SCOPES: usize = 100;

/// A `Bearer` challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Where the server's metadata is said to lie.
    pub resource_metadata: Option<Url>,
    /// The scopes that the refused request needs: authoritative, whatever the metadata lists.
    pub scopes: Option<Vec<String>>,
    /// Why (`invalid_token`, `insufficient_scope`).
    pub error: Option<String>,
}

impl Challenge {
    /// The first `Bearer` challenge in the values of `WWW-Authenticate`; an empty one where there is none, or none that can be read.
    pub fn read<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        headers.into_iter().filter(|header| header.len() <= LONGEST).find_map(of_header).unwrap_or_default()
    }

    /// Whether the token was good, and merely not good for this.
    #[must_use]
    pub fn wants_more_scopes(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }
}

/// The scopes in a list of them, without what cannot be one (RFC 6749 section 3.3).
pub(crate) fn scopes(list: &str) -> Vec<String> {
    let fits = |scope: &&str| scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    list.split_ascii_whitespace().filter(fits).take(MOST_SCOPES).map(str::to_owned).collect()
}

fn of_header(header: &str) -> Option<Challenge> {
    let mut words = Words { rest: header };
    let mut found: Option<Challenge> = None;
    while let Some(word) = words.next_token() {
        let Some(value) = words.value() else {
            if found.is_some() {
                break; // the next challenge begins
            }
            if word.eq_ignore_ascii_case("bearer") {
                found = Some(Challenge::default());
            }
            continue;
        };
        let Some(challenge) = &mut found else { continue };
        match word.to_ascii_lowercase().as_str() {
            "resource_metadata" => challenge.resource_metadata = Url::parse(&value).ok(),
            "scope" => challenge.scopes = Some(scopes(&value)).filter(|scopes| !scopes.is_empty()),
            "error" => challenge.error = Some(value),
            _ => {}
        }
    }
    found
}

/// Reads tokens and values from the front of a header.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn next_token(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
        let end = self.rest.find([' ', '\t', ',', '=']).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        if token.is_empty() {
            return None; // the end, or a `=` that belongs to nothing
        }
        self.rest = rest;
        Some(token)
    }

    /// What stands behind a `=`; nothing where the token stands alone.
    fn value(&mut self) -> Option<String> {
        let rest = self.rest.trim_start().strip_prefix('=')?.trim_start();
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find([' ', '\t', ',']).unwrap_or(rest.len());
            let (value, rest) = rest.split_at(end);
            self.rest = rest;
            return Some(value.to_owned());
        };
        let mut value = String::new();
        let mut letters = quoted.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '"' => break,
                '\\' => value.extend(letters.next()),
                letter => value.push(letter),
            }
        }
        self.rest = letters.as_str();
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_challenge_is_found_among_others() {
        let header = r#"Basic realm="a, b", Bearer error="insufficient_scope", scope="a b:c",  resource_metadata="https://x.example/.well-known/p", DPoP algs="ES256""#;
        let challenge = Challenge::read([header]);
        assert_eq!(challenge.scopes.as_deref(), Some(&["a".to_owned(), "b:c".to_owned()][..]));
        assert_eq!(challenge.resource_metadata.as_ref().unwrap().as_str(), "https://x.example/.well-known/p");
        assert!(challenge.wants_more_scopes());
        assert_eq!(Challenge::read(["bearer scope=a"]).scopes.unwrap(), ["a"]);
    }

    #[test]
    fn nonsense_is_an_empty_challenge() {
        for header in [
            "",
            "Bearer",
            "Basic realm=x",
            "=,=",
            "Bearer =",
            "Bearer scope=\"\"",
            "Bearer resource_metadata=\"no url\"",
            "\"",
            "Bearer scope=\"\\",
        ] {
            assert_eq!(Challenge::read([header]), Challenge::default(), "{header}");
        }
        let long = format!("Bearer scope=\"{}\"", "a ".repeat(LONGEST));
        assert_eq!(Challenge::read([long.as_str()]), Challenge::default());
    }
}
