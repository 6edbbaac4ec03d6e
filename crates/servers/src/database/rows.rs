//! One page of a result, bounded in rows and bytes.

use std::ops::ControlFlow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::Value;

use super::limits::Limits;

/// Bytes that a value costs beside its text: quotes, a comma, a number's digits.
const VALUE_BYTES: usize = 8;

/// One page of a result.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) columns: Vec<ResultColumn>,
    pub(super) rows: Vec<Vec<Value>>,
    /// Whether there is more.
    pub(super) more: bool,
    /// Whether a value was too long and lost its end.
    pub(super) cut: bool,
}

/// A column of a result.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ResultColumn {
    pub(super) name: String,
    /// The database's name of its type, where it has one.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) data_type: Option<String>,
}

/// Gathers a page.
pub(super) struct Gather {
    page: Page,
    rows: usize,
    room: usize,
}

impl Gather {
    pub(super) fn new(columns: Vec<ResultColumn>, limits: Limits) -> Self {
        Self { page: Page { columns, ..Page::default() }, rows: limits.rows(), room: limits.bytes() }
    }

    /// Offers the next row. Breaks when the page is full and there is more: only then does a next page exist.
    pub(super) fn offer(&mut self, row: Vec<Value>, cut: bool) -> ControlFlow<()> {
        let bytes: usize = row.iter().map(size).sum();
        // The first row is taken whatever its size, or nobody could ever page past it: its values were cut already.
        if self.page.rows.len() == self.rows || (bytes > self.room && !self.page.rows.is_empty()) {
            self.page.more = true;
            return ControlFlow::Break(());
        }
        self.room = self.room.saturating_sub(bytes);
        self.page.cut |= cut;
        self.page.rows.push(row);
        ControlFlow::Continue(())
    }

    pub(super) fn finish(self) -> Page {
        self.page
    }
}

fn size(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(_) | Value::Object(_) => value.to_string().len(),
            _ => 0,
        }
}

/// Longest value of a row of so many columns, in bytes: a row is a page at most, and a value is long enough to be of use.
pub(super) fn longest_value(columns: usize, limits: Limits) -> usize {
    (limits.bytes() / columns.max(1)).max(64)
}

/// `text` cut to `most` bytes, and whether it was.
pub(super) fn shortened(text: &str, most: usize) -> (String, bool) {
    match text.get(..text.floor_char_boundary(most)) {
        Some(kept) if kept.len() < text.len() => (kept.to_owned(), true),
        _ => (text.to_owned(), false),
    }
}

/// A whole number; as text where a client that knows floating-point numbers alone would get another one.
pub(super) fn whole(number: i64) -> Value {
    const EXACT: u64 = 1 << 53;
    if number.unsigned_abs() <= EXACT { Value::from(number) } else { Value::String(number.to_string()) }
}

/// The schema of rows: a value may be anything, and not every client knows the schema `true` for that.
pub(super) fn rows_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "type": "array", "items": {} } })
}
