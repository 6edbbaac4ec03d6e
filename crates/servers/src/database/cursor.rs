//! Where a result goes on.
//!
//! Nothing is kept between pages: no transaction stays open for a client that may never come back, and any replica can go on. The price
//! is that the statement runs again, over what the tables hold then; `ORDER BY` makes pages join.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::parameter::Parameter;
use crate::tool::ToolError;

/// The rows to leave out, and the statement that they are of.
pub(super) fn write(skip: u64, sql: &str, parameters: &[Parameter]) -> String {
    format!("{skip}.{:x}", digest(sql, parameters))
}

/// The rows to leave out.
///
/// # Errors
/// Where it is no cursor of this statement.
pub(super) fn read(cursor: Option<&str>, sql: &str, parameters: &[Parameter]) -> Result<u64, ToolError> {
    let Some(cursor) = cursor else { return Ok(0) };
    let skip = cursor.split_once('.').and_then(|(skip, _)| skip.parse::<u64>().ok()).filter(|skip| i64::try_from(*skip).is_ok());
    match skip {
        Some(skip) if write(skip, sql, parameters) == cursor => Ok(skip),
        _ => Err(ToolError::argument("cursor", "it is not of this statement with these parameters")
            .with_hint("repeat `sql` and `parameters` as they were, with `next` of the last answer as `cursor`")),
    }
}

/// Tells one statement from another by mistake, not by malice: who makes a cursor up skips rows of their own result.
fn digest(sql: &str, parameters: &[Parameter]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (sql, parameters).hash(&mut hasher);
    hasher.finish()
}
