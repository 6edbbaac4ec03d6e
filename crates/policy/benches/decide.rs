//! What a decision costs with a thousand policies: `cargo xtask bench policy`.
//!
//! Each figure is the least of many rounds: what others do on the machine can only add to it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench is a program for developers")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::hint::black_box;
use std::str::FromStr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Entities, Entity, EntityUid, PolicySet, PrincipalConstraint, Request, RestrictedExpression,
};
use futures_util::FutureExt;
use sallyport_policy::{Action, Arguments, Circumstances, Config, KnownTool, Policy, Principal, Resource, ServerRules};

const SERVERS: usize = 20;
const TOOLS: usize = 50;
const ROUNDS: usize = 200;
const CALLS: u32 = 100;

const SCHEMA: &str = r#"{"type":"object","required":["path"],"properties":{"path":{"type":"string"},"limit":{"type":"integer"}}}"#;
const ARGUMENTS: &str = r#"{"path":"/srv/data/a","limit":10}"#;

/// What a decision on a built request may take; what the engine evaluates of it, and builds for it, has to fit in as well.
const TARGET: Duration = Duration::from_micros(12);

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

/// A request as the engine builds it, with the policies that the engine asks for it: Cedar alone, nothing around it.
struct Built {
    request: Request,
    entities: Entities,
    /// The policies about its tool.
    slice: PolicySet,
    /// Those of them that are asked about each call of its caller's.
    own: PolicySet,
    all: PolicySet,
}

impl Built {
    fn new() -> Self {
        let uid = |text: &str| EntityUid::from_str(text).unwrap();
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let (user, action, tool) = (uid("User::\"key:ci\""), uid("Action::\"s7/t7\""), uid("Tool::\"s7/t7\""));
        let groups = HashSet::from([uid("Group::\"dev\""), uid("Group::\"staff\"")]);
        let principal = Entity::new(user.clone(), HashMap::from([("tenant".to_owned(), text(""))]), groups.clone()).unwrap();
        let attributes = HashMap::from([
            ("server".to_owned(), text("s7")),
            ("name".to_owned(), text("t7")),
            ("readOnly".to_owned(), RestrictedExpression::new_bool(true)),
            ("destructive".to_owned(), RestrictedExpression::new_bool(false)),
            ("idempotent".to_owned(), RestrictedExpression::new_bool(true)),
            ("openWorld".to_owned(), RestrictedExpression::new_bool(true)),
            ("trusted".to_owned(), RestrictedExpression::new_bool(true)),
            ("pin".to_owned(), RestrictedExpression::new_entity_uid(uid("Pin::\"pinned\""))),
        ]);
        let resource = Entity::new(tool.clone(), attributes, HashSet::from([uid("Server::\"s7\"")])).unwrap();
        let does = Entity::new_no_attrs(action.clone(), HashSet::from([uid("Action::\"call\"")]));
        let arguments = [("path".to_owned(), text("/srv/data/a")), ("limit".to_owned(), RestrictedExpression::new_long(10))];
        let context = Context::from_pairs([("args".to_owned(), RestrictedExpression::new_record(arguments).unwrap())]).unwrap();
        let all = PolicySet::from_str(&cedar()).unwrap();
        let concerns = |policy: &&cedar_policy::Policy| match policy.action_constraint() {
            ActionConstraint::Eq(named) => named == action,
            _ => true,
        };
        let is_own = |policy: &&cedar_policy::Policy| match policy.principal_constraint() {
            PrincipalConstraint::In(group) => groups.contains(&group),
            _ => policy.to_string().contains("context"), // what looks at no call is asked once for all, and says no
        };
        Self {
            slice: PolicySet::from_policies(all.policies().filter(concerns).cloned()).unwrap(),
            own: PolicySet::from_policies(all.policies().filter(concerns).filter(is_own).cloned()).unwrap(),
            request: Request::new(user, action, tool, context, None).unwrap(),
            entities: Entities::from_entities([principal, resource, does], None).unwrap(),
            all,
        }
    }

    fn decide(&self, authorizer: &Authorizer, policies: &PolicySet) {
        let response = authorizer.is_authorized(&self.request, policies, &self.entities);
        assert_eq!(black_box(response).decision(), cedar_policy::Decision::Allow);
    }
}

/// The least time that one of `calls` takes.
fn least(rounds: usize, calls: u32, mut run: impl FnMut()) -> Duration {
    let round = || {
        let begun = Instant::now();
        (0..calls).for_each(|_| run());
        begun.elapsed() / calls
    };
    std::iter::repeat_with(round).take(rounds).min().unwrap()
}

fn show(what: &str, took: Duration, target: Option<Duration>) {
    let met = target.map_or("", |target| if took <= target { "met" } else { "missed" });
    println!("{what:<66} {:>9.2} {met:>10}", took.as_secs_f64() * 1e6);
}

fn main() {
    let begun = Instant::now();
    let with = policy(serde_json::json!([{ "cedar": { "text": cedar() } }]));
    println!("1,000 policies parsed, and checked against {} tools: {:.2} s", SERVERS * TOOLS, begun.elapsed().as_secs_f64());
    println!("{:<66} {:>9} {:>10}", "microseconds, least of many rounds", "a call", "at most 12");

    let (built, authorizer) = (Built::new(), Authorizer::new());
    let cedar = |policies: &PolicySet| least(ROUNDS, CALLS, || built.decide(&authorizer, policies));
    let (slice, own) = (cedar(&built.slice), cedar(&built.own));
    show(&format!("Cedar, built request, the {} policies about its tool", built.slice.policies().count()), slice, Some(TARGET));
    show(&format!("Cedar, built request, the {} of them about each call of its caller", built.own.policies().count()), own, Some(TARGET));
    show("Cedar, built request, all 1,000", least(ROUNDS / 10, CALLS / 10, || built.decide(&authorizer, &built.all)), None);

    let without = policy(serde_json::json!([]));
    let caller = || Principal::key("ci").in_groups(vec!["dev".into(), "staff".into()]);
    let moment = Circumstances::local(UNIX_EPOCH);
    let tool = Resource::tool("s7", "t7", Some(true), true).with(Arguments::Given(ARGUMENTS));
    let decide = |policy: &Policy, caller: &Principal| {
        let decided = policy.decide(caller, Action::Call, &tool, moment, ()).now_or_never().unwrap();
        assert!(black_box(decided).is_ok());
    };
    let dev = caller();
    let lists = least(ROUNDS, CALLS, || decide(&without, &dev));
    let whole = least(ROUNDS, CALLS, || decide(&with, &dev));
    show("a call's decision, lists alone", lists, None);
    show("a call's decision, with Cedar", whole, Some(TARGET));
    show("  of it building the request (what is not in the others)", whole.saturating_sub(own + lists), None);
    show("a call's decision, with Cedar, the first of its caller", least(ROUNDS, CALLS, || decide(&with, &caller())), None);

    let names: Vec<String> = (0..TOOLS).map(|number| format!("t{number}")).collect();
    let tools: Vec<Resource<'_>> = names.iter().map(|name| Resource::tool("s7", name, Some(true), true)).collect();
    let listed = least(ROUNDS / 10, 1, || {
        let seen = with.allows_each(&dev, moment, &tools).now_or_never().unwrap();
        assert!(black_box(seen).iter().all(|seen| *seen));
    });
    show(&format!("a list of {TOOLS} tools, with Cedar, each tool"), listed / u32::try_from(TOOLS).unwrap(), None);
}
