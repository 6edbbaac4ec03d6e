//! A policy that is asked about the record of a call decides as it would of the call itself, or says what it lacks.
#![cfg(all(feature = "cedar", feature = "rego"))]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use sallyport_policy::{
    Action, Arguments, Circumstances, Config, Effect, KnownTool, Policy, Principal, Recorded, Replayed, Resource, ServerRules,
};
use serde_json::{Value, json};

use support::settled;

const SCHEMA: &str =
    r#"{"type":"object","properties":{"sql":{"type":"string"},"limit":{"type":"integer"},"note":{"type":"string"}},"required":["sql"]}"#;

fn policy(config: Value, rules: Value) -> Policy {
    let config: Config = serde_json::from_value(config).unwrap();
    let rules: ServerRules = serde_json::from_value(rules).unwrap();
    let policy = Policy::build(&config, &BTreeMap::from([("db".to_owned(), rules)])).unwrap();
    let errors = policy.learn("db", &[KnownTool { name: "query", input_schema: Some(SCHEMA) }]);
    assert_eq!(errors, []);
    policy
}

fn tool() -> Resource<'static> {
    Resource::tool("db", "query", Some(true), true)
}

fn called(policy: &Policy, who: &Principal, arguments: &Value) -> Effect {
    let text = arguments.to_string();
    let resource = tool().with(Arguments::Given(&text));
    settled(policy.explain(who, Action::Call, &resource, Circumstances::local(UNIX_EPOCH))).decision.effect
}

fn replayed(policy: &Policy, who: &Principal, recorded: &Recorded) -> Replayed {
    let resource = tool().with(Arguments::Recorded(recorded));
    settled(policy.replay(who, Action::Call, &resource, Circumstances::local(UNIX_EPOCH), false))
}

/// Several policies that look at several things; the second says whether all of it is declared by `recorder`.
fn candidates() -> Vec<(Value, Value)> {
    let declared = json!([{ "tools": ["query"], "argument": "sql", "kind": { "sql": "postgresql" } }]);
    let cedar = |text: &str| json!({ "engines": [{ "cedar": { "text": text } }] });
    let rego = |text: &str| json!({ "engines": [{ "rego": { "text": format!("package sallyport\n{text}") } }] });
    let orders = r#"permit(principal, action == Action::"db/query", resource) when { ["orders"].containsAll(context.args.sql.tables) };"#;
    let long =
        r#"forbid(principal, action == Action::"db/query", resource) when { context.args has note && context.args.note like "*x*" };"#;
    let few = r#"permit(principal, action == Action::"db/query", resource) when { context.args has limit && context.args.limit < 5 };"#;
    let rules = |arguments: Value| json!({ "allow": ["*"], "arguments": arguments });
    vec![
        (json!({}), rules(json!([{ "tools": ["*"], "argument": "sql", "sql": { "dialect": "postgresql", "tables": ["orders"] } }]))),
        (json!({}), rules(json!([{ "tools": ["*"], "argument": "limit", "optional": true, "number": { "max": 4 } }]))),
        (json!({}), rules(json!([{ "tools": ["*"], "argument": "note", "optional": true, "longest": 3 }]))),
        (json!({}), json!({ "read_only": true })),
        (json!({}), json!({ "deny": ["query"] })),
        (cedar(orders), json!({ "arguments": declared })),
        (cedar(&format!("{orders}{long}")), json!({ "arguments": declared })),
        (cedar(&format!("{orders}{few}")), json!({ "arguments": declared })),
        (cedar(r#"permit(principal in Group::"staff", action in Action::"call", resource);"#), json!({})),
        (rego("allow if input.args.sql.kind == \"select\""), json!({ "arguments": declared })),
        (rego("deny contains \"much\" if input.args.limit > 4\nallow if true"), json!({})),
        (rego("allow if count(input.args) < 3"), json!({ "arguments": declared })),
        (rego("allow if \"staff\" in input.principal.groups"), json!({})),
    ]
}

#[test]
fn a_record_is_decided_as_its_call_is_or_not_at_all() {
    let recorder = policy(
        json!({ "default": "allow" }),
        json!({ "arguments": [
            { "tools": ["query"], "argument": "sql", "kind": { "sql": "postgresql" } },
            { "tools": ["query"], "argument": "limit", "number": { "max": 100 }, "optional": true },
        ] }),
    );
    let staff = Principal::key("a").in_groups(vec!["staff".into()]);
    let callers = [Principal::local_user(), Principal::key("b"), staff];
    let calls = ["orders", "salaries", "orders, salaries"].map(|from| format!("SELECT id FROM {from}"));
    let (mut decided, mut lacking) = (0, 0);
    for (config, rules) in candidates() {
        let tried = policy(config.clone(), rules.clone());
        for sql in &calls {
            for more in [json!({}), json!({ "limit": 3 }), json!({ "limit": 7, "note": "axb" }), json!({ "note": "long enough" })] {
                let mut arguments = more;
                arguments["sql"] = json!(sql);
                let recorded = settled(recorder.recorded("", "db", "query", &arguments.to_string())).unwrap();
                for who in &callers {
                    match replayed(&tried, who, &recorded) {
                        Replayed::Decided(decision) => {
                            decided += 1;
                            assert_eq!(decision.effect, called(&tried, who, &arguments), "{config} {rules} {arguments} {decision}");
                        }
                        Replayed::Lacking(lacks) => {
                            lacking += 1;
                            assert!(arguments.get("note").is_some(), "{config} {rules} {arguments} {lacks:?}");
                        }
                    }
                }
            }
        }
    }
    assert!(decided > 300 && lacking > 20, "{decided} {lacking}");
}

#[test]
fn of_a_text_its_length_can_be_asked_about_and_nothing_else() {
    let declared = json!([
        { "tools": ["*"], "argument": "note", "kind": "text", "optional": true },
        { "tools": ["*"], "argument": "sql", "kind": { "sql": "postgresql" } },
    ]);
    let recorder = policy(json!({}), json!({ "arguments": declared }));
    let cedar = |condition: &str| {
        let text = format!(
            "permit(principal, action, resource); forbid(principal, action == Action::\"db/query\", resource) when {{ context.args has note && {condition} }};"
        );
        json!({ "engines": [{ "cedar": { "text": text } }] })
    };
    let rego =
        |condition: &str| json!({ "engines": [{ "rego": { "text": format!("package sallyport\nallow if true\ndeny if {condition}") } }] });
    for (config, is_told) in [
        (cedar("context.args.note.length > 3"), true),
        (cedar("context.args.note.text like \"*x*\""), false),
        (cedar("context.args.note == {text: \"x\", length: 1}"), false),
        (rego("input.args.note.length > 3"), true),
        (rego("input.args[\"note\"].text == \"x\""), false),
        (rego("{ some part; input.args.note[part] == \"x\" }"), false),
    ] {
        let tried = policy(config.clone(), json!({ "arguments": declared }));
        for note in ["x", "longer", "gr\u{fc}n", ""] {
            let arguments = json!({ "sql": "SELECT 1", "note": note });
            let recorded = settled(recorder.recorded("", "db", "query", &arguments.to_string())).unwrap();
            let me = Principal::local_user();
            match replayed(&tried, &me, &recorded) {
                Replayed::Decided(decision) => {
                    assert_eq!((is_told, decision.effect), (true, called(&tried, &me, &arguments)), "{config} {note}")
                }
                Replayed::Lacking(lacks) => assert!(!is_told, "{config} {lacks:?}"),
            }
        }
    }
}

/// Each engine names the rule and what it looks at.
#[test]
fn what_is_lacking_is_named_with_its_place() {
    let recorder = policy(json!({}), json!({ "arguments": [{ "tools": ["*"], "argument": "sql", "kind": { "sql": "postgresql" } }] }));
    let recorded = settled(recorder.recorded("", "db", "query", r#"{"sql": "SELECT id FROM orders", "note": "x"}"#)).unwrap();
    let named = |config: Value, rules: Value| match replayed(&policy(config, rules), &Principal::local_user(), &recorded) {
        Replayed::Lacking(lacks) => lacks.into_iter().map(|lack| format!("{}: {}", lack.place, lack.what)).collect(),
        Replayed::Decided(decision) => vec![decision.to_string()],
    };
    let forbid = "\nforbid(principal, action == Action::\"db/query\", resource) when { context.args has note };";
    let permit = "permit(principal, action, resource);";
    let cedar = |text: String| json!({ "default": "allow", "engines": [{ "cedar": { "text": text } }] });
    assert_eq!(named(cedar(format!("{permit}{forbid}")), json!({})), ["policy.engines[0].cedar.text:2: `note`"]);
    assert_eq!(
        named(cedar(format!("forbid(principal, action, resource);{forbid}")), json!({})),
        ["denied by `policy.engines[0].cedar.text:1`: a policy forbids it"]
    );
    let rego = "package sallyport\ndeny if input.args.note == \"x\"\nallow if count(input.args) == 1";
    assert_eq!(
        named(json!({ "engines": [{ "rego": { "text": rego } }] }), json!({})),
        ["policy.engines[0].rego.text:2: `note`", "policy.engines[0].rego.text:3: all arguments",]
    );
    let rules = json!({ "arguments": [{ "tools": ["*"], "argument": "note", "one_of": ["x"] }] });
    assert_eq!(named(json!({}), rules), ["servers.db.arguments[0]: `note`"]);
    let remote = json!({ "engines": [{ "remote": { "url": "http://127.0.0.1:1", "speaks": "opa" } }] });
    assert_eq!(named(remote, json!({})), ["policy.engines[0].remote: the answer of its decision point, which is not asked"]);
    // Whatever else is not known, what is denied is denied.
    let both = json!({ "engines": [{ "rego": { "text": rego } }] });
    assert_eq!(named(both, json!({ "deny": ["q*"] })), ["denied by `servers.db.deny[0]`: it is on a deny list"]);
}
