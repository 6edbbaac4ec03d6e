#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::arguments::sql::Dialect::{self, MsSql, MySql, PostgreSql, Sqlite};
use crate::arguments::sql::{SqlGuard, SqlRule, apart};

const ALL: [Dialect; 4] = [PostgreSql, MySql, Sqlite, MsSql];

fn refusal(dialect: Dialect, columns: Option<&[&str]>, query: &str) -> Option<String> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let rule = SqlRule { dialect, tables: names(&["orders"]), functions: Some(names(&["count"])), columns: columns.map(names) };
    SqlGuard::build(&rule).unwrap().refuses(query)
}

fn passes(dialect: Dialect, query: &str) {
    assert_eq!(refusal(dialect, Some(&["id", "state"]), query), None, "{dialect:?} {query}");
}

/// Whatever columns may be named.
fn stopped(dialect: Dialect, query: &str, why: &str) {
    let refusal = refusal(dialect, None, query);
    assert!(refusal.as_deref().is_some_and(|text| text.contains(why)), "{dialect:?} {query}: {refusal:?}");
}

#[test]
fn what_reads_alike_everywhere_passes() {
    for dialect in ALL {
        for query in [
            "SELECT id FROM orders WHERE state = 'it''s \"open\" -- not a comment /* nor this */'",
            "SELECT id -- the key\r\n, state /* of it */\r\n\tFROM orders -- all",
            "SELECT id FROM orders WHERE state = 'C:\\temp' AND id > 1.5e3 AND id <> .5",
            "SELECT id AS \"x\", count(*) FROM orders WHERE state = '山田　太郎' GROUP BY id",
            "SELECT id FROM orders WHERE id = 0x1f OR id = 5 - -3",
        ] {
            passes(dialect, query);
        }
    }
    passes(MySql, "SELECT `id` FROM `orders` # all\nWHERE state = 'a' 'b' AND id = X'1f'");
    passes(PostgreSql, "SELECT id FROM orders WHERE state = E'it\\'s' OR state = $$it's$$ OR state = $a$ $1 $a$ OR id = $1");
    passes(PostgreSql, "SELECT id FROM orders WHERE state = U&'\\0041' OR state = N'a' OR id = B'01' OR id = X'1F'");
    passes(Sqlite, "SELECT [id], \"state\" FROM orders WHERE id = $one OR id = ?1 OR id = :two OR id = x'1f'");
    passes(MsSql, "SELECT [id] FROM [orders] WHERE state = N'a' AND id > $1.50");
}

#[test]
fn double_quotes_of_mysql_may_be_those_of_a_name() {
    for query in [
        "SELECT \"card\" FROM orders",
        "SELECT id FROM orders WHERE \"card\" > '4'",
        "SELECT id FROM orders ORDER BY \"card\"",
        "SELECT DATE \"card\" FROM orders",
        "SELECT _utf8\"card\" FROM orders",
        "SELECT count(\"card\") FROM orders",
    ] {
        let why = refusal(MySql, Some(&["id"]), query);
        assert!(why.as_deref().is_some_and(|why| why.contains("double quotes")), "{query}: {why:?}");
        assert_eq!(apart(query, MySql).unwrap()["columns"].as_array().unwrap().first().unwrap(), "*", "{query}");
    }
    // Nobody minds which columns are read.
    assert_eq!(refusal(MySql, None, "SELECT id FROM orders WHERE state = \"open\""), None);
    for query in [
        "SELECT \"card\" 'x' FROM orders",
        "SELECT 'x' \"card\" FROM orders",
        "SELECT \"orders\".card FROM orders",
        "SELECT \"other\".count(id) FROM orders",
        "SELECT orders.\"card\" FROM orders",
        "SELECT \"sleep\"(9) FROM orders",
    ] {
        stopped(MySql, query, "double quotes");
    }
    stopped(MySql, "SELECT id FROM \"secrets\"", "reads the table");
}

#[test]
fn columns_that_a_search_names_are_named() {
    let query = "SELECT id FROM orders WHERE MATCH (orders.card) AGAINST ('4*' IN BOOLEAN MODE)";
    assert!(refusal(MySql, Some(&["id"]), query).is_some_and(|why| why.contains("\"card\"")));
    assert_eq!(refusal(MySql, Some(&["id", "card"]), query), None);
}

#[test]
fn a_text_ends_in_the_same_place_everywhere() {
    for query in [
        // One text to PostgreSQL, which ends after the second `''`.
        "SELECT E'a'\n'\\'', (SELECT token FROM secrets) -- ' FROM orders",
        "SELECT E'a' -- one\n'\\'', (SELECT token FROM secrets) -- ' FROM orders",
        "SELECT '\\', (SELECT token FROM secrets) -- ' FROM orders",
        "SELECT N'\\' FROM orders -- '",
    ] {
        stopped(PostgreSql, query, "backslash");
    }
    for (dialect, query) in [
        (PostgreSql, "SELECT X'\\', (SELECT token FROM secrets) -- ' FROM orders"),
        (PostgreSql, "SELECT X'41''' FROM orders"),
        (PostgreSql, "SELECT B'0''' FROM orders"),
        (MySql, "SELECT b'0''' FROM orders"),
        (Sqlite, "SELECT x'4z' FROM orders"),
        (PostgreSql, "SELECT $1$ ' $1$ FROM orders"),
        (MsSql, "SELECT $$ , card FROM orders -- $$ FROM orders"),
        (MsSql, "SELECT $a$ , card FROM orders -- $a$ FROM orders"),
    ] {
        stopped(dialect, query, "a text that does not end");
    }
}

#[test]
fn a_name_is_one_everywhere() {
    for (dialect, query) in [
        (PostgreSql, "SELECT b\"x\" FROM orders"),
        (MySql, "SELECT b\"x\" FROM orders"),
        (MsSql, "SELECT X'41' FROM orders"),
        (MsSql, "SELECT X'\\', card FROM orders -- ' FROM (SELECT id AS X FROM orders) o"),
        (MsSql, "SELECT $identity FROM orders"),
        (PostgreSql, "SELECT $\u{20ac}$ FROM orders"),
        (Sqlite, "SELECT [a]] , card] FROM orders"),
        (PostgreSql, "SELECT U&\"\\0061\" FROM orders"),
    ] {
        stopped(dialect, query, "is not written as it is understood");
    }
    for dialect in ALL {
        for query in ["SELECT 1ecard FROM orders", "SELECT 0x1fcard FROM orders"] {
            stopped(dialect, query, "a number that runs into a name");
        }
    }
    stopped(PostgreSql, "SELECT 1L FROM orders", "a number that runs into a name");
    stopped(PostgreSql, "SELECT $1card FROM orders", "number");
}

#[test]
fn a_comment_is_one_everywhere() {
    for dialect in ALL {
        for query in [
            "SELECT id /* /* */ , card */ FROM orders",
            "SELECT id /* /*/ FROM orders",
            "SELECT /*+ SET_VAR(sql_mode='ANSI_QUOTES') */ id FROM orders",
            "SELECT /*!50000 card, */ id FROM orders",
            "SELECT /*M!100000 card, */ id FROM orders",
        ] {
            let refusal = refusal(dialect, None, query);
            assert!(refusal.is_some(), "{dialect:?} {query}");
        }
        for query in [
            "SELECT id -- \r, card\nFROM orders",
            "SELECT id -- \u{2028}, card\nFROM orders",
            "SELECT id -- \u{85}, card\nFROM orders",
            "SELECT id /*\0*/ FROM orders",
            "SELECT id FROM orders WHERE state = '\u{1a}'",
        ] {
            stopped(dialect, query, "cannot be seen");
        }
    }
    for query in ["SELECT id --\u{a0} , card\nFROM orders", "SELECT 5--3 FROM orders"] {
        stopped(MySql, query, "a comment that is none everywhere");
    }
    stopped(MySql, "SELECT id --\u{1} , card\nFROM orders", "cannot be seen");
    stopped(MsSql, "SELECT id\u{a0}card FROM orders", "cannot be seen");
}

#[test]
fn a_name_of_with_hides_a_table_of_sql_server_only_to_the_letter() {
    stopped(MsSql, "WITH SECRETS AS (SELECT 1 AS id) SELECT id FROM secrets", "reads the table");
    passes(MsSql, "WITH Recent AS (SELECT id FROM Orders) SELECT id FROM Recent");
}
