#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

fn guard(dialect: Dialect) -> SqlGuard {
    let tables = vec!["orders".into(), "public.orders".into(), "items".into()];
    SqlGuard::build(&SqlRule { dialect, tables, functions: None, columns: None }).unwrap()
}

fn passes(query: &str) {
    assert_eq!(guard(Dialect::PostgreSql).refuses(query), None, "{query}");
}

fn stopped(query: &str, why: &str) {
    let refusal = guard(Dialect::PostgreSql).refuses(query);
    assert!(refusal.as_deref().is_some_and(|text| text.contains(why)), "{query}: {refusal:?}");
}

#[test]
fn reading_the_named_tables_passes() {
    for query in [
        "SELECT * FROM orders",
        "select o.id, count(*) from public.orders o join items i using (id) where i.price > 3 group by 1 order by 2 desc limit 5;",
        "SELECT * FROM \"orders\" UNION ALL (SELECT * FROM ORDERS)",
        "SELECT (SELECT max(id) FROM items) AS most",
        "-- a comment\nSELECT 1 /* another */",
        "VALUES (1), (2)",
        "WITH recent AS (SELECT * FROM orders), few AS (SELECT * FROM recent LIMIT 3) SELECT * FROM few, recent",
        "WITH RECURSIVE tree AS (SELECT id FROM items UNION SELECT i.id FROM items i JOIN tree USING (id)) SELECT * FROM tree",
        "SELECT CASE WHEN price > 3 THEN 'dear' ELSE lower(name) END FROM items WHERE id IN (SELECT id FROM orders)",
    ] {
        passes(query);
    }
}

#[test]
fn other_tables_are_found_wherever_they_hide() {
    for query in [
        "SELECT * FROM secrets",
        "SELECT * FROM other.orders",
        "SELECT * FROM \"Orders\"",
        "SELECT (SELECT token FROM secrets LIMIT 1)",
        "SELECT * FROM orders WHERE EXISTS (SELECT 1 FROM secrets)",
        "SELECT * FROM orders, LATERAL (SELECT * FROM secrets) s",
        "SELECT * FROM (orders JOIN secrets USING (id))",
        "SELECT * FROM orders ORDER BY (SELECT token FROM secrets)",
        "SELECT * FROM orders LIMIT (SELECT count(*) FROM secrets)",
        "SELECT count(*) FILTER (WHERE id IN (SELECT id FROM secrets)) FROM orders",
        "SELECT sum(id) OVER (PARTITION BY (SELECT 1 FROM secrets)) FROM orders",
        "VALUES ((SELECT token FROM secrets))",
        "SELECT * FROM orders UNION SELECT * FROM secrets",
        "SELECT * FROM orders JOIN items ON (SELECT true FROM secrets)",
        "SELECT ARRAY(SELECT token FROM secrets)",
        "SELECT * FROM pg_catalog.pg_user",
        "SELECT * FROM pg_shadow",
    ] {
        stopped(query, "reads the table");
    }
}

#[test]
fn a_name_of_with_hides_no_table_outside_its_reach() {
    for query in [
        "WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets",
        "SELECT * FROM secrets, (WITH secrets AS (SELECT 1) SELECT * FROM secrets) x",
        "SELECT * FROM (WITH secrets AS (SELECT 1) SELECT * FROM secrets) x, secrets",
        "WITH a AS (SELECT * FROM secrets), secrets AS (SELECT 1) SELECT * FROM a",
        "WITH a AS (WITH secrets AS (SELECT 1) SELECT 1) SELECT * FROM secrets",
        "WITH a AS (SELECT 1), b AS (WITH c AS (SELECT 1) SELECT * FROM c) SELECT * FROM c",
        "WITH secrets AS (SELECT 1) SELECT * FROM public.secrets",
        "WITH \"Secrets\" AS (SELECT 1) SELECT * FROM secrets",
    ] {
        stopped(query, "reads the table");
    }
}

#[test]
fn what_does_more_than_read_is_stopped() {
    for query in [
        "DELETE FROM orders",
        "INSERT INTO orders VALUES (1)",
        "UPDATE orders SET id = 1",
        "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
        "WITH new AS (INSERT INTO orders VALUES (1) RETURNING id) SELECT * FROM new",
        "EXPLAIN ANALYZE DELETE FROM orders",
        "EXPLAIN SELECT * FROM orders",
        "COPY orders TO '/tmp/x'",
        "COPY (SELECT * FROM orders) TO PROGRAM 'sh'",
        "SET ROLE postgres",
        "TABLE secrets",
        "SELECT * FROM orders UNION TABLE secrets",
        "CREATE TABLE x AS SELECT * FROM orders",
        "DO $$ BEGIN END $$",
        "PREPARE p AS SELECT * FROM orders",
        "DECLARE c CURSOR FOR SELECT * FROM orders",
        "CALL p()",
        "BEGIN",
        "",
        "   ;  ",
        "SELECT * FROM orders; SELECT 1",
        "COMMIT; SELECT * FROM orders",
        "SELECT * INTO stolen FROM orders",
        "SELECT * FROM orders FOR UPDATE",
        "SELECT * FROM (SELECT * FROM orders FOR SHARE) o",
        "SELECT /*!50000 1; DROP TABLE orders */",
        "SELECT * FROM orders WHERE",
        "\u{feff}SELECT * FROM nowhere nothing more",
    ] {
        stopped(query, "is ");
    }
    stopped(&format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000)), "no query that can be understood");
    stopped(&format!("SELECT '{}'", "x".repeat(64 * 1024)), "too long");
}

#[test]
fn functions_are_named_or_stopped() {
    passes("SELECT count(*), COALESCE(max(id), 0) FROM orders");
    for query in [
        "SELECT pg_sleep(10)",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT query_to_xml('delete from orders', true, true, '')",
        "SELECT * FROM dblink('host=evil', 'select 1') AS t(a int)",
        "SELECT * FROM generate_series(1, 1000000000)",
        "SELECT set_config('statement_timeout', '0', false)",
        "SELECT public.count(1)",
        "SELECT \"lo_create\"(0)",
        "SELECT * FROM orders WHERE nextval('s') > 1",
        "SELECT * FROM unnest(ARRAY[1, 2])",
        "SELECT * FROM orders o, LATERAL pg_ls_dir('/') d",
        "SELECT current_setting('x')",
    ] {
        stopped(query, "calls the function");
    }
}

#[test]
fn a_dialect_is_the_databases_own() {
    assert_eq!(guard(Dialect::MySql).refuses("SELECT * FROM `orders` WHERE name = 'it''s \\n'"), None);
    let refusal = guard(Dialect::MySql).refuses("SELECT id FROM orders WHERE x = '\\' UNION SELECT id FROM secrets -- '");
    assert!(refusal.is_some_and(|why| why.contains("backslash")));
    assert!(guard(Dialect::MySql).refuses("SELECT * FROM ORDERS").is_some());
    assert!(guard(Dialect::MySql).refuses("SELECT * FROM orders INTO OUTFILE '/tmp/x'").is_some());
    assert!(guard(Dialect::MySql).refuses("SELECT '\\' FROM orders -- ' FROM secrets").is_some());
    assert_eq!(guard(Dialect::Sqlite).refuses("SELECT * FROM \"Orders\""), None);
    assert!(guard(Dialect::Sqlite).refuses("SELECT * FROM pragma_table_info('orders')").is_some());
    assert!(guard(Dialect::Sqlite).refuses("SELECT load_extension('x')").is_some());
    assert_eq!(guard(Dialect::MsSql).refuses("SELECT TOP 3 * FROM [orders]"), None);
    assert!(guard(Dialect::MsSql).refuses("SELECT * FROM orders; EXEC xp_cmdshell 'sh'").is_some());
    assert!(guard(Dialect::MsSql).refuses("SELECT * FROM OPENROWSET('x', 'y', 'z')").is_some());
}

#[test]
fn no_statement_of_t_sql_hides_as_a_name() {
    for query in [
        "SELECT id FROM orders SHUTDOWN",
        "SELECT id FROM orders\nrevert",
        "SELECT 1 CHECKPOINT",
        "SELECT 1 /* one */ Commit",
        "SELECT id FROM orders AS o JOIN items ROLLBACK ON 1 = 1",
        "SELECT id FROM (SELECT id FROM orders) RECONFIGURE",
        "SELECT 1 UNION SELECT 2 SETUSER",
        "SELECT id x, 2 go FROM orders",
    ] {
        assert!(guard(Dialect::MsSql).refuses(query).is_some(), "{query}");
    }
    for query in [
        "SELECT id AS [shutdown], CASE WHEN id > 1 THEN 'use' ELSE 'kill' END AS kind FROM orders o",
        "SELECT id FROM orders ORDER BY id OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY",
    ] {
        assert_eq!(guard(Dialect::MsSql).refuses(query), None, "{query}");
    }
}

#[test]
fn a_rule_with_a_pattern_is_a_slip() {
    for name in ["*", "public.*", "\"x\"", "a b", "", "a..b"] {
        let rule = SqlRule { dialect: Dialect::Sqlite, tables: vec![name.into()], functions: None, columns: None };
        assert!(SqlGuard::build(&rule).is_err(), "{name:?}");
    }
}

#[test]
fn a_function_of_postgresql_is_found_where_it_looks_like_a_column() {
    let tables = vec!["public.orders".to_owned(), "orders".to_owned()];
    let rule = SqlRule { dialect: Dialect::PostgreSql, tables, functions: Some(vec!["abs".into(), "lower".into()]), columns: None };
    let guard = SqlGuard::build(&rule).unwrap();
    for query in [
        "SELECT x.pg_sleep FROM abs(0.1) x",
        "SELECT abs.pg_sleep FROM abs(0.1)",
        "SELECT (0).lo_create",
        "SELECT x.lo_create FROM abs(0) AS x",
        "SELECT x.pg_sleep FROM abs(1) x, (SELECT 1 FROM orders x) y",
        "SELECT 1 FROM orders ORDER BY (0.1).pg_sleep",
        "SELECT x.pg_sleep FROM LATERAL abs(0.1) x",
        "SELECT x.pg_sleep FROM UNNEST(ARRAY[0.1]) x",
        "SELECT ('search_path').current_setting",
        "SELECT (lower('work_mem')).current_setting",
        "SELECT o.row_to_json FROM public.orders o",
        "SELECT orders.to_jsonb FROM orders",
        "SELECT unknown.pg_sleep FROM orders",
    ] {
        assert!(guard.refuses(query).is_some(), "{query}");
    }
    for query in [
        "SELECT o.id, o.total FROM public.orders o",
        "SELECT public.orders.id FROM public.orders",
        "SELECT d.n FROM (SELECT 1 AS n) d",
        "WITH w AS (SELECT id FROM orders) SELECT w.id FROM w",
    ] {
        assert_eq!(guard.refuses(query), None, "{query}");
    }
}
