//! Changes to rows.

use sallyport_policy::StatementKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Database;
use super::engine::Ask;
use super::parameter::Parameter;
use super::rows::{ResultColumn, rows_schema};
use crate::tool::{Effect, Job, Tool, ToolError};

pub(super) struct Execute;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// One `INSERT`, `UPDATE` or `DELETE`. Places for values are `$1`, `$2`, … (PostgreSQL) or `?1`, `?2`, … (SQLite).
    sql: String,
    /// The values, in order: texts, numbers, truth values or null.
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// How many rows were inserted, updated or deleted.
    changed: u64,
    /// Columns of what `RETURNING` gives.
    columns: Vec<ResultColumn>,
    /// What `RETURNING` gives.
    #[schemars(schema_with = "rows_schema")]
    rows: Vec<Vec<Value>>,
}

impl Tool for Execute {
    type State = Database;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "execute";
    const TITLE: &'static str = "Change rows";
    const DESCRIPTION: &'static str =
        "Runs one INSERT, UPDATE or DELETE, all of it or nothing. One that would change more rows than a page may have is undone.";
    const EFFECT: Effect = Effect::Changes;

    fn run(database: &Database, input: Input, job: &Job) -> Result<Output, ToolError> {
        let (statement, allowed) = database.admit(&input.sql, StatementKind::Change, job)?;
        let ask = Ask { statement: &statement, parameters: &input.parameters, skip: 0, allowed: &allowed };
        let (changed, page) = database.engine.execute(&ask, job)?;
        Ok(Output { changed, columns: page.columns, rows: page.rows })
    }
}

/// A change that went too far, and was undone.
pub(super) fn too_many(changed: u64, most: u32) -> ToolError {
    ToolError::new(format!("it would change {changed} rows, and one statement may change {most}: nothing was changed"))
        .with_hint("narrow it with WHERE")
}
