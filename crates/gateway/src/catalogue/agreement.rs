#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
//! Lists and calls agree at each endpoint, whatever toolsets call the tools.

use std::time::SystemTime;

use futures_util::FutureExt;
use proptest::prelude::*;
use proptest::sample::select;
use sallyport_policy::{Action, Arguments, Circumstances, Config, Effect, Policy, Principal, Scopes, ServerRules};
use sallyport_protocol::ServerIdentity;

use super::tests::{call, with_tools};
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

fn caller() -> impl Strategy<Value = Principal> {
    let scopes = ["", "mcp", "mcp:read", "one", "two:*", "one:a", "one:read", "two:a one:b", "one:look", "look"];
    proptest::option::of(select(scopes.to_vec())).prop_map(|scopes| {
        let who = Principal::user("https://issuer.example.com", "alice");
        scopes.into_iter().fold(who, |who, scopes| who.limited_to(Scopes::parse(scopes).unwrap()))
    })
}

/// The names in the list of an endpoint.
fn listed(catalogue: &Catalogue, endpoint: &Endpoint, policy: &Policy, principal: &Principal, circumstances: Circumstances) -> Vec<String> {
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
    let list = catalogue.view(endpoint).unwrap().tools.list(Kind::Tools, &request).now_or_never().unwrap().unwrap();
    let tools = list.result.get("tools").unwrap().array().unwrap();
    tools.iter().map(|tool| tool.object().unwrap().get_str("name").unwrap().into_owned()).collect()
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
            let listed = listed(&catalogue, &endpoint, &policy, &who, moment);
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
