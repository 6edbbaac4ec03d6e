//! Lists and calls agree, whatever engines are asked: what is shown can be called with some arguments, what is hidden with none.
#![cfg(all(feature = "cedar", feature = "rego"))]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::sample::select;
use sallyport_policy::{
    Action, Approval, Arguments, Binding, Circumstances, Config, KnownTool, Later, Outgoing, Pin, Policy, Principal, Resource,
    ResourceKind, Scopes, ServerRules, World,
};
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

/// What a decision point elsewhere says of each tool, of lists and calls alike.
#[derive(Clone, Debug)]
struct Point {
    speaks: &'static str,
    of: [Said; 2],
}

#[derive(Clone, Copy, Debug)]
enum Said {
    Yes,
    Ask,
    No,
    /// To calls with a lower `a`.
    Below(i64),
    /// Something else than an answer.
    Noise,
}

impl Point {
    /// The answer to one question, as its protocol has it.
    fn answer(&self, tool: &str, arguments: Option<&Value>) -> Value {
        let at = TOOLS.iter().position(|name| *name == tool).unwrap();
        let (authzen, opa) = match self.of[at] {
            Said::Yes => (json!({ "decision": true }), json!({ "result": true })),
            Said::Ask => (json!({ "decision": false, "context": { "ask": true } }), json!({ "result": "ask" })),
            Said::No => (json!({ "decision": false }), json!({ "result": false })),
            Said::Noise => (json!({ "decision": "yes" }), json!({ "result": "yes" })),
            Said::Below(most) => {
                let is_below = arguments.is_none_or(|arguments| arguments["a"].as_i64().is_some_and(|a| a < most));
                (json!({ "decision": is_below }), json!({ "result": is_below }))
            }
        };
        if self.speaks == "opa" { opa } else { authzen }
    }
}

impl World for Point {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn post<'a>(&'a self, request: Outgoing<'a>) -> Later<'a, Result<Vec<u8>, String>> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let of = |resource: &Value| {
            let tool = resource["id"].as_str().unwrap().trim_start_matches("s/");
            self.answer(tool, resource["properties"].get("args"))
        };
        let answer = match body.get("evaluations") {
            Some(asked) => json!({ "evaluations": asked.as_array().unwrap().iter().map(|one| of(&one["resource"])).collect::<Vec<_>>() }),
            None if self.speaks == "authzen" => of(&body["resource"]),
            None => self.answer(body["input"]["resource"]["name"].as_str().unwrap(), body["input"].get("args")),
        };
        Box::pin(std::future::ready(Ok(answer.to_string().into_bytes())))
    }

    fn secret(&self, reference: &str) -> Result<String, String> {
        Err(format!("there is no {reference}"))
    }
}

fn point() -> impl Strategy<Value = Point> {
    let said = || prop_oneof![3 => Just(Said::Yes), 1 => Just(Said::Ask), 1 => Just(Said::No), 1 => Just(Said::Noise), 1 => (1..4_i64).prop_map(Said::Below)];
    (select(&["opa", "authzen"][..]), [said(), said()]).prop_map(|(speaks, of)| Point { speaks, of })
}

/// Rules for arguments, which `{ "a": 0, "b": "z" }` meets.
fn guards() -> impl Strategy<Value = Vec<Value>> {
    let check = prop_oneof![
        (-2..1_i64).prop_map(|min| json!({ "argument": "a", "number": { "min": min } })),
        (0..4_i64).prop_map(|max| json!({ "argument": "a", "number": { "max": max } })),
        Just(json!({ "argument": "b", "one_of": ["x", "z"] })),
        Just(json!({ "argument": "b", "one_of": ["z", 7], "optional": true })),
        (1..3_u32).prop_map(|longest| json!({ "argument": "b", "longest": longest })),
    ];
    let rule = (check, select(&["*", "t0", "t1", "other"][..])).prop_map(|(mut rule, tools)| {
        rule["tools"] = json!([tools]);
        rule
    });
    proptest::collection::vec(rule, 0..4)
}

fn globs(most: usize) -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("t[01*]", 0..most)
}

/// The rules that stand on a server.
fn server_rules() -> impl Strategy<Value = Value> {
    (proptest::option::weighted(0.3, globs(3)), globs(2), globs(2), proptest::bool::weighted(0.2), guards()).prop_map(
        |(allow, ask, deny, read_only, arguments)| {
            let mut rules = json!({ "ask": ask, "deny": deny, "read_only": read_only, "arguments": arguments });
            allow.into_iter().for_each(|allow| rules["allow"] = json!(allow));
            rules
        },
    )
}

/// Who asks, with what kind of token.
fn caller() -> impl Strategy<Value = Principal> {
    let scopes = ["", "mcp", "mcp:read", "mcp:*", "s", "s:*", "s:read", "s:t0", "s:t1", "other", "other:t0 s:t1", "s:t0 s:t1"];
    let scopes = proptest::option::of(select(scopes.to_vec()));
    (any::<bool>(), any::<bool>(), scopes, select(&["", "acme"][..])).prop_map(|(is_local, in_group, scopes, tenant)| {
        let who = if is_local && scopes.is_none() { Principal::local_user() } else { who(in_group) };
        scopes.into_iter().fold(who, |who, scopes| who.limited_to(Scopes::parse(scopes).unwrap())).of_tenant(tenant)
    })
}

/// Two tools, as their server describes them and as far as it is believed.
fn tools() -> impl Strategy<Value = [Resource<'static>; 2]> {
    let one = || (proptest::option::of(any::<bool>()), any::<bool>(), pin());
    [one(), one()].prop_map(|drawn| {
        [0, 1].map(|at| {
            let (read_only, trusted, pin) = drawn[at];
            Resource::tool("s", TOOLS[at], read_only, trusted).pinned_as(pin)
        })
    })
}

/// A policy of all that there is: rules on the server, what holds without any, and engines.
fn whole(default: Option<&str>, rules: &Value, cedar: Option<&[Written]>, rego: Option<&[Written]>, point: Option<&Point>) -> Policy {
    let mut engines = texts(cedar, rego);
    let remote = |point: &Point| json!({ "remote": { "url": "http://127.0.0.1:1/x", "speaks": point.speaks } });
    engines.extend(point.map(remote));
    let mut config = json!({ "engines": engines });
    default.into_iter().for_each(|default| config["default"] = json!(default));
    let config: Config = serde_json::from_value(config).unwrap();
    let own: ServerRules = serde_json::from_value(rules.clone()).unwrap();
    let quiet = Point { speaks: "opa", of: [Said::Noise; 2] };
    let world: Arc<dyn World> = Arc::new(point.cloned().unwrap_or(quiet));
    let policy = Policy::build_in(&config, &[("s".to_owned(), own)].into(), &world).unwrap();
    learn(&policy);
    policy
}

fn learn(policy: &Policy) {
    assert_eq!(policy.learn("s", &TOOLS.map(|name| KnownTool { name, input_schema: Some(SCHEMA) })), []);
}

/// Of each tool, whether it is shown, and whether any call of it can be let through, by a person's approval if need be.
fn shown_and_approvable(policy: &Policy, who: &Principal, moment: Circumstances, tools: &[Resource<'static>; 2]) -> Vec<(bool, bool)> {
    let shown = settled(policy.allows_each(who, moment, tools));
    let odd = [r#"{}"#, "[]", "null", r#"{"a":0,"a":9,"b":"z"}"#, r#"{"a":0,"b":"z","more":[1]}"#, r#"{"a":"0"}"#, r#"{"a":0,"b":7}"#];
    let texts: Vec<String> = calls().map(|arguments| arguments.to_string()).chain(odd.map(str::to_owned)).collect();
    let is_callable = |tool: &Resource<'_>| {
        texts.iter().any(|text| {
            let called = tool.with(Arguments::Given(text));
            let approval = Binding::of(who, Action::Call, &called).map(Approval::Call);
            settled(policy.decide_approved(who, Action::Call, &called, moment, approval, ())).is_ok()
        })
    };
    shown.into_iter().zip(tools.iter().map(is_callable)).collect()
}

fn texts(cedar: Option<&[Written]>, rego: Option<&[Written]>) -> Vec<Value> {
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
    engines
}

fn policy(cedar: Option<&[Written]>, rego: Option<&[Written]>, denied: &[String]) -> Policy {
    let engines = texts(cedar, rego);
    let config: Config = serde_json::from_value(json!({ "engines": engines })).unwrap();
    let own = ServerRules { deny: denied.to_vec(), ..ServerRules::default() };
    let policy = Policy::build(&config, &[("s".to_owned(), own)].into()).unwrap();
    learn(&policy);
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

/// One rule about what is no tool.
#[derive(Clone, Debug)]
struct Plain {
    permits: bool,
    action: Option<Action>,
    name: Option<&'static str>,
    for_group: bool,
    by_day: bool,
}

impl Plain {
    fn cedar(&self) -> String {
        let effect = if self.permits { "permit" } else { "forbid" };
        let principal = if self.for_group { "principal in Group::\"dev\"" } else { "principal" };
        let action = self.action.map_or_else(|| "action".to_owned(), |action| format!("action == Action::\"{action}\""));
        let name = self.name.map_or_else(|| "true".to_owned(), |name| format!("resource.name == \"{name}\""));
        let day = if self.by_day { "context.now.toTime() < duration(\"12h\")" } else { "true" };
        format!("{effect} ({principal}, {action}, resource) when {{ {name} && {day} }};\n")
    }

    fn rego(&self) -> String {
        let head = if self.permits { "allow if" } else { "deny contains \"x\" if" };
        let group = if self.for_group { "\"dev\" in input.principal.groups" } else { "true" };
        let action = self.action.map_or_else(|| "true".to_owned(), |action| format!("input.action == \"{action}\""));
        let name = self.name.map_or_else(|| "true".to_owned(), |name| format!("input.resource.name == \"{name}\""));
        let day = if self.by_day { "(input.time % 86400) < 43200" } else { "true" };
        format!("{head} {{ {group}; {action}; {name}; {day} }}\n")
    }
}

fn plain_rules() -> impl Strategy<Value = Vec<Plain>> {
    let action = proptest::option::of(select(&[Action::Get, Action::Read][..]));
    let rule = (proptest::bool::weighted(0.7), action, proptest::option::of(select(&TOOLS[..])), any::<bool>(), any::<bool>());
    let rule = rule.prop_map(|(permits, action, name, for_group, by_day)| Plain { permits, action, name, for_group, by_day });
    proptest::collection::vec(rule, 0..4)
}

/// A decision point elsewhere that knows what may be done with what.
#[derive(Clone, Debug)]
struct Register {
    speaks: &'static str,
    allowed: Vec<(&'static str, &'static str)>,
}

impl Register {
    fn allows(&self, action: &Value, name: &Value) -> bool {
        self.allowed.iter().any(|(known, of)| action == known && name == of)
    }
}

impl World for Register {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn post<'a>(&'a self, request: Outgoing<'a>) -> Later<'a, Result<Vec<u8>, String>> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let of = |asked: &Value| {
            let action = asked.get("action").unwrap_or_else(|| &body["action"]);
            json!({ "decision": self.allows(&action["name"], &asked["resource"]["properties"]["name"]) })
        };
        let answer = match body.get("evaluations") {
            Some(asked) => json!({ "evaluations": asked.as_array().unwrap().iter().map(of).collect::<Vec<_>>() }),
            None if self.speaks == "authzen" => of(&body),
            None => json!({ "result": self.allows(&body["input"]["action"], &body["input"]["resource"]["name"]) }),
        };
        Box::pin(std::future::ready(Ok(answer.to_string().into_bytes())))
    }

    fn secret(&self, reference: &str) -> Result<String, String> {
        Err(format!("there is no {reference}"))
    }
}

fn register() -> impl Strategy<Value = Register> {
    let entry = (select(&["get", "read", "list"][..]), select(&TOOLS[..]));
    (select(&["opa", "authzen"][..]), proptest::collection::vec(entry, 0..5)).prop_map(|(speaks, allowed)| Register { speaks, allowed })
}

/// A policy of all that there is, for what is no tool.
fn plain(default: Option<&str>, own: &Value, cedar: Option<&[Plain]>, rego: Option<&[Plain]>, point: Option<&Register>) -> Policy {
    let mut engines = Vec::new();
    engines.extend(cedar.map(|rules| json!({ "cedar": { "text": rules.iter().map(Plain::cedar).collect::<String>() + "permit (principal, action == Action::\"method\", resource);" } })));
    engines.extend(rego.map(|rules| {
        let text: String = rules.iter().map(Plain::rego).collect();
        json!({ "rego": { "text": format!("package sallyport\nimport rego.v1\nallow if false\ndeny contains \"x\" if false\n{text}") } })
    }));
    engines.extend(point.map(|point| json!({ "remote": { "url": "http://127.0.0.1:1/x", "speaks": point.speaks } })));
    let mut config = json!({ "engines": engines });
    default.into_iter().for_each(|default| config["default"] = json!(default));
    let (config, own) = (serde_json::from_value(config).unwrap(), serde_json::from_value(own.clone()).unwrap());
    let world: Arc<dyn World> = Arc::new(point.cloned().unwrap_or(Register { speaks: "opa", allowed: Vec::new() }));
    let policy = Policy::build_in(&config, &[("s".to_owned(), own)].into(), &world).unwrap();
    learn(&policy);
    policy
}

/// Whether something that is no tool can be used, by a person's approval if need be. The gateway asks nobody about prompts.
fn is_usable(policy: &Policy, who: &Principal, moment: Circumstances, thing: &Resource<'_>) -> bool {
    let (action, approval) = match thing.kind {
        ResourceKind::Prompt => (Action::Get, None),
        _ => (Action::Read, Binding::of(who, Action::Read, thing).map(Approval::Call)),
    };
    settled(policy.decide_approved(who, action, thing, moment, approval, ())).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Prompts, resources and templates have nothing that a list does not tell: they are listed to those who may use them, and to nobody else.
    /// Nor does it make a difference which of them are asked about together.
    #[test]
    fn prompts_and_resources_are_shown_to_those_who_may_use_them(
        default in proptest::option::of(select(&["allow", "deny", "ask"][..])), own in server_rules(),
        cedar in proptest::option::of(plain_rules()), rego in proptest::option::of(plain_rules()), point in proptest::option::of(register()),
        who in caller(), hour in 0..24_u64,
    ) {
        let policy = plain(default, &own, cedar.as_deref(), rego.as_deref(), point.as_ref());
        let things: Vec<Resource<'_>> = TOOLS.iter().flat_map(|name| [Resource::prompt("s", name), Resource::resource("s", name)]).collect();
        let shown = settled(policy.allows_each(&who, moment(hour), &things));
        for (thing, shown) in things.iter().zip(shown) {
            prop_assert_eq!(shown, is_usable(&policy, &who, moment(hour), thing), "{:?} together", thing);
            let alone = settled(policy.allows_each(&who, moment(hour), &[*thing]));
            prop_assert_eq!(alone, [shown], "{:?} alone", thing);
        }
    }

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

    /// Whoever asks, with whatever token, and whatever else is asked: what is shown can be called with some arguments, if need be with a
    /// person's approval, and what is hidden with none.
    #[test]
    fn everything_that_decides_agrees(
        default in proptest::option::of(select(&["allow", "deny", "ask"][..])), own in server_rules(),
        cedar in proptest::option::of(rules()), rego in proptest::option::of(rules()), point in proptest::option::of(point()),
        who in caller(), hour in 0..24_u64, tools in tools(),
    ) {
        let policy = whole(default, &own, cedar.as_deref(), rego.as_deref(), point.as_ref());
        for (shown, callable) in shown_and_approvable(&policy, &who, moment(hour), &tools) {
            prop_assert_eq!(shown, callable);
        }
    }

    /// The same of rules that may exclude one another: nothing that is hidden can be called.
    #[test]
    fn nothing_hidden_can_be_called_by_anybody(
        default in proptest::option::of(select(&["allow", "deny", "ask"][..])), own in server_rules(), cedar in proptest::option::of(any_rules()),
        point in proptest::option::of(point()), who in caller(), hour in 0..24_u64, tools in tools(),
    ) {
        let policy = whole(default, &own, cedar.as_deref(), None, point.as_ref());
        for (shown, callable) in shown_and_approvable(&policy, &who, moment(hour), &tools) {
            prop_assert!(shown || !callable);
        }
    }
}
