#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::{Duration, UNIX_EPOCH};

use crate::rooms::Settled as _;
use serde_json::{Value, json};

use crate::{Action, Arguments, Circumstances, Config, InvalidPolicy, Origin, Policy, Principal, Resource, ServerRules};

fn build(text: &str) -> Result<Policy, Vec<InvalidPolicy>> {
    let rules = json!([{ "tools": ["query"], "argument": "sql", "kind": { "sql": "sqlite" }, "optional": true }]);
    let own = ServerRules { arguments: serde_json::from_value(rules).unwrap(), ..ServerRules::default() };
    let config: Config = serde_json::from_value(json!({ "engines": [{ "rego": { "text": text } }] })).unwrap();
    Policy::build(&config, &[("s".to_owned(), own)].into())
}

fn told(policy: &Policy, who: &Principal, arguments: Option<Value>) -> String {
    let text = arguments.map(|arguments| arguments.to_string());
    let resource = Resource::tool("s", "query", Some(true), true).with(text.as_deref().map_or(Arguments::Unknown, Arguments::Given));
    let moment = Circumstances { time: UNIX_EPOCH + Duration::from_secs(60), origin: Origin::Address([192, 0, 2, 7].into()) };
    policy.explain(who, Action::Call, &resource, moment).settled().decision.to_string()
}

#[test]
fn a_name_in_one_tenant_is_nobodys_in_another() {
    let policy = build("package sallyport\nallow if input.principal.id == \"key:ci\"").unwrap();
    assert!(told(&policy, &Principal::key("ci"), None).starts_with("allowed"));
    assert!(told(&policy, &Principal::key("ci").of_tenant("b"), None).starts_with("denied"));
}

const DOCUMENTED: &str = r#"
    package sallyport
    import rego.v1
    # What may be called with some arguments may be seen.
    allow if { input.action == "list"; "dev" in input.principal.groups }
    allow if {
        input.action == "call"
        "dev" in input.principal.groups
        input.args.sql.kind == "select"
        every table in input.args.sql.tables { table in {"orders", "people"} }
    }
    deny contains "writes are for programs of this machine" if { input.args.sql.kind != "select"; not input.origin.loopback }
"#;

#[test]
fn rules_look_at_the_document() {
    let policy = build(DOCUMENTED).unwrap();
    let dev = Principal::key("ci").in_groups(vec!["dev".into()]);
    assert!(told(&policy, &dev, None).starts_with("allowed by `policy.engines[0].rego: allow`"));
    assert!(told(&policy, &dev, Some(json!({ "sql": "SELECT 1 FROM orders" }))).starts_with("allowed"));
    assert!(told(&policy, &dev, Some(json!({ "sql": "SELECT 1 FROM other" }))).ends_with("no rule speaks of it"));
    assert_eq!(
        told(&policy, &dev, Some(json!({ "sql": "DELETE FROM orders" }))),
        "denied by `policy.engines[0].rego: deny`: writes are for programs of this machine"
    );
    assert!(told(&policy, &Principal::key("ci"), None).starts_with("denied"));
}

#[test]
fn every_member_of_the_document_is_there() {
    let policy = build(
        r#"
        package sallyport
        import rego.v1
        allow if {
            input.principal == {"id": "key:ci", "kind": "key", "tenant": "", "groups": []}
            input.server == "s"
            input.resource == {
                "kind": "tool", "name": "query", "read_only": true, "destructive": false, "idempotent": true, "open_world": true,
                "trusted": true, "pin": "unpinned",
            }
            input.time == 60
            input.origin == {"loopback": false, "address": "192.0.2.7"}
            input.taint == []
        }
    "#,
    );
    assert!(told(&policy.unwrap(), &Principal::key("ci"), None).starts_with("allowed"));
}

#[test]
fn false_denies_undefined_says_nothing_and_anything_else_fails() {
    let with = |rule: &str| told(&build(&format!("package sallyport\nimport rego.v1\n{rule}")).unwrap(), &Principal::local_user(), None);
    assert!(with("default allow := false").starts_with("denied by `policy.engines[0].rego: allow`"));
    assert!(with("allow if 1 == 2").ends_with("no rule speaks of it"));
    assert!(with("deny := true").starts_with("denied by `policy.engines[0].rego: deny`"));
    for failing in [
        "allow := 1",
        "deny := \"x\"",
        "allow if to_number(input.server) == 1",
        "allow if input.server == input.server\nallow := 2 if true",
    ] {
        assert_eq!(with(failing), "denied by `rego`: the policy engine failed", "{failing}");
    }
}

#[test]
fn what_never_ends_is_ended() {
    let policy = build(
        r"
        package sallyport
        import rego.v1
        allow if { some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); a * b == 0 }
    ",
    );
    assert_eq!(told(&policy.unwrap(), &Principal::local_user(), None), "denied by `rego`: the policy engine failed");
}

#[test]
fn what_is_no_rego_or_can_never_decide_is_refused() {
    for (text, part) in
        [("package sallyport\nallow if {", "not Rego"), ("package other\nallow := true", "`allow`, `deny` or `ask`"), ("", "not Rego")]
    {
        let errors = build(text).map(drop).unwrap_err();
        assert!(errors[0].message.contains(part) && errors[0].place.starts_with("policy.engines[0].rego"), "{text}: {errors:?}");
    }
}

#[test]
fn a_rule_that_asks_holds_what_nothing_denies() {
    let policy = build(
        r#"
        package sallyport
        import rego.v1
        default allow := false
        ask contains "writes are for a person" if input.args.sql.kind == "delete"
        deny if "orders" in input.args.sql.tables
    "#,
    )
    .unwrap();
    let me = Principal::key("ci");
    assert_eq!(
        told(&policy, &me, Some(json!({ "sql": "DELETE FROM people" }))),
        "held for a person's approval by `policy.engines[0].rego: ask`: writes are for a person"
    );
    assert!(told(&policy, &me, Some(json!({ "sql": "DELETE FROM orders" }))).starts_with("denied by `policy.engines[0].rego: deny`"));
    assert!(told(&policy, &me, Some(json!({ "sql": "SELECT 1" }))).starts_with("denied by `policy.engines[0].rego: allow`"));
}
