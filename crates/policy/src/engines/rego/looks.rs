//! Which arguments a text of policies looks at, as far as its words tell.
//!
//! There is one way to a call's arguments: the name `input`. So it is enough to look at what follows each of them.

use crate::engines::Source;

/// One look at the arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// `FILE:LINE`.
    pub(super) place: String,
    /// The argument; `None` where it may be any.
    pub(super) argument: Option<String>,
    /// What of it; `None` where it may be all.
    pub(super) member: Option<String>,
}

/// All looks at arguments in a text.
pub(super) fn looks(source: &Source) -> Vec<Look> {
    let words = words(&source.text);
    let mut looks: Vec<Look> = Vec::new();
    for (at, (line, word)) in words.iter().enumerate() {
        if *word != Word::Name("input")
            || at.checked_sub(1).and_then(|before| words.get(before)).is_some_and(|(_, word)| *word == Word::Point)
        {
            continue;
        }
        let Some((argument, part)) = taken(words.get(at + 1..).unwrap_or_default()) else { continue };
        let (argument, member) = (argument.map(str::to_owned), part.map(str::to_owned));
        looks.push(Look { place: format!("{}:{line}", source.name), argument, member });
    }
    looks.dedup();
    looks
}

/// What is taken of `input`: nothing that concerns arguments, one of them and what of it, or any.
fn taken<'t>(after: &[(usize, Word<'t>)]) -> Option<(Option<&'t str>, Option<&'t str>)> {
    match member(after) {
        Some(("args", after)) => {
            let Some((name, after)) = member(after) else { return Some((None, None)) };
            Some((Some(name), member(after).map(|(part, _)| part)))
        }
        Some(_) => None,
        None => Some((None, None)),
    }
}

/// The member that is taken by its name, and what follows.
fn member<'t, 'w>(words: &'w [(usize, Word<'t>)]) -> Option<(&'t str, &'w [(usize, Word<'t>)])> {
    match words {
        [(_, Word::Point), (_, Word::Name(name)), rest @ ..] => Some((name, rest)),
        [(_, Word::Open), (_, Word::Text(name)), (_, Word::Close), rest @ ..] => Some((name, rest)),
        _ => None,
    }
}

/// As much of Rego's words as matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'t> {
    Name(&'t str),
    /// A text without escapes.
    Text(&'t str),
    Point,
    Open,
    Close,
    Other,
}

fn words(text: &str) -> Vec<(usize, Word<'_>)> {
    let (mut words, mut line, mut rest) = (Vec::new(), 1, text);
    while let Some(first) = rest.chars().next() {
        let (word, length) = match first {
            '#' => (None, rest.find('\n').unwrap_or(rest.len())),
            // Rego's newer texts hold expressions; whoever uses one may look at anything.
            '$' if matches!(rest.as_bytes().get(1), Some(b'"' | b'`')) => (Some(Word::Name("input")), 1),
            '"' => {
                let length = quoted(rest);
                let inner = rest.get(1..length.saturating_sub(1)).unwrap_or_default();
                (Some(if inner.contains('\\') { Word::Other } else { Word::Text(inner) }), length)
            }
            '`' => {
                let length = rest.get(1..).and_then(|inner| inner.find('`')).map_or(rest.len(), |end| end + 2);
                (Some(rest.get(1..length.saturating_sub(1)).map_or(Word::Other, Word::Text)), length)
            }
            first if first.is_alphabetic() || first == '_' => {
                let length = rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
                (rest.get(..length).map(Word::Name), length)
            }
            '.' => (Some(Word::Point), 1),
            '[' => (Some(Word::Open), 1),
            ']' => (Some(Word::Close), 1),
            first if first.is_whitespace() => (None, first.len_utf8()),
            first => (Some(Word::Other), first.len_utf8()),
        };
        words.extend(word.map(|word| (line, word)));
        let (passed, behind) = rest.split_at(length.max(1));
        line += passed.bytes().filter(|byte| *byte == b'\n').count();
        rest = behind;
    }
    words
}

/// The bytes of the quoted text that begins here.
fn quoted(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !is_escaped => return at + 1,
            character => is_escaped = character == '\\' && !is_escaped,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<(String, Option<String>)> {
        let source = Source { name: "p".into(), text: text.into() };
        looks(&source).into_iter().map(|look| (look.place, look.argument)).collect()
    }

    #[test]
    fn arguments_that_are_named_are_found() {
        let text = "package sallyport # input.args.no\nallow if { input.args.sql.kind == \"input.args.no\" }\n\
                    deny if input[\"args\"][\"limit\"] > 3\nx := `input\n.args`\ny if input . args [ `z` ]\nz if input.principal.id == \"a\"";
        let named = |line: u8, name: &str| (format!("p:{line}"), Some(name.to_owned()));
        assert_eq!(of(text), [named(2, "sql"), named(3, "limit"), named(6, "z")]);
    }

    #[test]
    fn what_is_taken_of_an_argument_is_known() {
        let text = "a if input.args.note.length < 9\nb if input.args[\"note\"][\"text\"] == \"x\"\nc if input.args.note[part]\nd := input.args.note";
        let told = looks(&Source { name: "p".into(), text: text.into() });
        let members: Vec<_> = told.iter().map(|look| (look.argument.as_deref(), look.member.as_deref())).collect();
        assert_eq!(members, [(Some("note"), Some("length")), (Some("note"), Some("text")), (Some("note"), None), (Some("note"), None)]);
    }

    #[test]
    fn who_may_look_at_all_looks_at_all() {
        for text in [
            "x := input",
            "x := input.args",
            "some name; input.args[name] == 1",
            "input[part]",
            "walk(input, [p, v])",
            "import input.args",
            "f(input.args)",
            "input[\"ar\\u0067s\"]",
            "$\"{input}\"",
        ] {
            assert_eq!(of(text), [("p:1".to_owned(), None)], "{text}");
        }
        assert_eq!(of("data.input.args.x; inputs.args; input.action"), []);
    }

    #[test]
    fn no_text_makes_it_stumble() {
        for text in ["\"", "`", "\"\\", "input.", "input[\"", "ä.input", "input.args.ä"] {
            let _ = of(text);
        }
        assert_eq!(of("input.args.ä"), [("p:1".to_owned(), Some("ä".to_owned()))]);
    }
}
