#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::arguments::sql::{SqlGuard, SqlRule, apart};
use Dialect::{MsSql, MySql, PostgreSql, Sqlite};

const ALL: &[Dialect] = &[PostgreSql, MySql, Sqlite, MsSql];

/// No rule lets a text pass, and no engine is told what would be in it.
fn stopped(dialects: &[Dialect], query: &str) {
    for dialect in dialects {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for columns in [None, Some(names(&["id", "note", "x", "n", "b"]))] {
            let rule = SqlRule { dialect: *dialect, tables: names(&["orders", "items"]), functions: None, columns };
            assert!(SqlGuard::build(&rule).unwrap().refuses(query).is_some(), "{dialect:?}: {query:?}");
        }
        assert!(apart(query, *dialect).is_err(), "{dialect:?}: {query:?}");
    }
}

fn passes(dialects: &[Dialect], query: &str) {
    for dialect in dialects {
        let rule = SqlRule { dialect: *dialect, tables: vec!["orders".into(), "items".into()], functions: None, columns: None };
        assert_eq!(SqlGuard::build(&rule).unwrap().refuses(query), None, "{dialect:?}: {query:?}");
    }
}

#[test]
fn a_string_that_goes_on_in_another_line_is_refused() {
    for query in [
        "SELECT E'a'\n'\\'' UNION SELECT token FROM secrets -- '",
        "SELECT E'a' -- more\n'\\'' UNION SELECT token FROM secrets -- '",
        "SELECT E'a'\n'\\'', pg_read_file($$/etc/passwd$$) -- '",
        "SELECT E'a'\n'\\''; DROP TABLE orders; -- '",
        "SELECT 'a'\n'b' FROM orders",
        "SELECT id FROM orders WHERE note = 'a' /* b */ 'c'",
        "SELECT id FROM orders WHERE note = N'a'\n'b'",
    ] {
        stopped(ALL, query);
    }
}

#[test]
fn where_a_string_ends_depends_on_no_setting() {
    stopped(&[PostgreSql, MySql], "SELECT id FROM orders WHERE note = '\\' UNION SELECT token FROM secrets -- '");
    stopped(&[PostgreSql, MySql], "SELECT id FROM orders WHERE note = '\\'' UNION SELECT token FROM secrets -- '");
    stopped(&[PostgreSql, MySql], "SELECT id FROM orders WHERE note = 'a\\\\'");
    stopped(ALL, "SELECT id FROM orders WHERE note = X'\\' UNION SELECT token FROM secrets -- '");
    stopped(ALL, "SELECT id FROM orders WHERE note = 'a\0'");
    stopped(ALL, "SELECT id FROM orders WHERE note = 'a");
    passes(ALL, "SELECT id FROM orders WHERE note = 'it''s -- no /* comment \\n \u{2003}\u{e9}\r'");
    passes(&[Sqlite, MsSql], "SELECT id FROM orders WHERE note LIKE 'a\\%' ESCAPE '\\'");
}

#[test]
fn what_stands_before_a_quote_changes_nothing_about_it() {
    for prefix in ["E", "e", "U&", "u&", "_utf8mb4", "q", "Q", "r", "B", "@", ":", "a", "id", "2", "o.", "o.N", "$1"] {
        stopped(ALL, &format!("SELECT {prefix}'x' FROM orders o"));
    }
    for prefix in ["b", "N", "x", "U&", "@", ":", "a", "2"] {
        stopped(ALL, &format!("SELECT {prefix}\"note\" FROM orders"));
        stopped(ALL, &format!("SELECT {prefix}`note` FROM orders"));
    }
    stopped(&[Sqlite], "SELECT N'x' FROM orders");
    stopped(&[MsSql], "SELECT x'00' FROM orders");
    passes(&[PostgreSql, MySql, MsSql], "SELECT id FROM orders WHERE note = N'x'");
    passes(&[PostgreSql, MySql, Sqlite], "SELECT id FROM orders WHERE note IN(x'00fF')");
    passes(&[PostgreSql, MySql], "SELECT id FROM orders WHERE note = b'01'");
}

#[test]
fn a_quote_is_one_of_the_dialect_whatever_its_settings() {
    for query in ["SELECT \"card\" FROM orders", "SELECT id FROM orders WHERE note = \"card\"", "SELECT id FROM \"orders\""] {
        stopped(&[MySql, MsSql], query);
    }
    stopped(&[PostgreSql, MsSql], "SELECT `id` FROM orders");
    stopped(&[MySql], "SELECT [id] FROM orders");
    stopped(&[Sqlite], "SELECT [id]] FROM orders --]");
    passes(&[PostgreSql, Sqlite], "SELECT o.\"no \"\"te\", 'x' FROM \"orders\" o");
    passes(&[MySql, Sqlite], "SELECT o.`no ``te` FROM `orders` AS o");
    passes(&[Sqlite, MsSql], "SELECT o.[no te] FROM [orders] AS o");
    passes(&[MsSql], "SELECT o.[no ]] te] FROM [orders] AS o");
    passes(&[PostgreSql], "SELECT (ARRAY[1, 2])[1] FROM orders");
}

#[test]
fn only_a_plain_space_is_between_words() {
    for space in ['\u{a0}', '\u{85}', '\u{2003}', '\u{2028}', '\u{3000}', '\u{b}', '\u{c}', '\u{1}', '\u{7f}', '\r'] {
        stopped(ALL, &format!("SELECT id{space}FROM orders"));
        stopped(ALL, &format!("SELECT id FROM orders --{space}x"));
        stopped(ALL, &format!("SELECT id FROM orders -- x{space}UNION SELECT token FROM secrets"));
        stopped(ALL, &format!("SELECT id /* {space} */ FROM orders"));
        let hidden = format!("SELECT id FROM orders, (SELECT 1 AS `{space}x`) d WHERE 1 --{space}x UNION SELECT token FROM secrets");
        stopped(&[MySql], &hidden);
    }
    stopped(ALL, "\u{feff}SELECT id FROM orders");
    stopped(ALL, "SELECT gr\u{f6}\u{df}e FROM orders");
    passes(&[PostgreSql, Sqlite], "SELECT \"gr\u{f6}\u{df}e\" FROM orders");
    passes(ALL, "SELECT id\r\n\tFROM orders -- of \u{e9}t\u{e9}\r\nWHERE id > 3");
}

#[test]
fn a_comment_is_one_everywhere() {
    for comment in ["/*!50000 1 */", "/*! 1 */", "/*M!100100 1 */", "/*T! 1 */", "/*+ SET_VAR(sql_mode='ANSI_QUOTES') */"] {
        stopped(ALL, &format!("SELECT {comment} id FROM orders"));
    }
    for comment in ["/* /* */", "/* /* */ */", "/*/ */", "/* /*/ */", "/* x"] {
        stopped(ALL, &format!("SELECT id {comment} FROM orders"));
    }
    stopped(&[MySql], "SELECT id FROM orders WHERE id = 1 --1 UNION SELECT token FROM secrets");
    stopped(&[MySql], "SELECT id FROM orders --");
    stopped(ALL, "SELECT 1 <-- '\nid FROM secrets -- '");
    stopped(ALL, "SELECT 1 |/* ' */ id FROM secrets -- '");
    stopped(&[MySql], "SELECT 1 +# '\nid FROM secrets -- '");
    passes(ALL, "/* it's */ SELECT id--\n, note /**/FROM/* \" */orders -- it's");
    passes(&[MySql], "SELECT id FROM orders # it's \"one\"\nWHERE id > 3");
    passes(&[PostgreSql], "SELECT note #> '{a}' FROM orders");
}

#[test]
fn a_dollar_begins_no_string() {
    for text in ["$$x$$", "$a$x$a$", "$1$x$1$", "a$$b$$", "$", "$1a", "a$b"] {
        stopped(&[PostgreSql], &format!("SELECT {text} FROM orders"));
    }
    stopped(&[MsSql], "SELECT $IDENTITY FROM orders");
    stopped(&[Sqlite], "SELECT $a(') FROM orders -- ') FROM secrets");
    stopped(&[Sqlite], "SELECT id FROM orders WHERE id = $a::b(') OR id IN (SELECT token FROM secrets) -- ')");
    stopped(&[MySql, Sqlite], "SELECT id@x FROM orders");
    passes(&[PostgreSql], "SELECT id FROM orders WHERE id = $1::int AND note @> $2");
    passes(&[Sqlite], "SELECT id FROM orders WHERE id = $id AND note = :note OR note = ?");
}

#[test]
fn a_number_ends_where_it_ends_for_everybody() {
    for number in ["1FROM", "1_000", "1e", "1.e", "1.e(1)", "1.", ".5", "1.5.5", "0x", "0xg", "1e5x", "o.1e5", "1'x'", "1N'x'", "1L"] {
        stopped(ALL, &format!("SELECT {number} FROM orders o"));
    }
    stopped(&[PostgreSql], "SELECT 0xAB FROM orders");
    passes(ALL, "SELECT 10, 1.50, 1e5, 1.5E-7, 2e+3, (3)-4 FROM orders");
    passes(&[MySql, Sqlite, MsSql], "SELECT 0xAb FROM orders");
}

#[test]
fn what_is_no_sql_is_refused() {
    for query in ["SELECT id FROM orders \\! sh", "SELECT id FROM orders\\G", "SELECT {d '2026-01-01'} FROM orders"] {
        stopped(ALL, query);
    }
}

#[test]
fn what_other_servers_split_in_another_way_is_refused() {
    for (dialect, query) in [
        (PostgreSql, "SELECT '\\', (SELECT token FROM secrets) -- ' FROM orders"),
        (PostgreSql, "SELECT N'\\' FROM orders -- '"),
        (PostgreSql, "SELECT X'\\', (SELECT token FROM secrets) -- ' FROM orders"),
        (PostgreSql, "SELECT X'41''' FROM orders"),
        (PostgreSql, "SELECT $1$ ' $1$ FROM orders"),
        (PostgreSql, "SELECT b\"x\" FROM orders"),
        (PostgreSql, "SELECT $\u{20ac}$ FROM orders"),
        (PostgreSql, "SELECT U&\"\\0061\" FROM orders"),
        (PostgreSql, "SELECT 1L FROM orders"),
        (PostgreSql, "SELECT $1card FROM orders"),
        (MySql, "SELECT b'0''' FROM orders"),
        (MySql, "SELECT \"card\" FROM orders"),
        (MySql, "SELECT _utf8\"card\" FROM orders"),
        (MySql, "SELECT \"sleep\"(9) FROM orders"),
        (MySql, "SELECT id --\u{a0} , card\nFROM orders"),
        (MySql, "SELECT 5--3 FROM orders"),
        (Sqlite, "SELECT x'4z' FROM orders"),
        (Sqlite, "SELECT [a]] , card] FROM orders"),
        (MsSql, "SELECT $$ , card FROM orders -- $$ FROM orders"),
        (MsSql, "SELECT $a$ , card FROM orders -- $a$ FROM orders"),
        (MsSql, "SELECT X'41' FROM orders"),
        (MsSql, "SELECT $identity FROM orders"),
        (MsSql, "SELECT id\u{a0}card FROM orders"),
    ] {
        stopped(&[dialect], query);
    }
    for query in [
        "SELECT 1ecard FROM orders",
        "SELECT 0x1fcard FROM orders",
        "SELECT id /* /* */ , card */ FROM orders",
        "SELECT id /* /*/ FROM orders",
        "SELECT /*+ SET_VAR(sql_mode='ANSI_QUOTES') */ id FROM orders",
        "SELECT id -- \r, card\nFROM orders",
        "SELECT id -- \u{2028}, card\nFROM orders",
        "SELECT id -- \u{85}, card\nFROM orders",
        "SELECT id /*\0*/ FROM orders",
    ] {
        stopped(ALL, query);
    }
}

#[test]
fn a_name_of_with_hides_a_table_of_sql_server_only_to_the_letter() {
    let rule = SqlRule { dialect: MsSql, tables: vec!["orders".into()], functions: None, columns: None };
    let refusal = SqlGuard::build(&rule).unwrap().refuses("WITH SECRETS AS (SELECT 1 AS id) SELECT id FROM secrets");
    assert!(refusal.is_some_and(|why| why.contains("reads the table")));
    passes(&[MsSql], "WITH Recent AS (SELECT id FROM orders) SELECT id FROM Recent");
}
