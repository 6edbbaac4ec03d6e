//! Where a statement's words, strings and comments begin and end.
//!
//! The parser splits a text in one way, a server in its own, which may depend on its version, its settings and its encoding. Where the two
//! differ, what is a string to one is a statement to the other. So a text has to be written in the part of its dialect that everybody
//! splits alike: whatever is not known to be so is refused, here, before the parser sees it.

use super::Dialect;
use super::plain::{self, Plain};
use super::reading::{Refusal, UNKNOWN};

const CHARACTER: Refusal = "a query with a character outside of quotes that not every server reads alike: put such names between quotes";
const QUOTE: Refusal = "a query with a quote that is none, or another one, to some servers";
const PREFIX: Refusal = "a query with a quote right behind a word, which not every server understands alike";
const BACKSLASH: Refusal = "a query with a backslash before a quote, which not every server understands alike";
const ADJACENT: Refusal = "a query with a string right behind another one, which not every server understands alike";
const COMMENT: Refusal = "a query with a comment that is none everywhere";
const NUMBER: Refusal = "a query with a number that not every server understands alike";
const VARIABLE: Refusal = "a query with a `$`, `@`, `&` or `:` that not every server understands alike";

/// Whether every server of the dialect splits `text` as the parser does.
pub(super) fn check(text: &str, dialect: Dialect) -> Result<(), Refusal> {
    if text.contains('\0') {
        return Err(CHARACTER); // to some the text ends there
    }
    let mut lexis = Lexis::new(text, dialect);
    while let Some(next) = lexis.rest.chars().next() {
        lexis.step(next)?;
    }
    Ok(())
}

/// The same text without spellings that this database alone knows, for what is printed anew before it runs.
pub(super) fn plain(text: &str, dialect: Dialect) -> Result<String, Refusal> {
    let mut lexis = Lexis::new(text, dialect);
    let mut plain = String::with_capacity(text.len());
    while let Some(next) = lexis.rest.chars().next() {
        let rest = lexis.rest;
        match plain::spelt(rest, dialect) {
            Some((length, spelt)) => plain.push_str(&lexis.respelt(length, spelt)?),
            None => {
                lexis.step(next)?;
                plain.push_str(rest.get(..rest.len() - lexis.rest.len()).unwrap_or_default());
            }
        }
    }
    Ok(plain)
}

struct Lexis<'t> {
    dialect: Dialect,
    rest: &'t str,
    /// The character before the rest; a space for a comment.
    before: char,
    /// Whether nothing but white space stands between a string and the rest.
    is_behind_string: bool,
}

impl<'t> Lexis<'t> {
    fn new(text: &'t str, dialect: Dialect) -> Self {
        Self { dialect, rest: text, before: ' ', is_behind_string: false }
    }

    /// Goes on behind what has a plain spelling, where nothing that follows could be a part of it.
    fn respelt(&mut self, length: usize, spelt: Plain) -> Result<String, Refusal> {
        let (spelt, is_string) = match spelt {
            Plain::String(_) if self.is_behind_string => return Err(ADJACENT),
            Plain::String(spelt) => (spelt, true),
            Plain::Number(_) if after(self.rest, length).starts_with(|next| self.is_of_word(next) || is_quote(next)) => return Err(NUMBER),
            Plain::Number(spelt) => (spelt, false),
        };
        self.pass(length);
        self.is_behind_string = is_string;
        Ok(spelt)
    }

    fn step(&mut self, next: char) -> Result<(), Refusal> {
        use Dialect::{MsSql, MySql, PostgreSql, Sqlite};
        if self.rest.starts_with("--") || (next == '#' && self.dialect == MySql) {
            return self.line_comment();
        }
        if self.rest.starts_with("/*") {
            return self.block_comment();
        }
        match (next, self.dialect) {
            ('\'', _) => return self.string(),
            // MySQL's setting `ANSI_QUOTES` and T-SQL's `QUOTED_IDENTIFIER` decide what `"` is; SQLite takes it for a string only where
            // there is no such name.
            ('"', PostgreSql | Sqlite) | ('`', MySql | Sqlite) => return self.name(next),
            ('[', MsSql | Sqlite) => return self.name(']'),
            ('"' | '`', _) | ('[', MySql) => return Err(QUOTE),
            _ => {}
        }
        if next.is_ascii_digit() {
            self.number()
        } else if self.is_of_word(next) {
            self.word()
        } else {
            self.sign(next)
        }
    }

    /// Goes on behind `length` bytes.
    fn pass(&mut self, length: usize) {
        let (passed, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        let is_space = passed.bytes().all(|byte| byte.is_ascii_whitespace());
        self.before = passed.chars().next_back().unwrap_or(self.before);
        self.is_behind_string &= is_space;
        self.rest = rest;
    }

    fn pass_comment(&mut self, length: usize) -> Result<(), Refusal> {
        let (comment, rest) = self.rest.split_at_checked(length).ok_or(UNKNOWN)?;
        // What the parser takes for an operator may hold the beginning of a comment.
        if is_operator(self.before) || !has_plain_space(comment) {
            return Err(COMMENT);
        }
        (self.rest, self.before) = (rest, ' ');
        Ok(())
    }

    fn line_comment(&mut self) -> Result<(), Refusal> {
        // To MySQL, `--` begins a comment only with a space behind it.
        let is_right = self.dialect != Dialect::MySql || self.rest.starts_with('#') || after(self.rest, 2).starts_with([' ', '\t', '\n']);
        if !is_right {
            return Err(COMMENT);
        }
        self.pass_comment(self.rest.find('\n').unwrap_or(self.rest.len()))
    }

    /// Some servers carry out what stands in `/*! */`, `/*M! */`, `/*+ */`; some let comments stand in each other.
    fn block_comment(&mut self) -> Result<(), Refusal> {
        let inner = self.rest.get(2..).and_then(|rest| rest.split_once("*/")).ok_or(UNKNOWN)?.0;
        let is_carried_out = inner.strip_prefix(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(inner).starts_with(['!', '+']);
        if is_carried_out || inner.starts_with('/') || inner.ends_with('/') || inner.contains("/*") {
            return Err(COMMENT);
        }
        self.pass_comment(inner.len() + 4)
    }

    /// PostgreSQL puts strings together that stand in two lines, in the mode of the first; MySQL all that follow each other.
    fn string(&mut self) -> Result<(), Refusal> {
        if self.is_behind_string {
            return Err(ADJACENT);
        }
        let length = closing(after(self.rest, 1), '\'').ok_or(UNKNOWN)?;
        let text = self.rest.get(1..=length).ok_or(UNKNOWN)?;
        // MySQL's setting `NO_BACKSLASH_ESCAPES` and PostgreSQL's `standard_conforming_strings` decide where such a string ends.
        let has_escapes = matches!(self.dialect, Dialect::MySql | Dialect::PostgreSql);
        if has_escapes && (text.contains("\\'") || text.ends_with('\\')) {
            return Err(BACKSLASH);
        }
        self.pass(length + 2);
        self.is_behind_string = true;
        Ok(())
    }

    fn name(&mut self, close: char) -> Result<(), Refusal> {
        let length = closing(after(self.rest, 1), close).ok_or(UNKNOWN)?;
        // To SQLite the name ends with the first of them.
        if close == ']' && self.dialect == Dialect::Sqlite && self.rest.get(1..=length).is_none_or(|name| name.contains(']')) {
            return Err(QUOTE);
        }
        self.pass(length + 2);
        Ok(())
    }

    /// What begins with a digit: `1FROM`, `1_000`, `1.e` and `0x1` are one word, two or three.
    fn number(&mut self) -> Result<(), Refusal> {
        let hexadecimal = self.rest.strip_prefix("0x").filter(|_| self.dialect != Dialect::PostgreSql);
        let length = match hexadecimal {
            Some(digits) => 2 + count(digits, |digit| digit.is_ascii_hexdigit()).ok_or(NUMBER)?,
            None => decimal(self.rest).ok_or(NUMBER)?,
        };
        if after(self.rest, length).starts_with(|next| self.is_of_word(next) || is_quote(next)) {
            return Err(NUMBER);
        }
        self.pass(length);
        Ok(())
    }

    /// A name with what it is of, a keyword, a variable, or what says of which kind a string is.
    fn word(&mut self) -> Result<(), Refusal> {
        let length = self.rest.find(|next| !self.is_of_word(next)).unwrap_or(self.rest.len());
        let (word, behind) = self.rest.split_at(length);
        if word.split('.').skip(1).any(|part| part.starts_with(|digit: char| digit.is_ascii_digit())) {
            return Err(NUMBER);
        }
        self.check_variable(word, behind)?;
        if behind.starts_with(is_quote) {
            self.check_prefix(word, behind)?;
        }
        self.pass(length);
        Ok(())
    }

    /// `$` begins a string, a parameter, a variable, money or a column that has no name.
    fn check_variable(&self, word: &str, behind: &str) -> Result<(), Refusal> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let amount = word.strip_prefix('$');
        let is_right = match self.dialect {
            Dialect::PostgreSql => !word.contains('$') || amount.is_some_and(is_number),
            Dialect::MsSql => amount.is_none_or(is_number),
            // A variable may have a suffix, with anything in it.
            Dialect::Sqlite => !(amount.is_some() || matches!(self.before, '@' | ':' | '#')) || !behind.starts_with(['(', ':']),
            Dialect::MySql => true,
        };
        is_right.then_some(()).ok_or(VARIABLE)
    }

    /// Of the words that say what kind a string is those that change nothing about where it ends.
    fn check_prefix(&self, word: &str, behind: &str) -> Result<(), Refusal> {
        let is_digits = || {
            let text = behind.get(1..).and_then(|rest| rest.split_once('\''));
            text.is_some_and(|(text, rest)| !rest.starts_with('\'') && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        if !behind.starts_with('\'') {
            return word.ends_with('.').then_some(()).ok_or(PREFIX);
        }
        let is_right = match (word, self.dialect) {
            ("n" | "N", Dialect::PostgreSql | Dialect::MySql | Dialect::MsSql) => true,
            ("x" | "X", Dialect::PostgreSql | Dialect::MySql | Dialect::Sqlite) => is_digits(),
            ("b" | "B", Dialect::PostgreSql | Dialect::MySql) => is_digits(),
            _ => false,
        };
        is_right.then_some(()).ok_or(PREFIX)
    }

    fn sign(&mut self, next: char) -> Result<(), Refusal> {
        let is_space = matches!(next, '\t' | '\n') || self.rest.starts_with("\r\n");
        if !next.is_ascii() || matches!(next, '\\' | '{' | '}') || (next.is_ascii_control() && !is_space) {
            return Err(CHARACTER);
        }
        // To the parser, `a@b` is one name; and a client's or a server's own names may stand between quotes, too: `:'a'`, `@'a'`, `U&'a'`.
        let is_joined = next == '@' && self.is_of_word(self.before) && matches!(self.dialect, Dialect::MySql | Dialect::Sqlite);
        if is_joined || (matches!(next, '@' | ':' | '#' | '&') && after(self.rest, 1).starts_with(is_quote)) {
            return Err(VARIABLE);
        }
        self.pass(next.len_utf8());
        Ok(())
    }

    fn is_of_word(&self, next: char) -> bool {
        next.is_ascii_alphanumeric() || matches!(next, '_' | '.' | '$') || (self.dialect == Dialect::MsSql && matches!(next, '@' | '#'))
    }
}

fn is_quote(next: char) -> bool {
    matches!(next, '\'' | '"' | '`')
}

fn is_operator(next: char) -> bool {
    matches!(next, '+' | '-' | '*' | '/' | '<' | '>' | '=' | '~' | '!' | '@' | '#' | '%' | '^' | '&' | '|' | '?')
}

/// Whether lines end everywhere where they end anywhere, and nothing else is between characters but spaces and tabs.
fn has_plain_space(text: &str) -> bool {
    let mut text = text.chars().peekable();
    while let Some(next) = text.next() {
        let is_plain = match next {
            ' ' | '\t' | '\n' => true,
            '\r' => text.peek().is_none_or(|end| *end == '\n'),
            _ => !next.is_control() && !next.is_whitespace(),
        };
        if !is_plain {
            return false;
        }
    }
    true
}

/// How many characters of one kind a text begins with, if there are any.
fn count(text: &str, is_one: impl Fn(char) -> bool) -> Option<usize> {
    let count = text.find(|next| !is_one(next)).unwrap_or(text.len());
    (count > 0).then_some(count)
}

/// The length of the number that a text begins with, with its fraction and its exponent.
pub(super) fn decimal(text: &str) -> Option<usize> {
    let digits = |text: &str| count(text, |digit| digit.is_ascii_digit());
    let mut length = digits(text)?;
    if let Some(fraction) = after(text, length).strip_prefix('.') {
        length += 1 + digits(fraction)?;
    }
    if let Some(exponent) = after(text, length).strip_prefix(['e', 'E']) {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        length += 1 + (exponent.len() - unsigned.len()) + digits(unsigned)?;
    }
    Some(length)
}

/// What stands behind so many bytes.
fn after(text: &str, length: usize) -> &str {
    text.get(length..).unwrap_or_default()
}

/// Where a quote ends: each one in it stands twice.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find(quote)?;
        if !after(text, at + 1).starts_with(quote) {
            return Some(at);
        }
        from = at + 2;
    }
}

#[cfg(test)]
mod tests;
