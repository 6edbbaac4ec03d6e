//! Which columns a query names, and where it names some without saying so.

use std::collections::BTreeSet;

use sqlparser::ast::{
    ArrayElemTypeDef, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join, JoinConstraint, JoinOperator,
    OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor,
};

/// The columns of one query, as the database compares their names.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Columns {
    /// What expressions name: columns, and tables whose whole row is meant.
    pub(super) named: BTreeSet<String>,
    /// New names of tables. One with a column's name would be the whole row wherever the table has no such column.
    pub(super) aliases: BTreeSet<String>,
    /// Why there may be more of them than are named.
    pub(super) untold: Option<&'static str>,
    /// The places in memory where `ORDER BY` means a result by its name: databases look there before they look for a column.
    results: BTreeSet<usize>,
}

impl Columns {
    /// Whether another reading found the same, wherever it lies in memory.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (&self.named, &self.aliases, self.untold) == (&other.named, &other.aliases, other.untold)
    }

    /// Remembers where the order of `query` is that of its own results.
    pub(super) fn of_order(&mut self, query: &Query, fold: impl Fn(&Ident) -> String) {
        let SetExpr::Select(select) = &*query.body else { return };
        let Some(OrderByKind::Expressions(order)) = query.order_by.as_ref().map(|order| &order.kind) else { return };
        let name = |item: &SelectItem| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
            _ => None,
        };
        let results: BTreeSet<String> = select.projection.iter().filter_map(name).collect();
        let is_result = |expression: &&Expr| matches!(expression, Expr::Identifier(name) if results.contains(&fold(name)));
        self.results.extend(order.iter().map(|order| &order.expr).filter(is_result).map(place));
    }

    /// Looks at what no expression of `select` shows.
    pub(super) fn of_select(&mut self, select: &Select, fold: impl Fn(&Ident) -> String + Copy) {
        if select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))) {
            self.untold = Some("a `*`");
        }
        select.from.iter().flat_map(|from| &from.joins).for_each(|join| self.of_join(join, fold));
    }

    /// Looks at a table, or what stands for one.
    pub(super) fn of_factor(&mut self, factor: &TableFactor, fold: impl Fn(&Ident) -> String + Copy) {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            table_with_joins.joins.iter().for_each(|join| self.of_join(join, fold));
        }
        let alias = match factor {
            TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } | TableFactor::NestedJoin { alias, .. } => alias.as_ref(),
            _ => None,
        };
        let Some(alias) = alias else { return };
        self.aliases.insert(fold(&alias.name));
        if !alias.columns.is_empty() {
            self.untold = Some("new names for columns");
        }
    }

    fn of_join(&mut self, join: &Join, fold: impl Fn(&Ident) -> String) {
        use JoinOperator as On;
        let constraint = match &join.join_operator {
            On::Join(on) | On::Inner(on) | On::Left(on) | On::LeftOuter(on) | On::Right(on) | On::RightOuter(on) => on,
            On::FullOuter(on) | On::CrossJoin(on) => on,
            _ => return self.untold = Some("a join of another kind"),
        };
        match constraint {
            JoinConstraint::Using(names) => {
                let columns = names.iter().filter_map(|name| name.0.last()?.as_ident());
                self.named.extend(columns.map(fold));
            }
            JoinConstraint::Natural => self.untold = Some("a `NATURAL` join"),
            JoinConstraint::On(_) | JoinConstraint::None => {}
        }
    }

    /// Looks at one expression, not at those in it.
    pub(super) fn of_expression(&mut self, expression: &Expr, fold: impl Fn(&Ident) -> String) {
        match expression {
            Expr::Identifier(_) if self.results.contains(&place(expression)) => {}
            Expr::Identifier(name) => {
                self.named.insert(fold(name));
            }
            // What stands before it is one of the tables that are read.
            Expr::CompoundIdentifier(parts) => self.named.extend(parts.last().map(fold)),
            Expr::MatchAgainst { columns, .. } => {
                let columns = columns.iter().filter_map(|name| name.0.last()?.as_ident());
                self.named.extend(columns.map(fold));
            }
            Expr::CompoundFieldAccess { .. } | Expr::QualifiedWildcard(..) => self.untold = Some("a row taken apart"),
            Expr::Function(function) if has_row(function) => self.untold = Some("a row as a whole"),
            _ => {}
        }
    }
}

fn place(expression: &Expr) -> usize {
    std::ptr::from_ref(expression).addr()
}

fn has_row(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    list.args.iter().any(|argument| {
        let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) = argument;
        matches!(arg, FunctionArgExpr::QualifiedWildcard(_))
    })
}

/// Whether a type is one of the database's plain ones: nothing is called or looked up by a cast to it.
pub(super) fn is_plain(data_type: &DataType) -> bool {
    use DataType as Type;
    match data_type {
        Type::Array(ArrayElemTypeDef::SquareBracket(inner, _)) => is_plain(inner),
        Type::Character(_) | Type::Char(_) | Type::CharacterVarying(_) | Type::CharVarying(_) | Type::Varchar(_) | Type::Nvarchar(_) => {
            true
        }
        Type::Text | Type::String(_) | Type::Uuid | Type::Blob(_) | Type::Bytea | Type::Binary(_) | Type::Varbinary(_) => true,
        Type::Numeric(_) | Type::Decimal(_) | Type::Dec(_) | Type::Float(_) | Type::Real | Type::Double(_) | Type::DoublePrecision => true,
        Type::Float4 | Type::Float8 | Type::TinyInt(_) | Type::Int2(_) | Type::SmallInt(_) | Type::MediumInt(_) | Type::Int(_) => true,
        Type::Int4(_) | Type::Int8(_) | Type::Integer(_) | Type::BigInt(_) | Type::Signed | Type::SignedInteger | Type::Unsigned => true,
        Type::Bool | Type::Boolean | Type::Date | Type::Time(..) | Type::Datetime(_) | Type::Timestamp(..) | Type::Interval { .. } => true,
        Type::JSON | Type::JSONB | Type::Bit(_) | Type::BitVarying(_) | Type::VarBit(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use crate::arguments::sql::{Dialect, SqlGuard, SqlRule};

    fn rule(columns: &[&str]) -> SqlRule {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        SqlRule {
            dialect: Dialect::PostgreSql,
            tables: names(&["orders", "items"]),
            functions: Some(names(&["count", "row_to_json"])),
            columns: Some(names(columns)),
        }
    }

    #[test]
    fn columns_are_named_or_stopped() {
        let guard = SqlGuard::build(&rule(&["id", "total"])).unwrap();
        for query in [
            "SELECT id, o.total FROM orders o WHERE id > 3 ORDER BY total",
            "SELECT count(*) AS n, id AS x FROM orders GROUP BY id ORDER BY n DESC, x",
            "SELECT o.id FROM orders o JOIN items i USING (id) JOIN items AS j ON i.id = j.id",
            "SELECT x.id FROM (SELECT id FROM orders) AS x",
            "VALUES (1)",
        ] {
            assert_eq!(guard.refuses(query), None, "{query}");
        }
        for query in [
            "SELECT card FROM orders",
            "SELECT \"Id\" FROM orders",
            "SELECT id FROM orders WHERE card LIKE '4%'",
            "SELECT id FROM orders ORDER BY card",
            "SELECT id FROM orders GROUP BY id HAVING max(card) > 'x'",
            "SELECT id AS card FROM orders ORDER BY card || ''",
            "SELECT id AS card FROM orders WHERE card > 'x'",
            "SELECT * FROM orders",
            "SELECT o.* FROM orders o",
            "SELECT orders FROM orders",
            "SELECT o FROM orders o",
            "SELECT count(o) FROM orders o",
            "SELECT row_to_json(o.*) FROM orders o",
            "SELECT row_to_json(o) FROM orders o",
            "SELECT (o).card FROM orders o",
            "SELECT o.row_to_json FROM orders o",
            "SELECT id FROM orders AS o(total, id)",
            "SELECT id FROM (orders CROSS JOIN items) AS o(total, id)",
            "SELECT id FROM orders NATURAL JOIN items",
            "SELECT o.id FROM orders o JOIN items i USING (card)",
            "SELECT o.id FROM (orders o JOIN items i USING (card))",
            "SELECT total FROM items AS total",
            "SELECT count(*) OVER (PARTITION BY card) FROM orders",
            "SELECT count(*) OVER w FROM orders WINDOW w AS (ORDER BY card)",
            "SELECT count(*) FILTER (WHERE card = '1') FROM orders",
            "SELECT DISTINCT ON (card) id FROM orders",
            "SELECT ROW(card) FROM orders",
            "SELECT U&\"\\0063ard\" FROM orders",
        ] {
            assert!(guard.refuses(query).is_some(), "{query}");
        }
    }

    #[test]
    fn a_column_with_the_name_of_a_table_is_a_slip() {
        assert!(SqlGuard::build(&rule(&["id", "items"])).is_err());
    }
}
