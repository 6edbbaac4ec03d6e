//! Lists and calls agree, whatever engines are asked: what is shown can be called with some arguments, what is hidden with none.
#![cfg(all(feature = "cedar", feature = "rego"))]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use sallyport_policy::{Action, Arguments, Circumstances, Config, KnownTool, Pin, Policy, Principal, Resource, ServerRules};
use serde_json::{Value, json};

use support::settled;

const SCHEMA: &str =
    r#"{"type":"object","required":["a"],"properties":{"a":{"type":"integer"},"b":{"type":"string"},"c":{"type":"integer"}}}"#;
const TOOLS: [&str; 2] = ["t0", "t1"];

/// One rule, as each engine writes it in its own manner.
#[derive(Clone, Debug)]
struct Written {
    permits: bool,
    tool: Option<usize>,
    for_group: bool,
    by_day: bool,
    /// It is about tools that stand so to what is recorded of them.
    pin: Option<Pin>,
    condition: Condition,
}

#[derive(Clone, Debug)]
enum Condition {
    None,
    Below(i64),
    Is(&'static str),
}

impl Written {
    fn cedar(&self) -> String {
        let effect = if self.permits { "permit" } else { "forbid" };
        let principal = if self.for_group { "principal in Group::\"dev\"" } else { "principal" };
        let action =
            self.tool.map_or_else(|| "action in Action::\"call\"".to_owned(), |tool| format!("action == Action::\"s/{}\"", TOOLS[tool]));
        let day = if self.by_day { "context.now.toTime() < duration(\"12h\")" } else { "true" };
        let condition = match &self.condition {
            Condition::None => "true".to_owned(),
            Condition::Below(most) => format!("context.args has a && context.args.a < {most}"),
            Condition::Is(value) => format!("context.args has b && context.args.b == \"{value}\""),
        };
        let pin = self.pin.map_or_else(|| "true".to_owned(), |pin| format!("resource.pin == Pin::\"{pin}\""));
        format!("{effect} ({principal}, {action}, resource) when {{ {day} && {pin} && {condition} }};\n")
    }

    fn rego(&self) -> String {
        let head = if self.permits { "allow if" } else { "deny contains \"x\" if" };
        let mut base = String::from("true");
        if self.for_group {
            base += "; \"dev\" in input.principal.groups";
        }
        if let Some(tool) = self.tool {
            base += &format!("; input.resource.name == \"{}\"", TOOLS[tool]);
        }
        if let Some(pin) = self.pin {
            base += &format!("; input.resource.pin == \"{pin}\"");
        }
        if self.by_day {
            base += "; (input.time % 86400) < 43200";
        }
        let condition = match &self.condition {
            Condition::None => return format!("{head} {{ {base} }}\n"),
            Condition::Below(most) => format!("input.args.a < {most}"),
            Condition::Is(value) => format!("input.args.b == \"{value}\""),
        };
        let listed = if self.permits { format!("{head} {{ {base}; input.action == \"list\" }}\n") } else { String::new() };
        format!("{listed}{head} {{ {base}; {condition} }}\n")
    }
}

fn pin() -> impl Strategy<Value = Pin> {
    proptest::sample::select(&Pin::ALL[..])
}

fn rule(condition: impl Strategy<Value = Condition> + 'static, permits: bool) -> impl Strategy<Value = Written> {
    (proptest::option::of(0..TOOLS.len()), any::<bool>(), any::<bool>(), proptest::option::weighted(0.3, pin()), condition)
        .prop_map(move |(tool, for_group, by_day, pin, condition)| Written { permits, tool, for_group, by_day, pin, condition })
}

/// Rules whose conditions do not exclude one another: those that permit look at `a`, those that forbid at `b`, which may be left out.
fn rules() -> impl Strategy<Value = Vec<Written>> {
    let permit = rule(prop_oneof![Just(Condition::None), (1..4_i64).prop_map(Condition::Below)], true);
    let forbid = rule(prop_oneof![1 => Just(Condition::None), 4 => prop_oneof![Just("x"), Just("y")].prop_map(Condition::Is)], false);
    proptest::collection::vec(prop_oneof![2 => permit, 1 => forbid], 0..5)
}

/// Rules that may well exclude one another.
fn any_rules() -> impl Strategy<Value = Vec<Written>> {
    let condition = || {
        prop_oneof![
            Just(Condition::None),
            (-1..4_i64).prop_map(Condition::Below),
            prop_oneof![Just("x"), Just("y")].prop_map(Condition::Is)
        ]
    };
    proptest::collection::vec(any::<bool>().prop_flat_map(move |permits| rule(condition(), permits)), 0..6)
}

fn policy(cedar: Option<&[Written]>, rego: Option<&[Written]>, denied: &[String]) -> Policy {
    let mut engines = Vec::new();
    if let Some(rules) = cedar {
        let text = rules
            .iter()
            .map(Written::cedar)
            .chain(["forbid (principal, action == Action::\"get\", resource);".to_owned()])
            .collect::<String>();
        engines.push(json!({ "cedar": { "text": text } }));
    }
    if let Some(rules) = rego {
        let text: String = rules.iter().map(Written::rego).collect();
        engines.push(json!({ "rego": { "text": format!("package sallyport\nimport rego.v1\nallow if false\ndeny contains \"x\" if false\n{text}") } }));
    }
    let config: Config = serde_json::from_value(json!({ "engines": engines })).unwrap();
    let own = ServerRules { deny: denied.to_vec(), ..ServerRules::default() };
    let policy = Policy::build(&config, &[("s".to_owned(), own)].into()).unwrap();
    assert_eq!(policy.learn("s", &TOOLS.map(|name| KnownTool { name, input_schema: Some(SCHEMA) })), []);
    policy
}

/// Every call that a rule could tell from another.
fn calls() -> impl Iterator<Item = Value> {
    (-2..5).flat_map(|a| [json!({ "a": a }), json!({ "a": a, "b": "x" }), json!({ "a": a, "b": "y" }), json!({ "a": a, "b": "z" })])
}

/// Of each tool, whether it is shown, and whether any call of it is allowed.
fn shown_and_callable(policy: &Policy, who: &Principal, moment: Circumstances, pins: [Pin; 2]) -> Vec<(bool, bool)> {
    let tools = [0, 1].map(|at| Resource::tool("s", TOOLS[at], None, false).pinned_as(pins[at]));
    let shown = settled(policy.allows_each(who, moment, &tools));
    let is_callable = |tool: &Resource<'_>| {
        calls().any(|arguments| {
            let text = arguments.to_string();
            let called = tool.with(Arguments::Given(&text));
            settled(policy.decide(who, Action::Call, &called, moment, ())).is_ok()
        })
    };
    shown.into_iter().zip(tools.iter().map(is_callable)).collect()
}

fn who(in_group: bool) -> Principal {
    let groups = if in_group { vec!["dev".into()] } else { vec![] };
    Principal::key("ci").in_groups(groups)
}

fn moment(hour: u64) -> Circumstances {
    Circumstances::local(UNIX_EPOCH + Duration::from_secs(hour * 3600))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_can_be_called_and_what_is_hidden_cannot(
        cedar in proptest::option::of(rules()), rego in proptest::option::of(rules()), denied in proptest::collection::vec("t[01]", 0..2),
        in_group in any::<bool>(), hour in 0..24_u64, pins in [pin(), pin()],
    ) {
        let policy = policy(cedar.as_deref(), rego.as_deref(), &denied);
        for (shown, callable) in shown_and_callable(&policy, &who(in_group), moment(hour), pins) {
            prop_assert_eq!(shown, callable);
        }
    }

    /// Whatever the rules: Cedar never hides what could be called.
    #[test]
    fn what_is_hidden_cannot_be_called(cedar in any_rules(), in_group in any::<bool>(), hour in 0..24_u64, pins in [pin(), pin()]) {
        let policy = policy(Some(&cedar), None, &[]);
        for (shown, callable) in shown_and_callable(&policy, &who(in_group), moment(hour), pins) {
            prop_assert!(shown || !callable);
        }
    }
}
