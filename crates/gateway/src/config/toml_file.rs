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
        let mut told: Vec<_> = errors.iter().map(|error| syntax(&lines, error)).collect();
        told.dedup_by(|one, other| (one.place, &one.message) == (other.place, &other.message));
        told.truncate(MOST_SYNTAX_ERRORS);
        return Err(told);
    }
    let places = places(&lines, &table);
    match deserialize(table.clone()) {
        Ok(config) => Ok((config, places)),
        Err(Wrong { told: first, .. }) => {
            let mut errors: Vec<_> = pieces(&table).into_iter().flat_map(errors_in).collect();
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

/// What the reader stopped at.
struct Wrong {
    told: Diagnostic,
    /// It is the key or value itself, whatever stands beside it.
    is_its_own: bool,
}

fn deserialize(table: Table<'_>) -> Result<Config, Wrong> {
    serde_path_to_error::deserialize(table.into_deserializer()).map_err(|error| {
        let message = error.inner().message();
        let own = ["unknown field", "unknown variant", "invalid type", "invalid value"];
        Wrong { told: explain(&path_of(error.path()), message), is_its_own: own.iter().any(|kind| message.starts_with(kind)) }
    })
}

/// What is wrong in a piece, and in each of its keys by itself.
fn errors_in(piece: Table<'_>) -> Vec<Diagnostic> {
    let keys = keys_of(&piece);
    match deserialize(piece) {
        Ok(_) => Vec::new(),
        Err(wrong) => {
            let each: Vec<_> = keys.into_iter().filter_map(|key| deserialize(key).err()).filter(|wrong| wrong.is_its_own).collect();
            if each.is_empty() { vec![wrong.told] } else { each.into_iter().map(|wrong| wrong.told).collect() }
        }
    }
}

/// The table that a piece leads to, cut into its keys.
fn keys_of<'t>(piece: &Table<'t>) -> Vec<Table<'t>> {
    let entries: Vec<_> = piece.get_ref().iter().collect();
    match entries.as_slice() {
        [(key, value)] => match value.get_ref() {
            DeValue::Table(below) => {
                let below = Spanned::new(value.span(), below.clone());
                keys_of(&below).into_iter().map(|cut| wrap(key, Spanned::new(value.span(), DeValue::Table(cut.into_inner())))).collect()
            }
            _ => vec![piece.clone()],
        },
        _ => entries.into_iter().map(|(key, value)| wrap(key, value.clone())).collect(),
    }
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
    if let Some((_, bounds)) = message.strip_prefix("invalid value: ").and_then(|rest| rest.rsplit_once(", expected "))
        && let Some(wanted) = number(bounds)
    {
        return Diagnostic::new(path, format!("another number is given where {wanted} is wanted"));
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
        wanted => number(wanted).unwrap_or(wanted),
    };
    let hint = (path.ends_with(".command") && found == "a string")
        .then(|| "write the program and its arguments as a list: `command = [\"npx\", \"-y\", \"package\"]`".to_owned());
    Diagnostic { hint, ..Diagnostic::new(path, format!("{found} is given where {wanted} is wanted")) }
}

/// A kind of number in words, where the reader has only its own name for it.
fn number(name: &str) -> Option<&'static str> {
    Some(match name {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 on",
        "a nonzero u8" => "a whole number from 1 to 255",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a nonzero u64" | "a nonzero usize" => "a whole number from 1 on",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        _ => return None,
    })
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
        let holds_tenants = key.get_ref().as_ref() == "tenants";
        match value.get_ref().as_table() {
            Some(tenants) if holds_tenants => {
                for (name, tenant) in tenants {
                    pieces.extend(tenant_pieces(name, tenant).into_iter().map(|piece| wrap(key, piece)));
                }
            }
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

/// One tenant cut as a file is.
fn tenant_pieces<'t>(name: &Spanned<std::borrow::Cow<'t, str>>, tenant: &Spanned<DeValue<'t>>) -> Vec<Spanned<DeValue<'t>>> {
    match tenant.get_ref().as_table() {
        Some(tables) => {
            let tables = Spanned::new(tenant.span(), tables.clone());
            let below = pieces(&tables).into_iter();
            below.map(|piece| wrap_value(name, Spanned::new(tenant.span(), DeValue::Table(piece.into_inner())))).collect()
        }
        None => vec![wrap_value(name, tenant.clone())],
    }
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
