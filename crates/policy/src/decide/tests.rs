#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use crate::rooms::Settled as _;

use super::*;
use crate::Answer;

/// An engine that always says the same.
#[derive(Debug)]
struct Says(Outcome);

impl PolicyEngine for Says {
    fn name(&self) -> &'static str {
        "says"
    }

    fn evaluate<'a>(&'a self, _: &'a Question<'a>) -> Answer<'a> {
        Answer::Now(self.0.clone())
    }
}

fn says(effect: Effect) -> Outcome {
    Ok(Verdict::Decided(Decision::new(effect, Reason::Permitted, Place::new("says"))))
}

fn failed() -> Outcome {
    Err(EngineFailure("out of order".into()))
}

fn policy(outcomes: Vec<Outcome>) -> Policy {
    let engines = outcomes.into_iter().map(|outcome| Box::new(Says(outcome)) as Box<dyn PolicyEngine>).collect();
    Policy::of(engines, Arc::default())
}

fn now() -> Circumstances {
    Circumstances::local(UNIX_EPOCH)
}

fn decide(policy: &Policy) -> Result<Permitted<&'static str>, Denied<&'static str>> {
    let tool = Resource::tool("files", "read", Some(true), true);
    policy.decide(&Principal::local_user(), Action::Call, &tool, now(), "call").settled()
}

#[test]
fn an_engine_that_fails_denies_and_is_reported() {
    let failures = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&failures);
    let policy = policy(vec![failed()]).observed(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let denied = decide(&policy).unwrap_err();
    assert_eq!(denied.value, "call");
    assert_eq!(denied.decision.to_string(), "denied by `says`: the policy engine failed");
    let tool = Resource::tool("files", "read", Some(true), true);
    assert_eq!(policy.allows_each(&Principal::local_user(), now(), &[tool]).settled(), [false]);
    assert_eq!(failures.load(Ordering::Relaxed), 2);
}

#[test]
fn a_permit_carries_the_value_and_why_it_passed() {
    let policy = Policy::build(&Config::default(), &[("files".to_owned(), ServerRules::default())].into()).unwrap();
    let permit = decide(&policy).unwrap();
    assert_eq!(*permit.value(), "call");
    let (value, decision) = permit.into_parts();
    assert_eq!((value, decision.place.as_str()), ("call", "policy.default"));
}

/// Every mix of three engines, in every order.
#[test]
fn deny_wins_errors_deny_and_silence_leaves_it_to_the_others() {
    let each = || [says(Effect::Allow), says(Effect::Deny), Ok(Verdict::Silent), failed()];
    for one in each() {
        for two in each() {
            for three in each() {
                let said = [one.clone(), two.clone(), three.clone()];
                let stops = |outcome: &Outcome| {
                    outcome.as_ref().map_or(true, |verdict| matches!(verdict, Verdict::Decided(decision) if !decision.is_allow()))
                };
                let expected = !said.iter().any(stops) && said.contains(&says(Effect::Allow));
                let mut policy = policy(said.to_vec());
                policy.default = Some(Effect::Deny);
                let tool = Resource::tool("files", "read", None, false);
                let listed = policy.allows_each(&Principal::local_user(), now(), &[tool, tool]).settled();
                assert_eq!((decide(&policy).is_ok(), listed), (expected, vec![expected, expected]), "{said:?}");
            }
        }
    }
}

#[test]
fn a_policy_on_trial_decides_nothing_and_is_heard() {
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    let observer = move |difference: &Difference<'_>| {
        assert_eq!((difference.decided.effect, difference.tried.effect), (Effect::Allow, Effect::Deny));
        counted.fetch_add(1, Ordering::Relaxed);
    };
    for effect in [Effect::Deny, Effect::Allow] {
        let mut policy = policy(vec![says(Effect::Allow)]);
        policy.shadow = Some(Arc::new(Shadow::new(self::policy(vec![says(effect)]))));
        assert!(decide(&policy.compared(observer.clone())).is_ok());
    }
    assert_eq!(heard.load(Ordering::Relaxed), 1);
}

#[cfg(feature = "cedar")]
#[test]
fn with_an_engine_everybody_is_denied_by_default() {
    let servers = [("files".to_owned(), ServerRules::default())].into();
    let config = |text: &str| serde_json::from_str::<Config>(text).unwrap();
    let with = config(r#"{ "engines": [{ "cedar": { "text": "forbid (principal, action == Action::\"get\", resource);" } }] }"#);
    let policy = Policy::build(&with, &servers).unwrap();
    assert!(policy.learn("files", &[KnownTool { name: "read", input_schema: None }]).is_empty());
    assert_eq!(decide(&policy).unwrap_err().decision.reason, Reason::Default);
    let open = Policy::build(&Config { default: Some(Effect::Allow), ..with }, &servers).unwrap();
    assert!(open.learn("files", &[KnownTool { name: "read", input_schema: None }]).is_empty());
    assert!(decide(&open).is_ok());
}

fn approved(policy: &Policy, approval: Option<Approval>, arguments: &'static str) -> Result<Reason, Reason> {
    let tool = Resource::tool("files", "write", None, false).with(crate::Arguments::Given(arguments));
    let decided = policy.decide_approved(&Principal::key("ci"), Action::Call, &tool, now(), approval, ()).settled();
    decided.map(|permitted| permitted.decision().reason).map_err(|denied| denied.decision.reason)
}

fn of(principal: &Principal, tool: &str) -> Option<Approval> {
    let tool = Resource::tool("files", tool, None, false).with(crate::Arguments::Given("{}"));
    crate::Binding::of(principal, Action::Call, &tool).map(Approval::Call)
}

fn asks() -> Outcome {
    Ok(Verdict::Decided(Decision::new(Effect::Ask, Reason::Asked, Place::new("says"))))
}

#[test]
fn an_approval_lets_through_what_it_is_of_and_nothing_else() {
    let policy = policy(vec![says(Effect::Allow), asks(), says(Effect::Allow)]);
    let ci = Principal::key("ci");
    assert_eq!(approved(&policy, None, "{}"), Err(Reason::Asked));
    assert_eq!(approved(&policy, of(&ci, "write"), "{}"), Ok(Reason::Approved));
    assert_eq!(approved(&policy, of(&ci, "write"), r#"{"a":1}"#), Err(Reason::Asked), "other arguments");
    assert_eq!(approved(&policy, of(&ci, "delete"), "{}"), Err(Reason::Asked), "another tool");
    assert_eq!(approved(&policy, of(&Principal::key("other"), "write"), "{}"), Err(Reason::Asked), "another caller");
    assert_eq!(approved(&policy, of(&ci.of_tenant("acme"), "write"), "{}"), Err(Reason::Asked), "another tenant");
}

#[test]
fn no_approval_is_good_against_a_denial_or_a_failure() {
    let own = of(&Principal::key("ci"), "write");
    for others in [vec![asks(), says(Effect::Deny)], vec![says(Effect::Deny), asks()], vec![asks(), failed()], vec![failed(), asks()]] {
        let policy = policy(others);
        for approval in [own, Some(Approval::Begun)] {
            assert!(matches!(approved(&policy, approval, "{}"), Err(Reason::Permitted | Reason::EngineFailed)));
        }
    }
}
