//! The database server over a real file: what it shows, and what it gives.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::caller::Caller;

/// A shop, with what nobody but its owner should see.
pub(crate) const SHOP: &str = "
    CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL, total REAL, card TEXT DEFAULT '4111');
    CREATE TABLE items (name TEXT PRIMARY KEY, price REAL);
    CREATE TABLE secrets (token TEXT);
    CREATE VIEW cheap AS SELECT name FROM items WHERE price < 3;
    CREATE VIEW leak AS SELECT token FROM secrets;
    INSERT INTO items VALUES ('tea', 2.5), ('cup', 7);
    INSERT INTO orders VALUES (1, 'tea', 2.5, '4111'), (2, 'cup', 14, '4222'), (3, 'tea', 5, NULL);
    INSERT INTO secrets VALUES ('hunter2');";

pub(crate) struct Shop {
    folder: TempDir,
}

impl Shop {
    pub(crate) fn open() -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap() };
        Connection::open(shop.path()).unwrap().execute_batch(SHOP).unwrap();
        shop
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("shop.db")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A server over it, with further settings.
    pub(crate) fn server(&self, mut settings: Value) -> Caller {
        settings["sqlite"] = json!(self.path());
        Caller::new(json!({ "database": settings }))
    }
}

fn rows(caller: &Caller, sql: &str) -> Value {
    caller.ok("query", json!({ "sql": sql })).structured["rows"].clone()
}

#[test]
fn tables_are_listed_and_described() {
    let shop = Shop::open();
    let caller = shop.server(json!({ "tables": ["orders", "items", "cheap"] }));
    let tables = caller.ok("list_tables", json!({})).structured["tables"].clone();
    let expected = json!([
        { "schema": "main", "name": "cheap", "kind": "view" },
        { "schema": "main", "name": "items", "kind": "table" },
        { "schema": "main", "name": "orders", "kind": "table" },
    ]);
    assert_eq!(tables, expected);
    assert_eq!(caller.ok("list_schemas", json!({})).structured, json!({ "schemas": [{ "name": "main", "tables": 3 }] }));
    let orders = caller.ok("describe_table", json!({ "table": "orders" })).structured;
    assert_eq!(orders["columns"][0], json!({ "name": "id", "type": "INTEGER", "nullable": true, "primary_key": true }));
    assert_eq!(orders["columns"][3]["default"], "'4111'");
    assert!(caller.err("describe_table", json!({ "table": "secrets" })).contains("there is no such table"));
    assert!(caller.tools.iter().all(|tool| tool["annotations"]["readOnlyHint"] == true));
}

#[test]
fn rows_come_with_their_columns_and_types() {
    let shop = Shop::open();
    let caller = shop.server(json!({}));
    let sql = "SELECT id, item, total, card, x'0aff' AS raw, 9007199254740993 AS large FROM orders WHERE total > ?1 ORDER BY id";
    let answer = caller.ok("query", json!({ "sql": sql, "parameters": [4] })).structured;
    assert_eq!(answer["columns"][0], json!({ "name": "id", "type": "INTEGER" }));
    let expected = json!([[2, "cup", 14.0, "4222", "\\x0aff", "9007199254740993"], [3, "tea", 5.0, null, "\\x0aff", "9007199254740993"],]);
    assert_eq!(answer["rows"], expected);
    assert!(answer.get("next").is_none());
}

#[test]
fn usual_queries_pass() {
    let shop = Shop::open();
    let caller = shop.server(json!({ "tables": ["orders", "items", "cheap"] }));
    for (sql, expected) in [
        ("SELECT count(*) FROM orders", json!([[3]])),
        ("SELECT * FROM cheap", json!([["tea"]])),
        ("SELECT o.id FROM orders o JOIN items i ON i.name = o.item WHERE i.price > 3", json!([[2]])),
        ("WITH few AS (SELECT id FROM orders LIMIT 1) SELECT few.id FROM few", json!([[1]])),
        ("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3) SELECT x FROM n", json!([[1], [2], [3]])),
        ("SELECT x.most FROM (SELECT max(total) AS most FROM orders) AS x", json!([[14.0]])),
        ("SELECT item FROM orders WHERE item LIKE 't%' GROUP BY item HAVING count(*) > 1", json!([["tea"]])),
        ("SELECT upper(item), row_number() OVER (ORDER BY id) FROM orders WHERE id = 1", json!([["TEA", 1]])),
        ("SELECT date('2026-01-31', '+1 day')", json!([["2026-02-01"]])),
        ("SELECT id FROM \"Orders\" WHERE EXISTS (SELECT 1 FROM items WHERE name = item) ORDER BY 1 DESC LIMIT 1;", json!([[3]])),
        ("VALUES (1, 'a')", json!([[1, "a"]])),
    ] {
        assert_eq!(rows(&caller, sql), expected, "{sql}");
    }
}

#[test]
fn pages_join_by_their_cursors() {
    let shop = Shop::open();
    let caller = shop.server(json!({ "limits": { "rows": 2 } }));
    let sql = "SELECT id FROM orders ORDER BY id";
    let first = caller.ok("query", json!({ "sql": sql })).structured;
    assert_eq!(first["rows"], json!([[1], [2]]));
    let second = caller.ok("query", json!({ "sql": sql, "cursor": first["next"] })).structured;
    assert_eq!((&second["rows"], second.get("next")), (&json!([[3]]), None));
    for cursor in [json!("2.0"), json!("x"), json!("18446744073709551615.1"), json!("")] {
        assert!(caller.err("query", json!({ "sql": sql, "cursor": cursor })).contains("argument `cursor`"), "{cursor}");
    }
    let other = json!({ "sql": "SELECT id FROM items", "cursor": first["next"] });
    assert!(caller.err("query", other).contains("is not of this statement"));
}

#[test]
fn a_plan_is_shown_and_nothing_is_run() {
    let shop = Shop::open();
    let caller = shop.server(json!({}));
    assert!(caller.ok("explain", json!({ "sql": "SELECT * FROM orders WHERE id = ?1", "parameters": [1] })).text().contains("orders"));
    assert!(caller.err("explain", json!({ "sql": "EXPLAIN SELECT 1" })).contains("argument `sql`"));
}

#[test]
fn a_plan_tells_of_nothing_behind_a_view() {
    let shop = Shop::open();
    Connection::open(shop.path()).unwrap().execute_batch("CREATE VIEW own AS SELECT id FROM orders WHERE card = 'hunter2'").unwrap();
    let caller = shop.server(json!({ "tables": ["items", "cheap", "own"] }));
    assert_eq!(rows(&caller, "SELECT * FROM own"), json!([]));
    for sql in ["SELECT * FROM own", "SELECT name FROM items, own", "WITH x AS (SELECT * FROM own) SELECT * FROM x", "SELECT * FROM orders"]
    {
        let told = caller.err("explain", json!({ "sql": sql }));
        assert!(!told.contains("hunter2") && told.contains("over tables"), "{sql}: {told}");
    }
    assert!(caller.ok("explain", json!({ "sql": "SELECT * FROM items" })).text().contains("items"));
}

#[test]
fn rows_are_changed_only_where_that_is_switched_on() {
    let shop = Shop::open();
    assert!(shop.server(json!({})).tools.iter().all(|tool| tool["name"] != "execute"));
    let caller = shop.server(json!({ "write": true, "tables": ["orders"], "limits": { "rows": 2 } }));
    let sql = "INSERT INTO orders (id, item) VALUES (?1, ?2) RETURNING id";
    let answer = caller.ok("execute", json!({ "sql": sql, "parameters": [9, "x'); DROP TABLE orders; --"] })).structured;
    assert_eq!((&answer["changed"], &answer["rows"]), (&json!(1), &json!([[9]])));
    assert_eq!(caller.ok("execute", json!({ "sql": "DELETE FROM orders WHERE id = 9" })).structured["changed"], 1);
    assert!(caller.err("execute", json!({ "sql": "DELETE FROM orders" })).contains("it would change 3 rows"));
    assert!(caller.err("execute", json!({ "sql": "UPDATE orders SET total = 0 RETURNING id" })).contains("nothing was changed"));
    for sql in ["DELETE FROM secrets", "INSERT INTO orders SELECT 1, token, 1, 1 FROM secrets", "DROP TABLE orders", "SELECT 1", "VACUUM"] {
        assert!(caller.err("execute", json!({ "sql": sql })).contains("argument `sql`"), "{sql}");
    }
    assert_eq!(rows(&caller, "SELECT count(*), sum(total) FROM orders"), json!([[3, 21.5]]));
}

#[test]
fn parameters_are_as_many_as_the_statement_takes() {
    let shop = Shop::open();
    let caller = shop.server(json!({}));
    for parameters in [json!([]), json!([1, 2])] {
        let refused = caller.err("query", json!({ "sql": "SELECT ?1", "parameters": parameters }));
        assert!(refused.contains("takes 1 values"), "{refused}");
    }
    assert!(caller.err("query", json!({ "sql": "SELECT ?1", "parameters": [{}] })).contains("argument `parameters"));
    assert_eq!(
        caller.ok("query", json!({ "sql": "SELECT ?1, ?2, ?3", "parameters": [null, true, 1.5] })).structured["rows"],
        json!([[null, 1, 1.5]])
    );
}
