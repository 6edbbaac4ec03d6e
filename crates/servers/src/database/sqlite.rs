//! SQLite: a connection of its own for every call, opened to read, with an authorizer that is asked about every table, column and function
//! that a statement touches, and a watch that ends it in time.

mod authorizer;
mod catalogue;

use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Statement};
use serde_json::{Number, Value};

use super::engine::{Ask, Description, Engine, Relation, RelationKind};
use super::execute::too_many;
use super::limits::Limits;
use super::parameter::{self, Parameter};
use super::rows::{Gather, Page, ResultColumn, longest_value, shortened};
use crate::build_error::BuildError;
use crate::tool::{Job, ToolError};

/// Longest value, in bytes, that SQLite may hold while it works on a statement: 16 calls with some of them at once still fit.
const LONGEST_VALUE: i32 = 16 * 1024 * 1024;
/// Steps of SQLite's machine between two looks at the clock: some microseconds.
const STEPS: i32 = 1000;
/// What SQLite is held to beside that. Its own defaults are for those who write the program themselves.
const BOUNDS: [(Limit, i32); 8] = [
    (Limit::SQLITE_LIMIT_LENGTH, LONGEST_VALUE),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 128 * 1024), // the guard's own bound, and what printing adds
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
    (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200), // a longer one with many `%` takes minutes in one step
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// A database in a file.
pub(super) struct Sqlite {
    path: PathBuf,
    limits: Limits,
}

impl Sqlite {
    pub(super) fn open(path: &Path, limits: Limits) -> Result<Self, BuildError> {
        let own = Self { path: path.to_owned(), limits };
        let looked = own.connect(OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|connection| catalogue::relations(&connection).map(drop));
        looked.map_err(|error| {
            BuildError::new(format!("database {}: {}", path.display(), reason(&error)))
                .with_hint("`sqlite` names the file of an existing database that this user may read")
        })?;
        Ok(own)
    }

    fn connect(&self, mode: OpenFlags) -> rusqlite::Result<Connection> {
        let connection =
            Connection::open_with_flags(&self.path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE)?;
        for (limit, most) in BOUNDS {
            connection.set_limit(limit, most)?;
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        // What stands in the file's schema is no more trusted than the caller; and text in double quotes is a name.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        connection.busy_timeout(self.limits.time())?;
        connection.execute_batch("PRAGMA cell_size_check = ON")?;
        Ok(connection)
    }

    fn reading(&self, job: &Job) -> Result<Connection, ToolError> {
        let mut connection = self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| fault(&error, job))?;
        self.watch(&mut connection, job).map_err(|error| fault(&error, job))?;
        connection.execute_batch("PRAGMA query_only = ON").map_err(|error| fault(&error, job))?;
        Ok(connection)
    }

    /// Ends what takes too long, and what nobody waits for.
    fn watch(&self, connection: &mut Connection, job: &Job) -> rusqlite::Result<()> {
        let (job, end) = (job.clone(), Instant::now() + self.limits.time());
        connection.progress_handler(STEPS, Some(move || job.check().is_err() || Instant::now() > end))
    }

    fn rows(&self, statement: &mut Statement<'_>, ask: &Ask<'_>, job: &Job) -> Result<Page, ToolError> {
        bind(statement, ask.parameters)?;
        let columns = columns(statement);
        let longest = longest_value(columns.len(), self.limits);
        let width = columns.len();
        let mut gather = Gather::new(columns, self.limits);
        let mut rows = statement.raw_query();
        let mut seen = 0;
        while let Some(row) = rows.next().map_err(|error| fault(&error, job))? {
            seen += 1;
            if seen <= ask.skip {
                continue;
            }
            let mut cut = false;
            let values = (0..width).map(|at| {
                let (value, is_cut) = value(row.get_ref(at)?, longest);
                cut |= is_cut;
                Ok(value)
            });
            let values = values.collect::<rusqlite::Result<_>>().map_err(|error| fault(&error, job))?;
            if gather.offer(values, cut).is_break() {
                break;
            }
        }
        Ok(gather.finish())
    }
}

impl Engine for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite"
    }

    fn relations(&self, job: &Job) -> Result<Vec<Relation>, ToolError> {
        catalogue::relations(&self.reading(job)?).map_err(|error| fault(&error, job))
    }

    fn plain_tables(&self, job: &Job) -> Result<Vec<Relation>, ToolError> {
        let mut relations = self.relations(job)?;
        relations.retain(|relation| relation.kind == RelationKind::Table);
        Ok(relations)
    }

    fn describe(&self, relation: &Relation, job: &Job) -> Result<Description, ToolError> {
        catalogue::describe(&self.reading(job)?, relation).map_err(|error| fault(&error, job))
    }

    fn query(&self, ask: &Ask<'_>, job: &Job) -> Result<Page, ToolError> {
        let mut connection = self.reading(job)?;
        authorizer::install(&mut connection, ask, false).map_err(|error| fault(&error, job))?;
        let mut statement = connection.prepare(&ask.statement.text).map_err(|error| fault(&error, job))?;
        if !statement.readonly() {
            return Err(ToolError::argument("sql", "it does more than read"));
        }
        self.rows(&mut statement, ask, job)
    }

    fn explain(&self, ask: &Ask<'_>, job: &Job) -> Result<String, ToolError> {
        let mut connection = self.reading(job)?;
        authorizer::install(&mut connection, ask, false).map_err(|error| fault(&error, job))?;
        let text = format!("EXPLAIN QUERY PLAN {}", ask.statement.text);
        let mut statement = connection.prepare(&text).map_err(|error| fault(&error, job))?;
        let page = self.rows(&mut statement, ask, job)?;
        let lines = page.rows.iter().filter_map(|row| row.last()?.as_str());
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    fn execute(&self, ask: &Ask<'_>, job: &Job) -> Result<(u64, Page), ToolError> {
        let mut connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|error| fault(&error, job))?;
        self.watch(&mut connection, job).map_err(|error| fault(&error, job))?;
        // Undone with the connection, whatever happens until the last line.
        connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| fault(&error, job))?;
        authorizer::install(&mut connection, ask, true).map_err(|error| fault(&error, job))?;
        let before = connection.total_changes();
        let page = {
            let mut statement = connection.prepare(&ask.statement.text).map_err(|error| fault(&error, job))?;
            self.rows(&mut statement, ask, job)?
        };
        // With what foreign keys changed besides.
        let changed = connection.total_changes() - before;
        if changed > self.limits.rows.into() || page.more {
            return Err(too_many(changed, self.limits.rows));
        }
        authorizer::remove(&mut connection).map_err(|error| fault(&error, job))?;
        connection.execute_batch("COMMIT").map_err(|error| fault(&error, job))?;
        Ok((changed, page))
    }
}

fn columns(statement: &Statement<'_>) -> Vec<ResultColumn> {
    let column =
        |column: rusqlite::Column<'_>| ResultColumn { name: column.name().to_owned(), data_type: column.decl_type().map(str::to_owned) };
    statement.columns().map(column).collect()
}

fn bind(statement: &mut Statement<'_>, parameters: &[Parameter]) -> Result<(), ToolError> {
    parameter::check(parameters, statement.parameter_count())?;
    for (at, parameter) in parameters.iter().enumerate() {
        statement.raw_bind_parameter(at + 1, parameter).map_err(|error| ToolError::argument("parameters", reason(&error)))?;
    }
    Ok(())
}

impl ToSql for Parameter {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Text(text) => ToSqlOutput::from(text.as_str()),
            Self::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => ToSqlOutput::from(whole),
                (None, float) => ToSqlOutput::from(float.unwrap_or_default()),
            },
            Self::Truth(truth) => ToSqlOutput::from(*truth),
            Self::Null => ToSqlOutput::from(rusqlite::types::Null),
        })
    }
}

/// A value as JSON has it, and whether its end was cut. Bytes are shown in hexadecimal.
fn value(value: ValueRef<'_>, longest: usize) -> (Value, bool) {
    match value {
        ValueRef::Null => (Value::Null, false),
        ValueRef::Integer(whole) => (super::rows::whole(whole), false),
        ValueRef::Real(float) => (Number::from_f64(float).map_or_else(|| Value::String(float.to_string()), Value::Number), false),
        ValueRef::Text(bytes) => {
            let (text, cut) = shortened(&String::from_utf8_lossy(bytes), longest);
            (Value::String(text), cut)
        }
        ValueRef::Blob(bytes) => {
            let kept = bytes.get(..longest / 2).unwrap_or(bytes);
            let hexadecimal = kept.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}"));
            (Value::String(hexadecimal), kept.len() < bytes.len())
        }
    }
}

/// What went wrong, for the model.
fn fault(error: &rusqlite::Error, job: &Job) -> ToolError {
    if let Err(cancelled) = job.check() {
        return cancelled;
    }
    let told = ToolError::new(format!("the database says: {}", reason(error)));
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => super::too_long(),
        Some(ErrorCode::AuthorizationForStatementDenied) => {
            told.with_hint("only the tables of list_tables can be read, with plain functions")
        }
        _ => told,
    }
}

/// SQLite's own words, without the statement that they are about.
fn reason(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::BTreeSet;

    use sallyport_policy::SqlStatement;
    use sallyport_protocol::Cancel;

    use super::super::guard::Allowed;
    use super::*;

    fn run(sqlite: &Sqlite, text: &str) -> Result<Page, ToolError> {
        let relation = |name: &str| Relation { schema: "main".to_owned(), name: name.to_owned(), kind: RelationKind::Table };
        let functions = ["count", "upper"].map(str::to_owned).into();
        let columns: Option<BTreeSet<String>> = Some(["id", "item"].map(str::to_owned).into());
        let allowed = Allowed { relations: vec![relation("orders")], columns, functions };
        let statement = SqlStatement { text: text.to_owned(), named: ["named".to_owned()].into() };
        sqlite.query(&Ask { statement: &statement, parameters: &[], skip: 0, allowed: &allowed }, &Job::new(Cancel::new()))
    }

    /// The second wall alone: statements that the guard never saw.
    #[test]
    fn the_database_itself_refuses_what_the_guard_would_have() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        let tables = "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, card TEXT); CREATE TABLE secrets (token TEXT);
                      CREATE VIEW leak AS SELECT token FROM secrets; INSERT INTO orders VALUES (1, 'tea', '4111');";
        Connection::open(&path).unwrap().execute_batch(tables).unwrap();
        let sqlite = Sqlite::open(&path, Limits::default()).unwrap();
        for text in [
            "SELECT id, upper(item) FROM orders",
            "SELECT count(*) FROM orders",
            "WITH named AS (SELECT id FROM orders) SELECT id FROM named",
            "WITH RECURSIVE named(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM named WHERE x < 3) SELECT x FROM named",
        ] {
            assert!(run(&sqlite, text).is_ok(), "{text}");
        }
        for text in [
            "SELECT token FROM secrets",
            "SELECT count(*) FROM secrets",
            "SELECT 1 FROM secrets",
            "SELECT token FROM leak",
            "SELECT card FROM orders",
            "SELECT id FROM orders ORDER BY card",
            "SELECT named.token FROM secrets AS named",
            "WITH named AS (SELECT token FROM secrets) SELECT token FROM named",
            "SELECT name FROM sqlite_master",
            "SELECT name FROM temp.sqlite_master",
            "SELECT lower(item) FROM orders",
            "SELECT randomblob(10)",
            "SELECT load_extension('x')",
            "SELECT * FROM pragma_table_info('secrets')",
            "SELECT value FROM json_each('[1]')",
            "PRAGMA table_info(secrets)",
            "PRAGMA query_only = OFF",
            "ATTACH ':memory:' AS x",
            "VACUUM INTO '/tmp/stolen.db'",
            "BEGIN",
            "CREATE TEMP TABLE x (y)",
            "CREATE TEMP VIEW x AS SELECT 1",
            "INSERT INTO orders VALUES (2, '', '')",
            "UPDATE orders SET item = ''",
            "DELETE FROM orders",
            "EXPLAIN SELECT token FROM secrets",
            "SELECT 1; SELECT 2",
        ] {
            assert!(run(&sqlite, text).is_err(), "{text}");
        }
    }
}
