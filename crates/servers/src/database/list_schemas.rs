//! The schemas that hold tables which may be read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Database;
use crate::tool::{Effect, Job, Tool, ToolError};

pub(super) struct ListSchemas;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    schemas: Vec<Schema>,
}

#[derive(Serialize, JsonSchema)]
struct Schema {
    name: String,
    /// How many tables and views of it may be read.
    tables: u64,
}

impl Tool for ListSchemas {
    type State = Database;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "list_schemas";
    const TITLE: &'static str = "List schemas";
    const DESCRIPTION: &'static str = "Lists the schemas of the database that hold tables which may be read.";
    const EFFECT: Effect = Effect::Reads;

    fn run(database: &Database, _: Input, job: &Job) -> Result<Output, ToolError> {
        let relations = database.relations(job)?;
        let schemas = relations.chunk_by(|one, other| one.schema == other.schema).filter_map(|own| {
            let name = own.first()?.schema.clone();
            Some(Schema { name, tables: own.len() as u64 })
        });
        Ok(Output { schemas: schemas.collect() })
    }
}
