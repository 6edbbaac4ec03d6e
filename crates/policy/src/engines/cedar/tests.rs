#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::{Duration, UNIX_EPOCH};

use crate::rooms::Settled as _;
use serde_json::{Value, json};

use crate::{
    Action, Annotations, Arguments, Circumstances, Config, InvalidPolicy, KnownTool, Offered, Origin, Pin, Policy, Principal, Resource,
    Scopes, ServerRules,
};

const ISSUE: &str = r#"{ "type": "object", "required": ["title"], "properties": {
    "title": { "type": "string" }, "labels": { "type": "array", "items": { "type": "string" } }, "number": { "type": "integer" },
    "price": { "type": "number" }, "draft": { "type": ["boolean", "null"] }, "state": { "enum": ["open", "closed"] },
    "owner": { "type": "object", "properties": { "login": { "type": "string" } }, "required": ["login"] }, "any": {} } }"#;
const QUERY: &str = r#"{ "type": "object", "properties": { "sql": { "type": "string" } }, "required": ["sql"] }"#;
const READ: &str = r#"{ "type": "object", "properties": { "path": { "type": "string" }, "url": { "type": "string" } } }"#;

fn tools() -> [KnownTool<'static>; 4] {
    [("create_issue", Some(ISSUE)), ("query", Some(QUERY)), ("read", Some(READ)), ("ping", None)]
        .map(|(name, input_schema)| KnownTool { name, input_schema })
}

fn servers() -> std::collections::BTreeMap<String, ServerRules> {
    let rules = json!([
        { "tools": ["query"], "argument": "sql", "kind": { "sql": "postgresql" } },
        { "tools": ["read"], "argument": "path", "kind": "path", "optional": true },
        { "tools": ["read"], "argument": "url", "kind": "url", "optional": true },
    ]);
    let own = ServerRules { arguments: serde_json::from_value(rules).unwrap(), ..ServerRules::default() };
    [("s".to_owned(), own), ("other".to_owned(), ServerRules::default())].into()
}

fn build(text: &str) -> Result<Policy, Vec<InvalidPolicy>> {
    let config: Config = serde_json::from_value(json!({ "engines": [{ "cedar": { "text": text } }] })).unwrap();
    Policy::build(&config, &servers())
}

/// A policy whose servers are known and fit.
fn policy(text: &str) -> Policy {
    let policy = build(text).unwrap();
    assert_eq!(policy.learn("s", &tools()), []);
    assert_eq!(policy.learn("other", &[]), []);
    policy
}

fn noon() -> Circumstances {
    Circumstances::local(UNIX_EPOCH + Duration::from_secs(12 * 3600))
}

fn dev() -> Principal {
    Principal::key("ci").in_groups(vec!["dev".into()]).limited_to(Scopes::parse("s:read").unwrap())
}

fn told(policy: &Policy, principal: &Principal, tool: &str, arguments: &Value, moment: Circumstances) -> String {
    let text = arguments.to_string();
    let resource = Resource::tool("s", tool, Some(true), true).with(Arguments::Given(&text));
    policy.explain(principal, Action::Call, &resource, moment).settled().decision.to_string()
}

fn allows(policy: &Policy, tool: &str, arguments: Value) -> bool {
    told(policy, &dev(), tool, &arguments, noon()).starts_with("allowed")
}

fn shows(policy: &Policy, tool: &str) -> bool {
    let resource = Resource::tool("s", tool, Some(true), true);
    policy.allows_each(&dev(), noon(), &[resource]).settled() == [true]
}

#[test]
fn arguments_have_the_types_of_the_tools_schema() {
    let policy = policy(
        r#"
        permit (principal in Group::"dev", action == Action::"s/create_issue", resource in Server::"s")
        when { context.args.title like "bug*" && (if context.args has number then context.args.number < 10 else true) }
        unless { context.args has labels && context.args.labels.contains("secret") };
        @reason("drafts are not for programs")
        forbid (principal, action == Action::"s/create_issue", resource) when { context.args has draft && context.args.draft };
        forbid (principal, action == Action::"s/create_issue", resource)
        when { context.args has price && context.args.price.greaterThan(decimal("9.99")) };
        forbid (principal, action == Action::"s/create_issue", resource)
        when { context.args has owner && context.args.owner.login != "me" || context.args has state && context.args.state == "closed" };
    "#,
    );
    let bug = |more: Value| {
        let mut arguments = json!({ "title": "bug 1" });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    for allowed in [
        json!({}),
        json!({ "number": 9, "labels": ["a"], "price": 9.5, "draft": null, "state": "open", "owner": { "login": "me" }, "any": [{}], "new": 1 }),
        json!({ "price": 9 }),
    ] {
        assert!(
            allows(&policy, "create_issue", bug(allowed.clone())),
            "{allowed} {}",
            told(&policy, &dev(), "create_issue", &bug(allowed.clone()), noon())
        );
    }
    for denied in [
        json!({ "title": "x" }),
        json!({ "number": 10 }),
        json!({ "labels": ["secret"] }),
        json!({ "draft": true }),
        json!({ "price": 10.0 }),
        json!({ "owner": { "login": "you" } }),
        json!({ "state": "closed" }),
        // Not as the schema says, so nobody knows what they come to.
        json!({ "number": "9" }),
        json!({ "number": 1e30 }),
        json!({ "labels": "secret" }),
        json!({ "price": 1.00001 }),
        json!({ "draft": "yes" }),
        json!({ "owner": "me" }),
        json!({ "owner": {} }),
        json!({ "title": 1 }),
    ] {
        assert!(!allows(&policy, "create_issue", bug(denied.clone())), "{denied}");
    }
    assert!(!allows(&policy, "create_issue", json!({})), "a required argument is missing");
    assert!(shows(&policy, "create_issue") && !shows(&policy, "ping"));
    let place = "policy.engines[0].cedar.text:6";
    assert_eq!(
        told(&policy, &dev(), "create_issue", &bug(json!({ "draft": true })), noon()),
        format!("denied by `{place}`: drafts are not for programs")
    );
}

#[test]
fn each_annotation_is_an_attribute_as_far_as_it_is_believed() {
    let good = Annotations { read_only: None, destructive: Some(false), idempotent: Some(true), open_world: Some(false) };
    for (condition, bad) in [
        ("!resource.destructive", Annotations { destructive: None, ..good }),
        ("resource.idempotent", Annotations { idempotent: None, ..good }),
        ("!resource.openWorld", Annotations { open_world: None, ..good }),
    ] {
        let policy = policy(&format!("permit (principal, action in Action::\"call\", resource) when {{ {condition} }};"));
        // One after the other, so that what is remembered of one does not answer for the next.
        for (annotations, trusted, expected) in [(good, true, true), (bad, true, false), (good, false, false), (good, true, true)] {
            let tool = Resource::tool("s", "ping", annotations, trusted).with(Arguments::Given("{}"));
            let decision = policy.explain(&Principal::key("ci"), Action::Call, &tool, noon()).settled().decision;
            assert_eq!(decision.is_allow(), expected, "{condition} {annotations:?} {trusted}");
        }
    }
}

#[test]
fn whether_a_tool_is_the_recorded_one_is_an_attribute() {
    let policy = policy(
        "permit (principal, action in Action::\"call\", resource) when { resource.pin == Pin::\"pinned\" };
         permit (principal, action == Action::\"read\", resource) unless { resource.pin == Pin::\"changed\" };",
    );
    // One after the other, so that what is remembered of one does not answer for the next.
    for pin in [Pin::Pinned, Pin::Changed, Pin::Unpinned, Pin::Pinned] {
        let tool = Resource::tool("s", "ping", None, false).pinned_as(pin);
        let shown = policy.allows_each(&Principal::key("ci"), noon(), &[tool]).settled();
        let called = policy.explain(&Principal::key("ci"), Action::Call, &tool.with(Arguments::Given("{}")), noon()).settled();
        assert_eq!((shown, called.decision.is_allow()), (vec![pin == Pin::Pinned], pin == Pin::Pinned), "{pin}");
    }
    let read = policy.explain(&dev(), Action::Read, &Resource::resource("s", "file:///a"), noon()).settled();
    assert!(read.decision.is_allow(), "of what is no tool nothing is recorded");
    for misspelt in ["resource.pin == Pin::\"pined\"", "resource.pin == \"pinned\"", "resource.pinned"] {
        let refused =
            build(&format!("forbid (principal, action in Action::\"call\", resource) when {{ {misspelt} }};")).and_then(|policy| {
                let wrong = policy.learn("s", &tools());
                if wrong.is_empty() { Ok(()) } else { Err(wrong) }
            });
        assert!(refused.is_err(), "{misspelt}");
    }
}

#[test]
fn what_a_server_does_not_list_is_denied_and_no_failure() {
    let (failures, told_of) = std::sync::mpsc::channel();
    let policy = policy("permit (principal, action, resource);").observed(move |failure| failures.send(failure.to_string()).unwrap());
    assert_eq!(
        told(&policy, &dev(), "drop_everything", &json!({}), noon()),
        "denied by `policy.engines[0].cedar`: its server does not list it"
    );
    let of_the_list = policy.allows_each(&dev(), noon(), &[Resource::tool("s", "drop_everything", None, false)]).settled();
    assert_eq!(of_the_list, [false]);
    assert!(told_of.try_recv().is_err(), "whoever calls could fill the log");
}

#[test]
fn a_tool_is_what_its_server_says_of_it_now_and_a_principal_is_who_it_is() {
    let policy = policy(
        r#"
        permit (principal, action == Action::"s/ping", resource)
        when { resource.readOnly && resource.trusted && principal.kind == "key" && principal.id like "key:c*" }
        unless { principal has scopes && principal.scopes.contains("mcp") };
    "#,
    );
    let asked = |principal: &Principal, read_only, trusted| {
        let resource = Resource::tool("s", "ping", Some(read_only), trusted).with(Arguments::Given("{}"));
        policy.explain(principal, Action::Call, &resource, noon()).settled().decision.is_allow()
    };
    // One after the other, so that what is remembered of one does not answer for the next.
    for (read_only, trusted) in [(true, true), (false, true), (true, false), (false, false), (true, true)] {
        assert_eq!(asked(&Principal::key("ci"), read_only, trusted), read_only && trusted, "{read_only} {trusted}");
    }
    assert!(!asked(&Principal::key("x"), true, true) && !asked(&Principal::local_user(), true, true));
    assert!(!asked(&Principal::key("ci").limited_to(Scopes::parse("mcp").unwrap()), true, true));
}

#[test]
fn queries_paths_and_addresses_are_told_by_what_they_mean() {
    let policy = policy(
        r#"
        permit (principal, action in Action::"call", resource)
        when { context.args has sql && context.args.sql.kind == "select" && ["orders", "people"].containsAll(context.args.sql.tables) };
        permit (principal, action == Action::"s/read", resource) when { context.args has path && context.args.path.below.contains("/srv") };
        permit (principal, action == Action::"s/read", resource) when { context.args has url && context.args.url.domains.contains("example.com") };
    "#,
    );
    assert!(allows(&policy, "query", json!({ "sql": "SELECT * FROM Orders" })));
    for sql in ["SELECT * FROM secrets", "DELETE FROM orders", "SELECT 1; DROP TABLE orders", "nonsense"] {
        assert!(!allows(&policy, "query", json!({ "sql": sql })), "{sql}");
    }
    // What is taken apart cannot be given so.
    assert!(!allows(&policy, "query", json!({ "sql": { "kind": "select", "tables": [] } })));
    assert!(allows(&policy, "read", json!({ "path": "/srv/a" })) && !allows(&policy, "read", json!({ "path": "/srv/../etc" })));
    assert!(
        allows(&policy, "read", json!({ "url": "https://a.example.com/" }))
            && !allows(&policy, "read", json!({ "url": "https://example.com.evil/" }))
    );
    assert!(shows(&policy, "query") && shows(&policy, "read") && !shows(&policy, "ping"));
}

#[test]
fn who_when_and_from_where_count_in_lists_and_calls() {
    let policy = policy(
        r#"
        permit (principal, action, resource)
        when { principal.kind == "key" && principal has scopes && principal.scopes.contains("s:read") && resource.readOnly }
        when { context.loopback && context.now.toTime() >= duration("9h") && context.now.toTime() < duration("17h") };
    "#,
    );
    assert!(!policy.is_lasting());
    let ping = |principal: &Principal, moment| {
        let tool = Resource::tool("s", "ping", Some(true), true);
        let shown = policy.allows_each(principal, moment, &[tool]).settled() == [true];
        let called = told(&policy, principal, "ping", &json!({}), moment).starts_with("allowed");
        assert_eq!(shown, called);
        called
    };
    assert!(ping(&dev(), noon()));
    assert!(!ping(&dev(), Circumstances { time: UNIX_EPOCH, ..noon() }));
    assert!(!ping(&dev(), Circumstances { origin: Origin::Address([192, 0, 2, 1].into()), ..noon() }));
    assert!(!ping(&Principal::key("ci"), noon()) && !ping(&Principal::local_user(), noon()));
}

#[test]
fn prompts_and_resources_have_actions_of_their_own() {
    let policy = policy(
        r#"
        permit (principal, action == Action::"read", resource == Resource::"s/file:///a");
        permit (principal, action in [Action::"get", Action::"complete"], resource is Prompt in Server::"s");
    "#,
    );
    let decided = |action, resource: Resource<'_>| policy.explain(&dev(), action, &resource, noon()).settled().decision.is_allow();
    assert!(decided(Action::Read, Resource::resource("s", "file:///a")) && decided(Action::List, Resource::resource("s", "file:///a")));
    assert!(
        !decided(Action::Read, Resource::resource("s", "file:///b")) && !decided(Action::Subscribe, Resource::resource("s", "file:///a"))
    );
    assert!(decided(Action::Get, Resource::prompt("s", "p")) && decided(Action::Complete, Resource::prompt("s", "p")));
    assert!(!decided(Action::Get, Resource::prompt("other", "p")) && !decided(Action::Call, Resource::method("s", "x/y")));
}

#[test]
fn a_server_is_closed_until_its_tools_are_known_and_fit() {
    let policy = build(r#"permit (principal, action == Action::"s/create_issue", resource) when { context.args.title == "x" };"#).unwrap();
    let title = json!({ "title": "x" });
    assert_eq!(told(&policy, &dev(), "create_issue", &title, noon()), "denied by `cedar`: the policy engine failed");
    assert!(!shows(&policy, "create_issue"));
    assert_eq!(policy.learn("s", &tools()), []);
    assert!(allows(&policy, "create_issue", title.clone()) && shows(&policy, "create_issue"));
    // Its tools change: the title is optional now, and the policy takes no care of that.
    let other = KnownTool { name: "create_issue", input_schema: Some(r#"{"type":"object","properties":{"title":{"type":"string"}}}"#) };
    let errors = policy.learn("s", &[other]);
    assert_eq!(errors[0].place, "policy.engines[0].cedar.text:1");
    assert!(errors[0].message.contains("title"), "{errors:?}");
    assert!(!allows(&policy, "create_issue", title.clone()) && !shows(&policy, "create_issue"));
    assert_eq!(policy.learn("s", &tools()), []);
    assert!(allows(&policy, "create_issue", title));
}

#[test]
fn a_name_in_one_tenant_is_nobodys_in_another() {
    let policy = policy(
        r#"
        permit (principal == User::"a/key:ci", action, resource);
        permit (principal, action, resource) when { principal.id == "key:ci" };
    "#,
    );
    let may = |who: &Principal| told(&policy, who, "ping", &json!({}), noon()).starts_with("allowed");
    assert!(may(&Principal::key("ci")) && may(&Principal::key("ci").of_tenant("a")));
    assert!(!may(&Principal::key("ci").of_tenant("b")) && !may(&Principal::key("a/key:ci")));
}

#[test]
fn what_one_is_offered_decides_for_nobody_else() {
    let policy = build(r#"permit (principal, action == Action::"s/create_issue", resource) when { context.args.title == "x" };"#).unwrap();
    let mallory = Principal::user("https://id.example.com", "mallory").of_tenant("b");
    let title = json!({ "title": "x" });
    let may = |who: &Principal| told(&policy, who, "create_issue", &title, noon()).starts_with("allowed");
    assert_eq!(policy.learn_for(Offered::To(&dev().full_id()), "s", &tools()), []);
    assert!(may(&dev()) && !may(&mallory), "nobody has told what the other is offered");
    let other = KnownTool { name: "create_issue", input_schema: Some(r#"{"type":"object"}"#) };
    assert!(!policy.learn_for(Offered::To(&mallory.full_id()), "s", &[other]).is_empty());
    assert!(may(&dev()) && !may(&mallory), "a list of one's own closes the server to oneself");
    assert_eq!(policy.learn_for(Offered::To(&mallory.full_id()), "s", &tools()), []);
    assert!(may(&mallory));
    policy.forget(&mallory.full_id());
    assert!(may(&dev()) && !may(&mallory));
    assert_eq!(policy.learn("s", &tools()), []);
    assert!(may(&mallory), "and what is offered to all is so to everybody");
}

#[test]
fn what_can_never_match_is_refused_with_its_place() {
    for (text, line, part) in [
        ("permit (principal, action, resource)", 1, "not Cedar"),
        ("permit(principal,action,resource);\n\npermit (principal, action == Action::\"github/x\", resource);", 3, "no server"),
        ("permit (principal, action == Action::\"cal\", resource);", 1, "no action"),
        ("permit (principal, action, resource in Server::\"github\");", 1, "no server"),
        ("permit (principal, action, resource == Tool::\"x\");", 1, "no resource"),
        ("permit (principal, action, resource) when { principal.name == \"x\" };", 1, "name"),
        ("permit (principal == Usr::\"x\", action, resource);", 1, "Usr"),
        ("permit (principal, action == Action::\"read\", resource is Tool);", 1, "never match"),
    ] {
        let errors = build(text).map(drop).err().unwrap_or_else(|| panic!("{text}"));
        assert_eq!(errors[0].place, format!("policy.engines[0].cedar.text:{line}"), "{text}: {errors:?}");
        assert!(errors[0].message.contains(part) && !errors[0].hint.is_empty(), "{text}: {errors:?}");
    }
    for (text, part) in [
        (r#"permit (principal, action == Action::"s/qery", resource);"#, "no tool"),
        (r#"permit (principal, action == Action::"s/query", resource) when { context.args.sqll.kind == "x" };"#, "sqll"),
        (r#"permit (principal, action == Action::"s/read", resource) when { context.args.path.below.contains("/") };"#, "path"),
        (r#"permit (principal, action == Action::"s/query", resource) when { context.args has nothing && 1 < 2 };"#, "never match"),
        (r#"permit (principal, action == Action::"s/query", resource) when { context.args.sql == "select" };"#, "types"),
    ] {
        let errors = build(text).unwrap().learn("s", &tools());
        assert!(errors.iter().any(|error| error.message.contains(part)), "{text}: {errors:?}");
    }
}

#[test]
fn what_some_arguments_are_forbidden_is_shown_where_another_rule_allows_it() {
    let text = r#"forbid (principal, action == Action::"s/query", resource) when { context.args.sql.tables.contains("secrets") };"#;
    let config: Config = serde_json::from_value(json!({ "default": "allow", "engines": [{ "cedar": { "text": text } }] })).unwrap();
    let policy = Policy::build(&config, &servers()).unwrap();
    assert_eq!(policy.learn("s", &tools()), []);
    assert!(shows(&policy, "query") && allows(&policy, "query", json!({ "sql": "SELECT 1 FROM orders" })));
    assert!(!allows(&policy, "query", json!({ "sql": "SELECT 1 FROM secrets" })));
}

#[test]
fn what_is_kept_of_one_caller_decides_for_no_other() {
    let policy = policy(
        r#"
        permit (principal in Group::"dev", action == Action::"s/read", resource) when { if principal has scopes then principal.scopes.contains("s") else true };
        forbid (principal == User::"key:out", action, resource);
        forbid (principal in Group::"guests", action, resource) unless { resource.readOnly };
    "#,
    );
    let key = |name: &str, groups: &[&str]| Principal::key(name).in_groups(groups.iter().map(|group| (*group).into()).collect());
    let may = |who: &Principal, read_only: bool| {
        let read = Resource::tool("s", "read", Some(read_only), true).with(Arguments::Given("{}"));
        policy.explain(who, Action::Call, &read, noon()).settled().decision.is_allow()
    };
    let both = key("ci", &["dev", "guests"]);
    for _ in 0..2 {
        assert!(may(&key("ci", &["dev"]), false) && !may(&key("ci", &[]), false), "the same name in other groups");
        assert!(may(&both, true) && !may(&both, false), "the same tool, which is said to be another");
        assert!(!may(&key("out", &["dev"]), false));
        assert!(may(&key("ci", &["dev"]).limited_to(Scopes::parse("s").unwrap()), false));
        assert!(!may(&key("ci", &["dev"]).limited_to(Scopes::parse("mcp").unwrap()), false));
    }
    // More callers than are kept, some of whose addresses are used again.
    let callers: Vec<Principal> = (0..3000).map(|number| key("ci", if number % 2 == 0 { &["dev"] } else { &[] })).collect();
    assert!(callers.iter().enumerate().all(|(number, caller)| may(caller, false) == (number % 2 == 0)));
    assert!((0..100).all(|number| may(&key("ci", if number % 3 == 0 { &["dev"] } else { &[] }), false) == (number % 3 == 0)));
}

#[test]
fn what_looks_at_no_call_decides_as_what_looks_at_each() {
    const TEXT: &str = r#"
        permit (principal, action, resource) when { principal.kind == "key" LOOK };
        @ask("why") permit (principal, action == Action::"s/query", resource) when { principal.id like "user:*" LOOK };
        forbid (principal, action, resource) when { principal.tenant == "t" && !resource.readOnly LOOK };
        forbid (principal, action, resource) unless { principal has scopes && principal.scopes.contains("s") LOOK };
        forbid (principal, action == Action::"s/ping", resource) when { principal.id == "key:odd" && 9223372036854775807 + 1 > 0 LOOK };
    "#;
    let policies = ["", "&& context.loopback"].map(|look| policy(&TEXT.replace("LOOK", look)));
    let scopes = |principal: Principal| [principal.clone(), principal.limited_to(Scopes::parse("s").unwrap())];
    let named = [Principal::key("ci"), Principal::key("odd"), Principal::user("https://i", "ann"), Principal::key("ci").of_tenant("t")];
    let mut met = std::collections::BTreeSet::new();
    for caller in named.into_iter().flat_map(scopes) {
        for (tool, read_only) in [("query", true), ("query", false), ("ping", true), ("ping", false)] {
            let resource = Resource::tool("s", tool, Some(read_only), true);
            let given = resource.with(Arguments::Given(r#"{"sql":"SELECT 1"}"#));
            let told = |policy: &Policy| {
                let decided = |_| policy.explain(&caller, Action::Call, &given, noon()).settled().decision.to_string();
                let [first, again] = [0, 1].map(decided);
                assert_eq!(first, again);
                (first, policy.allows_each(&caller, noon(), &[resource]).settled())
            };
            assert_eq!(told(&policies[0]), told(&policies[1]), "{caller} {tool} {read_only}");
            met.insert(told(&policies[0]).0);
        }
    }
    assert_eq!(met.len(), 6, "{met:?}");
}

#[test]
fn a_forbid_that_errs_forbids() {
    let policy = policy(
        r#"
        permit (principal, action, resource);
        forbid (principal, action == Action::"s/create_issue", resource) when { context.args has number && context.args.number * 9223372036854775807 > 5 };
    "#,
    );
    assert!(allows(&policy, "create_issue", json!({ "title": "x" })));
    assert_eq!(
        told(&policy, &dev(), "create_issue", &json!({ "title": "x", "number": 3 }), noon()),
        "denied by `cedar`: the policy engine failed"
    );
}

#[test]
fn an_argument_that_is_there_twice_is_no_argument() {
    let policy = policy(r#"permit (principal, action == Action::"s/create_issue", resource) when { context.args.title == "x" };"#);
    let resource = Resource::tool("s", "create_issue", None, false).with(Arguments::Given(r#"{"title":"y","title":"x"}"#));
    assert!(!policy.explain(&dev(), Action::Call, &resource, noon()).settled().decision.is_allow());
}

#[test]
fn a_permit_that_asks_holds_what_it_permits() {
    let policy = policy(
        r#"
        @ask("dear issues are for a person")
        permit (principal, action == Action::"s/create_issue", resource)
        when { context.args has price && context.args.price.greaterThan(decimal("9.99")) };
        permit (principal, action == Action::"s/create_issue", resource);
        forbid (principal, action == Action::"s/create_issue", resource) when { context.args.title == "no" };
        @ask permit (principal, action == Action::"s/read", resource);
    "#,
    );
    let told = |tool: &str, arguments: Value| told(&policy, &dev().limited_to(Scopes::parse("s").unwrap()), tool, &arguments, noon());
    assert!(told("create_issue", json!({ "title": "a", "price": 9 })).starts_with("allowed"));
    let held = told("create_issue", json!({ "title": "a", "price": 10 }));
    assert!(held.starts_with("held for a person's approval") && held.ends_with("dear issues are for a person"), "{held}");
    assert!(told("create_issue", json!({ "title": "no", "price": 10 })).starts_with("denied"), "what is forbidden is not asked about");
    assert!(told("read", json!({})).ends_with("a policy wants a person's approval"));
    assert!(shows(&policy, "create_issue") && shows(&policy, "read"));
    let wrong = build("@ask(\"why\") forbid (principal, action, resource);").unwrap_err();
    assert!(wrong[0].message.contains("cannot ask"), "{wrong:?}");
}

#[test]
fn an_argument_that_is_declared_for_some_of_its_tools_is_told() {
    let text =
        "forbid(principal, action in Action::\"call\", resource) when { context.args has sql && context.args.sql.tables.contains(\"x\") };";
    let explain = KnownTool { name: "explain", input_schema: Some(QUERY) };
    let errors = build(text).unwrap().learn("s", &[tools().as_slice(), &[explain]].concat());
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].message, "it looks into `sql`, which is a mere text in the tool `explain`");
    assert!(errors[0].hint.contains("`tools = [\"query\", \"explain\"]`"), "{errors:?}");
}

#[test]
fn policies_on_one_line_are_told_apart() {
    let text = "permit(principal, action, resource); forbid(principal, action == Action::\"s/ping\", resource);";
    let policy = policy(text);
    assert!(allows(&policy, "read", json!({})) && !allows(&policy, "ping", json!({})));
    let denied = told(&policy, &Principal::local_user(), "ping", &json!({}), noon());
    assert_eq!(denied, "denied by `policy.engines[0].cedar.text:1#2`: a policy forbids it");
}

#[test]
fn what_is_there_at_first_is_decided_before_the_rest_is_known_and_after() {
    let policy = build(
        r#"
        permit (principal, action in [Action::"s/create_issue", Action::"s/connect"], resource) when { !(context.args has title) };
        permit (principal, action == Action::"s/query", resource) when { context.args.sql.kind == "select" };
        forbid (principal == User::"key:eve", action in [Action::"s/query", Action::"s/connect"], resource);
    "#,
    )
    .unwrap();
    let connect = KnownTool { name: "connect", input_schema: Some(r#"{"type":"object"}"#) };
    let may = |who: &Principal, tool: &str| told(&policy, who, tool, &json!({}), noon()).starts_with("allowed");
    let (ci, eve) = (dev(), Principal::key("eve"));
    assert!(!may(&ci, "connect"), "nothing is known yet");
    assert_eq!(policy.learn_for(Offered::AtFirst, "s", &[connect]), [], "policies may be about what there is later");
    assert!(may(&ci, "connect") && !may(&ci, "create_issue"), "what else there is nobody knows");
    assert!(!may(&eve, "connect"), "a policy about several tools is about each");
    assert_eq!(policy.learn_for(Offered::To(&ci.full_id()), "s", &tools()), []);
    assert!(may(&ci, "connect") && !may(&eve, "connect"), "it stays beside the list of one's own");
    let errors = policy.learn_for(Offered::To(&ci.full_id()), "s", &tools()[1..]);
    assert!(errors.iter().any(|error| error.message.contains("create_issue")), "{errors:?}");
    assert!(!may(&ci, "query"), "a whole list has no room for others");
}
