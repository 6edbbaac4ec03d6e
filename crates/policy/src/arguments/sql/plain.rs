//! Spellings that one database alone knows, in one that all know.
//!
//! PostgreSQL's `E'it\'s'` and `$$it's$$` are `'it''s'`, and `.5` is `0.5`. Texts that go on to a server as they came may hold none of
//! these. One that is understood and printed anew is put into the plain spelling before it is looked at: whatever is made of it
//! here, what is looked at is what runs.

use super::Dialect;
use super::lexis::decimal;

/// What a text begins with, if that has a plain spelling: its length, and that.
pub(super) fn spelt(text: &str, dialect: Dialect) -> Option<(usize, Plain)> {
    match (text.as_bytes().first()?, dialect) {
        (b'.', Dialect::PostgreSql | Dialect::Sqlite) => fraction(text).map(|(length, number)| (length, Plain::Number(number))),
        (b'e' | b'E', Dialect::PostgreSql) => escaped(text).map(|(length, content)| (length, Plain::String(quoted(&content)))),
        (b'$', Dialect::PostgreSql) => between_dollars(text).map(|(length, content)| (length, Plain::String(quoted(content)))),
        _ => None,
    }
}

/// A plain spelling.
pub(super) enum Plain {
    Number(String),
    String(String),
}

fn quoted(content: &str) -> String {
    format!("'{}'", content.replace('\'', "''"))
}

/// `.5e3`
fn fraction(text: &str) -> Option<(usize, String)> {
    let number = format!("0{text}");
    let length = decimal(&number)?;
    Some((length - 1, number.get(..length)?.to_owned()))
}

/// `$tag$…$tag$`, in which nothing else has a meaning. Only ASCII stands in a tag here.
fn between_dollars(text: &str) -> Option<(usize, &str)> {
    let tag = text.get(1..)?.split_once('$')?.0;
    let is_tag =
        tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !tag.starts_with(|first: char| first.is_ascii_digit());
    let delimiter = text.get(..tag.len() + 2).filter(|_| is_tag)?;
    let content = text.get(delimiter.len()..)?.split_once(delimiter)?.0;
    Some((content.len() + 2 * delimiter.len(), content))
}

/// `E'…'`, with PostgreSQL's escapes. Bytes that are no ASCII are in the database's encoding, which is not known here.
fn escaped(text: &str) -> Option<(usize, String)> {
    let mut rest = text.get(1..)?.strip_prefix('\'')?;
    let mut content = String::new();
    loop {
        let next = rest.chars().next()?;
        let behind = rest.get(next.len_utf8()..)?;
        rest = match next {
            '\'' => match behind.strip_prefix('\'') {
                Some(behind) => {
                    content.push('\'');
                    behind
                }
                None => return Some((text.len() - behind.len(), content)),
            },
            '\\' => {
                let (meant, behind) = escape(behind)?;
                content.push(meant);
                behind
            }
            _ => {
                content.push(next);
                behind
            }
        };
    }
}

/// What stands behind a backslash, and the rest.
fn escape(text: &str) -> Option<(char, &str)> {
    let next = text.chars().next()?;
    let behind = text.get(next.len_utf8()..)?;
    let plain = match next {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return numbered(behind, 16, 4..=4, char::MAX),
        'U' => return numbered(behind, 16, 8..=8, char::MAX),
        'x' if behind.starts_with(|digit: char| digit.is_ascii_hexdigit()) => return numbered(behind, 16, 1..=2, '\x7f'),
        '0'..='7' => return numbered(text, 8, 1..=3, '\x7f'),
        _ => next,
    };
    Some((plain, behind))
}

/// A character by its number, up to `last`; never the one that ends texts.
fn numbered(text: &str, radix: u32, digits: std::ops::RangeInclusive<usize>, last: char) -> Option<(char, &str)> {
    let count = text.bytes().take(*digits.end()).take_while(|digit| char::from(*digit).is_digit(radix)).count();
    let (number, rest) = text.split_at_checked(count).filter(|_| digits.contains(&count))?;
    let character = char::from_u32(u32::from_str_radix(number, radix).ok()?)?;
    (character != '\0' && character <= last).then_some((character, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::arguments::sql::lexis;

    fn plain(text: &str) -> String {
        lexis::plain(text, Dialect::PostgreSql).unwrap()
    }

    #[test]
    fn each_spelling_is_put_into_the_plain_one() {
        for (text, expected) in [
            (".5+.25e-3", "0.5+0.25e-3"),
            ("E'it\\'s'", "'it''s'"),
            ("e'a''b'", "'a''b'"),
            (r"E'a\tb\\n\x41\101\u00e9\U0001F600\q'", "'a\tb\\nAA\u{e9}\u{1f600}q'"),
            ("$$it's$$", "'it''s'"),
            ("$a$ $$ $b$ $a$", "' $$ $b$ '"),
            ("$_1$x$$_1$", "'x$'"),
            ("E'-- no' /* E'x' */ -- $$", "'-- no' /* E'x' */ -- $$"),
            ("'E''x''' \"E'x'\"", "'E''x''' \"E'x'\""),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn what_servers_may_take_apart_in_another_way_is_refused() {
        for text in [
            "E'a'\n'b'",
            "E'a'\n'\\'' UNION SELECT token FROM secrets -- '",
            "$$a$$$$b$$",
            "'a' $$b$$",
            "$$a$$ E'b'",
            "E'a\\",
            "E'a\\'",
            r"E'\0'",
            r"E'\xe9'",
            r"E'\351'",
            r"E'\u12'",
            r"E'\ud83d\ude00'",
            "E\"x\"",
            "nameE'x'",
            "1E'x'",
            "$1$x$1$",
            "a$$b$$",
            "1$$b$$",
            "$\u{e9}$x$\u{e9}$",
            "$a$x$A$",
            "N$$x$$",
            "1..5",
            "o.5",
            ".5.5",
            ".5x",
            ".5'x'",
        ] {
            let plain = lexis::plain(text, Dialect::PostgreSql);
            assert!(plain.as_ref().is_err() || lexis::check(plain.as_ref().unwrap(), Dialect::PostgreSql).is_err(), "{text}: {plain:?}");
        }
        for text in ["E'x'", "e'x'"] {
            assert!(lexis::plain(text, Dialect::Sqlite).is_err(), "{text}");
        }
        assert_eq!(lexis::plain(".5", Dialect::Sqlite).unwrap(), "0.5");
    }
}
