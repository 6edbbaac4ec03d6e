#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

fn bound(principal: &Principal, server: &str, tool: &str, arguments: &str) -> Binding {
    let resource = Resource::tool(server, tool, None, false).with(Arguments::Given(arguments));
    Binding::of(principal, Action::Call, &resource).unwrap()
}

#[test]
fn each_part_of_a_call_counts() {
    let me = Principal::key("me");
    let own = bound(&me, "bank", "pay", r#"{"to":"a","sum":1}"#);
    assert_eq!(own, bound(&me, "bank", "pay", r#"{ "sum": 1, "to": "a" }"#), "the order of members does not count");
    for other in [
        bound(&Principal::key("you"), "bank", "pay", r#"{"to":"a","sum":1}"#),
        bound(&me.clone().of_tenant("t"), "bank", "pay", r#"{"to":"a","sum":1}"#),
        bound(&me, "shop", "pay", r#"{"to":"a","sum":1}"#),
        bound(&me, "bank", "pays", r#"{"to":"a","sum":1}"#),
        bound(&me, "bank", "pay", r#"{"to":"a","sum":1.0}"#),
        bound(&me, "bank", "pay", r#"{"to":"a","sum":"1"}"#),
        bound(&me, "bank", "pay", r#"{"to":"a","sum":1,"more":null}"#),
        bound(&me, "bank", "pay", "{}"),
    ] {
        assert_ne!(own, other);
    }
}

#[test]
fn numbers_beyond_what_a_machine_holds_are_told_apart() {
    let me = Principal::key("me");
    assert_ne!(bound(&me, "bank", "pay", r#"{"sum":18446744073709551616}"#), bound(&me, "bank", "pay", r#"{"sum":18446744073709551617}"#));
}

#[test]
fn what_stands_in_an_object_does_not_stand_beside_it() {
    let me = Principal::key("me");
    let inside = bound(&me, "s", "t", r#"{"a":{"b":1,"c":2}}"#);
    assert_ne!(inside, bound(&me, "s", "t", r#"{"a":{"b":1},"c":2}"#));
    assert_ne!(bound(&me, "s", "t", "[[1,2]]"), bound(&me, "s", "t", "[[1],2]"));
    assert_ne!(bound(&me, "s", "t", "[[]]"), bound(&me, "s", "t", "[]"));
    assert_ne!(bound(&me, "s", "t", "[{}]"), bound(&me, "s", "t", "[[]]"));
}

#[test]
fn a_tool_without_known_arguments_is_no_call() {
    let me = Principal::key("me");
    assert!(Binding::of(&me, Action::List, &Resource::tool("s", "t", None, false)).is_none());
    assert!(Binding::of(&me, Action::Read, &Resource::resource("s", "file:///a")).is_some());
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_i64..3).prop_map(Value::from),
        "[ab{}\\[\\]\",:]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab]{0,2}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The same value with the members of its objects the other way round.
fn turned(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(members.iter().rev().map(|(key, value)| (key.clone(), turned(value))).collect()),
        Value::Array(items) => items.iter().map(turned).collect(),
        leaf => leaf.clone(),
    }
}

proptest! {
    #[test]
    fn two_calls_are_bound_alike_exactly_where_their_arguments_are_the_same(one in json(), other in json()) {
        let me = Principal::key("me");
        let of = |value: &Value| bound(&me, "s", "t", &value.to_string());
        prop_assert_eq!(of(&one) == of(&other), one == other);
        prop_assert_eq!(of(&one), of(&turned(&one)));
    }
}
