//! What must not be reached in a SQLite file, by whichever way: every attempt is refused, and says so.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use rusqlite::Connection;
use sallyport_protocol::{Cancel, Method};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::database::Shop;

fn refused(caller: &Caller, sql: &str) -> String {
    let told = caller.err("query", json!({ "sql": sql }));
    assert!(!told.contains("hunter2") && !told.contains("4222"), "{sql}: {told}");
    told
}

#[test]
fn nothing_but_the_listed_tables_is_read() {
    let shop = Shop::open();
    let caller = shop.server(json!({ "tables": ["orders", "items", "cheap"] }));
    for sql in [
        "SELECT * FROM secrets",
        "SELECT token FROM main.secrets",
        "SELECT * FROM leak",
        "SELECT (SELECT token FROM secrets)",
        "WITH x AS (SELECT * FROM secrets) SELECT * FROM x",
        "WITH cheap AS (SELECT token AS name FROM secrets) SELECT * FROM cheap",
        "WITH cheap AS (SELECT 'a' AS name) SELECT * FROM cheap",
        "WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets",
        "SELECT * FROM orders WHERE id IN (SELECT length(token) FROM secrets)",
        "SELECT * FROM orders ORDER BY (SELECT token FROM secrets)",
        "SELECT * FROM orders UNION ALL SELECT token, 1, 1, 1 FROM secrets",
        "SELECT * FROM sqlite_master",
        "SELECT sql FROM sqlite_schema",
        "SELECT * FROM main.sqlite_master",
        "SELECT * FROM temp.sqlite_master",
        "SELECT * FROM sqlite_sequence",
        "SELECT * FROM pragma_table_info('secrets')",
        "SELECT * FROM pragma_table_list",
        "SELECT * FROM dbstat",
        "SELECT * FROM sqlite_dbpage",
        "SELECT * FROM json_each('[1]')",
        "SELECT * FROM generate_series(1, 3)",
        "SELECT * FROM fsdir('/')",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT randomblob(1000000000)",
        "SELECT zeroblob(1000000000)",
        "SELECT printf('%1000000000d', 1)",
        "SELECT format('%1000000000d', 1)",
        "SELECT hex(zeroblob(1000000000))",
        "SELECT replace('aaaa', 'a', 'bbbbbbbb')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('/tmp/x', 'x')",
        "SELECT edit('x')",
        "SELECT sqlite_version()",
        "SELECT sqlite_compileoption_get(0)",
        "SELECT group_concat(item, 'x') FROM orders",
        "SELECT last_insert_rowid()",
        "PRAGMA table_info(secrets)",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = 1",
        "ATTACH '/etc/passwd' AS x",
        "ATTACH ':memory:' AS x",
        "DETACH main",
        "VACUUM INTO '/tmp/stolen.db'",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT x",
        "CREATE TEMP TABLE x AS SELECT * FROM secrets",
        "CREATE TABLE x (y)",
        "CREATE VIRTUAL TABLE x USING fts5(y)",
        "CREATE TEMP VIEW orders AS SELECT * FROM secrets",
        "INSERT INTO orders VALUES (9, 'x', 1, 1)",
        "UPDATE orders SET item = 'x'",
        "DELETE FROM orders",
        "DROP TABLE orders",
        "ALTER TABLE orders RENAME TO x",
        "REINDEX",
        "ANALYZE",
        "EXPLAIN SELECT * FROM secrets",
        "EXPLAIN QUERY PLAN SELECT * FROM secrets",
        "SELECT 1; DROP TABLE orders",
        "SELECT 1;; SELECT 2",
        "SELECT * FROM orders -- \n; DELETE FROM orders",
        "/* SELECT 1 */ DELETE FROM orders",
        "WITH x AS (SELECT 1) DELETE FROM orders",
        "WITH x AS (SELECT 1) INSERT INTO orders SELECT 1, 1, 1, 1",
        "REPLACE INTO orders VALUES (1, 1, 1, 1)",
        "SELECT * FROM [secrets]",
        "SELECT * FROM `secrets`",
        "SELECT * FROM 'secrets'",
        "SELECT * FROM \"sec\" \"rets\"",
        "SELECT * FROM secrets NOT INDEXED",
        "SELECT * FROM orders, secrets",
        "SELECT * FROM orders NATURAL JOIN secrets",
        "TABLE secrets",
        "SELECT \"no such column\" FROM orders",
        "",
        ";",
        "\0",
        "SELECT 1\0; SELECT * FROM secrets",
    ] {
        refused(&caller, sql);
    }
    let count: i64 = Connection::open(shop.path()).unwrap().query_row("SELECT count(*) FROM orders", (), |row| row.get(0)).unwrap();
    assert_eq!(count, 3);
    assert_eq!(std::fs::read_dir(shop.folder()).unwrap().count(), 1, "nothing was left beside the file");
}

#[test]
fn without_a_list_the_catalogue_stays_closed() {
    let shop = Shop::open();
    let caller = shop.server(json!({}));
    assert_eq!(caller.ok("query", json!({ "sql": "SELECT * FROM leak" })).structured["rows"], json!([["hunter2"]]));
    for sql in ["SELECT * FROM sqlite_master", "SELECT * FROM pragma_database_list", "SELECT * FROM temp.sqlite_schema"] {
        refused(&caller, sql);
    }
}

#[test]
fn columns_are_held_by_the_database_too() {
    let shop = Shop::open();
    let caller = shop.server(json!({ "tables": ["orders"], "columns": ["id", "item"] }));
    assert_eq!(caller.ok("query", json!({ "sql": "SELECT id FROM orders WHERE item = 'cup'" })).structured["rows"], json!([[2]]));
    for sql in ["SELECT card FROM orders", "SELECT * FROM orders", "SELECT id FROM orders ORDER BY card", "SELECT rowid FROM orders"] {
        refused(&caller, sql);
    }
    let described = caller.ok("describe_table", json!({ "table": "orders" })).structured;
    assert_eq!(described["columns"].as_array().unwrap().len(), 2);
}

#[test]
fn what_never_ends_is_ended() {
    let shop = Shop::open();
    let caller = shop.server(json!({ "limits": { "seconds": 1 } }));
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    for sql in [endless.to_owned(), format!("{endless} ORDER BY 1"), endless.replace("UNION ALL", "UNION")] {
        assert!(refused(&caller, &sql).contains("took longer than one call may"), "{sql}");
    }
}

#[test]
fn a_call_that_nobody_waits_for_ends() {
    let shop = Shop::open();
    let caller = shop.server(json!({ "limits": { "seconds": 60 } }));
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    let cancel = Cancel::new();
    let canceller = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        canceller.cancel();
    });
    let begun = Instant::now();
    let params = json!({ "name": "query", "arguments": { "sql": endless } });
    assert!(caller.send_with(Method::ToolsCall, params, cancel).is_err());
    drop(caller); // waits for the thread at work
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn answers_are_bounded() {
    let shop = Shop::open();
    let caller = shop.server(json!({ "limits": { "bytes": 1000, "rows": 100 } }));
    let wide = caller.ok("query", json!({ "sql": format!("SELECT '{}' AS x", "ä".repeat(5000)) })).structured;
    assert_eq!(wide["cut"], true);
    assert!(wide["rows"][0][0].as_str().unwrap().len() <= 1000);
    let sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10000) SELECT x FROM n";
    let page = caller.ok("query", json!({ "sql": sql })).structured;
    assert_eq!(page["rows"].as_array().unwrap().len(), 100);
    assert!(page["next"].is_string());
    // As long as SQLite itself may hold it, and no longer.
    let doubled = (0..30).fold("SELECT 'x' AS s".to_owned(), |inner, _| format!("SELECT s || s AS s FROM ({inner})"));
    refused(&caller, &doubled);
}

#[test]
fn a_file_that_is_none_is_refused_at_the_start() {
    let shop = Shop::open();
    let no_database = shop.folder().join("text.db");
    std::fs::write(&no_database, "just a text that is long enough to be looked at as a database file".repeat(50)).unwrap();
    for path in [no_database, shop.folder().join("none.db"), shop.folder().to_owned()] {
        let config: sallyport_servers::BuiltInConfig = serde_json::from_value(json!({ "database": { "sqlite": path } })).unwrap();
        assert!(config.build().err().unwrap().hint.unwrap().contains("existing database"), "{}", path.display());
    }
    assert!(!shop.folder().join("none.db").exists());
}

#[test]
fn slips_in_the_configuration_are_told() {
    for (config, problem) in [
        (json!({}), "one of `sqlite` and `postgres`"),
        (json!({ "sqlite": "a", "postgres": "env:X" }), "one of `sqlite` and `postgres`"),
        (json!({ "sqlite": "a", "authority": "b" }), "`authority`"),
        (json!({ "sqlite": "a", "tables": ["*"] }), "is no name"),
        (json!({ "sqlite": "a", "tables": ["a.b.c"] }), "is no table"),
        (json!({ "sqlite": "a", "columns": ["a b"] }), "is no name"),
        (json!({ "sqlite": "a", "columns": ["a"], "write": true }), "has no effect beside `columns`"),
        (json!({ "sqlite": "a", "limits": { "rows": 0 } }), "`limits.rows`"),
        (json!({ "sqlite": "a", "limits": { "seconds": 100_000 } }), "`limits.seconds`"),
    ] {
        let config: sallyport_servers::BuiltInConfig = serde_json::from_value(json!({ "database": config })).unwrap();
        let told = config.problem().map(|problem| problem.message).unwrap_or_default();
        assert!(told.contains(problem), "{config:?}: {told}");
    }
}

/// Queries of all shapes over tables that are listed and ones that are not. Whatever passes has read nothing of `secrets`, because no
/// value that only it holds is in the answer, and no count of its rows is.
fn queries() -> impl Strategy<Value = String> {
    let table = prop::sample::select(vec!["orders", "items", "secrets", "leak", "x", "main.secrets", "\"secrets\"", "sqlite_master"]);
    let column = prop::sample::select(vec!["id", "item", "token", "name", "count(*)", "*", "x.token", "1"]);
    let leaf = (column, table).prop_map(|(column, table)| format!("SELECT {column} FROM {table}"));
    leaf.prop_recursive(4, 24, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            inner.clone().prop_map(|query| format!("SELECT * FROM ({query}) AS x")),
            inner.clone().prop_map(|query| format!("WITH x AS ({query}) SELECT * FROM x")),
            inner.clone().prop_map(|query| format!("WITH secrets AS ({query}) SELECT * FROM secrets")),
            inner.clone().prop_map(|query| format!("WITH RECURSIVE leak AS ({query}) SELECT * FROM leak LIMIT 5")),
            inner.clone().prop_map(|query| format!("SELECT ({query} LIMIT 1)")),
            pair.clone().prop_map(|(one, other)| format!("{one} UNION ALL {other}")),
            pair.clone().prop_map(|(one, other)| format!("{one} EXCEPT {other}")),
            pair.clone().prop_map(|(one, other)| format!("WITH x AS ({one}), y AS ({other}) SELECT * FROM x, y LIMIT 9")),
            pair.clone().prop_map(|(one, other)| format!("SELECT id FROM orders WHERE EXISTS ({one}) ORDER BY ({other} LIMIT 1)")),
            pair.prop_map(|(one, other)| format!("SELECT CASE WHEN EXISTS ({one}) THEN ({other} LIMIT 1) END AS token")),
        ]
    })
}

#[test]
fn no_shape_of_a_query_reads_what_is_not_listed() {
    let shop = Shop::open();
    let caller = shop.server(json!({ "tables": ["orders", "items"] }));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 1500, failure_persistence: None, ..<_>::default() });
    let passed = std::cell::Cell::new(0);
    let outcome = runner.run(&queries(), |sql| {
        let reply = caller.send(Method::ToolsCall, json!({ "name": "query", "arguments": { "sql": sql } })).unwrap();
        let answer: Value = reply.result.to_json().decode().unwrap();
        passed.set(passed.get() + usize::from(answer["isError"] != true));
        prop_assert!(!answer.to_string().contains("hunter2"), "{}", answer);
        prop_assert!(!answer.to_string().contains("CREATE"), "{}", answer);
        Ok(())
    });
    outcome.unwrap();
    assert!(passed.get() > 50, "only {} queries passed at all", passed.get());
}
