//! What every kind of database does for the tools.

use sallyport_policy::{Dialect, SqlStatement};
use schemars::JsonSchema;
use serde::Serialize;

use super::guard::Allowed;
use super::parameter::Parameter;
use super::rows::Page;
use crate::tool::{Job, ToolError};

/// A kind of database.
pub(super) trait Engine: Send + Sync {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// The tables and views that the login may read, without the catalogue's own.
    fn relations(&self, job: &Job) -> Result<Vec<Relation>, ToolError>;

    /// Those of them whose plans tell of nothing but themselves: no views, and no tables that others or conditions of the database's own lie
    /// behind.
    fn plain_tables(&self, job: &Job) -> Result<Vec<Relation>, ToolError>;

    /// What a table looks like.
    fn describe(&self, relation: &Relation, job: &Job) -> Result<Description, ToolError>;

    /// Runs a statement that reads.
    fn query(&self, ask: &Ask<'_>, job: &Job) -> Result<Page, ToolError>;

    /// How the database would run a statement that reads; it is not run.
    fn explain(&self, ask: &Ask<'_>, job: &Job) -> Result<String, ToolError>;

    /// Runs a statement that changes rows, all of it or nothing.
    fn execute(&self, ask: &Ask<'_>, job: &Job) -> Result<(u64, Page), ToolError>;
}

/// A statement that the guard let through, and what it is run with.
pub(super) struct Ask<'a> {
    pub(super) statement: &'a SqlStatement,
    pub(super) parameters: &'a [Parameter],
    /// Rows of the result to leave out.
    pub(super) skip: u64,
    /// What the database itself should hold the statement to.
    pub(super) allowed: &'a Allowed,
}

/// A table or view.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub(super) struct Relation {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) kind: RelationKind,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RelationKind {
    Table,
    View,
}

/// What a table looks like.
#[derive(Debug, Default)]
pub(super) struct Description {
    pub(super) columns: Vec<Column>,
    pub(super) foreign_keys: Vec<ForeignKey>,
}

/// A column of a table.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Column {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) data_type: String,
    pub(super) nullable: bool,
    /// Whether it is part of the primary key.
    pub(super) primary_key: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default: Option<String>,
}

/// A column whose values are those of another.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ForeignKey {
    pub(super) column: String,
    pub(super) schema: String,
    pub(super) table: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) references: Option<String>,
}

/// The schema of a table that is named without one.
pub(super) fn default_schema(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Sqlite { "main" } else { "public" }
}
