//! How the database would run a query.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Database;
use super::engine::Ask;
use super::parameter::Parameter;
use crate::tool::{Content, Effect, Job, Tool, ToolError};

pub(super) struct Explain;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// One `SELECT`, as `query` takes it, without `EXPLAIN`.
    sql: String,
    /// The values, in order.
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    plan: String,
}

impl Tool for Explain {
    type State = Database;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "explain";
    const TITLE: &'static str = "Explain a query";
    const DESCRIPTION: &'static str = "Shows how the database would run a SELECT over tables (not views), without running it.";
    const EFFECT: Effect = Effect::Reads;

    fn run(database: &Database, input: Input, job: &Job) -> Result<Output, ToolError> {
        let (statement, allowed) = database.admit_plan(&input.sql, job)?;
        let ask = Ask { statement: &statement, parameters: &input.parameters, skip: 0, allowed: &allowed };
        Ok(Output { plan: database.engine.explain(&ask, job)? })
    }

    fn content(output: &Output) -> Option<Content> {
        Some(Content::Text(output.plan.clone()))
    }
}
