//! Values on their way in and out: as text, since the database can write and read each of its types so.

use serde_json::{Number, Value};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Row, Statement};

use super::super::parameter::Parameter;
use super::super::rows::{ResultColumn, shortened, whole};
use crate::tool::ToolError;

/// Most columns of a result: what a model can tell apart, and a bound on the text that is made of them.
const MOST_COLUMNS: usize = 500;

/// How a column's text is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Truth,
    Whole,
    Float,
    Json,
}

/// The columns of a statement's result.
pub(super) fn columns(statement: &Statement) -> Result<(Vec<ResultColumn>, Vec<Kind>), ToolError> {
    let columns = statement.columns();
    if columns.is_empty() || columns.len() > MOST_COLUMNS {
        return Err(ToolError::argument("sql", format!("it gives {} columns, and a result has 1 to {MOST_COLUMNS}", columns.len())));
    }
    let named = columns.iter().map(|column| {
        let (name, data_type) = (column.name().to_owned(), Some(column.type_().name().to_owned()));
        (ResultColumn { name, data_type }, Kind::of(column.type_()))
    });
    Ok(named.unzip())
}

impl Kind {
    fn of(data_type: &Type) -> Self {
        match *data_type {
            Type::BOOL => Self::Truth,
            Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => Self::Whole,
            Type::FLOAT4 | Type::FLOAT8 => Self::Float,
            Type::JSON | Type::JSONB => Self::Json,
            _ => Self::Text,
        }
    }

    /// What cannot be understood so stays text.
    fn read(self, text: &str) -> Option<Value> {
        match self {
            Self::Text => None,
            Self::Truth => text.parse().ok().map(Value::Bool),
            Self::Whole => text.parse().ok().map(whole),
            Self::Float => text.parse().ok().and_then(Number::from_f64).map(Value::Number),
            Self::Json => serde_json::from_str(text).ok(),
        }
    }
}

/// The query with every column as text, one character longer than is shown, from `skip` on. `text` is what the guard printed.
pub(super) fn as_text(text: &str, columns: usize, longest: usize, skip: u64) -> String {
    format!("SELECT {} FROM ({text}) AS q({}) OFFSET {skip}", shown(columns, longest), names(columns))
}

/// The same of a change that returns rows.
pub(super) fn change_as_text(text: &str, columns: usize, longest: usize) -> String {
    format!("WITH q({}) AS ({text}) SELECT {} FROM q", names(columns), shown(columns, longest))
}

fn names(columns: usize) -> String {
    (0..columns).map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ")
}

fn shown(columns: usize, longest: usize) -> String {
    (0..columns).map(|at| format!("pg_catalog.substr(q.c{at}::pg_catalog.text, 1, {})", longest + 1)).collect::<Vec<_>>().join(", ")
}

/// The values of a row, and whether the end of one was cut.
pub(super) fn of_row(row: &Row, kinds: &[Kind], longest: usize) -> Result<(Vec<Value>, bool), tokio_postgres::Error> {
    let mut any_cut = false;
    let value = |(at, kind): (usize, &Kind)| {
        let Some(text) = row.try_get::<_, Option<&str>>(at)? else { return Ok(Value::Null) };
        let (kept, cut) = shortened(text, longest);
        any_cut |= cut;
        Ok(kind.read(&kept).unwrap_or(Value::String(kept)))
    };
    let values = kinds.iter().enumerate().map(value).collect::<Result<_, _>>()?;
    Ok((values, any_cut))
}

/// Text that the database reads as whatever it expects at that place.
impl ToSql for Parameter {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let text = match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Truth(truth) => truth.to_string(),
        };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
