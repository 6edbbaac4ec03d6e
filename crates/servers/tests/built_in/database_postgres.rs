//! The database server over a real PostgreSQL: what it gives, and every measured way round a login that may only read.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use sallyport_protocol::{Cancel, Method};
use sallyport_testkit::Postgres;
use serde_json::{Value, json};

use crate::caller::Caller;

/// A shop, and a login that may read two of its tables. What Debian's PostgreSQL lets everybody do besides, it still may.
const SHOP: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, item text NOT NULL, total numeric(8,2), at timestamptz DEFAULT '2026-01-01 00:00:00Z', about jsonb);
    CREATE TABLE items (name text PRIMARY KEY, price float8, tags text[]);
    CREATE TABLE secrets (token text);
    CREATE VIEW leak AS SELECT token FROM secrets;
    CREATE SCHEMA back; CREATE TABLE back.orders (token text);
    INSERT INTO items VALUES ('tea', 2.5, '{hot}'), ('cup', 7, NULL);
    INSERT INTO orders (id, item, total, about) VALUES (1, 'tea', 2.50, '{\"n\": [1]}'), (2, 'cup', 14, NULL), (3, 'tea', 5, NULL);
    INSERT INTO secrets VALUES ('hunter2'); INSERT INTO back.orders VALUES ('hunter2');
    CREATE FUNCTION evil() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT token FROM secrets';
    CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT token FROM secrets';
    CREATE FUNCTION card(orders) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT token FROM secrets';
    CREATE FUNCTION steal(int, int) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT token FROM secrets';
    CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = steal);
    CREATE DOMAIN pretty AS text;
    CREATE ROLE ro LOGIN; GRANT SELECT ON orders, items TO ro;
    ALTER ROLE ro SET default_transaction_read_only = on; ALTER ROLE ro SET statement_timeout = '500ms';
    CREATE ROLE rw LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON orders, items TO rw;
    CREATE ROLE broad LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public, back TO broad; GRANT USAGE ON SCHEMA back TO broad;";

fn shop() -> Postgres {
    let server = Postgres::start();
    let _nothing = server.sql(SHOP);
    server
}

/// A server over it for a login; the address lies in a file, as a secret does.
fn server(postgres: &Postgres, user: &str, mut settings: Value) -> Caller {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), postgres.url(user)).unwrap();
    let (_, path) = file.keep().unwrap();
    settings["postgres"] = json!(format!("file:{}", path.display()));
    Caller::new(json!({ "database": settings }))
}

fn refused(caller: &Caller, sql: &str) -> String {
    let told = caller.err("query", json!({ "sql": sql }));
    assert!(!told.contains("hunter2"), "{sql}: {told}");
    told
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn tables_are_shown_and_read() {
    let postgres = shop();
    let caller = server(&postgres, "ro", json!({}));
    let tables = caller.ok("list_tables", json!({})).structured["tables"].clone();
    let table = |name: &str| json!({ "schema": "public", "name": name, "kind": "table" });
    assert_eq!(tables, json!([table("items"), table("orders")]));
    let orders = caller.ok("describe_table", json!({ "table": "orders" })).structured;
    assert_eq!(orders["columns"][2], json!({ "name": "total", "type": "numeric(8,2)", "nullable": true, "primary_key": false }));
    assert_eq!(orders["columns"][0]["primary_key"], true);

    let sql = "SELECT o.id, i.price, o.total, o.id > 1 AS later, o.about, i.tags, o.at FROM orders o JOIN items AS i ON i.name = o.item \
               WHERE o.id = $1 AND o.item = $2";
    let answer = caller.ok("query", json!({ "sql": sql, "parameters": [1, "tea"] })).structured;
    assert_eq!(answer["rows"], json!([[1, 2.5, "2.50", false, { "n": [1] }, "{hot}", "2026-01-01 00:00:00+00"]]));
    assert_eq!(answer["columns"][2], json!({ "name": "total", "type": "numeric" }));
    for (sql, expected) in [
        ("SELECT count(*) FROM orders", json!([[3]])),
        ("SELECT lower(upper(item)) FROM orders WHERE id = 1", json!([["tea"]])),
        ("WITH few AS (SELECT id FROM public.orders ORDER BY id LIMIT 1) SELECT * FROM few", json!([[1]])),
        ("SELECT date_trunc('year', DATE '2026-05-05')::date", json!([["2026-01-01"]])),
        ("SELECT id AS x, id AS x FROM orders ORDER BY x DESC LIMIT 1;", json!([[3, 3]])),
        ("VALUES (1, 'a')", json!([[1, "a"]])),
        ("SELECT null", json!([[null]])),
    ] {
        assert_eq!(caller.ok("query", json!({ "sql": sql })).structured["rows"], expected, "{sql}");
    }
    let plan = caller.ok("explain", json!({ "sql": "SELECT * FROM orders WHERE id = $1", "parameters": [1] }));
    assert!(plan.text().contains("orders"), "{}", plan.text());
}

/// What PostgreSQL alone spells so means here what it means there, whatever the login's settings make of a backslash.
#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn numbers_and_strings_are_read_as_the_database_reads_them() {
    let postgres = shop();
    let _nothing = postgres.sql("ALTER ROLE ro SET standard_conforming_strings = off; ALTER ROLE ro SET backslash_quote = off");
    let caller = server(&postgres, "ro", json!({}));
    for text in [
        ".5",
        ".25e2 + 1",
        "E'it\\'s'",
        "e'it''s'",
        r"E'a\tb\\c\x41\101\u00e9\U0001F600\q'",
        "$$it's$$",
        r"$$a\nb$$",
        r"'a\nb'",
        "$a$x $$ $b$ y$a$",
        "$_1$x$$_1$",
        "'it''''s'",
        "$$''$$",
        "'''''x'",
        "DATE $$2026-05-05$$",
    ] {
        let sql = format!("SELECT ({text})::text");
        let answer = caller.ok("query", json!({ "sql": sql })).structured["rows"][0][0].clone();
        assert_eq!(answer, postgres.sql(&sql), "{sql}");
    }
    let rw = server(&postgres, "rw", json!({ "write": true }));
    let _done = rw.ok("execute", json!({ "sql": "INSERT INTO items (name, price) VALUES ($$it''s$$, .5)" }));
    assert_eq!(postgres.sql("SELECT price FROM items WHERE name = 'it''''s'"), "0.5");
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn a_plan_tells_of_nothing_behind_what_is_listed() {
    let postgres = shop();
    let _nothing = postgres.sql(
        "CREATE VIEW own AS SELECT item FROM orders WHERE item <> 'hunter2';
        CREATE TABLE notes (text text); ALTER TABLE notes ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON notes USING (text <> 'hunter2');
        CREATE TABLE log (year int) PARTITION BY LIST (year); CREATE TABLE log_hunter2 PARTITION OF log FOR VALUES IN (2026);
        GRANT SELECT ON own, notes, log TO ro;",
    );
    let caller = server(&postgres, "ro", json!({ "tables": ["items", "own", "notes", "log"] }));
    for sql in ["SELECT * FROM own", "SELECT * FROM notes", "SELECT * FROM log", "SELECT (SELECT min(item) FROM own) FROM items"] {
        assert!(caller.ok("query", json!({ "sql": sql })).structured["rows"].is_array(), "{sql}");
        let told = caller.err("explain", json!({ "sql": sql }));
        assert!(!told.contains("hunter2") && told.contains("over tables"), "{sql}: {told}");
    }
    assert!(caller.ok("explain", json!({ "sql": "SELECT * FROM items" })).text().contains("items"));
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn no_measured_way_leads_round_the_guard() {
    let postgres = shop();
    let before = postgres.sql("SELECT count(*) FROM pg_largeobject_metadata");
    // A login that may read everything: here only the guard and the transaction stand before it.
    for user in ["ro", "broad"] {
        let caller = server(&postgres, user, json!({ "tables": ["orders", "items"], "limits": { "seconds": 5 } }));
        for sql in [
            "SELECT * FROM secrets",
            "SELECT * FROM leak",
            "SELECT * FROM back.orders",
            "SELECT token FROM \"secrets\"",
            "INSERT INTO orders VALUES (9)",
            "EXPLAIN ANALYZE DELETE FROM orders",
            "COPY orders TO PROGRAM 'sh'",
            "COPY orders TO STDOUT",
            "COPY (SELECT * FROM secrets) TO STDOUT",
            "SELECT pg_read_file('/etc/passwd')",
            "SET ROLE postgres",
            "SET transaction_read_only = off; CREATE TEMP TABLE x (y int)",
            "COMMIT; CREATE TEMP TABLE x (y int)",
            "SET statement_timeout = 0; SELECT pg_sleep(9)",
            "SELECT set_config('statement_timeout', '0', false)",
            "SELECT set_config('transaction_read_only', 'off', true)",
            "SELECT lo_create(0)",
            "SELECT lo_import('/etc/passwd')",
            "SELECT lo_from_bytea(0, 'x')",
            "DO $$ BEGIN PERFORM 1; END $$",
            "SELECT pg_notify('x', 'y')",
            "NOTIFY x",
            "LISTEN x",
            "SELECT pg_advisory_lock(1)",
            "SELECT query_to_xml('select * from secrets', true, true, '')",
            "SELECT table_to_xml('secrets', true, true, '')",
            "SELECT database_to_xml(true, true, '')",
            "SELECT * FROM pg_catalog.pg_class",
            "SELECT * FROM pg_class",
            "SELECT * FROM pg_user",
            "SELECT * FROM pg_stat_activity",
            "SELECT * FROM information_schema.tables",
            "SELECT * FROM dblink('host=127.0.0.1', 'select 1') AS t(a int)",
            "SELECT * FROM generate_series(1, 1000000000)",
            "SELECT * FROM pg_ls_dir('/')",
            "SELECT repeat('x', 1000000000)",
            "SELECT current_setting('data_directory')",
            "SELECT version()",
            "SELECT current_user",
            "SELECT has_table_privilege('secrets', 'SELECT')",
            "SELECT 'secrets'::regclass",
            "SELECT 'secrets'::regclass::oid::int",
            "SELECT CAST('pg_sleep' AS regproc)",
            "SELECT regclass 'secrets'",
            "SELECT 'x'::pretty",
            "SELECT evil()",
            "SELECT public.evil()",
            "SELECT * FROM evil()",
            "SELECT * FROM ROWS FROM (evil()) AS t",
            "SELECT public.lower(item) FROM orders",
            "SELECT lower(item::varchar) AS x FROM orders WHERE public.evil() > ''",
            "SELECT 1 OPERATOR(public.===) 1",
            "SELECT 1 === 1",
            "SELECT o.card FROM orders o",
            "SELECT (o).card FROM orders o",
            "SELECT card(o) FROM orders o",
            "SELECT id FROM orders ORDER BY evil()",
            "SELECT id FROM orders GROUP BY id, public.evil()",
            "SELECT id FROM orders LIMIT (SELECT length(token) FROM secrets)",
            "SELECT id FROM orders TABLESAMPLE system((SELECT length(token) FROM secrets))",
            "SELECT count(*) FILTER (WHERE evil() = 'x') FROM orders",
            "SELECT count(*) OVER (PARTITION BY (SELECT token FROM secrets)) FROM orders",
            "WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets",
            "WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x",
            "WITH x AS (INSERT INTO orders VALUES (9) RETURNING *) SELECT * FROM x",
            "SELECT * FROM orders FOR UPDATE",
            "SELECT * INTO stolen FROM orders",
            "CREATE TABLE stolen AS SELECT * FROM orders",
            "CREATE TEMP VIEW orders AS SELECT * FROM secrets",
            "TABLE secrets",
            "SELECT * FROM ONLY secrets",
            "SELECT * FROM secrets*",
            "SELECT * FROM orders UNION TABLE secrets",
            "PREPARE x AS SELECT * FROM secrets",
            "EXECUTE x",
            "DECLARE x CURSOR FOR SELECT * FROM secrets",
            "CALL x()",
            "VACUUM",
            "LOCK TABLE orders",
            "SELECT U&\"\\0074oken\" FROM secrets",
            "SELECT * FROM U&\"secr\\0065ts\"",
            "SELECT $$x$$ || (SELECT token FROM secrets)",
            "SELECT /* ' */ token /* ' */ FROM secrets",
            "SELECT * FROM orders -- x\r; DELETE FROM orders",
            "SELECT E'\\'' || token FROM secrets --'",
            "SELECT '\\' FROM secrets --'",
            "SELECT E'\\\\' FROM secrets --'",
            "SELECT $$\\$$ FROM secrets --'",
            "SELECT $a$ $A$ $a$ || token FROM secrets -- $A$",
            "SELECT $$a$$$$b$$ FROM orders",
            "SELECT E'a'\n'\\'' || token FROM secrets -- '",
            "SELECT E'\\351' FROM orders",
            "SELECT .5 FROM secrets",
            "SELECT * FROM orders; SELECT 1",
            "BEGIN",
            "ROLLBACK",
            "DISCARD ALL",
            "RESET ALL",
            "SHOW ALL",
            "SHOW data_directory",
            "VALUES ((SELECT token FROM secrets))",
            "MERGE INTO orders USING items ON true WHEN MATCHED THEN DELETE",
            "SELECT FROM orders",
            "SELECT \0",
            "",
        ] {
            refused(&caller, sql);
        }
    }
    assert_eq!(postgres.sql("SELECT count(*) FROM orders"), "3");
    assert_eq!(postgres.sql("SELECT count(*) FROM pg_largeobject_metadata"), before);
    assert_eq!(postgres.sql("SELECT count(*) FROM pg_class WHERE relname = 'stolen' OR relpersistence = 't'"), "0");
}

/// What the second wall does alone: a rule that lets through what it should not changes nothing.
#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn the_transaction_and_the_session_hold_without_the_guard() {
    let postgres = shop();
    let functions = ["lower", "set_config", "nextval", "pg_sleep", "evil", "current_setting"];
    let caller = server(&postgres, "rw", json!({ "functions": functions, "limits": { "seconds": 1 } }));
    let _nothing = postgres.sql("CREATE SEQUENCE pg_catalog_free; GRANT ALL ON SEQUENCE pg_catalog_free TO rw");
    assert!(refused(&caller, "SELECT nextval('public.pg_catalog_free')").contains("read-only transaction"));
    // Names without a schema are the catalogue's: nobody's own function stands in for it.
    assert!(refused(&caller, "SELECT evil()").contains("does not exist"));
    assert_eq!(caller.ok("query", json!({ "sql": "SELECT lower('A'::varchar)" })).structured["rows"], json!([["a"]]));
    assert!(refused(&caller, "SELECT set_config('transaction_read_only', 'off', false)").contains("25"), "cannot set read-write mode");
    let begun = Instant::now();
    // The session's own bound is gone, ours is not.
    let slow = "SELECT set_config('statement_timeout', '0', false), pg_sleep(60)";
    assert!(refused(&caller, slow).contains("took longer than one call may"));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let left = || postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'rw'");
    let end = Instant::now() + Duration::from_secs(20);
    while left() != "0" {
        assert!(Instant::now() < end, "the statement goes on");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn a_call_that_nobody_waits_for_ends_in_the_database() {
    let postgres = shop();
    let caller = server(&postgres, "ro", json!({ "functions": ["pg_sleep"], "limits": { "seconds": 60 } }));
    let cancel = Cancel::new();
    let canceller = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        canceller.cancel();
    });
    let params = json!({ "name": "query", "arguments": { "sql": "SELECT 1 FROM orders, pg_sleep(50)" } });
    let begun = Instant::now();
    assert!(caller.send_with(Method::ToolsCall, params, cancel).is_err());
    drop(caller);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let end = Instant::now() + Duration::from_secs(20);
    while postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'ro'") != "0" {
        assert!(Instant::now() < end, "the statement goes on");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn answers_are_bounded_and_pages_join() {
    let postgres = shop();
    let _nothing = postgres
        .sql("INSERT INTO items SELECT 'n' || i, i FROM generate_series(1, 5000) i; INSERT INTO orders VALUES (7, repeat('x', 10000000))");
    let caller = server(&postgres, "ro", json!({ "limits": { "rows": 700, "bytes": 20_000 } }));
    let (mut seen, mut cursor, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let sql = "SELECT price FROM items WHERE price > $1 ORDER BY price";
        let page = caller.ok("query", json!({ "sql": sql, "parameters": [0], "cursor": cursor })).structured;
        seen.extend(page["rows"].as_array().unwrap().iter().map(|row| row[0].as_f64().unwrap()));
        pages += 1;
        match page.get("next") {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (5002, 8));
    let long = caller.ok("query", json!({ "sql": "SELECT item FROM orders WHERE id = 7" })).structured;
    assert_eq!((long["cut"].as_bool(), long["rows"][0][0].as_str().unwrap().len()), (Some(true), 20_000));
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn rows_are_changed_only_where_that_is_switched_on() {
    let postgres = shop();
    assert!(server(&postgres, "rw", json!({})).tools.iter().all(|tool| tool["name"] != "execute"));
    let caller = server(&postgres, "rw", json!({ "write": true, "tables": ["orders"], "limits": { "rows": 2 } }));
    let sql = "INSERT INTO orders (id, item) VALUES ($1, $2) RETURNING id, item";
    let answer = caller.ok("execute", json!({ "sql": sql, "parameters": [9, "x'); DROP TABLE orders; --"] })).structured;
    assert_eq!((&answer["changed"], &answer["rows"][0][0]), (&json!(1), &json!(9)));
    assert_eq!(caller.ok("execute", json!({ "sql": "DELETE FROM orders WHERE id = 9" })).structured["changed"], 1);
    assert!(caller.err("execute", json!({ "sql": "DELETE FROM orders" })).contains("it would change 3 rows"));
    for sql in
        ["DELETE FROM items", "UPDATE orders SET item = (SELECT token FROM secrets)", "TRUNCATE orders", "DROP TABLE orders", "SELECT 1"]
    {
        assert!(caller.err("execute", json!({ "sql": sql })).contains("argument `sql`"), "{sql}");
    }
    assert_eq!(postgres.sql("SELECT count(*) FROM orders"), "3");
    let reader = server(&postgres, "ro", json!({ "write": true }));
    assert!(reader.err("execute", json!({ "sql": "DELETE FROM orders" })).contains("permission denied"));
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn a_login_that_nothing_could_hold_is_refused() {
    let postgres = shop();
    let _nothing = postgres.sql(
        "CREATE ROLE files LOGIN; GRANT pg_read_server_files TO files; CREATE ROLE maker LOGIN CREATEROLE;
         CREATE ROLE hidden LOGIN NOINHERIT; GRANT postgres TO hidden",
    );
    for user in ["postgres", "files", "maker", "hidden"] {
        assert!(server(&postgres, user, json!({})).err("list_tables", json!({})).contains("superuser"), "{user}");
    }
    let wrong = server(&postgres, "nobody", json!({}));
    assert!(wrong.err("list_tables", json!({})).contains("role \"nobody\" does not exist"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "postgres://u:hunter2@[").unwrap();
    let caller = Caller::new(json!({ "database": { "postgres": format!("file:{}", file.path().display()) } }));
    let told = caller.err("list_tables", json!({}));
    assert!(told.contains("holds no address") && !told.contains("hunter2"), "{told}");
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn a_certificate_is_checked() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::Builder::new().prefix("sallyport-tls-").tempdir_in("/var/tmp").unwrap();
    let (certificate, key) = (folder.path().join("server.pem"), folder.path().join("server.key"));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    // PostgreSQL reads its key only where it is its own; without root it is run by who runs the test.
    let _or_ours = [folder.path(), &certificate, &key].map(|path| std::os::unix::fs::chown(path, Some(65534), None));
    let settings = format!("ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'", certificate.display(), key.display());
    let postgres = Postgres::start_with(&settings);
    let _nothing = postgres.sql(SHOP);
    let address = |host: &str| postgres.url("ro").replace("127.0.0.1", host) + "?sslmode=require";
    let caller = |host: &str, authority: bool| {
        let file = folder.path().join(format!("address-{host}-{authority}"));
        std::fs::write(&file, address(host)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let authority = authority.then(|| certificate.clone());
        Caller::new(json!({ "database": { "postgres": format!("file:{}", file.display()), "authority": authority } }))
    };
    assert_eq!(caller("localhost", true).ok("list_schemas", json!({})).structured["schemas"][0]["name"], "public");
    for (host, authority) in [("localhost", false), ("127.0.0.1", true)] {
        let told = caller(host, authority).err("list_schemas", json!({}));
        assert!(told.contains("cannot be asked"), "{host} {authority}: {told}");
    }
}
