//! Reads `sallyport.toml`, and says all that is wrong with it at once, each with its place.

use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::diagnostic::{Diagnostic, LineIndex, Places, join, nearest};
use crate::config::model::Config;

/// The most syntax errors that are told: past these, one is usually the consequence of another.
const MOST_SYNTAX_ERRORS: usize = 10;

type Table<'t> = Spanned<DeTable<'t>>;

/// Reads the text of a file. The places are those of every key in it.
pub(crate) fn read(text: &str) -> Result<(Config, Places), Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let lines = LineIndex::new(text);
    if !errors.is_empty() {
        return Err(errors.iter().take(MOST_SYNTAX_ERRORS).map(|error| syntax(&lines, error)).collect());
    }
    let places = places(&lines, &table);
    match deserialize(table.clone()) {
        Ok(config) => Ok((config, places)),
        Err(first) => {
            let mut errors: Vec<_> = pieces(&table).into_iter().filter_map(|piece| deserialize(piece).err()).collect();
            if errors.is_empty() {
                errors.push(first);
            }
            errors.iter_mut().for_each(|error| error.place = places.find(&error.path));
            errors.sort_by_key(|error| error.place);
            Err(errors)
        }
    }
}

fn syntax(lines: &LineIndex<'_>, error: &toml::de::Error) -> Diagnostic {
    let mut diagnostic = Diagnostic::new("", error.message().lines().collect::<Vec<_>>().join(", "));
    diagnostic.place = error.span().map(|span| lines.place(span.start));
    diagnostic
}

fn deserialize(table: Table<'_>) -> Result<Config, Diagnostic> {
    serde_path_to_error::deserialize(table.into_deserializer()).map_err(|error| explain(&path_of(error.path()), error.inner().message()))
}

/// The path in the form that [`join`] makes.
fn path_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |path, segment| match segment {
        Segment::Seq { index } => format!("{path}[{index}]"),
        Segment::Map { key } | Segment::Enum { variant: key } => join(&path, key),
        Segment::Unknown => path,
    })
}

/// Puts what the reader says into the words of this file, with a hint where one helps.
fn explain(path: &str, message: &str) -> Diagnostic {
    let message = message.lines().next().unwrap_or_default();
    if let Some(mismatch) = message.strip_prefix("invalid type: ") {
        return explain_type(path, mismatch);
    }
    let what = match message.split('`').next() {
        Some("unknown field ") => "key",
        Some("unknown variant ") => "value",
        _ => {
            return match message.split_once(" (hint: ") {
                Some((message, hint)) => Diagnostic::new(path, message).hint(hint.trim_end_matches(')')),
                None => Diagnostic::new(path, message),
            };
        }
    };
    let mut names = message.split('`').skip(1).step_by(2);
    let written = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    let hint = foreign_key(written)
        .map(str::to_owned)
        .or_else(|| nearest(written, known.iter().copied()).map(|known| format!("did you mean `{known}`?")))
        .or_else(|| (!known.is_empty()).then(|| format!("known here: {}", known.join(", "))));
    Diagnostic { hint, ..Diagnostic::new(path, format!("unknown {what} `{written}`")) }
}

/// Says what kind of value is wanted. The value itself is left out: it may be a secret in the wrong place.
fn explain_type(path: &str, mismatch: &str) -> Diagnostic {
    let (found, wanted) = mismatch.rsplit_once(", expected ").unwrap_or((mismatch, "another kind of value"));
    let found = match found.split([' ', '`']).next() {
        Some("string") => "a string",
        Some("integer" | "floating") => "a number",
        Some("boolean") => "`true` or `false`",
        Some("sequence") => "a list",
        Some("map") => "a table",
        _ => "something else",
    };
    let wanted = match wanted {
        "a sequence" => "a list",
        "a boolean" => "`true` or `false`",
        wanted if wanted == "a map" || wanted.starts_with("struct ") => "a table",
        wanted => wanted,
    };
    let hint = (path.ends_with(".command") && found == "a string")
        .then(|| "write the program and its arguments as a list: `command = [\"npx\", \"-y\", \"package\"]`".to_owned());
    Diagnostic { hint, ..Diagnostic::new(path, format!("{found} is given where {wanted} is wanted")) }
}

/// What to write instead of a key that other programs' configurations have.
fn foreign_key(key: &str) -> Option<&'static str> {
    match key {
        "args" => Some("arguments belong to the command: `command = [\"npx\", \"-y\", \"package\"]`"),
        "mcpServers" | "mcp_servers" | "context_servers" => {
            Some("here servers are `[servers.NAME]`; `sallyport import` translates the configuration of another client")
        }
        "type" => Some("`command`, `url` or `builtin` says what a server is; `transport` says how `url` is spoken to"),
        "enabled" => Some("a server is on unless `disabled = true`"),
        "port" | "host" | "address" => Some("write `listen = \"127.0.0.1:7420\"`"),
        _ => None,
    }
}

/// The file cut into pieces that can be read alone, so that an error in one does not hide those in another.
fn pieces<'t>(table: &Table<'t>) -> Vec<Table<'t>> {
    let mut pieces = Vec::new();
    for (key, value) in table.get_ref() {
        let named = matches!(key.get_ref().as_ref(), "servers" | "toolsets");
        match value.get_ref().as_table() {
            Some(entries) if named => pieces.extend(
                entries
                    .iter()
                    .flat_map(|(name, entry)| entry_pieces(name, entry).into_iter().map(|entry| wrap(key, wrap_value(name, entry)))),
            ),
            _ => pieces.push(wrap(key, value.clone())),
        }
    }
    pieces
}

/// One server or toolset cut into its keys.
fn entry_pieces<'t>(name: &Spanned<std::borrow::Cow<'t, str>>, entry: &Spanned<DeValue<'t>>) -> Vec<Spanned<DeValue<'t>>> {
    match entry.get_ref().as_table() {
        Some(keys) => keys.iter().map(|(key, value)| wrap_value(key, value.clone())).collect(),
        None => vec![Spanned::new(name.span(), entry.get_ref().clone())],
    }
}

fn wrap<'t>(key: &Spanned<std::borrow::Cow<'t, str>>, value: Spanned<DeValue<'t>>) -> Table<'t> {
    let mut table = DeTable::new();
    table.insert(key.clone(), value);
    Spanned::new(key.span(), table)
}

fn wrap_value<'t>(key: &Spanned<std::borrow::Cow<'t, str>>, value: Spanned<DeValue<'t>>) -> Spanned<DeValue<'t>> {
    Spanned::new(key.span(), DeValue::Table(wrap(key, value).into_inner()))
}

/// Where every key and list entry of the file stands.
fn places(lines: &LineIndex<'_>, table: &Table<'_>) -> Places {
    let mut places = Places::default();
    note_table(&mut places, lines, "", table.get_ref());
    places
}

fn note_table(places: &mut Places, lines: &LineIndex<'_>, parent: &str, table: &DeTable<'_>) {
    for (key, value) in table {
        let path = join(parent, key.get_ref());
        places.note(lines, path.clone(), key.span().start);
        note_value(places, lines, &path, value);
    }
}

fn note_value(places: &mut Places, lines: &LineIndex<'_>, path: &str, value: &Spanned<DeValue<'_>>) {
    match value.get_ref() {
        DeValue::Table(table) => note_table(places, lines, path, table),
        DeValue::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                let path = format!("{path}[{index}]");
                places.note(lines, path.clone(), value.span().start);
                note_value(places, lines, &path, value);
            }
        }
        _ => {}
    }
}
