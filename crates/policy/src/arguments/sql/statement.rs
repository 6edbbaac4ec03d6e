//! A statement that was understood, as it is to be run: printed from what was understood, never the text that came.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Statement, Value, ValueWithSpan, VisitMut, VisitorMut};

use super::reading::{self, Places, Reading};
use super::{Dialect, SqlGuard};
use crate::rooms;

/// What a statement is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read: one `SELECT` or `VALUES`.
    Query,
    /// Change: one `INSERT`, `UPDATE` or `DELETE`.
    Change,
}

/// One statement that meets a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlStatement {
    /// What to run: printed anew, every table with its schema where one was given for those without.
    pub text: String,
    /// The names that its `WITH` clauses give.
    pub named: BTreeSet<String>,
}

impl SqlGuard {
    /// Understands `text` as one statement that does nothing but what the rule allows. A table that is written without a schema is taken
    /// for one of `schema`, if that is given, before it is compared with the rule's.
    ///
    /// # Errors
    /// What is wrong with it, to be read after its name: `is …`, `reads the table …`.
    pub fn admit(&self, text: &str, kind: Kind, schema: Option<&str>) -> Result<SqlStatement, String> {
        let (guard, text, schema) = (self.clone(), text.to_owned(), schema.map(str::to_owned));
        let admitted = rooms::with_room(move || guard.admit_here(&text, kind, schema.as_deref()));
        admitted.unwrap_or_else(|none| Err(format!("is {}", reading::without_room(none))))
    }

    fn admit_here(&self, text: &str, kind: Kind, schema: Option<&str>) -> Result<SqlStatement, String> {
        let refused = |why| format!("is {why}");
        let mut statement = reading::parse_own(text, self.dialect).map_err(refused)?;
        let (_, unqualified) = reading::understand(&statement, self.dialect, kind).map_err(refused)?;
        if let Some(schema) = schema {
            let ControlFlow::Continue(()) = statement.visit(&mut Qualify { schema, unqualified });
        }
        let (reading, _) = reading::understand(&statement, self.dialect, kind).map_err(refused)?;
        if let Some(refusal) = self.refuses_reading(&reading) {
            return Err(refusal);
        }
        let text = printed(statement, &reading, self.dialect, kind).ok_or("is a statement that cannot be written down with certainty")?;
        Ok(SqlStatement { text, named: reading.named })
    }
}

/// The text of a statement, unless the parser itself reads something else in it than what it was printed from.
fn printed(statement: Statement, reading: &Reading, dialect: Dialect, kind: Kind) -> Option<String> {
    let text = written(statement);
    let again = reading::parse(&text, dialect).ok()?;
    let (reread, _) = reading::understand(&again, dialect, kind).ok()?;
    (reread.is_like(reading) && written(again) == text).then_some(text)
}

fn written(mut statement: Statement) -> String {
    let ControlFlow::Continue(()) = statement.visit(&mut Quotes);
    statement.to_string()
}

/// Doubles the quotes in strings: the parser's own print leaves those be that stand side by side, and so makes one of two.
struct Quotes;

impl VisitorMut for Quotes {
    type Break = std::convert::Infallible;

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<Self::Break> {
        if let Value::SingleQuotedString(text) | Value::NationalStringLiteral(text) = &mut value.value {
            *text = text.replace('\'', "''");
        }
        ControlFlow::Continue(())
    }
}

/// Puts a schema before the names that have none.
struct Qualify<'a> {
    schema: &'a str,
    unqualified: Places,
}

impl VisitorMut for Qualify<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<Self::Break> {
        if self.unqualified.contains(&std::ptr::from_ref::<ObjectName>(name)) {
            name.0.insert(0, ObjectNamePart::Identifier(Ident::with_quote('"', self.schema)));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::SqlRule;

    fn admit(text: &str, kind: Kind) -> Result<String, String> {
        let tables = vec!["public.orders".into(), "public.items".into()];
        let guard = SqlGuard::build(&SqlRule { dialect: Dialect::PostgreSql, tables, functions: None, columns: None }).unwrap();
        guard.admit(text, kind, Some("public")).map(|statement| statement.text)
    }

    #[test]
    fn what_runs_is_printed_anew_with_every_table_in_its_schema() {
        for (text, printed) in [
            ("select * from orders -- ' \n where id=1;", "SELECT * FROM \"public\".orders WHERE id = 1"),
            ("SELECT orders.id FROM public.orders", "SELECT orders.id FROM public.orders"),
            (
                "WITH orders AS (SELECT * FROM orders) SELECT * FROM orders",
                "WITH orders AS (SELECT * FROM \"public\".orders) SELECT * FROM orders",
            ),
            ("SELECT /* pg_sleep(9) */ $1", "SELECT $1"),
        ] {
            assert_eq!(admit(text, Kind::Query).as_deref(), Ok(printed), "{text}");
        }
    }

    #[test]
    fn what_postgresql_alone_writes_so_runs_as_everybody_writes_it() {
        for (text, printed) in [
            ("SELECT .5, E'it\\'s', $a$it's$a$", "SELECT 0.5, 'it''s', 'it''s'"),
            ("SELECT 'it''''s', $$''$$, '''''x', N'it''s'", "SELECT 'it''''s', '''''', '''''x', N'it''s'"),
            ("SELECT $$\\n$$, E'\\n'", "SELECT '\\n', '\n'"),
            ("SELECT $$'; DROP TABLE orders; --$$", "SELECT '''; DROP TABLE orders; --'"),
        ] {
            assert_eq!(admit(text, Kind::Query).as_deref(), Ok(printed), "{text}");
        }
        for text in
            ["SELECT E'a'\n'\\'' , token FROM secrets -- '", "SELECT $$\\$$", r"SELECT E'\\'", "SELECT $$a$$, token FROM secrets -- $$"]
        {
            assert!(admit(text, Kind::Query).is_err(), "{text}");
        }
    }

    #[test]
    fn a_table_is_one_of_the_schema_that_is_meant() {
        for text in ["SELECT * FROM secrets", "SELECT * FROM pg_class", "SELECT * FROM pg_temp.orders", "SELECT * FROM evil.orders"] {
            assert!(admit(text, Kind::Query).unwrap_err().starts_with("reads the table"), "{text}");
        }
    }

    #[test]
    fn types_and_operators_that_somebody_made_are_refused() {
        for text in [
            "SELECT 'secrets'::regclass",
            "SELECT CAST('secrets' AS regclass)",
            "SELECT regclass 'secrets'",
            "SELECT id::public.evil FROM orders",
            "SELECT 'pg_sleep'::regproc",
            "SELECT '{}'::regclass[]",
            "SELECT 1 OPERATOR(public.+) 2",
        ] {
            assert!(admit(text, Kind::Query).is_err(), "{text}");
        }
        for text in ["SELECT '1'::int + 2", "SELECT DATE '2026-01-01'", "SELECT id::text FROM orders", "SELECT '{1}'::int[]"] {
            assert!(admit(text, Kind::Query).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_change_is_one_of_three_on_tables_that_are_named() {
        for text in [
            "INSERT INTO orders (id) VALUES ($1)",
            "UPDATE orders SET total = (SELECT max(price) FROM items) WHERE id = 1 RETURNING id",
            "DELETE FROM orders WHERE id IN (SELECT id FROM items)",
            "INSERT INTO orders SELECT * FROM items ON CONFLICT DO NOTHING",
        ] {
            assert!(admit(text, Kind::Change).is_ok(), "{text}: {:?}", admit(text, Kind::Change));
            assert!(admit(text, Kind::Query).is_err(), "{text}");
        }
        for text in [
            "SELECT 1",
            "INSERT INTO secrets VALUES (1)",
            "INSERT INTO orders SELECT * FROM secrets",
            "UPDATE orders SET id = pg_sleep(9)",
            "UPDATE orders SET id = 1 FROM secrets",
            "DELETE FROM orders USING secrets",
            "DELETE FROM orders RETURNING (SELECT token FROM secrets)",
            "INSERT INTO orders VALUES (1) ON CONFLICT (id) DO UPDATE SET id = (SELECT 1 FROM secrets)",
            "WITH gone AS (DELETE FROM items RETURNING *) INSERT INTO orders SELECT * FROM gone",
            "INSERT INTO orders WITH gone AS (DELETE FROM items RETURNING *) SELECT * FROM gone",
            "TRUNCATE orders",
            "DROP TABLE orders",
            "ALTER TABLE orders ADD x int",
            "MERGE INTO orders USING items ON true WHEN MATCHED THEN DELETE",
            "DELETE FROM orders; DELETE FROM items",
            "COPY orders FROM PROGRAM 'sh'",
        ] {
            assert!(admit(text, Kind::Change).is_err(), "{text}");
        }
    }
}
