//! Rows.

use sallyport_policy::StatementKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::engine::Ask;
use super::parameter::Parameter;
use super::rows::{ResultColumn, rows_schema};
use super::{Database, cursor};
use crate::tool::{Effect, Job, Tool, ToolError};

pub(super) struct Query;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// One `SELECT`. Places for values are `$1`, `$2`, … (PostgreSQL) or `?1`, `?2`, … (SQLite).
    sql: String,
    /// The values, in order: texts, numbers, truth values or null.
    #[serde(default)]
    parameters: Vec<Parameter>,
    /// `next` of the answer before, to go on there: with the same `sql` and `parameters`.
    cursor: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    columns: Vec<ResultColumn>,
    /// Each row's values, in the order of the columns.
    #[schemars(schema_with = "rows_schema")]
    rows: Vec<Vec<Value>>,
    /// `cursor` of the next page; missing where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Whether a value was too long and lost its end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

impl Tool for Query {
    type State = Database;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "query";
    const TITLE: &'static str = "Query";
    const DESCRIPTION: &'static str =
        "Runs one SELECT over the tables of list_tables. With ORDER BY, so that the pages of a long result join.";
    const EFFECT: Effect = Effect::Reads;

    fn run(database: &Database, input: Input, job: &Job) -> Result<Output, ToolError> {
        let skip = cursor::read(input.cursor.as_deref(), &input.sql, &input.parameters)?;
        let (statement, allowed) = database.admit(&input.sql, StatementKind::Query, job)?;
        let page = database.engine.query(&Ask { statement: &statement, parameters: &input.parameters, skip, allowed: &allowed }, job)?;
        let seen = skip.saturating_add(page.rows.len() as u64);
        let next = page.more.then(|| cursor::write(seen, &input.sql, &input.parameters));
        Ok(Output { columns: page.columns, rows: page.rows, next, cut: page.cut })
    }
}
