//! What a rule for queries lets pass, given to real databases as it came and as the guard prints it, whose logins may do no more than the
//! rule: where the database finds more in a text than the guard did, it refuses it.

use rusqlite::ErrorCode;
use rusqlite::hooks::{AuthAction, Authorization};
use sallyport_policy::{Dialect, SqlGuard, SqlRule, StatementKind};
use sallyport_testkit::Postgres;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

/// What may hide the statement between them from one of two readers, and not from the other.
const PARTS: &[&str] = &[
    "", " ", "\n", "\r", "\u{2003}", "'a'", "E'a'", "'", "'\\'", "'\\''", "\"", "[", "$$", "$a(", "U&'", "--", "/*", "*/", "1", "x",
    "E'\\'", "$a$", ".5",
];
const ENDS: &[&str] = &["", "$a$", "'", "--'", "-- '", "\"", "]", "*/", "$$", "')"];

const WRITTEN: &[&str] = &[
    "SELECT id FROM orders -- x\r UNION SELECT token FROM secrets",
    "SELECT id FROM orders --\u{2003}\nUNION SELECT token FROM secrets",
    "SELECT E'a' -- more\n'\\'' UNION SELECT token FROM secrets -- '",
    "SELECT E'a'\n'\\''; DROP TABLE orders; -- '",
    "SELECT E'a'\n'\\'', pg_read_file($$/etc/passwd$$) -- '",
    "SELECT 1 <-- '\nid FROM secrets -- '",
    "SELECT E'a'\n'\\'', version() -- '",
    "SELECT U&'a' UESCAPE '\\' FROM orders -- ' FROM secrets",
    "SELECT b\"token\" FROM secrets",
    "SELECT id FROM 'secrets'",
    "SELECT o.'card' FROM orders o",
    "SELECT 'orders'.'card' FROM orders",
    "SELECT 'orders'.card FROM orders",
    "SELECT id FROM orders WHERE id IN secrets",
    "SELECT id FROM orders WHERE id = $a::b(') OR id IN (SELECT token FROM secrets) -- ')",
    "SELECT id FROM orders JOIN orders AS o USING ('card')",
    "SELECT id FROM orders WHERE 'x' = $a$' OR id IN (SELECT length(token) FROM secrets) -- $a$",
    "SELECT id FROM orders WHERE 'x' = E'\\'' UNION SELECT length(token) FROM secrets -- '",
    "SELECT id FROM orders WHERE 'x' = $$\\$$ UNION SELECT length(token) FROM secrets -- '",
    "SELECT id FROM orders WHERE 'x' = E'\\\\' UNION SELECT length(token) FROM secrets -- '",
    "SELECT id FROM orders WHERE 'x' = $a$ $A$ $a$ UNION SELECT length(token) FROM secrets -- $A$",
    "SELECT id FROM orders WHERE 'x' = 'a'$$b$$ || (SELECT token FROM secrets)",
];

/// What passes, and runs.
const GOOD: &[&str] = &[
    "SELECT id FROM orders WHERE id > 1.5e0 AND 'it''s' <> 'x' -- it's",
    "/* \" */ SELECT o.\"id\", count(*) FROM \"orders\" AS o GROUP BY o.id ORDER BY 1",
    "WITH few AS (SELECT id FROM orders) SELECT id FROM few;",
    "SELECT id FROM orders UNION ALL\r\n\tSELECT abs(id) FROM orders",
];

fn texts() -> impl Iterator<Item = String> {
    let made = PARTS.iter().flat_map(|one| PARTS.iter().flat_map(move |two| PARTS.iter().map(move |three| format!("{one}{two}{three}"))));
    let ended = |middle: &str| ENDS.iter().map(|end| format!("SELECT {middle} UNION SELECT token FROM secrets {end}")).collect::<Vec<_>>();
    let written = WRITTEN.iter().chain(GOOD).map(|text| (*text).to_owned());
    made.flat_map(move |middle| ended(&middle)).chain(written)
}

/// The texts that pass, and what is printed of those that are understood.
fn passing(dialect: Dialect) -> impl Iterator<Item = String> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let rule = SqlRule { dialect, tables: names(&["orders"]), functions: Some(names(&["abs", "count"])), columns: Some(names(&["id"])) };
    let guard = SqlGuard::build(&rule).unwrap();
    for good in GOOD {
        assert!(guard.admit(good, StatementKind::Query, None).is_ok(), "{dialect:?}: {good}");
    }
    texts().flat_map(move |text| {
        let printed = guard.admit(&text, StatementKind::Query, None).ok().map(|statement| statement.text);
        Some(text).filter(|text| guard.refuses(text).is_none()).into_iter().chain(printed)
    })
}

#[tokio::test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
async fn postgresql_finds_no_more_in_them_than_the_guard() {
    let postgres = Postgres::start();
    let _nothing = postgres.sql(
        "CREATE TABLE orders (id int, card text); CREATE TABLE secrets (token text); INSERT INTO secrets VALUES ('hunter2');
         REVOKE SELECT ON ALL TABLES IN SCHEMA pg_catalog FROM PUBLIC; REVOKE EXECUTE ON FUNCTION version() FROM PUBLIC;
         CREATE ROLE reader LOGIN; GRANT SELECT (id) ON orders TO reader;",
    );
    let (client, connection) = tokio_postgres::connect(&postgres.url("reader"), NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    for text in passing(Dialect::PostgreSql) {
        let outcome = client.simple_query(&text).await;
        let is_refused = outcome.as_ref().is_err_and(|error| error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        assert!(!is_refused && !format!("{outcome:?}").contains("hunter2"), "{text:?}: {outcome:?}");
        assert!(outcome.is_ok() || !GOOD.contains(&text.as_str()), "{text:?}: {outcome:?}");
    }
    drop(client);
    connection.await.unwrap().unwrap();
}

#[test]
fn sqlite_finds_no_more_in_them_than_the_guard() {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    connection
        .execute_batch("CREATE TABLE orders (id, card); CREATE TABLE secrets (token); INSERT INTO secrets VALUES ('hunter2')")
        .unwrap();
    let judge = |context: rusqlite::hooks::AuthContext<'_>| match context.action {
        AuthAction::Select | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Read { table_name, column_name } if table_name != "secrets" && matches!(column_name, "" | "id") => Authorization::Allow,
        AuthAction::Function { function_name: "abs" | "count" } => Authorization::Allow,
        _ => Authorization::Deny,
    };
    connection.authorizer(Some(judge)).unwrap();
    for text in passing(Dialect::Sqlite) {
        let outcome = connection.execute_batch(&text);
        let code = outcome.as_ref().err().and_then(rusqlite::Error::sqlite_error_code);
        assert_ne!(code, Some(ErrorCode::AuthorizationForStatementDenied), "{text:?}: {outcome:?}");
        assert!(outcome.is_ok() || !GOOD.contains(&text.as_str()), "{text:?}: {outcome:?}");
    }
}
