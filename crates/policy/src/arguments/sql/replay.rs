//! A rule for queries, asked about what a record tells of one.

use serde_json::Value;

use super::{Dialect, SqlGuard, shortened, written};

impl SqlGuard {
    /// What is wrong with a query that was taken apart, if anything.
    ///
    /// # Errors
    /// Which of its attributes does not tell.
    pub(in crate::arguments) fn refuses_recorded(&self, query: &Value) -> Result<Option<String>, &'static str> {
        if texts(query, "kind").ne(["select"]) {
            return Ok(Some("is a statement that is no query".into()));
        }
        let allowed: Vec<String> = self.tables.iter().map(|table| written(table)).collect();
        if let Some(table) = texts(query, "tables").find(|table| !allowed.iter().any(|own| own == table)) {
            return Ok(Some(format!("reads the table {:?}, which is not allowed", shortened(table))));
        }
        if let Some(function) = texts(query, "functions").find(|function| !self.functions.contains(*function)) {
            return Ok(Some(format!("calls the function {:?}, which is not allowed", shortened(function))));
        }
        self.refuses_columns(query)
    }

    fn refuses_columns(&self, query: &Value) -> Result<Option<String>, &'static str> {
        let Some(allowed) = &self.columns else { return Ok(None) };
        // Records have the columns of all databases but one in lower case.
        let is_folded = self.dialect != Dialect::PostgreSql;
        let is_allowed = |name: &str| allowed.iter().any(|own| own == name || (is_folded && own.eq_ignore_ascii_case(name)));
        let named = || texts(query, "columns").filter(|column| *column != "*");
        if let Some(column) = named().find(|column| !is_allowed(column)) {
            return Ok(Some(format!("names the column {:?}, which is not allowed", shortened(column))));
        }
        if self.dialect == Dialect::MySql && named().next().is_some() {
            return Err("the case of its columns");
        }
        // A name of `WITH` may be called as a column is, a table's may not, and a record does not tell which of them it is.
        if texts(query, "aliases").any(is_allowed) {
            return Err("which of its names are those of tables");
        }
        let has_all = texts(query, "columns").any(|column| column == "*");
        Ok(has_all.then(|| "reads columns without naming them".into()))
    }
}

/// The texts of a member, which is a list of them or one.
fn texts<'v>(value: &'v Value, member: &str) -> impl Iterator<Item = &'v str> {
    value.get(member).into_iter().flat_map(crate::arguments::recorded::each).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::arguments::sql::{SqlRule, apart};

    fn guard(dialect: Dialect, columns: Option<&[&str]>) -> SqlGuard {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let tables = names(&["orders", "public.items"]);
        SqlGuard::build(&SqlRule { dialect, tables, functions: Some(names(&["count"])), columns: columns.map(names) }).unwrap()
    }

    /// What the record says is what the query itself would have met, or that it cannot be told.
    #[test]
    fn a_record_is_judged_as_its_query_is() {
        for dialect in [Dialect::PostgreSql, Dialect::Sqlite, Dialect::MySql, Dialect::MsSql] {
            for columns in [None, Some(&["id", "total"][..])] {
                let guard = guard(dialect, columns);
                for query in [
                    "SELECT id FROM orders",
                    "SELECT ID, \"Total\" FROM orders",
                    "SELECT * FROM orders",
                    "SELECT id, o.* FROM orders o",
                    "SELECT count(*) FROM public.items",
                    "SELECT card FROM orders",
                    "SELECT orders FROM orders",
                    "SELECT total FROM orders AS total",
                    "SELECT id FROM orders AS total",
                    "WITH total AS (SELECT id FROM orders) SELECT total FROM total",
                    "SELECT max(id) FROM orders",
                    "SELECT id FROM secrets",
                    "SELECT id FROM \"public.items\"",
                    "DELETE FROM orders",
                    "SELECT id FROM orders NATURAL JOIN public.items",
                ] {
                    let Ok(recorded) = apart(query, dialect) else { continue };
                    if let Ok(judged) = guard.refuses_recorded(&recorded) {
                        assert_eq!(judged.is_some(), guard.refuses(query).is_some(), "{dialect:?} {columns:?} {query}: {judged:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_can_be_told_is_told() {
        let guard = guard(Dialect::PostgreSql, Some(&["id", "total"]));
        let judged = |query: &str| guard.refuses_recorded(&apart(query, Dialect::PostgreSql).unwrap());
        assert_eq!(judged("SELECT o.id FROM orders o WHERE total > 1"), Ok(None));
        assert!(judged("SELECT * FROM orders").unwrap().is_some());
        assert_eq!(judged("SELECT id FROM orders AS total"), Err("which of its names are those of tables"));
    }
}
