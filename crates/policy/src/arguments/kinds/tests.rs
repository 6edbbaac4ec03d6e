#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::json;

use super::*;

fn kinds(rules: Value) -> Kinds {
    let rules = ServerRules { arguments: serde_json::from_value(rules).unwrap(), ..ServerRules::default() };
    Kinds::of(&Config::default(), &[("s".to_owned(), rules)].into())
}

fn understood(rules: Value, arguments: Value) -> Result<Value, String> {
    kinds(rules).understand("s", "t", &arguments.to_string())
}

#[test]
fn a_query_is_told_by_what_it_reads_and_writes() {
    let rules = json!([{ "tools": ["t"], "argument": "sql", "kind": { "sql": "postgresql" } }]);
    let of = |sql: &str| understood(rules.clone(), json!({ "sql": sql, "other": 1 }));
    let read = |sql: &str| of(sql).unwrap()["sql"].clone();
    assert_eq!(
        read("SELECT o.id, lower(name) FROM Public.Orders o JOIN people USING (ssn) WHERE total > 1"),
        json!({ "kind": "select", "tables": ["people", "public.orders"], "functions": ["lower"], "columns": ["id", "name", "ssn", "total"], "aliases": ["o"] })
    );
    assert_eq!(
        read("INSERT INTO log (at, what) SELECT now(), x FROM src ON CONFLICT DO NOTHING RETURNING id"),
        json!({ "kind": "insert", "tables": ["log", "src"], "functions": ["now"], "columns": ["*", "id", "x"], "aliases": [] })
    );
    assert_eq!(
        read("UPDATE a SET x = (SELECT y FROM b) FROM c WHERE a.id = c.id"),
        json!({ "kind": "update", "tables": ["a", "b", "c"], "functions": [], "columns": ["*", "id", "y"], "aliases": [] })
    );
    assert_eq!(
        read("DELETE FROM a USING b WHERE a.id = b.id"),
        json!({ "kind": "delete", "tables": ["a", "b"], "functions": [], "columns": ["*", "id"], "aliases": [] })
    );
    for refused in
        ["COPY a TO STDOUT", "DROP TABLE a", "SELECT 1; SELECT 2", "WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x", "SET x = 1"]
    {
        assert!(of(refused).unwrap_err().starts_with("`sql` is "), "{refused}");
    }
}

#[test]
fn a_column_is_the_same_however_it_is_written() {
    for (dialect, sql, columns) in [
        ("mysql", "SELECT SSN, `Ssn` FROM people", json!(["ssn"])),
        ("sqlite", "SELECT \"SSN\", [Ssn] FROM people", json!(["ssn"])),
        ("postgresql", "SELECT SSN, \"SSN\" FROM people", json!(["SSN", "ssn"])),
    ] {
        let rules = json!([{ "tools": ["t"], "argument": "sql", "kind": { "sql": dialect } }]);
        assert_eq!(understood(rules, json!({ "sql": sql })).unwrap()["sql"]["columns"], columns, "{sql}");
    }
    let rules = json!([{ "tools": ["t"], "argument": "sql", "kind": { "sql": "postgresql" } }]);
    assert!(understood(rules, json!({ "sql": "SELECT U&\"\\0073sn\" FROM people" })).is_err());
}

#[test]
fn all_of_a_row_is_a_star() {
    let rules = json!([{ "tools": ["t"], "argument": "sql", "kind": { "sql": "postgresql" } }]);
    for sql in [
        "SELECT * FROM a",
        "SELECT a.* FROM a",
        "SELECT a FROM a",
        "SELECT x FROM a AS x",
        "SELECT row_to_json(x) FROM a x",
        "SELECT row_to_json(a.*) FROM a",
    ] {
        let read = understood(rules.clone(), json!({ "sql": sql })).unwrap();
        assert!(read["sql"]["columns"].as_array().unwrap().contains(&json!("*")), "{sql}: {read}");
    }
    let counted = understood(rules, json!({ "sql": "SELECT count(*) FROM a" })).unwrap();
    assert_eq!(counted["sql"]["columns"], json!([]), "rows are counted, no column is read");
}

#[test]
fn a_path_is_told_by_the_folders_that_it_is_below() {
    let rules = json!([{ "tools": ["*"], "argument": "p", "path": { "below": ["."] }, "optional": true }]);
    let of = |path: &str| understood(rules.clone(), json!({ "p": path })).map(|read| read["p"].clone());
    assert_eq!(
        of("/srv//./data/a").unwrap(),
        json!({ "text": "/srv/data/a", "absolute": true, "below": ["/", "/srv", "/srv/data", "/srv/data/a"] })
    );
    assert_eq!(of("docs/a").unwrap(), json!({ "text": "docs/a", "absolute": false, "below": [".", "docs", "docs/a"] }));
    for refused in ["../a", "~/a", "", "a\\b", &"a/".repeat(100)] {
        assert!(of(refused).is_err(), "{refused}");
    }
}

#[test]
fn an_address_is_told_by_its_host() {
    let rules = json!([{ "tools": ["*"], "argument": "u", "kind": "url" }]);
    let of = |url: Value| understood(rules.clone(), json!({ "u": url })).map(|read| read["u"].clone());
    let told = of(json!("https://API.example.com:8443/a/b?key=1#x")).unwrap();
    assert_eq!(
        told,
        json!({
            "text": "https://api.example.com:8443/a/b", "scheme": "https", "host": "api.example.com", "port": 8443, "path": "/a/b",
            "domains": ["api.example.com", "example.com", "com"],
        })
    );
    assert_eq!(of(json!(["http://192.0.2.1/"])).unwrap()[0]["domains"], json!(["192.0.2.1"]));
    assert!(of(json!("https://user@example.com/")).is_err() && of(json!(1)).is_err());
}

#[test]
fn a_text_is_told_with_its_length_in_characters() {
    let rules = json!([{ "tools": ["*"], "argument": "note", "kind": "text" }]);
    let of = |note: Value| understood(rules.clone(), json!({ "note": note })).map(|read| read["note"].clone());
    assert_eq!(of(json!("gr\u{fc}n")).unwrap(), json!({ "text": "gr\u{fc}n", "length": 4 }));
    assert_eq!(of(json!(["", "ab"])).unwrap(), json!([{ "text": "", "length": 0 }, { "text": "ab", "length": 2 }]));
    for forged in [json!({ "text": "ab", "length": 1 }), json!(1), json!([["ab"]])] {
        assert!(of(forged.clone()).is_err(), "{forged}");
    }
}

#[test]
fn two_rules_about_one_argument_take_it_apart_once() {
    let rules = json!([
        { "tools": ["t"], "argument": "p", "kind": "path" },
        { "tools": ["t"], "argument": "p", "path": { "below": ["."] } },
    ]);
    assert_eq!(understood(rules, json!({ "p": ["a"] })).unwrap()["p"][0]["text"], "a");
}

#[test]
fn nobody_takes_an_argument_apart_but_this() {
    let rules = json!([{ "tools": ["t"], "argument": "sql", "kind": { "sql": "sqlite" } }]);
    for forged in [json!({ "kind": "select", "tables": [] }), json!([{ "kind": "select" }]), json!(true)] {
        assert!(understood(rules.clone(), json!({ "sql": forged })).is_err());
    }
}
