//! Generated JSON: text, not values, since the same value can be written in many ways.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// The methods of requests, in either direction, of any revision.
pub(crate) const REQUESTS: &[&str] = &[
    "initialize",
    "server/discover",
    "ping",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "tasks/get",
    "tasks/result",
    "tasks/list",
    "tasks/cancel",
    "tasks/update",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
];

/// The methods of notifications, in either direction, of any revision.
pub(crate) const NOTIFICATIONS: &[&str] = &[
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/roots/list_changed",
    "notifications/elicitation/complete",
    "notifications/tasks/status",
    "notifications/tasks",
    "notifications/subscriptions/acknowledged",
];

/// A string as JSON, with the escapes that JSON knows.
pub(crate) fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[ -!#-\\[\\]-~]{0,6}",
        1 => "\\PC{0,3}".prop_map(|text| text.replace(['"', '\\'], "")),
        1 => select(vec![r#"\""#, r"\\", r"\/", r"\b", r"\f", r"\n", r"\r", r"\t", r"\u0041", r"\u0000", r"\ud83d\ude00", "∋"])
            .prop_map(str::to_owned),
    ];
    vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        select(vec!["0", "-0", "1.50", "1e3", "1E+3", "-2.5e-3", "123456789012345678901234567890"]).prop_map(str::to_owned),
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\t")]
}

/// Any JSON value as text. Inner objects may name a member twice: nobody opens them.
pub(crate) fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![select(vec!["null", "true", "false"]).prop_map(str::to_owned), number(), string()];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            (vec(inner.clone(), 0..5), space()).prop_map(|(items, space)| format!("[{space}{}]", items.join(&format!("{space},")))),
            (vec((string(), inner), 0..5), space()).prop_map(|(members, space)| {
                let members: Vec<String> = members.into_iter().map(|(key, value)| format!("{key}{space}:{space}{value}")).collect();
                format!("{{{space}{}}}", members.join(","))
            }),
        ]
    })
}

/// An object of some of these members, each with its own kind of value, and of members that nobody knows, in any order.
pub(crate) fn object_of(members: Vec<(&'static str, BoxedStrategy<String>)>) -> BoxedStrategy<String> {
    let known: Vec<_> = members
        .into_iter()
        .map(|(key, value)| {
            proptest::option::weighted(0.6, prop_oneof![9 => value, 1 => json().boxed()])
                .prop_map(move |value| value.map(|value| format!("\"{key}\":{value}")))
        })
        .collect();
    let unknown = proptest::option::weighted(0.3, json()).prop_map(|value| value.map(|value| format!("\"x-unknown\":{value}")));
    (known, unknown)
        .prop_map(|(known, unknown)| known.into_iter().chain([unknown]).flatten().collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(|members| format!("{{{}}}", members.join(",")))
        .boxed()
}

/// An array of these.
pub(crate) fn array_of(item: BoxedStrategy<String>) -> BoxedStrategy<String> {
    vec(item, 0..4).prop_map(|items| format!("[{}]", items.join(","))).boxed()
}

/// One of these texts.
pub(crate) fn one_of(texts: &'static [&'static str]) -> BoxedStrategy<String> {
    select(texts).prop_map(str::to_owned).boxed()
}

/// An object of any members, none named twice. An empty one has no text of its own to keep.
pub(crate) fn object() -> impl Strategy<Value = String> {
    (proptest::collection::btree_map("[a-z/_\\-éA-Z]{0,8}", json(), 0..6), space()).prop_map(|(members, space)| {
        let members: Vec<String> = members.into_iter().map(|(key, value)| format!("{space}\"{key}\"{space}:{value}")).collect();
        if members.is_empty() { "{}".to_owned() } else { format!("{{{}{space}}}", members.join(",")) }
    })
}

/// A request's id: a string or an integer.
pub(crate) fn id() -> impl Strategy<Value = String> {
    prop_oneof![any::<i64>().prop_map(|number| number.to_string()), string()]
}

/// A message of any revision, written as this crate writes messages.
pub(crate) fn message() -> impl Strategy<Value = String> {
    let params =
        || proptest::option::of(object()).prop_map(|params| params.map_or_else(String::new, |params| format!(",\"params\":{params}")));
    prop_oneof![
        (id(), select(REQUESTS), params())
            .prop_map(|(id, method, params)| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"{params}}}"#)),
        (select(NOTIFICATIONS), params()).prop_map(|(method, params)| format!(r#"{{"jsonrpc":"2.0","method":"{method}"{params}}}"#)),
        (id(), object()).prop_map(|(id, result)| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)),
        (id(), any::<i32>(), json()).prop_map(|(id, code, data)| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"m\"","data":{data}}}}}"#)
        }),
    ]
}
