//! Texts whose strings, names and comments do not end everywhere in the same place.
//!
//! The parser takes a text apart as one server does. A setting (`ANSI_QUOTES`, `standard_conforming_strings`), an extension or another
//! version may take it apart otherwise, and so does the database itself where the parser is less exact. Then what is a string here is a
//! statement there, so such a text is refused, whatever it says.

use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

use super::Dialect;
use super::reading::Refusal;

const COMMENT: Refusal = "a query with a comment that is none everywhere";
const UNSEEN: Refusal = "a query with a character that cannot be seen, which not every server understands alike";
const BACKSLASH: Refusal = "a query with a backslash before a quote, which not every server understands alike";
const NUMBER: Refusal = "a query with a number that runs into a name, which not every server understands alike";
const TEXT: Refusal = "a query with a text that does not end everywhere in the same place";
const NAME: Refusal = "a query with a name that is not written as it is understood";
const DOUBLE: Refusal = "a query with double quotes, which some servers take for those of a text and others for those of a name";

/// What of a text, before it is taken apart, is not the same everywhere.
pub(super) fn of_text(text: &str, dialect: Dialect) -> Option<Refusal> {
    // A comment to this parser, and a statement to MySQL and MariaDB, or what some servers change a setting by.
    if ["/*!", "/*M!", "/*+"].iter().any(|begin| text.contains(begin)) {
        return Some(COMMENT);
    }
    // A name by its code points: another one to this parser than to PostgreSQL.
    if text.to_ascii_lowercase().contains("u&\"") {
        return Some(NAME);
    }
    // With the database's setting `NO_BACKSLASH_ESCAPES` the text ends there, and without it does not.
    if dialect == Dialect::MySql && ["\\'", "\\\""].iter().any(|end| text.contains(end)) {
        return Some(BACKSLASH);
    }
    // They end a line, a comment or the whole text for some.
    let is_unseen = |unseen: char| matches!(unseen, '\u{2028}' | '\u{2029}') || (unseen.is_control() && !"\t\n".contains(unseen));
    text.replace("\r\n", "\n").contains(is_unseen).then_some(UNSEEN)
}

/// What of the tokens is not the same everywhere.
pub(super) fn of_tokens(text: &str, tokens: &[TokenWithSpan], dialect: Dialect) -> Option<Refusal> {
    let (mut before, mut last) = (None, None);
    for (piece, token) in pieces(text, tokens) {
        let refusal = alone(piece, token, dialect).or_else(|| joined(before, token, dialect)).or_else(|| following(last, token, dialect));
        if refusal.is_some() {
            return refusal;
        }
        before = Some(token);
        if !matches!(token, Token::Whitespace(_)) {
            last = before;
        }
    }
    None
}

/// Each token with its text: together they are the whole.
fn pieces<'t>(text: &'t str, tokens: &'t [TokenWithSpan]) -> impl Iterator<Item = (&'t str, &'t Token)> {
    let (mut rest, mut line, mut column) = (text, 1, 1);
    tokens.iter().map(move |TokenWithSpan { token, span }| {
        let is_inside = |read: &char| {
            let inside = (line, column) < (span.end.line, span.end.column);
            if inside {
                (line, column) = if *read == '\n' { (line + 1, 1) } else { (line, column + 1) };
            }
            inside
        };
        let (piece, after) = rest.split_at(rest.chars().take_while(is_inside).map(char::len_utf8).sum());
        rest = after;
        (piece, token)
    })
}

/// Of one token.
fn alone(piece: &str, token: &Token, dialect: Dialect) -> Option<Refusal> {
    use Dialect::{MsSql, MySql, PostgreSql, Sqlite};
    let inner = piece.get(2..).unwrap_or_default();
    match token {
        Token::Whitespace(Whitespace::Space) if !piece.is_ascii() => Some(UNSEEN),
        // MySQL wants a space after `--`, and takes none of those beyond ASCII for one.
        Token::Whitespace(Whitespace::SingleLineComment { prefix, .. }) if dialect == MySql && prefix == "--" => {
            (!inner.starts_with([' ', '\t', '\r', '\n']) && !inner.is_empty()).then_some(COMMENT)
        }
        // One comment in another ends the first for some.
        Token::Whitespace(Whitespace::MultiLineComment(_)) if inner.contains("/*") => Some(COMMENT),
        Token::Number(_, true) => Some(NUMBER),
        Token::Placeholder(name) if begins_with_digit(name) => name.contains(char::is_alphabetic).then_some(NUMBER),
        // A column called `X`, with a name for the result: nobody writes numbers so there.
        Token::HexStringLiteral(_) if dialect == MsSql && !piece.starts_with('0') => Some(NAME),
        Token::HexStringLiteral(digits) => (!digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(TEXT),
        Token::SingleQuotedByteStringLiteral(bits) => (!bits.bytes().all(|bit| matches!(bit, b'0' | b'1'))).then_some(TEXT),
        // A column called `b`, with a name for the result.
        Token::DoubleQuotedByteStringLiteral(_) => Some(NAME),
        // Without `standard_conforming_strings`, and where it goes on with an `E'…'` of the line before, the text does not end there.
        Token::SingleQuotedString(_) | Token::NationalStringLiteral(_) if dialect == PostgreSql => {
            piece.contains("\\'").then_some(BACKSLASH)
        }
        Token::DollarQuotedString(_) => (dialect != PostgreSql || begins_with_digit(piece)).then_some(TEXT),
        // `$identity` is a column of SQL Server's; `$€$` begins a text of PostgreSQL's.
        Token::Placeholder(name) if matches!(dialect, PostgreSql | MsSql) && name.starts_with('$') => Some(NAME),
        // SQLite's brackets cannot hold one of their own.
        Token::Word(word) if dialect == Sqlite && word.quote_style == Some('[') => word.value.contains(']').then_some(NAME),
        _ => None,
    }
}

/// Whether what follows a `$` is a parameter or an amount of money.
fn begins_with_digit(word: &str) -> bool {
    word.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
}

/// Of two tokens with nothing between them.
fn joined(before: Option<&Token>, token: &Token, dialect: Dialect) -> Option<Refusal> {
    match (before?, token) {
        (Token::Number(..) | Token::HexStringLiteral(_) | Token::Placeholder(_), Token::Word(word)) => {
            word.quote_style.is_none().then_some(NUMBER)
        }
        // A comment wherever no space has to follow.
        (Token::Minus, Token::Minus) if dialect == Dialect::MySql => Some(COMMENT),
        _ => None,
    }
}

/// Of two tokens with only space between them.
fn following(last: Option<&Token>, token: &Token, dialect: Dialect) -> Option<Refusal> {
    use Token::{DoubleQuotedString as Double, Period, SingleQuotedString as Single};
    match (last?, token) {
        // With `ANSI_QUOTES` it is a name, also of what is called.
        (Double(_), Double(_) | Single(_) | Period | Token::LParen) | (Single(_) | Period, Double(_)) if dialect == Dialect::MySql => {
            Some(DOUBLE)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
