//! What a table looks like.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Database;
use super::engine::{Column, ForeignKey, RelationKind};
use crate::tool::{Effect, Job, Tool, ToolError};

pub(super) struct DescribeTable;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The table's or view's name, as list_tables has it.
    table: String,
    /// Its schema, where there are several tables of this name.
    schema: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    schema: String,
    name: String,
    kind: RelationKind,
    columns: Vec<Column>,
    /// Which columns hold values of which other tables' columns.
    foreign_keys: Vec<ForeignKey>,
}

impl Tool for DescribeTable {
    type State = Database;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "describe_table";
    const TITLE: &'static str = "Describe a table";
    const DESCRIPTION: &'static str = "Shows a table's columns with their types, its primary key and its foreign keys.";
    const EFFECT: Effect = Effect::Reads;

    fn run(database: &Database, input: Input, job: &Job) -> Result<Output, ToolError> {
        let relations = database.relations(job)?;
        let is_meant = |schema: &str| input.schema.as_ref().is_none_or(|meant| meant == schema);
        let mut found = relations.iter().filter(|relation| relation.name == input.table && is_meant(&relation.schema));
        let relation = match (found.next(), found.next()) {
            (Some(relation), None) => relation,
            (None, _) => return Err(ToolError::argument("table", "there is no such table").with_hint("list_tables names them")),
            (Some(_), Some(_)) => {
                return Err(ToolError::argument("table", "several schemas have one of this name").with_hint("say which: `schema`"));
            }
        };
        let mut description = database.engine.describe(relation, job)?;
        description.columns.retain(|column| database.shows(&column.name));
        description.foreign_keys.retain(|key| {
            let is_known = relations.iter().any(|relation| relation.schema == key.schema && relation.name == key.table);
            is_known && database.shows(&key.column) && key.references.as_ref().is_none_or(|column| database.shows(column))
        });
        Ok(Output {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            kind: relation.kind,
            columns: description.columns,
            foreign_keys: description.foreign_keys,
        })
    }
}
