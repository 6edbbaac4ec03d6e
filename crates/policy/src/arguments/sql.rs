//! Queries in SQL, by what they read.
//!
//! A first wall, not the only one: the parser here is not the database's own. The role that the server logs in with should not be able to
//! read more either.

mod columns;
mod depth;
mod lexis;
mod plain;
mod reading;
mod replay;
mod scope;
mod statement;

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlparser::ast::{Ident, Statement};
use sqlparser::dialect::{self, Dialect as ParserDialect};

use crate::rooms;
use reading::Reading;
pub use statement::{Kind, SqlStatement};

/// One query that only reads, and only what is named. Anything that is no single `SELECT` (or `VALUES`) is denied: several statements,
/// `SELECT … INTO`, locks, statements inside of `WITH`, `EXPLAIN`, and what this parser does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlRule {
    /// The database's own dialect: what is a comment in one is a statement in another.
    pub dialect: Dialect,
    /// The tables and views that may be read, written as queries have to write them: `orders`, `public.orders` or both. A table of the
    /// database's own catalogue is one like any other.
    pub tables: Vec<String>,
    /// The functions that may be called. Default: `count`, `sum`, `avg`, `min`, `max`, `coalesce`, `nullif`, `lower`, `upper`, `length`,
    /// `round` and `abs`, because there are functions that write, wait and read files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<Vec<String>>,
    /// The columns that may be named, of whichever of the tables. `*`, a row as a whole, `NATURAL` and new names for a table's columns
    /// are denied then, because they name columns without saying so. Default: every column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
}

const HARMLESS: &[&str] = &["count", "sum", "avg", "min", "max", "coalesce", "nullif", "lower", "upper", "length", "round", "abs"];

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// PostgreSQL and what speaks its dialect.
    PostgreSql,
    /// MySQL and MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
    /// Microsoft SQL Server.
    MsSql,
}

impl Dialect {
    fn parser(self) -> Box<dyn ParserDialect> {
        match self {
            Self::PostgreSql => Box::new(dialect::PostgreSqlDialect {}),
            Self::MySql => Box::new(dialect::MySqlDialect {}),
            Self::Sqlite => Box::new(dialect::SQLiteDialect {}),
            Self::MsSql => Box::new(dialect::MsSqlDialect {}),
        }
    }

    /// How the database compares names.
    fn folding(self) -> impl Fn(&Ident) -> String + Copy {
        move |name| self.fold(&name.value, name.quote_style.is_some())
    }

    /// A name as the database compares it.
    fn fold(self, name: &str, is_quoted: bool) -> String {
        match self {
            Self::PostgreSql if is_quoted => name.to_owned(),
            // Tables of MySQL are told apart by case on most machines: who lists one writes it as queries have to.
            Self::MySql => name.to_owned(),
            Self::PostgreSql | Self::Sqlite | Self::MsSql => name.to_ascii_lowercase(),
        }
    }
}

/// A rule, ready to look at queries. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct SqlGuard {
    dialect: Dialect,
    tables: Arc<BTreeSet<Vec<String>>>,
    functions: Arc<BTreeSet<String>>,
    columns: Option<Arc<BTreeSet<String>>>,
}

impl SqlGuard {
    /// # Errors
    /// What is wrong with the rule.
    pub fn build(rule: &SqlRule) -> Result<Self, String> {
        let is_name = |text: &&String| text.split('.').all(|part| !part.is_empty() && !part.contains(['"', '`', '[', '*', ' ']));
        let columns = rule.columns.iter().flatten();
        let listed = rule.tables.iter().chain(rule.functions.iter().flatten()).chain(columns.clone());
        if let Some(name) = listed.clone().find(|name| !is_name(name)) {
            return Err(format!("{name:?} is no name: write NAME or SCHEMA.NAME, without quotes and patterns"));
        }
        // As written: a quoted name of a query matches it to the letter, another one after it was folded as the database does.
        let table = |name: &String| name.split('.').map(|part| rule.dialect.fold(part, true)).collect();
        let tables: BTreeSet<Vec<String>> = rule.tables.iter().map(table).collect();
        let columns: Option<BTreeSet<String>> = rule.columns.is_some().then(|| columns.map(|name| rule.dialect.fold(name, true)).collect());
        // A table's own name among the columns would stand for its whole row.
        if let Some(name) = tables.iter().filter_map(|table| table.last()).find(|name| columns.iter().flatten().any(|own| own == *name)) {
            return Err(format!("{name:?} is a table and a column: where it stands for the row cannot be told"));
        }
        let functions = match &rule.functions {
            Some(functions) => functions.iter().map(|name| name.to_ascii_lowercase()).collect(),
            None => HARMLESS.iter().map(|name| (*name).to_owned()).collect(),
        };
        Ok(Self { dialect: rule.dialect, tables: Arc::new(tables), functions: Arc::new(functions), columns: columns.map(Arc::new) })
    }

    /// What is wrong with `query`, if anything, where it is sent on as it came.
    #[must_use]
    pub fn refuses(&self, query: &str) -> Option<String> {
        match reading::of(query, self.dialect) {
            Ok(read) => self.refuses_reading(&read),
            Err(why) => Some(format!("is {why}")),
        }
    }

    fn refuses_reading(&self, read: &Reading) -> Option<String> {
        if let Some(table) = read.tables.iter().find(|table| !self.tables.contains(*table)) {
            return Some(format!("reads the table {:?}, which is not allowed", shortened(&table.join("."))));
        }
        if let Some(function) = read.functions.iter().find(|function| !self.functions.contains(*function)) {
            return Some(format!("calls the function {:?}, which is not allowed", shortened(function)));
        }
        let allowed = self.columns.as_ref()?;
        if let Some(why) = read.columns.untold {
            return Some(format!("has {why}, and its columns cannot be told"));
        }
        if let Some(name) = read.columns.aliases.iter().find(|name| allowed.contains(*name)) {
            return Some(format!("calls a table {:?}, as a column is called", shortened(name)));
        }
        let column = read.columns.named.iter().find(|column| !allowed.contains(*column))?;
        Some(format!("names the column {:?}, which is not allowed", shortened(column)))
    }
}

/// Takes a statement apart: `{ kind, tables, functions, columns, aliases }`. Among the columns is `*` where more may be meant than are
/// named; the aliases are the names that the statement itself gives, to tables and by `WITH`.
///
/// # Errors
/// Why it cannot be understood.
pub(super) fn apart(text: &str, dialect: Dialect) -> Result<Value, &'static str> {
    let text = text.to_owned();
    rooms::with_room(move || apart_here(&text, dialect)).unwrap_or_else(|none| Err(reading::without_room(none)))
}

fn apart_here(text: &str, dialect: Dialect) -> Result<Value, &'static str> {
    let statement = reading::parse(text, dialect)?;
    let (kind, name) = match &statement {
        Statement::Query(_) => (Kind::Query, "select"),
        Statement::Insert(_) => (Kind::Change, "insert"),
        Statement::Update(_) => (Kind::Change, "update"),
        Statement::Delete(_) => (Kind::Change, "delete"),
        _ => return Err("a statement of another kind"),
    };
    let (read, _) = reading::understand(&statement, dialect, kind)?;
    let tables: Vec<String> = read.tables.iter().map(|table| written(table)).collect();
    Ok(json!({
        "kind": name, "tables": tables, "functions": read.functions, "columns": read.columns_named(dialect),
        "aliases": read.columns.aliases.union(&read.named).collect::<Vec<_>>(),
    }))
}

/// A table's name in one text. A part with a point in it keeps its quotes, so that `"a.b"` is not taken for `a.b`.
fn written(table: &[String]) -> String {
    let part = |part: &String| if part.contains('.') { format!("\"{part}\"") } else { part.clone() };
    table.iter().map(part).collect::<Vec<_>>().join(".")
}

/// Names come from the caller: enough of one to know it again.
fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
