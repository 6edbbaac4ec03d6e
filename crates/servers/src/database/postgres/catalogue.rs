//! What tables a database has, and what they look like, as far as the login may read them.

use tokio_postgres::{Row, Transaction};

use super::super::engine::{Column, Description, ForeignKey, Relation, RelationKind};
use super::fault;
use crate::tool::ToolError;

/// Most tables that are looked at: more than any list is read, and bounded memory.
const MOST: i64 = 10_000;

const RELATIONS: &str = "SELECT n.nspname::text, c.relname::text, c.relkind IN ('v', 'm')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')
    ORDER BY 1, 2 LIMIT $1";

/// Without partitions and tables of other servers, which plans name, and without conditions that choose rows (`CREATE POLICY`).
const PLAIN: &str = "SELECT n.nspname::text, c.relname::text, false
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND NOT c.relrowsecurity AND NOT c.relhassubclass
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')
    ORDER BY 1, 2 LIMIT $1";

const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)),
    pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(c.oid, a.attnum, 'SELECT')
    ORDER BY a.attnum";

const FOREIGN_KEYS: &str = "SELECT a.attname::text, fn.nspname::text, f.relname::text, fa.attname::text
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
    CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS p(own, theirs)
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.own
    JOIN pg_attribute fa ON fa.attrelid = f.oid AND fa.attnum = p.theirs
    WHERE k.contype = 'f' AND n.nspname = $1 AND c.relname = $2 ORDER BY 1, 3";

/// The tables and views, without the database's own.
pub(super) async fn relations(transaction: &Transaction<'_>) -> Result<Vec<Relation>, ToolError> {
    listed(transaction, RELATIONS).await
}

/// The tables behind which there is nothing else.
pub(super) async fn plain_tables(transaction: &Transaction<'_>) -> Result<Vec<Relation>, ToolError> {
    listed(transaction, PLAIN).await
}

async fn listed(transaction: &Transaction<'_>, sql: &str) -> Result<Vec<Relation>, ToolError> {
    let rows = transaction.query(sql, &[&MOST]).await.map_err(|error| fault(&error))?;
    let relation = |row: &Row| -> Result<_, tokio_postgres::Error> {
        let kind = if row.try_get(2)? { RelationKind::View } else { RelationKind::Table };
        Ok(Relation { schema: row.try_get(0)?, name: row.try_get(1)?, kind })
    };
    rows.iter().map(relation).collect::<Result<_, _>>().map_err(|error| fault(&error))
}

/// The columns and foreign keys of a table.
pub(super) async fn describe(transaction: &Transaction<'_>, relation: &Relation) -> Result<Description, ToolError> {
    let found = async {
        let rows = transaction.query(COLUMNS, &[&relation.schema, &relation.name]).await?;
        let column = |row: &Row| {
            Ok(Column {
                name: row.try_get(0)?,
                data_type: row.try_get(1)?,
                nullable: row.try_get(2)?,
                primary_key: row.try_get(3)?,
                default: row.try_get(4)?,
            })
        };
        let columns = rows.iter().map(column).collect::<Result<_, tokio_postgres::Error>>()?;
        let rows = transaction.query(FOREIGN_KEYS, &[&relation.schema, &relation.name]).await?;
        let key = |row: &Row| {
            Ok(ForeignKey { column: row.try_get(0)?, schema: row.try_get(1)?, table: row.try_get(2)?, references: row.try_get(3)? })
        };
        Ok(Description { columns, foreign_keys: rows.iter().map(key).collect::<Result<_, tokio_postgres::Error>>()? })
    };
    found.await.map_err(|error| fault(&error))
}
