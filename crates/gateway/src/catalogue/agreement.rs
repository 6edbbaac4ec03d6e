#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
//! Lists and uses agree at each endpoint, whatever toolsets call the tools.

use std::time::SystemTime;

use futures_util::FutureExt;
use proptest::prelude::*;
use proptest::sample::select;
use sallyport_policy::{Action, Approval, Arguments, Binding, Circumstances, Config, Effect, Policy, Principal, Scopes, ServerRules};
use sallyport_protocol::{Method, Request, ServerIdentity};
use serde_json::{Value, json};

use super::tests::{call, entry, member, with_tools};
use super::view::{Kind, ListRequest};
use super::*;

const SERVERS: [&str; 2] = ["one", "two"];
/// Names at the servers, as the merged endpoint has them, and those that toolsets give: each may be what another is called elsewhere.
const NAMES: [&str; 9] = ["a", "b", "read", "one__a", "one__b", "one__read", "two__a", "look", "two__look"];

fn toolset() -> impl Strategy<Value = ToolsetPlan> {
    let tools = proptest::collection::vec(select(&["*", "one__*", "one__a", "two__?", "*__b", "look"][..]), 0..3);
    let rename = proptest::collection::btree_map(select(&NAMES[3..]), select(&NAMES[..]), 0..4);
    (tools, rename).prop_map(|(tools, rename)| ToolsetPlan {
        tools: tools.into_iter().map(|glob| globset::Glob::new(glob).unwrap()).collect(),
        rename: rename.into_iter().map(|(exposed, name)| (exposed.to_owned(), name.to_owned())).collect(),
        describe: BTreeMap::new(),
    })
}

fn rules() -> impl Strategy<Value = ServerRules> {
    let globs = || proptest::collection::vec(select(&["a", "b", "read", "look", "one__a", "*a*"][..]).prop_map(str::to_owned), 0..2);
    (proptest::option::weighted(0.3, globs()), globs(), globs()).prop_map(|(allow, ask, deny)| ServerRules {
        allow,
        ask,
        deny,
        ..ServerRules::default()
    })
}

fn rules_for_things() -> impl Strategy<Value = ServerRules> {
    let globs = || proptest::collection::vec(select(&["a", "read", "memo:*", "*/./*", "*id?"][..]).prop_map(str::to_owned), 0..2);
    (proptest::option::weighted(0.3, globs()), globs(), globs(), any::<bool>()).prop_map(|(allow, ask, deny, read_only)| ServerRules {
        read_only,
        allow,
        ask,
        deny,
        ..ServerRules::default()
    })
}

fn caller() -> impl Strategy<Value = Principal> {
    let scopes = ["", "mcp", "mcp:read", "one", "two:*", "one:a", "one:read", "two:a one:b", "one:look", "look"];
    proptest::option::of(select(scopes.to_vec())).prop_map(|scopes| {
        let who = Principal::user("https://issuer.example.com", "alice");
        scopes.into_iter().fold(who, |who, scopes| who.limited_to(Scopes::parse(scopes).unwrap()))
    })
}

/// What comes of a future, though another thread may have to work on it.
fn settled<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().now_or_never() {
            Some(settled) => return settled,
            None => std::thread::yield_now(),
        }
    }
}

/// The names in a list of an endpoint.
fn listed(
    catalogue: &Catalogue,
    endpoint: &Endpoint,
    kind: Kind,
    policy: &Policy,
    principal: &Principal,
    circumstances: Circumstances,
) -> Vec<String> {
    let request = ListRequest {
        principal,
        circumstances,
        policy,
        identity: &ServerIdentity::new("sallyport", "0"),
        revision: Revision::LATEST,
        shows_apps: true,
        cursor: None,
        generation: catalogue.generation(),
    };
    let list = catalogue.view(endpoint).unwrap().lane(kind).list(kind, &request);
    let list = settled(list).unwrap();
    let (member, name) = match kind {
        Kind::Tools => ("tools", "name"),
        Kind::Prompts => ("prompts", "name"),
        Kind::Resources => ("resources", "uri"),
        Kind::Templates => ("resourceTemplates", "uriTemplate"),
    };
    let entries = list.result.get(member).unwrap().array().unwrap();
    entries.iter().map(|entry| entry.object().unwrap().get_str(name).unwrap().into_owned()).collect()
}

/// What servers have that is no tool: one of the URIs is taken only because its server spells it so.
const THINGS: [(Kind, &str); 6] = [
    (Kind::Prompts, "a"),
    (Kind::Prompts, "read"),
    (Kind::Resources, "memo:a"),
    (Kind::Resources, "memo:a/./b"),
    (Kind::Templates, "memo:t/{id}"),
    (Kind::Templates, "memo:./{id}"),
];

/// A server that has some of them, and a tool, by which toolsets take it in.
fn with_things(name: &str, has: impl Fn(&(Kind, &str)) -> bool) -> Member {
    let of = |kind, key: &str| {
        let own = THINGS.iter().filter(|thing| thing.0 == kind && has(thing));
        own.map(|(_, own)| entry(own, &json!({ key: own, "name": own }).to_string())).collect::<Vec<_>>().into()
    };
    let (prompts, resources, templates) = (of(Kind::Prompts, "name"), of(Kind::Resources, "uri"), of(Kind::Templates, "uriTemplate"));
    let tools = Arc::new([entry("tool", r#"{"name":"tool","inputSchema":{"type":"object"}}"#)]);
    member(name, Listing { tools, prompts, resources, templates, freshness: Freshness::Fresh, ..Listing::default() })
}

/// Policies of each engine in which nothing but who asks decides, and what is done with what.
fn engines() -> impl Strategy<Value = Vec<Value>> {
    let cedar = [
        "permit (principal, action, resource);",
        "permit (principal, action == Action::\"get\", resource);",
        "permit (principal, action in [Action::\"read\", Action::\"complete\"], resource) when { resource.name like \"memo:a*\" };",
        "permit (principal, action, resource); forbid (principal, action, resource == Prompt::\"one/a\");",
        "@ask(\"why\") permit (principal, action in [Action::\"get\", Action::\"read\"], resource);",
    ];
    let rego = [
        "allow if true",
        "allow if input.action == \"get\"",
        "allow if { input.action in {\"read\", \"complete\"}; input.resource.kind == \"resource\" }",
        "allow if true\ndeny contains \"x\" if { input.resource.name == \"a\"; input.server == \"two\" }",
    ];
    let cedar = proptest::option::of(select(cedar.to_vec()).prop_map(|text| json!({ "cedar": { "text": text } })));
    let rego = proptest::option::of(select(rego.to_vec()).prop_map(|text| {
        let text = format!("package sallyport\nimport rego.v1\nallow if false\ndeny contains \"x\" if false\n{text}\n");
        json!({ "rego": { "text": text } })
    }));
    (cedar, rego).prop_map(|(cedar, rego)| cedar.into_iter().chain(rego).collect())
}

/// The request that uses a thing, or has something about it completed.
fn using(kind: Kind, name: &str, completes: bool) -> Request {
    let (method, params) = match (kind, completes) {
        (Kind::Prompts, false) => (Method::PromptsGet, json!({ "name": name })),
        (Kind::Prompts, true) => (Method::Complete, json!({ "ref": { "type": "ref/prompt", "name": name } })),
        (_, false) => (Method::ResourcesRead, json!({ "uri": name })),
        (_, true) => (Method::Complete, json!({ "ref": { "type": "ref/resource", "uri": name } })),
    };
    Request::new(method, RawJson::parse(params.to_string()).unwrap().object().unwrap())
}

/// What becomes of a request, with a person's approval where the gateway asks for one; all that is told where it is refused.
fn outcome(catalogue: &Catalogue, endpoint: &Endpoint, request: Request, policy: &Policy, who: &Principal) -> Result<(), String> {
    let call = catalogue.resolve(request, endpoint).map_err(|failure| format!("{failure:?}"))?;
    let resource = call.target.resource(&call.routed.server);
    let approval = (call.action == Action::Read).then(|| Binding::of(who, call.action, &resource)).flatten().map(Approval::Call);
    let moment = Circumstances::local(SystemTime::UNIX_EPOCH);
    let decided = settled(policy.decide_approved(who, call.action, &resource, moment, approval, ()));
    let told = |decision| format!("{:?} at {} is {decision}", call.target.own, call.routed.server);
    decided.map(drop).map_err(|denied| call.target.refused_as().map_or_else(|| told(denied.decision), |failure| format!("{failure:?}")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Prompts, resources and templates are listed to those who may use them, and of what is not listed nobody learns whether it is there.
    #[test]
    fn what_is_no_tool_is_listed_to_who_may_use_it_and_hidden_from_all_others(
        engines in engines(), own in [rules_for_things(), rules_for_things()], who in caller(), has in [any::<[bool; 6]>(), any::<[bool; 6]>()],
        default in select(&["allow", "ask", "deny"][..]),
    ) {
        let config: Config = serde_json::from_value(json!({ "default": default, "engines": engines })).unwrap();
        let rules = SERVERS.into_iter().map(str::to_owned).zip(own).collect();
        let policy = Policy::build(&config, &rules).unwrap();
        let set = ToolsetPlan { tools: vec![globset::Glob::new("*").unwrap()], rename: BTreeMap::new(), describe: BTreeMap::new() };
        let sets = [("set".to_owned(), set)].into();
        let has = |at: usize, thing: &(Kind, &str)| has[at][THINGS.iter().position(|own| own == thing).unwrap()];
        let members = || [0, 1].map(|at| with_things(SERVERS[at], |thing| has(at, thing)));
        members().iter().for_each(|member| crate::decide::learn(&policy, std::slice::from_ref(member)));
        let catalogue = Catalogue::new("g1".into(), members().into(), &sets);
        for (at, (kind, own)) in [0, 1].into_iter().flat_map(|at| THINGS.map(|thing| (at, thing))) {
            let mut others = members();
            others[at] = with_things(SERVERS[at], |thing| *thing != (kind, own) && has(at, thing));
            let without = Catalogue::new("g1".into(), others.into(), &sets);
            let merged = match kind {
                Kind::Prompts => names::exposed(SERVERS[at], own),
                _ => uris::expose(&uris::label(SERVERS[at]), own),
            };
            for (endpoint, name) in [
                (Endpoint::All, &*merged),
                (Endpoint::Server(SERVERS[at].into()), own),
                (Endpoint::Toolset("set".into()), &*merged),
            ] {
                let listed = listed(&catalogue, &endpoint, kind, &policy, &who, Circumstances::local(SystemTime::UNIX_EPOCH));
                let is_listed = listed.iter().any(|listed| listed == name);
                let used = outcome(&catalogue, &endpoint, using(kind, name, false), &policy, &who);
                let is_there = has(at, &(kind, own)) && !matches!(endpoint, Endpoint::Toolset(_));
                prop_assert_eq!(is_listed, is_there && used.is_ok(), "{} at {:?}: {:?} {:?}", name, &endpoint, &listed, &used);
                if !is_listed {
                    for completes in [false, true] {
                        let told = outcome(&catalogue, &endpoint, using(kind, name, completes), &policy, &who);
                        let absent = outcome(&without, &endpoint, using(kind, name, completes), &policy, &who);
                        prop_assert_eq!(told, absent, "{} at {:?}", name, &endpoint);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_listed_can_be_called_by_that_name_and_nothing_else(
        set in toolset(), rules in [rules(), rules()], who in caller(), names in [any::<[bool; 4]>(), any::<[bool; 4]>()],
    ) {
        let own = |has: &[bool; 4]| ["a", "b", "read", "look"].into_iter().zip(has).filter_map(|(name, has)| has.then_some(name)).collect::<Vec<_>>();
        let members = SERVERS.iter().zip(&names).map(|(server, has)| with_tools(server, &own(has))).collect();
        let catalogue = Catalogue::new("g1".into(), members, &[("set".to_owned(), set)].into());
        let config = Config { default: Some(Effect::Allow), ..Config::default() };
        let rules = SERVERS.into_iter().map(str::to_owned).zip(rules).collect();
        let policy = Policy::build(&config, &rules).unwrap();
        let moment = Circumstances::local(SystemTime::UNIX_EPOCH);
        for endpoint in [Endpoint::All, Endpoint::Toolset("set".into())] {
            let listed = listed(&catalogue, &endpoint, Kind::Tools, &policy, &who, moment);
            // At the merged endpoint a name that is not listed goes to its server all the same, which may know it.
            let is_known = |name: &&str| endpoint != Endpoint::All || catalogue.merged.tools.get(name).is_some();
            for name in NAMES.into_iter().filter(is_known) {
                let called = catalogue.resolve(call(name), &endpoint);
                let is_let = called.is_ok_and(|call| {
                    let tool = call.target.resource(&call.routed.server).with(Arguments::Given("{}"));
                    let asked = policy.decide(&who, Action::Call, &tool, moment, ()).now_or_never().unwrap();
                    asked.map_or_else(|denied| !denied.decision.is_deny(), |_| true)
                });
                prop_assert_eq!(listed.iter().any(|own| own == name), is_let, "{} at {:?}: {:?}", name, &endpoint, &listed);
            }
            let mut once = listed.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), listed.len(), "{:?}", listed);
        }
    }
}
