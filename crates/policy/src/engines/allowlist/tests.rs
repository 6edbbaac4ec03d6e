#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::UNIX_EPOCH;

use crate::rooms::Settled as _;
use proptest::prelude::*;

use super::*;
use crate::{Action, Circumstances, Policy, Principal, Rule};

/// The servers of all tests: one without rules, one with each kind.
fn servers(rules: &[(&str, ServerRules)]) -> BTreeMap<String, ServerRules> {
    let plain = ["plain", "github", "gitlab"].map(|name| (name.to_owned(), ServerRules::default()));
    let given = rules.iter().map(|(name, rules)| ((*name).to_owned(), rules.clone()));
    plain.into_iter().chain(given).collect()
}

fn globs(globs: &[&str]) -> Vec<String> {
    globs.iter().map(|glob| (*glob).to_owned()).collect()
}

fn allow(list: &[&str]) -> ServerRules {
    ServerRules { allow: Some(globs(list)), ..ServerRules::default() }
}

fn deny(list: &[&str]) -> ServerRules {
    ServerRules { deny: globs(list), ..ServerRules::default() }
}

fn read_only() -> ServerRules {
    ServerRules { read_only: true, ..ServerRules::default() }
}

fn rule(server: &str, rules: ServerRules) -> Rule {
    Rule {
        server: server.into(),
        read_only: rules.read_only,
        allow: rules.allow,
        ask: rules.ask,
        deny: rules.deny,
        arguments: rules.arguments,
    }
}

fn engine(default: Option<Effect>, rules: Vec<Rule>, own: &[(&str, ServerRules)]) -> Policy {
    Policy::build(&Config { default, rules, ..Config::default() }, &servers(own)).unwrap()
}

fn decide(policy: &Policy, principal: &Principal, action: Action, resource: &Resource<'_>) -> Decision {
    policy.explain(principal, action, resource, Circumstances::local(UNIX_EPOCH)).settled().decision
}

/// The decision on a tool that claims nothing, for the local user, in one line.
fn on(engine: &Policy, server: &str, name: &str) -> String {
    told(engine, &Resource::tool(server, name, None, false))
}

fn told(engine: &Policy, resource: &Resource<'_>) -> String {
    let decision = decide(engine, &Principal::local_user(), Action::Call, resource);
    format!("{} {}", decision.effect.as_str(), decision.place)
}

#[test]
fn a_server_without_rules_is_for_the_local_user() {
    let engine = engine(None, vec![], &[]);
    let tool = Resource::tool("plain", "read", None, false);
    for (principal, effect) in [(Principal::local_user(), Effect::Allow), (Principal::key("ci"), Effect::Deny)] {
        let decision = decide(&engine, &principal, Action::Call, &tool);
        assert_eq!((decision.effect, decision.reason), (effect, Reason::Default));
    }
}

#[test]
fn of_a_server_as_a_whole_is_known_whether_anything_is_left_open() {
    let ask = ServerRules { ask: globs(&["t"]), ..ServerRules::default() };
    let all_but = ServerRules { deny: globs(&["*"]), ..allow(&["t"]) };
    for (default, rules, expected) in [
        (Effect::Allow, ServerRules::default(), Effect::Allow),
        (Effect::Deny, ServerRules::default(), Effect::Deny),
        (Effect::Deny, allow(&["t"]), Effect::Allow),
        (Effect::Allow, allow(&[]), Effect::Deny),
        (Effect::Deny, read_only(), Effect::Allow),
        (Effect::Deny, ask, Effect::Ask),
        (Effect::Allow, deny(&["t"]), Effect::Allow),
        (Effect::Allow, deny(&["*"]), Effect::Deny),
        (Effect::Allow, all_but, Effect::Deny),
    ] {
        let policy = engine(Some(default), vec![], &[("s", rules.clone())]);
        let decision = decide(&policy, &Principal::key("ci"), Action::List, &Resource::server("s"));
        assert_eq!(decision.effect, expected, "{default:?} {rules:?}");
    }
}

#[test]
fn a_given_default_holds_for_everyone() {
    for default in [Effect::Allow, Effect::Deny] {
        let engine = engine(Some(default), vec![], &[]);
        for principal in [Principal::local_user(), Principal::key("ci")] {
            let tool = Resource::tool("plain", "read", None, false);
            assert_eq!(decide(&engine, &principal, Action::Call, &tool).effect, default);
        }
    }
}

#[test]
fn an_unknown_server_is_denied_whatever_the_default() {
    let config = Config { default: Some(Effect::Allow), ..Config::default() };
    let policy = Policy::build(&config, &servers(&[])).unwrap();
    let tool = Resource::tool("unheard-of", "read", Some(true), true);
    assert_eq!(decide(&policy, &Principal::local_user(), Action::Call, &tool).reason, Reason::EngineFailed);
}

#[test]
fn an_allow_list_closes_everything_else() {
    let engine = engine(None, vec![], &[("a", allow(&["get_*", "{list,find}"])), ("none", allow(&[]))]);
    assert_eq!(on(&engine, "a", "get_issue"), "allow servers.a.allow");
    assert_eq!(on(&engine, "a", "find"), "allow servers.a.allow");
    for name in ["finder", "GET_issue", "xget_issue", "", "delete"] {
        assert_eq!(on(&engine, "a", name), "deny servers.a.allow", "{name}");
    }
    assert_eq!(on(&engine, "none", "anything"), "deny servers.none.allow");
}

#[test]
fn deny_wins_and_leaves_the_rest_to_the_default() {
    let rules = ServerRules { deny: globs(&["x", "delete_*"]), ..allow(&["*"]) };
    let engine = engine(None, vec![], &[("a", deny(&["delete_*"])), ("b", rules)]);
    assert_eq!(on(&engine, "a", "delete_repo"), "deny servers.a.deny[0]");
    assert_eq!(on(&engine, "a", "get_repo"), "allow policy.default");
    assert_eq!(on(&engine, "b", "delete_repo"), "deny servers.b.deny[1]");
    assert_eq!(on(&engine, "b", "get_repo"), "allow servers.b.allow");
}

#[test]
fn a_name_with_line_ends_or_slashes_does_not_slip_through_a_glob() {
    let engine = engine(None, vec![], &[("a", deny(&["delete*"])), ("all", deny(&["*"]))]);
    for name in ["delete\nx", "delete/../x", "delete/", "delete.", "delete\u{0}", "delete\u{2028}é"] {
        assert!(on(&engine, "a", name).starts_with("deny"), "{name:?}");
        assert!(on(&engine, "all", name).starts_with("deny"), "{name:?}");
    }
    assert!(on(&engine, "all", "").starts_with("deny"));
}

#[test]
fn read_only_believes_annotations_only_of_trusted_servers() {
    let engine = engine(None, vec![], &[("a", ServerRules { allow: Some(globs(&["push"])), ..read_only() })]);
    let tool = |read_only, trusted| told(&engine, &Resource::tool("a", "x", read_only, trusted));
    assert_eq!(tool(Some(true), true), "allow servers.a.read_only");
    for (hint, trusted) in [(Some(true), false), (Some(false), true), (None, true), (None, false)] {
        assert_eq!(tool(hint, trusted), "deny servers.a.read_only", "{hint:?} {trusted}");
    }
    assert_eq!(on(&engine, "a", "push"), "allow servers.a.allow");
    assert_eq!(told(&engine, &Resource::resource("a", "file:///x")), "allow servers.a.read_only");
    assert_eq!(told(&engine, &Resource::prompt("a", "review")), "allow servers.a.read_only");

    let claims = Resource::tool("a", "x", Some(true), false);
    let decision = decide(&engine, &Principal::local_user(), Action::Call, &claims);
    assert_eq!(decision.reason, Reason::NotBelieved);
    assert!(decision.hint().contains("trust_annotations"));
}

#[test]
fn a_method_of_an_unknown_extension_must_be_allowed_on_a_server_with_rules() {
    let own = [
        ("plain", ServerRules::default()),
        ("denying", deny(&["delete*"])),
        ("naming", ServerRules { deny: globs(&["vendor/delete"]), ..allow(&["vendor/*"]) }),
        ("reading", read_only()),
    ];
    let engine = engine(None, vec![], &own);
    let method = |server, name| told(&engine, &Resource::method(server, name));
    assert_eq!(method("plain", "vendor/thing"), "allow policy.default");
    assert_eq!(method("denying", "vendor/thing"), "deny servers.denying.allow");
    assert_eq!(method("naming", "vendor/thing"), "allow servers.naming.allow");
    assert_eq!(method("naming", "vendor/delete"), "deny servers.naming.deny[0]");
    assert_eq!(method("reading", "vendor/thing"), "deny servers.reading.read_only");
}

#[test]
fn rules_over_servers_add_to_those_on_the_server() {
    let rules = vec![rule("git*", deny(&["*delete*"])), rule("github", allow(&["get_*"])), rule("*", deny(&["rm"]))];
    let engine = engine(None, rules, &[("gitlab", allow(&["delete_x", "list"]))]);
    assert_eq!(on(&engine, "github", "get_it"), "allow policy.rules[1].allow");
    assert_eq!(on(&engine, "github", "get_deleted"), "deny policy.rules[0].deny[0]");
    assert_eq!(on(&engine, "github", "list"), "deny policy.rules[1].allow");
    assert_eq!(on(&engine, "gitlab", "delete_x"), "deny policy.rules[0].deny[0]");
    assert_eq!(on(&engine, "gitlab", "list"), "allow servers.gitlab.allow");
    assert_eq!(on(&engine, "plain", "rm"), "deny policy.rules[2].deny[0]");
    assert_eq!(on(&engine, "plain", "ls"), "allow policy.default");
}

#[test]
fn rules_that_cannot_work_are_refused_all_at_once() {
    let config = Config {
        rules: vec![rule("gitbuh", read_only()), rule("*", ServerRules::default()), rule("[", deny(&["a"])), rule("*", deny(&["{a"]))],
        ..Config::default()
    };
    let own = servers(&[("a", ServerRules { deny: globs(&["", " x", "a[", &"y".repeat(1025)]), ..allow(&["\\"]) })]);
    let errors = Allowlist::build(&config, &own).unwrap_err();
    let places: Vec<&str> = errors.iter().map(|error| error.place.as_str()).collect();
    assert_eq!(
        places,
        [
            "servers.a.deny[0]",
            "servers.a.deny[1]",
            "servers.a.deny[2]",
            "servers.a.deny[3]",
            "servers.a.allow[0]",
            "policy.rules[0].server",
            "policy.rules[1]",
            "policy.rules[2].server",
            "policy.rules[3].deny[0]",
        ]
    );
    assert_eq!(errors[5].message, "no server is called `gitbuh`, so the rule can never match");
    assert_eq!(errors[5].hint, "the servers are: a, github, gitlab, plain");
    assert!(errors.iter().all(|error| !error.message.is_empty() && !error.hint.is_empty()));
}

#[test]
fn lists_are_bounded() {
    let long = ServerRules { deny: vec!["a".into(); MOST_ENTRIES + 1], ..ServerRules::default() };
    let errors = Allowlist::build(&Config::default(), &servers(&[("a", long)])).unwrap_err();
    assert_eq!(errors[0].message, "1001 entries; at most 1000 are allowed");
    let rules = vec![rule("*", read_only()); MOST_ENTRIES + 1];
    assert_eq!(Allowlist::build(&Config { rules, ..Config::default() }, &servers(&[])).unwrap_err()[0].place, "policy.rules");
}

#[test]
fn configuration_is_read_strictly() {
    let config: Config = serde_json::from_str(r#"{"default":"deny","rules":[{"server":"git*","read_only":true}]}"#).unwrap();
    assert_eq!(config, Config { default: Some(Effect::Deny), rules: vec![rule("git*", read_only())], ..Config::default() });
    for text in [r#"{"defualt":"deny"}"#, r#"{"rules":[{"servers":"a"}]}"#, r#"{"default":"perhaps"}"#, r#"{"rules":[{"deny":"a"}]}"#] {
        assert!(serde_json::from_str::<Config>(text).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<ServerRules>(r#"{"denied":[]}"#).is_err());
}

#[test]
fn what_is_asked_about_is_held_and_stands_in_lists() {
    let rules = ServerRules { ask: globs(&["send_*", "x"]), deny: globs(&["send_money"]), ..allow(&["send_mail", "read"]) };
    let policy = engine(None, vec![], &[("a", rules)]);
    let key = Principal::key("ci");
    let tool = |name| Resource::tool("a", name, None, false);
    for (name, expected) in [
        ("send_mail", "held for a person's approval by `servers.a.ask[0]`: it is on an ask list"),
        ("x", "held for a person's approval by `servers.a.ask[1]`: it is on an ask list"),
        ("send_money", "denied by `servers.a.deny[0]`: it is on a deny list"),
        ("read", "allowed by `servers.a.allow`: it is on an allow list"),
        ("write", "denied by `servers.a.allow`: it is not on the allow list"),
    ] {
        assert_eq!(decide(&policy, &key, Action::Call, &tool(name)).to_string(), expected);
    }
    let shown = policy.allows_each(&key, Circumstances::local(UNIX_EPOCH), &[tool("x"), tool("send_money")]).settled();
    assert_eq!(shown, [true, false]);
}

fn lists() -> impl Strategy<Value = ServerRules> {
    let list = || prop::collection::vec("[ab]{0,2}[*?]?[ab]{1}", 0..4);
    (any::<bool>(), prop::option::of(list()), list(), list()).prop_map(|(read_only, allow, ask, deny)| ServerRules {
        read_only,
        allow,
        ask,
        deny,
        arguments: Vec::new(),
    })
}

proptest! {
    /// What a list shows can be called, and what it hides cannot.
    #[test]
    fn lists_and_calls_agree(
        own in lists(), over in lists(), name in "[ab]{0,4}", read_only in any::<Option<bool>>(), trusted in any::<bool>(),
        local in any::<bool>(),
    ) {
        prop_assume!(over != ServerRules::default());
        let config = Config { rules: vec![rule("a", over)], ..Config::default() };
        let policy = Policy::build(&config, &servers(&[("a", own)])).unwrap();
        let principal = if local { Principal::local_user() } else { Principal::key("ci") };
        let tool = Resource::tool("a", &name, read_only, trusted);
        let shown = policy.allows_each(&principal, Circumstances::local(UNIX_EPOCH), &[tool]).settled();
        prop_assert_eq!(vec![!decide(&policy, &principal, Action::Call, &tool).is_deny()], shown);
    }

    /// The rules as they are written in the documentation, against the compiled ones.
    #[test]
    fn decisions_follow_the_written_order(own in lists(), name in "[ab]{0,4}", hint in any::<Option<bool>>(), trusted in any::<bool>()) {
        let matches = |globs: &[String]| globs.iter().any(|glob| Glob::new(glob).unwrap().compile_matcher().is_match(&name));
        let expected = if matches(&own.deny) {
            Effect::Deny
        } else if matches(&own.ask) {
            Effect::Ask
        } else if own.allow.as_deref().is_some_and(matches) || (own.read_only && trusted && hint == Some(true)) {
            Effect::Allow
        } else if own.allow.is_some() || own.read_only {
            Effect::Deny
        } else {
            Effect::Allow
        };
        let engine = engine(None, vec![], &[("a", own)]);
        let tool = Resource::tool("a", &name, hint, trusted);
        prop_assert_eq!(decide(&engine, &Principal::local_user(), Action::Call, &tool).effect, expected);
    }

    #[test]
    fn no_glob_makes_it_panic(glob in any::<String>(), name in any::<String>()) {
        if let Ok(engine) = Policy::build(&Config::default(), &servers(&[("a", deny(&[&glob]))])) {
            let _ = on(&engine, "a", &name);
        }
    }
}

fn below(folder: &str) -> ServerRules {
    let rule = serde_json::json!({ "tools": ["read_*"], "argument": "path", "path": { "below": [folder] } });
    ServerRules { arguments: vec![serde_json::from_value(rule).unwrap()], ..ServerRules::default() }
}

#[test]
fn an_argument_that_is_not_as_it_has_to_be_is_denied_whatever_allows_its_tool() {
    let own = ServerRules { allow: Some(globs(&["*"])), ..below("src") };
    let engine = engine(Some(Effect::Allow), vec![rule("f*", below("."))], &[("files", own)]);
    let read = Resource::tool("files", "read_file", None, false);
    assert_eq!(told(&engine, &read), "allow servers.files.allow", "a list has no arguments yet");
    let called = |arguments| told(&engine, &read.with(Arguments::Given(arguments)));
    assert_eq!(called(r#"{"path": "src/lib.rs"}"#), "allow servers.files.allow");
    assert_eq!(called(r#"{"path": "docs"}"#), "deny servers.files.arguments[0]");
    assert_eq!(called("{}"), "deny servers.files.arguments[0]");
    let other = Resource::tool("files", "write_file", None, false).with(Arguments::Given("no JSON"));
    assert_eq!(told(&engine, &other), "allow servers.files.allow", "nobody looks into what no rule is about");
}

#[test]
fn rules_for_arguments_hold_together_and_allow_nothing() {
    let engine = engine(Some(Effect::Deny), vec![rule("*", below("src/deep"))], &[("files", below("src"))]);
    let read = Resource::tool("files", "read_file", None, false);
    let decided = |arguments| decide(&engine, &Principal::local_user(), Action::Call, &read.with(Arguments::Given(arguments)));
    let shallow = decided(r#"{"path": "src/lib.rs"}"#);
    assert_eq!(shallow.place.as_str(), "policy.rules[0].arguments[0]");
    assert_eq!(shallow.to_string(), "denied by `policy.rules[0].arguments[0]`: `path` is a path outside the folders that are allowed");
    assert_eq!(decided(r#"{"path": "src/deep/lib.rs"}"#).place.as_str(), "policy.default");
}

#[test]
fn a_rule_for_an_argument_that_says_nothing_is_a_slip() {
    let bad = |rule: serde_json::Value| {
        let rules = ServerRules { arguments: vec![serde_json::from_value(rule).unwrap()], ..ServerRules::default() };
        let errors = Allowlist::build(&Config::default(), &servers(&[("files", rules)])).unwrap_err();
        errors.iter().map(|error| error.place.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(bad(serde_json::json!({ "tools": ["*"], "argument": "a" })), "servers.files.arguments[0].argument");
    assert_eq!(
        bad(serde_json::json!({ "tools": [], "argument": "", "longest": 1 })),
        "servers.files.arguments[0].argument servers.files.arguments[0].tools"
    );
    assert_eq!(
        bad(serde_json::json!({ "tools": ["["], "argument": "a", "number": { "min": 2, "max": 1 } })),
        "servers.files.arguments[0].tools[0] servers.files.arguments[0].number"
    );
    let wide = serde_json::json!({ "tools": ["*"], "argument": "q", "sql": { "dialect": "sqlite", "tables": ["*"] } });
    assert_eq!(bad(wide), "servers.files.arguments[0].sql");
}
