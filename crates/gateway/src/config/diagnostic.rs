//! What is wrong with a configuration, said so that it can be put right.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::plan::SecretFile;

/// One thing wrong, or worth knowing, in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// The file it is in; `None` for the built-in default and the command line.
    pub file: Option<PathBuf>,
    /// The line and column, where known.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// The key it is about (`servers.github.command`); empty for the file as a whole.
    pub path: String,
    /// What is wrong: lower case, no full stop, never a secret value.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A place in a text, both counted from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Diagnostic {
    /// A diagnostic about the key at `path`, which has no file and no place yet.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { file: None, place: None, path: path.into(), message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// `FILE:LINE:COLUMN: PATH: MESSAGE`, and the hint on a line of its own.
impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(formatter, "{}:", file.display())?;
            if let Some(place) = self.place {
                write!(formatter, "{}:{}:", place.line, place.column)?;
            }
            formatter.write_str(" ")?;
        }
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(formatter, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The errors and warnings of one reading, collected so that all are told at once.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What stops the gateway.
    pub(crate) errors: Vec<Diagnostic>,
    /// What does not.
    pub(crate) warnings: Vec<Diagnostic>,
    /// The files that are to be looked for.
    pub(crate) secret_files: Vec<SecretFile>,
}

impl Report {
    /// Notes an error.
    pub(crate) fn error(&mut self, diagnostic: Diagnostic) {
        self.errors.push(diagnostic);
    }

    /// Notes a warning.
    pub(crate) fn warn(&mut self, diagnostic: Diagnostic) {
        self.warnings.push(diagnostic);
    }

    /// Unwraps `result`, noting its error.
    pub(crate) fn take<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|diagnostic| self.error(diagnostic)).ok()
    }
}

/// Where each key of a file stands, by its path.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<String, Place>);

impl Places {
    /// Notes that `path` stands at byte `offset` of `text`.
    pub(crate) fn note(&mut self, text: &LineIndex<'_>, path: String, offset: usize) {
        self.0.insert(path, text.place(offset));
    }

    /// The place of `path`, or of the nearest key around it.
    pub(crate) fn find(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(*place);
            }
            let end = path.rfind(['.', '['])?;
            path = path.get(..end)?;
        }
    }
}

/// Turns byte offsets of a text into places.
#[derive(Debug)]
pub(crate) struct LineIndex<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> LineIndex<'t> {
    /// Reads where the lines of `text` start.
    pub(crate) fn new(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// The place of the byte at `offset`.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        Place { line, column: column + 1 }
    }
}

/// `parent.key`, the key in quotes where it is not a bare one.
pub(crate) fn join(parent: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// The candidate that `written` most likely meant.
#[must_use]
pub fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // One slip in a short word, three in a long one: more, and the suggestion is noise.
    let allowed = 1 + written.chars().count().min(12) / 4;
    candidates
        .into_iter()
        .map(|candidate| (distance(&written.to_ascii_lowercase(), candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, dropped or changed to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in to.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_its_neighbour() {
        assert_eq!(nearest("comand", ["command", "cwd", "env"]), Some("command"));
        assert_eq!(nearest("Command", ["command"]), Some("command"));
        assert_eq!(nearest("xyz", ["command", "cwd"]), None);
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a = 1\nä = 2\nb = 3";
        let index = LineIndex::new(text);
        assert_eq!(index.place(0), Place { line: 1, column: 1 });
        assert_eq!(index.place(9), Place { line: 2, column: 3 });
        assert_eq!(index.place(13), Place { line: 3, column: 1 });
    }

    #[test]
    fn an_unknown_path_has_the_place_of_what_is_around_it() {
        let text = LineIndex::new("x\ny");
        let mut places = Places::default();
        places.note(&text, "servers.a".into(), 2);
        assert_eq!(places.find("servers.a.command[1]"), Some(Place { line: 2, column: 1 }));
        assert_eq!(places.find("policy"), None);
    }

    #[test]
    fn a_diagnostic_reads_like_a_compilers() {
        let mut diagnostic = Diagnostic::new("servers.a.comand", "unknown key").hint("did you mean `command`?");
        diagnostic.file = Some("sallyport.toml".into());
        diagnostic.place = Some(Place { line: 3, column: 1 });
        assert_eq!(diagnostic.to_string(), "sallyport.toml:3:1: servers.a.comand: unknown key\n  hint: did you mean `command`?");
    }
}
