//! Values that go with a statement, and never into its text.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Number;

use crate::tool::ToolError;

/// Most values of one statement: no statement of this length needs more.
const MOST: usize = 1000;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Parameter {
    Text(String),
    Number(Number),
    Truth(bool),
    Null,
}

/// # Errors
/// Where there are too many, or not as many as the statement has places.
pub(super) fn check(given: &[Parameter], places: usize) -> Result<(), ToolError> {
    if given.len() > MOST {
        return Err(ToolError::argument("parameters", format!("more than {MOST} values")));
    }
    match given.len() == places {
        true => Ok(()),
        false => Err(ToolError::argument("parameters", format!("the statement takes {places} values, and {} are given", given.len()))),
    }
}
