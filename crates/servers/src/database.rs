//! One database, SQLite or PostgreSQL, guarded thrice: what is understood of a statement, what the database itself lets this login do, and
//! limits that hold whatever the statement says.

mod cursor;
mod describe_table;
mod engine;
mod execute;
mod explain;
mod guard;
mod limits;
mod list_schemas;
mod list_tables;
mod parameter;
mod postgres;
mod query;
mod rows;
mod sqlite;

use std::path::PathBuf;

use sallyport_protocol::McpServer;
use sallyport_secrets::SecretReference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::build_error::BuildError;
use crate::server::BuiltIn;
use crate::tool::{Entry, ToolError};
use engine::Engine;
use guard::Guard;
pub use limits::Limits;

/// One database: exactly one of `sqlite` and `postgres` says which.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file of a SQLite database; relative to the configuration's own folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlite: Option<PathBuf>,
    /// Where the address of a PostgreSQL database is kept, `postgres://USER:PASSWORD@HOST/DATABASE`: a reference, read anew for every
    /// connection, so that a password may change. Its user should be able to read the tables below, and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<SecretReference>,
    /// A PEM file with the authority that signed the database's certificate. Default: those that this machine trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<PathBuf>,
    /// The tables and views that may be read: `orders`, or `sales.orders` where the schema is not `public`. Default: all that the login
    /// may read, but none of the database's own catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<String>>,
    /// The columns that may be named, of whichever of the tables; `*` is refused then. Not beside `write`: a change concerns whole rows.
    /// Default: every column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// The functions that may be called. Default: some thirty that only work on the values they are given, because there are functions
    /// that write, wait and read files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functions: Option<Vec<String>>,
    /// Whether rows of the tables may be inserted, updated and deleted too. Not by default: a server that nobody configured must not be
    /// able to lose anything. Tables are never made or dropped.
    pub write: bool,
    /// What one call may cost.
    pub limits: Limits,
}

impl Config {
    /// What is wrong with it, as far as it can be told without the database.
    pub(crate) fn problem(&self) -> Option<BuildError> {
        if self.sqlite.is_some() == self.postgres.is_some() {
            return Some(
                BuildError::new("one of `sqlite` and `postgres` says which database it is")
                    .with_hint("write `{ database = { sqlite = \"PATH\" } }` or `{ database = { postgres = \"env:DATABASE_URL\" } }`"),
            );
        }
        if self.authority.is_some() && self.postgres.is_none() {
            return Some(BuildError::new("`authority` has no effect on a file").with_hint("remove it"));
        }
        if self.write && self.columns.is_some() {
            return Some(
                BuildError::new("`write` has no effect beside `columns`: a change concerns whole rows, so each would be refused")
                    .with_hint(
                        "take `columns` out, or give the database twice: once to write, once with `columns`, each with tables of its own",
                    ),
            );
        }
        self.limits.problem().or_else(|| Guard::new(self).problem())
    }
}

/// What the tools share.
pub(crate) struct Database {
    engine: Box<dyn Engine>,
    guard: Guard,
}

pub(crate) fn build(config: Config) -> Result<impl McpServer, BuildError> {
    if let Some(problem) = config.problem() {
        return Err(problem);
    }
    let guard = Guard::new(&config);
    let engine: Box<dyn Engine> = match (&config.sqlite, config.postgres) {
        (Some(path), _) => Box::new(sqlite::Sqlite::open(path, config.limits)?),
        (None, Some(address)) => Box::new(postgres::Postgres::new(address, config.authority.as_deref(), config.limits)?),
        (None, None) => return Err(BuildError::new("no database is named")),
    };
    let mut tools = vec![
        Entry::of::<list_schemas::ListSchemas>(),
        Entry::of::<list_tables::ListTables>(),
        Entry::of::<describe_table::DescribeTable>(),
        Entry::of::<query::Query>(),
        Entry::of::<explain::Explain>(),
    ];
    if config.write {
        tools.push(Entry::of::<execute::Execute>());
    }
    let may = if config.write { "can be read, and their rows changed" } else { "can be read, not changed" };
    let instructions = format!("A {} database, whose tables {may}. One statement a call, with values as parameters.", engine.name());
    BuiltIn::new("database", instructions, Database { engine, guard }, tools)
}

/// A statement that was ended because it took too long.
fn too_long() -> ToolError {
    ToolError::new("it took longer than one call may, and was ended")
        .with_hint("narrow it with WHERE or LIMIT; explain shows where the time goes")
}
