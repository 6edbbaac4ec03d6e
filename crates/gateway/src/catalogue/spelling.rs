//! Whether a URI could be spelt in another way that a server takes for the same.
//!
//! Policy compares URIs as texts: `file:///srv/public/../../etc/passwd` has the prefix `file:///srv/public/`, and `FILE:///etc/x` has not
//! `file:///etc/`. Servers do not: most have a parser for URLs make them plain first (RFC 3986, section 6.2.2).

/// Whether `uri` is the plainest spelling of what it means.
pub(super) fn is_plain(uri: &str) -> bool {
    let Some(decoded) = decoded(uri) else { return false };
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_odd = decoded.chars().any(|character| character.is_control() || character == '\\')
        || scheme.bytes().any(|byte| byte.is_ascii_uppercase())
        || decoded.split(['/', '?', '#', ':']).any(|segment| matches!(segment, "." | ".."))
        || uri.trim() != uri
        || (scheme == "file" && !is_plain_file(uri))
        || (matches!(scheme, "http" | "https") && !is_plain_page(uri));
    !is_odd
}

/// A file of this machine: other machines' names, each further `/`, and what stands behind `?` and `#` are left out by some. What is not
/// of ASCII, or never stands in a URI, some encode and others do not.
fn is_plain_file(uri: &str) -> bool {
    let is_written_so = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>`^|{}".contains(&byte);
    let has_encoded_slash = uri.as_bytes().windows(3).any(|three| three.eq_ignore_ascii_case(b"%2f"));
    uri.strip_prefix("file:///").is_some_and(|path| !path.starts_with('/') && !path.contains("//"))
        && !has_encoded_slash
        && uri.bytes().all(is_written_so)
}

/// A page: hosts are the same in capitals, and some add slashes that are missing.
fn is_plain_page(uri: &str) -> bool {
    let place = uri.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    place.is_some_and(|place| !place.is_empty() && !place.bytes().any(|byte| byte.is_ascii_uppercase()))
}

/// The text without its percent-encoding; `None` where that is no encoding, or was not needed.
fn decoded(uri: &str) -> Option<String> {
    let mut parts = uri.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        let is_lower = digits.bytes().any(|digit| digit.is_ascii_lowercase());
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || digits.starts_with('+') || is_lower {
            return None;
        }
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_plainer_spelling_is_not_plain() {
        for uri in [
            "file:///srv/public/../../etc/passwd",
            "file:///srv/public/%2e%2E/etc/passwd",
            "file:///srv/public/..%2f..%2Fetc/passwd",
            "file:///srv/./x",
            "file:///srv/public/x?/../../etc/passwd",
            "file:///srv/public/..",
            "file:///srv/public/..#x",
            "file:///srv\\..\\x",
            "file:///srv/%5c..%5cx",
            "file:///etc/x%00",
            "file:///etc\n/x",
            "FILE:///etc/x",
            "file://localhost/etc/x",
            "file://LOCALHOST/etc/x",
            "file:////etc/x",
            "file:///etc//x",
            "file:/etc/x",
            "file:etc/x",
            "file:///%65tc/x",
            "file:///etc%2fx",
            "file:///etc/%",
            "file:///etc/%+5x",
            "test://a/../b",
            "test:../b",
            "Test://a",
            "test://a/..%2fb",
            "test://a/%2fb",
            " file:///etc/x",
            "file:///etc/x ",
            "\u{a0}file:///etc/x",
            "file:///etc/x?",
            "file:///etc/x#y",
            "file:///etc/a b",
            "file:///etc/\u{f6}",
            "https:/example.com/x",
            "https:///x",
            "https://EXAMPLE.com/x",
        ] {
            assert!(!is_plain(uri), "{uri:?}");
        }
        for uri in [
            "file:///srv/public/a%20b.txt",
            "file:///srv/public/",
            "file:///srv/..x/.hidden/x..y/...",
            "file:///c:/x",
            "test://t/{id}",
            "test://t/a%2Fb?c=d%25#e",
            "https://example.com/a?b=c:d",
            "memo:gr\u{f6}\u{df}e",
            "config",
        ] {
            assert!(is_plain(uri), "{uri:?}");
        }
    }
}
