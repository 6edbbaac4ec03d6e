//! An agent that may only read two tables, through the real program: its rules, the built-in server behind them, and a real database.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking and says why")]

#[path = "../tokens/browser.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of this")]
mod browser;
#[path = "../tokens/caller.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of this")]
mod caller;
#[path = "../harness/mod.rs"]
mod harness;
mod limits;
#[path = "../faults/session.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of this")]
mod session;
mod token;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use harness::gateway::Project;
use sallyport_testkit::Postgres;
use serde_json::json;
use session::Session;

const SHOP: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, item text, total float);
    CREATE TABLE items (name text PRIMARY KEY, price float);
    CREATE TABLE secrets (token text);
    INSERT INTO items VALUES ('tea', 2.5); INSERT INTO orders VALUES (1, 'tea', 5); INSERT INTO secrets VALUES ('hunter2');";

/// The rules stand before a server that could read more: what they refuse, they refuse.
fn rules(dialect: &str) -> String {
    format!(
        "allow = [\"query\", \"list_tables\", \"describe_table\"]\n\
         [[servers.shop.arguments]]\ntools = [\"query\"]\nargument = \"sql\"\n\
         sql = {{ dialect = \"{dialect}\", tables = [\"orders\", \"items\"] }}\n"
    )
}

fn reads_two_tables_and_nothing_else(project: &Project) {
    let gateway = project.up();
    let mut agent = Session::open(gateway.port, "/servers/shop/mcp");
    assert_eq!(agent.tools().len(), 3, "{:?}", agent.tools());
    let mut query = |sql: &str| agent.call("query", &json!({ "sql": sql }));

    let joined = query("SELECT o.id, i.price FROM orders o JOIN items i ON i.name = o.item");
    assert!(!joined.is_error() && joined.words().contains("[[1,2.5]]"), "{}", joined.words());
    for sql in [
        "SELECT * FROM secrets",
        "SELECT (SELECT token FROM secrets)",
        "WITH orders AS (SELECT * FROM secrets) SELECT * FROM orders",
        "DELETE FROM orders",
        "SELECT 1; DELETE FROM orders",
        "DROP TABLE orders",
    ] {
        let refused = query(sql);
        assert!(refused.is_error() && refused.words().contains("denied by `servers.shop.arguments[0]`"), "{sql}: {}", refused.words());
        assert!(!refused.words().contains("hunter2"), "{sql}");
    }
    // Nothing is as deep as to end the gateway.
    for deep in [format!("SELECT {}1", "1+".repeat(20_000)), format!("SELECT {}1{}", "(SELECT ".repeat(45), ")".repeat(45))] {
        assert!(query(&deep).is_error());
    }
    assert!(agent.call("execute", &json!({ "sql": "DELETE FROM orders" })).is_error());
    assert!(!agent.call("query", &json!({ "sql": "SELECT count(*) FROM orders" })).is_error(), "{}", gateway.log());
}

#[test]
fn an_agent_reads_two_tables_of_a_file() {
    let project = Project::new(&format!("[servers.shop]\nbuiltin = {{ database = {{ sqlite = \"shop.db\" }} }}\n{}", rules("sqlite")));
    rusqlite::Connection::open(project.path("shop.db")).unwrap().execute_batch(SHOP).unwrap();
    reads_two_tables_and_nothing_else(&project);
}

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn an_agent_reads_two_tables_of_a_server() {
    let postgres = Postgres::start();
    let _nothing = postgres.sql(&format!("{SHOP} CREATE ROLE agent LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO agent"));
    let server = "[servers.shop]\nbuiltin = { database = { postgres = \"file:address\" } }\n";
    let project = Project::new(&format!("{server}{}", rules("postgresql")));
    fs::write(project.path("address"), postgres.url("agent")).unwrap();
    fs::set_permissions(project.path("address"), fs::Permissions::from_mode(0o600)).unwrap();
    reads_two_tables_and_nothing_else(&project);
}

/// What a login may beyond reading is told, once, with what takes it away; and that does take it away.
#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn what_a_login_may_beyond_reading_is_told_until_it_is_taken_away() {
    const TOLD: [&str; 4] = ["make temporary tables", "make schemas", "make large objects", "change tables"];
    let postgres = Postgres::start();
    let _nothing = postgres.sql(&format!(
        "{SHOP} CREATE ROLE agent LOGIN; GRANT SELECT, INSERT ON orders TO agent;
         DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO agent', current_database()); END $$;"
    ));
    let project = Project::new("[servers.shop]\nbuiltin = { database = { postgres = \"file:address\" } }\n");
    fs::write(project.path("address"), postgres.url("agent")).unwrap();
    fs::set_permissions(project.path("address"), fs::Permissions::from_mode(0o600)).unwrap();
    let log_of_two_queries = || {
        let gateway = project.up();
        let mut agent = Session::open(gateway.port, "/servers/shop/mcp");
        for _ in 0..2 {
            let read = agent.call("query", &json!({ "sql": "SELECT count(*) FROM orders" }));
            assert!(!read.is_error(), "{}\n{}", read.words(), gateway.log());
        }
        gateway.log()
    };
    let log = log_of_two_queries();
    assert_eq!(log.matches("the login may do more than it needs").count(), 1, "{log}");
    for power in TOLD {
        assert!(log.contains(power), "{power}: {log}");
    }

    let _nothing = postgres.sql(
        "DO $$ DECLARE way regprocedure; BEGIN
             EXECUTE format('REVOKE TEMP ON DATABASE %I FROM PUBLIC', current_database());
             EXECUTE format('REVOKE CREATE ON DATABASE %I FROM agent', current_database());
             FOR way IN SELECT oid::regprocedure FROM pg_proc WHERE proname ~ '^lo_' AND pronamespace = 'pg_catalog'::regnamespace LOOP
                 EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', way);
             END LOOP;
         END $$;
         REVOKE INSERT ON orders FROM agent;",
    );
    let log = log_of_two_queries();
    assert!(!log.contains("the login may do more than it needs"), "{log}");
    let left = postgres.sql(
        "SET ROLE agent; SELECT has_database_privilege(current_database(), 'TEMP') OR has_function_privilege('lo_create(oid)', 'EXECUTE')
             OR has_function_privilege('lo_put(oid, bigint, bytea)', 'EXECUTE') OR has_table_privilege('orders', 'INSERT')",
    );
    assert!(left.ends_with('f'), "the database itself refuses it now: {left}");
}
