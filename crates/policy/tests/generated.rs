//! Statements made at random and printed by the parser that the guard uses: with a forbidden name anywhere none passes, without one all do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::cell::Cell;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use sallyport_policy::{Dialect, SqlGuard, SqlRule, StatementKind};
use sqlparser::ast::{
    BinaryOperator, Distinct, Expr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, LimitClause, NamedWindowExpr, Offset,
    OffsetRows, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

const TABLES: &[&str] = &["orders", "items", "public.orders", "\"orders\""];
const OTHER_TABLES: &[&str] = &["secrets", "\"secrets\"", "public.secrets", "other.orders", "pg_catalog.pg_user"];
const FUNCTIONS: &[&str] = &["count", "max", "lower", "coalesce"];
const OTHER_FUNCTIONS: &[&str] = &["pg_sleep", "pg_read_file", "public.lower", "\"lo_create\""];
const ATOMS: &[&str] = &["id", "price", "1", "'x'", "NULL", "true", "count(*)"];

/// Expressions round others, `@e`; `@f` is a function.
const EXPRESSIONS: &[&str] = &[
    "(@e) + (@e)",
    "-(@e)",
    "NOT (@e)",
    "(@e) IS NULL",
    "(@e) IS NOT TRUE",
    "(@e) IS DISTINCT FROM (@e)",
    "(@e) BETWEEN (@e) AND (@e)",
    "(@e) NOT IN (1, (@e), (@e))",
    "(@e) LIKE (@e)",
    "(@e) NOT ILIKE (@e)",
    "(@e) SIMILAR TO (@e)",
    "(@e) || (@e)",
    "(@e) -> 'a' ->> 'b'",
    "CASE (@e) WHEN (@e) THEN (@e) ELSE (@e) END",
    "CASE WHEN (@e) THEN (@e) END",
    "ARRAY[(@e), (@e)]",
    "(ARRAY[(@e)])[(@e)]",
    "(ARRAY[1])[(@e):(@e)]",
    "((@e), (@e)) = ((@e), (@e))",
    "CAST((@e) AS INTEGER)",
    "(@e)::TEXT",
    "EXTRACT(YEAR FROM (@e))",
    "POSITION((@e) IN (@e))",
    "SUBSTRING((@e) FROM (@e) FOR (@e))",
    "TRIM(BOTH (@e) FROM (@e))",
    "OVERLAY((@e) PLACING (@e) FROM (@e) FOR (@e))",
    "CEIL((@e))",
    "FLOOR((@e))",
    "(@e) AT TIME ZONE (@e)",
    "@f((@e))",
    "@f(DISTINCT (@e))",
    "@f((@e) ORDER BY (@e))",
    "@f((@e)) FILTER (WHERE (@e))",
    "@f((@e)) OVER (PARTITION BY (@e) ORDER BY (@e))",
    "@f((@e)) OVER (ORDER BY (@e) ROWS BETWEEN (@e) PRECEDING AND (@e) FOLLOWING)",
    "@f((@e)) WITHIN GROUP (ORDER BY (@e))",
    "@f(name => (@e))",
    "@f(@f(@f((@e))))",
];

/// Expressions with a query, `@q`.
const SUBQUERIES: &[&str] = &[
    "(@q)",
    "EXISTS (@q)",
    "NOT EXISTS (@q)",
    "(@e) IN (@q)",
    "(@e) = ANY (@q)",
    "(@e) <> ALL (@q)",
    "ARRAY(@q)",
    "((@q), (@e)) = ((@e), (@q))",
    "@f((@q))",
    "(@q) + (@q)",
];

/// What stands in `FROM`; `@t` is a table.
const SOURCES: &[&str] = &[
    "@t",
    "@t",
    "@t AS t",
    "@t AS t (a, b)",
    "(@q) AS d",
    "LATERAL (@q) AS d",
    "(@q) AS d (a)",
    "(@t CROSS JOIN @t)",
    "(@t LEFT JOIN @t ON (@e))",
    "(@t JOIN (@t JOIN @t USING (id)) ON (@e))",
    "(@t NATURAL JOIN (@q) AS d)",
    "@f((@e)) AS r",
    "LATERAL @f((@e), (@q)) AS r",
    "@f((@e)) WITH ORDINALITY AS r",
];

/// Queries round others.
const QUERIES: &[&str] = &[
    "(@q) UNION (@q)",
    "(@q) EXCEPT ALL (@q) ORDER BY 1 LIMIT 3",
    "((@q) INTERSECT (@q)) UNION ALL (@q)",
    "WITH c AS (@q), d AS MATERIALIZED (@q) SELECT * FROM c, d WHERE EXISTS (@q)",
    "WITH c AS (WITH d AS (@q) SELECT * FROM d) (SELECT * FROM c) UNION (@q)",
    "WITH secrets AS (@q) SELECT * FROM secrets",
    "WITH RECURSIVE r AS ((@q) UNION ALL SELECT * FROM r) SELECT * FROM r",
    "SELECT * FROM (WITH secrets AS (@q) SELECT * FROM secrets) AS s, (@q) AS d",
    "SELECT * FROM (VALUES ((@q), 1), (2, (@q))) AS v (a, b)",
    "SELECT count(*) FILTER (WHERE EXISTS (@q)) OVER w FROM orders WINDOW w AS (ORDER BY (@q))",
    "SELECT * FROM orders GROUP BY GROUPING SETS ((id), ((@q)))",
];

/// Queries without others in them.
const PLAIN_QUERIES: &[&str] = &[
    "SELECT @e FROM @t",
    "SELECT @f(@e) FROM @t WHERE @e = @e",
    "SELECT * FROM @t AS t, @t",
    "SELECT @e",
    "SELECT * FROM (VALUES (@e, @e)) AS v (a, b)",
];

/// Something, and whether a name is in it that is not allowed.
type Made<T> = (T, bool);

fn names(allowed: &'static [&'static str], others: &'static [&'static str]) -> BoxedStrategy<Made<String>> {
    let of = |names, is_forbidden| select::<&str>(names).prop_map(move |name| (name.to_owned(), is_forbidden));
    prop_oneof![12 => of(allowed, false), 1 => of(others, true)].boxed()
}

/// What is put into the holes of a template.
#[derive(Clone, Debug, Default)]
struct Filling {
    expressions: Vec<Made<String>>,
    queries: Vec<Made<Query>>,
    tables: Vec<Made<String>>,
    functions: Vec<Made<String>>,
}

impl Filling {
    fn into(self, template: &str) -> Made<String> {
        let (expressions, tables, functions) = (self.expressions, self.tables, self.functions);
        let queries = self.queries.into_iter().map(|(query, is_forbidden)| (query.to_string(), is_forbidden)).collect();
        let mut kinds = [('e', expressions, 0), ('q', queries, 0), ('t', tables, 0), ('f', functions, 0)];
        let mut parts = template.split('@');
        let (mut text, mut is_forbidden) = (parts.next().unwrap_or_default().to_owned(), false);
        for part in parts {
            let mut rest = part.chars();
            let hole = rest.next().unwrap();
            let (_, own, used) = kinds.iter_mut().find(|(kind, ..)| *kind == hole).unwrap();
            let (name, is_other): &Made<String> = &own[*used % own.len()];
            *used += 1;
            is_forbidden |= is_other;
            text = text + name + rest.as_str();
        }
        (text, is_forbidden)
    }
}

/// The tree of a text.
fn parsed<T>(text: &str, parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>) -> Option<T> {
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect).with_recursion_limit(1000).try_with_sql(text).ok()?;
    let tree = parse(&mut parser).ok()?;
    (parser.peek_token().token == Token::EOF).then_some(tree)
}

fn query(text: &str) -> Option<Query> {
    parsed(text, |parser| parser.parse_query()).map(|query| *query)
}

fn expression(text: &str) -> Option<Expr> {
    parsed(text, |parser| parser.parse_expr())
}

fn source(text: &str) -> Option<TableFactor> {
    parsed(text, |parser| parser.parse_table_factor())
}

/// There are queries that the parser does not take for one between two parentheses.
const UNREAD: &str = "the parser knows no such nesting";

fn tables() -> BoxedStrategy<Made<String>> {
    names(TABLES, OTHER_TABLES)
}

fn functions() -> BoxedStrategy<Made<String>> {
    names(FUNCTIONS, OTHER_FUNCTIONS)
}

fn atoms() -> BoxedStrategy<Made<String>> {
    select(ATOMS).prop_map(|text| (text.to_owned(), false)).boxed()
}

fn expressions(queries: BoxedStrategy<Made<Query>>) -> BoxedStrategy<Made<Expr>> {
    let fill = |(template, expressions, queries, functions): (&str, _, _, _)| {
        Filling { expressions, queries, functions, tables: Vec::new() }.into(template)
    };
    let with_query = (select(SUBQUERIES), vec(atoms(), 2), vec(queries, 1), vec(functions(), 1)).prop_map(fill).boxed();
    let inner = prop_oneof![3 => atoms(), 1 => with_query.clone()].boxed();
    let round = (select(EXPRESSIONS), vec(inner, 4), Just(Vec::new()), vec(functions(), 2)).prop_map(fill);
    let all = prop_oneof![1 => atoms(), 2 => with_query, 3 => round];
    all.prop_filter_map(UNREAD, |(text, is_forbidden)| Some((expression(&text)?, is_forbidden))).boxed()
}

fn sources(queries: BoxedStrategy<Made<Query>>) -> BoxedStrategy<Made<TableFactor>> {
    (select(SOURCES), vec(atoms(), 1), vec(queries, 1), vec(tables(), 3), vec(functions(), 1))
        .prop_filter_map(UNREAD, |(template, expressions, queries, tables, functions)| {
            let (text, is_forbidden) = Filling { expressions, queries, tables, functions }.into(template);
            Some((source(&text)?, is_forbidden))
        })
        .boxed()
}

/// Where an expression stands in a `SELECT`.
#[derive(Clone, Copy, Debug)]
enum Position {
    Column,
    NamedColumn,
    DistinctOn,
    On,
    Where,
    GroupBy,
    Having,
    WindowPartition,
    WindowOrder,
    OrderBy,
    Limit,
    Offset,
}

const POSITIONS: &[Position] = &[
    Position::Column,
    Position::NamedColumn,
    Position::DistinctOn,
    Position::On,
    Position::Where,
    Position::GroupBy,
    Position::Having,
    Position::WindowPartition,
    Position::WindowOrder,
    Position::OrderBy,
    Position::Limit,
    Position::Offset,
];

type Joined = fn(JoinConstraint) -> JoinOperator;

const JOINS: &[Joined] =
    &[JoinOperator::Join, JoinOperator::Inner, JoinOperator::LeftOuter, JoinOperator::RightOuter, JoinOperator::FullOuter];

/// A `SELECT` of which nothing is printed but what is put into it.
#[derive(Default)]
struct Parts {
    columns: Vec<SelectItem>,
    distinct: Vec<Expr>,
    on: Option<Expr>,
    selection: Option<Expr>,
    groups: Vec<Expr>,
    having: Option<Expr>,
    partitions: Vec<Expr>,
    window_order: Vec<OrderByExpr>,
    order: Vec<OrderByExpr>,
    limit: Option<Expr>,
    offset: Option<Expr>,
}

fn also(place: &mut Option<Expr>, expression: Expr) {
    *place = Some(match place.take() {
        None => expression,
        Some(other) => Expr::BinaryOp { left: Box::new(other), op: BinaryOperator::And, right: Box::new(expression) },
    });
}

fn ordered(expr: Expr) -> OrderByExpr {
    OrderByExpr { expr, options: OrderByOptions { sort: None, nulls_first: Some(true) }, with_fill: None }
}

impl Parts {
    fn put(&mut self, position: Position, expression: Expr) {
        let expression = Expr::Nested(Box::new(expression));
        match position {
            Position::Column => self.columns.push(SelectItem::UnnamedExpr(expression)),
            Position::NamedColumn => self.columns.push(SelectItem::ExprWithAlias { expr: expression, alias: Ident::new("named") }),
            Position::DistinctOn => self.distinct.push(expression),
            Position::On => also(&mut self.on, expression),
            Position::Where => also(&mut self.selection, expression),
            Position::GroupBy => self.groups.push(expression),
            Position::Having => also(&mut self.having, expression),
            Position::WindowPartition => self.partitions.push(expression),
            Position::WindowOrder => self.window_order.push(ordered(expression)),
            Position::OrderBy => self.order.push(ordered(expression)),
            Position::Limit => also(&mut self.limit, expression),
            Position::Offset => also(&mut self.offset, expression),
        }
    }

    fn query(mut self, sources: Vec<TableFactor>, join: Joined, is_joined: bool) -> Query {
        let mut query = query("SELECT 1 FROM orders WINDOW w AS (PARTITION BY 1)").unwrap();
        let SetExpr::Select(select) = query.body.as_mut() else { panic!("it is a `SELECT`") };
        if let (Some(on), true) = (self.on.take_if(|_| !is_joined || sources.len() < 2), true) {
            also(&mut self.selection, on);
        }
        select.from = from(sources, join, self.on.take(), is_joined);
        if !self.columns.is_empty() {
            select.projection = self.columns;
        }
        select.distinct = (!self.distinct.is_empty()).then_some(Distinct::On(self.distinct));
        select.selection = self.selection;
        select.group_by = GroupByExpr::Expressions(self.groups, Vec::new());
        select.having = self.having;
        window(select, self.partitions, self.window_order);
        query.order_by = (!self.order.is_empty()).then_some(OrderBy { kind: OrderByKind::Expressions(self.order), interpolate: None });
        let offset = self.offset.map(|value| Offset { value, rows: OffsetRows::None });
        let is_limited = self.limit.is_some() || offset.is_some();
        query.limit_clause = is_limited.then_some(LimitClause::LimitOffset { limit: self.limit, offset, limit_by: Vec::new() });
        query
    }
}

fn from(sources: Vec<TableFactor>, join: Joined, on: Option<Expr>, is_joined: bool) -> Vec<TableWithJoins> {
    let mut from: Vec<TableWithJoins> = sources.into_iter().map(|relation| TableWithJoins { relation, joins: Vec::new() }).collect();
    if is_joined && from.len() > 1 {
        let relation = from.pop().unwrap().relation;
        let constraint = on.map_or(JoinConstraint::Natural, JoinConstraint::On);
        from[0].joins.push(Join { relation, global: false, join_operator: join(constraint) });
    }
    from
}

fn window(select: &mut Select, partitions: Vec<Expr>, order: Vec<OrderByExpr>) {
    if partitions.is_empty() && order.is_empty() {
        select.named_window.clear();
    } else if let Some(NamedWindowExpr::WindowSpec(spec)) = select.named_window.first_mut().map(|named| &mut named.1) {
        spec.partition_by = partitions;
        spec.order_by = order;
    }
}

fn selects(queries: &BoxedStrategy<Made<Query>>) -> BoxedStrategy<Made<Query>> {
    let expressions = vec((select(POSITIONS), expressions(queries.clone())), 1..=3);
    (expressions, vec(sources(queries.clone()), 1..=2), select(JOINS), any::<bool>())
        .prop_map(|(expressions, sources, join, is_joined)| {
            let is_forbidden = expressions.iter().any(|(_, (_, is))| *is) || sources.iter().any(|(_, is)| *is);
            let mut parts = Parts::default();
            for (position, (expression, _)) in expressions {
                parts.put(position, expression);
            }
            (parts.query(sources.into_iter().map(|(source, _)| source).collect(), join, is_joined), is_forbidden)
        })
        .boxed()
}

fn queries() -> impl Strategy<Value = Made<Query>> {
    let plain = (select(PLAIN_QUERIES), vec(atoms(), 3), vec(tables(), 2), vec(functions(), 1));
    let plain = plain.prop_filter_map(UNREAD, |(template, expressions, tables, functions)| {
        let (text, is_forbidden) = Filling { expressions, tables, functions, queries: Vec::new() }.into(template);
        Some((query(&text)?, is_forbidden))
    });
    plain.prop_recursive(3, 16, 6, |inner| {
        let round = (select(QUERIES), vec(inner.clone(), 3)).prop_filter_map(UNREAD, |(template, queries)| {
            let (text, is_forbidden) = Filling { queries, ..Filling::default() }.into(template);
            Some((query(&text)?, is_forbidden))
        });
        prop_oneof![3 => selects(&inner), 1 => round]
    })
}

/// What a text is refused for that has nothing to do with names: it is too much, or the parser does not read what it has printed.
fn is_about_the_text(why: &str) -> bool {
    ["too deep", "no query that can be understood", "cannot be written down"].iter().any(|told| why.contains(told))
}

/// A template that the parser never understood would never be tried.
#[test]
fn every_template_is_understood() {
    let filled = |template: &str| {
        let one = |text: &str| vec![(text.to_owned(), false)];
        let queries = vec![(query("SELECT id FROM items").unwrap(), false)];
        Filling { expressions: one("price"), queries, tables: one("orders"), functions: one("max") }.into(template).0
    };
    for template in EXPRESSIONS.iter().chain(SUBQUERIES) {
        assert!(expression(&filled(template)).is_some(), "{template}");
    }
    assert!(SOURCES.iter().all(|template| source(&filled(template)).is_some()));
    for template in QUERIES.iter().chain(PLAIN_QUERIES) {
        assert!(query(&filled(template)).is_some(), "{template}");
    }
}

#[test]
fn nothing_passes_with_a_forbidden_name_in_it_and_everything_else_does() {
    // The trees are deep, and the parser of a debug build takes much of the stack for each level.
    thread::Builder::new().stack_size(512 << 20).spawn(generate).unwrap().join().unwrap();
}

fn generate() {
    let guard = |dialect| {
        let tables = ["orders", "items", "public.orders"].map(str::to_owned).to_vec();
        // To the parser `ARRAY(SELECT …)` is a call.
        let functions = FUNCTIONS.iter().chain(&["array"]).map(|name| (*name).to_owned()).collect();
        SqlGuard::build(&SqlRule { dialect, tables, functions: Some(functions), columns: None }).unwrap()
    };
    let guards = [Dialect::PostgreSql, Dialect::Sqlite, Dialect::MySql, Dialect::MsSql].map(|dialect| (dialect, guard(dialect)));
    let (passed, found, unread) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |counter: &Cell<u32>| counter.set(counter.get() + 1);
    let mut runner = TestRunner::new(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() });
    let texts = queries().prop_map(|(query, is_forbidden)| (query.to_string(), is_forbidden));
    let outcome = runner.run(&texts, |(text, is_forbidden)| {
        for (dialect, guard) in &guards {
            match guard.admit(&text, StatementKind::Query, None) {
                Ok(_) if is_forbidden => prop_assert!(false, "{:?} lets through: {}", dialect, text),
                Ok(_) if *dialect == Dialect::PostgreSql => count(&passed),
                Err(why) if is_about_the_text(&why) => count(&unread),
                Err(_) if is_forbidden => count(&found),
                Err(why) => prop_assert!(*dialect != Dialect::PostgreSql, "{}: {}", why, text),
                Ok(_) => {}
            }
        }
        Ok(())
    });
    outcome.unwrap();
    let (passed, found, unread) = (passed.get(), found.get(), unread.get());
    assert!(passed > 500 && found > 500, "{passed} passed, in {found} a name was found, {unread} could not be read");
}
