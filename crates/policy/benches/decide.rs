//! What a decision costs with a thousand policies: the allow-list alone, then with Cedar.
//!
//! Each figure is the least of many rounds: what others do on the machine can only add to it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench is a program for developers")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant, UNIX_EPOCH};

use futures_util::FutureExt;
use sallyport_policy::{Action, Arguments, Circumstances, Config, KnownTool, Policy, Principal, Resource, ServerRules};

const SERVERS: usize = 20;
const TOOLS: usize = 50;
const ROUNDS: usize = 200;
const CALLS: u32 = 100;

const SCHEMA: &str = r#"{"type":"object","required":["path"],"properties":{"path":{"type":"string"},"limit":{"type":"integer"}}}"#;
const ARGUMENTS: &str = r#"{"path":"/srv/data/a","limit":10}"#;

/// A thousand policies: four for all, and one for nearly every tool.
fn cedar() -> String {
    let mut text = String::from(
        "forbid (principal, action in Action::\"call\", resource) unless { principal.tenant == \"\" };
         permit (principal in Group::\"admins\", action, resource);
         forbid (principal, action in Action::\"call\", resource) when { context has address && context.address.isInRange(ip(\"203.0.113.0/24\")) };
         forbid (principal in Group::\"guests\", action in Action::\"call\", resource) unless { resource.readOnly };",
    );
    for number in 0..SERVERS * TOOLS - 4 {
        let (server, tool) = (number / TOOLS, number % TOOLS);
        write!(
            text,
            "permit (principal in Group::\"dev\", action == Action::\"s{server}/t{tool}\", resource)
             when {{ context.args.path like \"/srv/*\" && (if context.args has limit then context.args.limit <= 100 else true) }};"
        )
        .unwrap();
    }
    text
}

fn policy(engines: serde_json::Value) -> Policy {
    let config: Config = serde_json::from_value(serde_json::json!({ "default": "allow", "engines": engines })).unwrap();
    let servers: BTreeMap<String, ServerRules> = (0..SERVERS).map(|number| (format!("s{number}"), ServerRules::default())).collect();
    let policy = Policy::build(&config, &servers).unwrap();
    let names: Vec<String> = (0..TOOLS).map(|number| format!("t{number}")).collect();
    for server in servers.keys() {
        let tools: Vec<KnownTool<'_>> = names.iter().map(|name| KnownTool { name, input_schema: Some(SCHEMA) }).collect();
        assert_eq!(policy.learn(server, &tools), []);
    }
    policy
}

/// The least time that one of `calls` takes.
fn least(calls: u32, mut run: impl FnMut()) -> Duration {
    let round = || {
        let begun = Instant::now();
        (0..calls).for_each(|_| run());
        begun.elapsed() / calls
    };
    std::iter::repeat_with(round).take(ROUNDS).min().unwrap()
}

fn main() {
    let begun = Instant::now();
    let with = policy(serde_json::json!([{ "cedar": { "text": cedar() } }]));
    println!("1,000 policies parsed, and checked against {} tools: {:?}", SERVERS * TOOLS, begun.elapsed());
    let without = policy(serde_json::json!([]));
    let dev = Principal::key("ci").in_groups(vec!["dev".into(), "staff".into()]);
    let moment = Circumstances::local(UNIX_EPOCH);
    let tool = Resource::tool("s7", "t7", Some(true), true).with(Arguments::Given(ARGUMENTS));
    let decide = |policy: &Policy| {
        let decided = policy.decide(&dev, Action::Call, &tool, moment, ()).now_or_never().unwrap();
        assert!(black_box(decided).is_ok());
    };
    println!("a call, the allow-list alone:             {:?}", least(CALLS, || decide(&without)));
    println!("a call, with Cedar:                       {:?}", least(CALLS, || decide(&with)));
    // The same request again is built again; what Cedar says to it is had from the engine that says nothing of the tool.
    let silent = Resource::tool("s19", "t49", Some(true), true).with(Arguments::Given(ARGUMENTS));
    println!(
        "  of it, for a tool with the four alone:  {:?}",
        least(CALLS, || {
            let decided = with.decide(&dev, Action::Call, &silent, moment, ()).now_or_never().unwrap();
            assert!(black_box(decided).is_ok());
        })
    );
    let names: Vec<String> = (0..TOOLS).map(|number| format!("t{number}")).collect();
    let tools: Vec<Resource<'_>> = names.iter().map(|name| Resource::tool("s7", name, Some(true), true)).collect();
    let listed = least(5, || {
        let seen = with.allows_each(&dev, moment, &tools).now_or_never().unwrap();
        assert!(black_box(seen).iter().all(|seen| *seen));
    });
    println!("a list of {TOOLS} tools, with Cedar:             {listed:?}");
}
