//! What tables a file has, and what they look like: the only statements here that nobody else wrote.

use rusqlite::Connection;

use super::super::engine::{Column, Description, ForeignKey, Relation, RelationKind};

/// The tables and views, without SQLite's own.
pub(super) fn relations(connection: &Connection) -> rusqlite::Result<Vec<Relation>> {
    let mut statement = connection.prepare(
        "SELECT name, type = 'view' FROM main.sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )?;
    let rows = statement.query_map((), |row| {
        let kind = if row.get(1)? { RelationKind::View } else { RelationKind::Table };
        Ok(Relation { schema: "main".to_owned(), name: row.get(0)?, kind })
    })?;
    rows.collect()
}

/// The columns and foreign keys of a table.
pub(super) fn describe(connection: &Connection, relation: &Relation) -> rusqlite::Result<Description> {
    let mut statement = connection.prepare("SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_xinfo(?1, 'main')")?;
    let columns = statement.query_map([&relation.name], |row| {
        let (not_null, key): (bool, i64) = (row.get(2)?, row.get(4)?);
        Ok(Column { name: row.get(0)?, data_type: row.get(1)?, nullable: !not_null, primary_key: key > 0, default: row.get(3)? })
    })?;
    let columns = columns.collect::<rusqlite::Result<_>>()?;
    let mut statement = connection.prepare("SELECT \"from\", \"table\", \"to\" FROM pragma_foreign_key_list(?1, 'main')")?;
    let keys = statement.query_map([&relation.name], |row| {
        Ok(ForeignKey { column: row.get(0)?, schema: "main".to_owned(), table: row.get(1)?, references: row.get(2)? })
    })?;
    Ok(Description { columns, foreign_keys: keys.collect::<rusqlite::Result<_>>()? })
}
