//! The tables and views that may be read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Database;
use super::engine::Relation;
use crate::page::Page;
use crate::tool::{Effect, Job, Tool, ToolError};

const USUAL_TABLES: usize = 200;
const MOST_TABLES: usize = 1000;

pub(super) struct ListTables;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Only the tables of this schema.
    schema: Option<String>,
    /// How many tables to skip.
    offset: Option<u64>,
    /// How many tables at most (by default 200, at most 1000).
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// By schema and name.
    tables: Vec<Relation>,
    /// `offset` of the next page; missing where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

impl Tool for ListTables {
    type State = Database;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "list_tables";
    const TITLE: &'static str = "List tables";
    const DESCRIPTION: &'static str = "Lists the tables and views that may be read.";
    const EFFECT: Effect = Effect::Reads;

    fn run(database: &Database, input: Input, job: &Job) -> Result<Output, ToolError> {
        let mut page = Page::new(input.offset, input.limit, USUAL_TABLES, MOST_TABLES);
        for relation in database.relations(job)? {
            let is_wanted = input.schema.as_ref().is_none_or(|schema| *schema == relation.schema);
            if is_wanted && page.offer(relation.schema.len() + relation.name.len() + 48, || relation).is_break() {
                break;
            }
        }
        let (tables, next) = page.finish();
        Ok(Output { tables, next })
    }
}
