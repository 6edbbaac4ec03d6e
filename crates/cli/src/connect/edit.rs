//! Changes one entry of a client's file; comments, order and everything else stay.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstObject, CstRootNode};
use toml_edit::{DocumentMut, Item, Table};

use super::entry::{Entry, NAME, Way, table};
use crate::arguments::Client;

/// What clients accept over strict JSON. A file that is looser than this is not touched.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// `text` with `entry` in it.
pub(super) fn insert(text: &str, entry: &Entry) -> Result<String, String> {
    if entry.client == Client::Codex { insert_toml(text, entry) } else { insert_json(text, entry) }
}

/// `text` without our entry; `None` when it has none.
pub(super) fn remove(text: &str, client: Client) -> Result<Option<String>, String> {
    if client == Client::Codex { remove_toml(text, client) } else { remove_json(text, client) }
}

/// `text` after an entry was put in and taken out again: what such a file looks like when nothing else changed.
pub(super) fn passed_through(text: &str, client: Client) -> Option<String> {
    let entry = Entry::new(client, &Way::Http { url: String::new(), key: None });
    remove(&insert(text, &entry).ok()?, client).ok()?
}

/// Whether there is nothing in a file but what a first entry brought with it.
pub(super) fn is_empty(text: &str) -> bool {
    let bare: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let tables = [Client::ClaudeCode, Client::VsCode, Client::Zed].map(|client| format!("{{\"{}\":{{}}}}", table(client)));
    bare.is_empty() || bare == "{}" || tables.contains(&bare)
}

fn parse(text: &str) -> Result<(CstRootNode, CstObject), String> {
    let root = CstRootNode::parse(text, &OPTIONS).map_err(|error| format!("it is not valid JSON: {error}"))?;
    let object = root.object_value_or_create().ok_or("it is not a JSON object")?;
    Ok((root, object))
}

fn insert_json(text: &str, entry: &Entry) -> Result<String, String> {
    let (root, object) = parse(text)?;
    let servers =
        object.object_value_or_create(table(entry.client)).ok_or_else(|| format!("`{}` is not an object", table(entry.client)))?;
    match servers.get(NAME) {
        Some(there) if there.value().is_some_and(|value| is_same(&value.to_string(), entry)) => return Ok(text.to_owned()),
        Some(there) => there.set_value(entry.to_input()),
        None => {
            servers.append(NAME, entry.to_input());
        }
    }
    let mut new = root.to_string();
    if !new.ends_with('\n') && text.trim().is_empty() {
        new.push('\n');
    }
    Ok(new)
}

fn is_same(value: &str, entry: &Entry) -> bool {
    jsonc_parser::parse_to_serde_value::<serde_json::Value>(value, &OPTIONS).is_ok_and(|value| value == entry.to_json())
}

fn remove_json(text: &str, client: Client) -> Result<Option<String>, String> {
    let (root, object) = parse(text)?;
    let Some(entry) = object.object_value(table(client)).and_then(|servers| servers.get(NAME)) else { return Ok(None) };
    entry.remove();
    Ok(Some(root.to_string()))
}

fn parse_toml(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|error: toml_edit::TomlError| format!("it is not valid TOML: {}", error.message()))
}

fn insert_toml(text: &str, entry: &Entry) -> Result<String, String> {
    let mut document = parse_toml(text)?;
    let servers = document.entry(table(entry.client)).or_insert_with(|| {
        let mut servers = Table::new();
        servers.set_implicit(true);
        Item::Table(servers)
    });
    let servers = servers.as_table_mut().ok_or_else(|| format!("`{}` is not a table", table(entry.client)))?;
    let new = entry.to_toml();
    match servers.get_mut(NAME).and_then(Item::as_table_mut) {
        Some(there) if there.to_string() == new.to_string() => return Ok(text.to_owned()),
        Some(there) => {
            there.clear();
            there.extend(new);
        }
        None => {
            servers.insert(NAME, Item::Table(new));
        }
    }
    Ok(document.to_string())
}

fn remove_toml(text: &str, client: Client) -> Result<Option<String>, String> {
    let mut document = parse_toml(text)?;
    let servers = document.get_mut(table(client)).and_then(Item::as_table_like_mut);
    let removed = servers.and_then(|servers| servers.remove(NAME)).is_some();
    Ok(removed.then(|| document.to_string()))
}

#[cfg(test)]
mod tests;
