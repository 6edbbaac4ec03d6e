//! Two answers to the same step, side by side: payload byte for byte, apart from what is listed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::endpoint::Endpoint;
use crate::servers::{Expectation, Server};
use crate::visit::{Reply, Step};

/// Members of a result that belong to the exchange and not to the payload: a revision adds or leaves them out.
const ENVELOPE: [&str; 4] = ["resultType", "ttlMs", "cacheScope", "nextCursor"];
/// Keys of `_meta` that the protocol keeps for itself.
const RESERVED: &str = "io.modelcontextprotocol/";

/// One disagreement, for the text of a failing test.
pub(crate) type Difference = String;

/// Two answers to the same step at the same server.
pub(crate) struct Pair<'a> {
    pub(crate) server: &'a Server,
    pub(crate) step: &'a Step,
    pub(crate) endpoint: Endpoint,
    pub(crate) direct: &'a Reply,
    pub(crate) through: &'a Reply,
    /// The client spoke another revision to the gateway than to the server, and so read the same bytes by other rules: it
    /// puts members in another order, and drops what its revision does not know.
    pub(crate) reshaped: bool,
    /// The client speaks 2026-07-28, where tools have no member `execution`.
    pub(crate) modern: bool,
}

impl Pair<'_> {
    /// Where the answer through the gateway differs in a way that is not listed for the step.
    pub(crate) fn differences(&self) -> Vec<Difference> {
        let Self { server, step, direct, through, .. } = self;
        match (&direct.error, &through.error) {
            (Some(left), Some(right)) => return error_differences(left, right),
            (None, None) => {}
            _ => return vec![format!("{}\n      direct:  {}\n      through: {}", step.label(), direct.shown(), through.shown())],
        }
        let mut found = match step.method.ends_with("/list") {
            true => self.list_differences(),
            false => payload_differences(&payload(Endpoint::Single, server, direct), &payload(self.endpoint, server, through)),
        };
        if !is_same_progress(&direct.progress, &through.progress) {
            found.push(format!("/progress\n      direct:  {:?}\n      through: {:?}", direct.progress, through.progress));
        }
        let expectation = server.expectation(step);
        found.retain(|difference| !expectation.allows(difference));
        found.retain(|difference| !is_left_out_execution(difference, self.modern));
        if self.reshaped {
            found.retain(|difference| !is_of_the_client(difference));
        }
        found.into_iter().map(|difference| format!("{} {difference}", step.label())).collect()
    }

    /// Lists are compared entry by entry: a merged endpoint orders all servers' entries its own way.
    fn list_differences(&self) -> Vec<Difference> {
        let left = entries(Endpoint::Single, self.server, self.direct);
        let right = entries(self.endpoint, self.server, self.through);
        let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        let mut found = Vec::new();
        for name in names.into_iter().filter(|name| !self.server.is_one_sided(name)) {
            match (left.get(name), right.get(name)) {
                (Some(a), Some(b)) if a == b => {}
                (Some(a), Some(b)) => found.extend(text_differences(&format!("/{name}"), a, b)),
                (Some(_), None) => found.push(format!("/{name} is missing through the gateway")),
                (None, _) => found.push(format!("/{name} is there only through the gateway")),
            }
        }
        found
    }
}

/// What npm's client 2.x does to a tool in 2026-07-28: its members in the order of its own schema, without `execution`, which
/// only 2025-11-25 knows. That the gateway sends them as they came, `wire` shows.
fn is_of_the_client(difference: &str) -> bool {
    let place = difference.lines().next().unwrap_or_default();
    place.ends_with("/execution") || place.ends_with("is spelt otherwise")
}

/// `execution` tells how a tool may run as a task of 2025-11-25. The gateway leaves it out for clients of other revisions.
fn is_left_out_execution(difference: &str, modern: bool) -> bool {
    let place = difference.lines().next().unwrap_or_default();
    modern && place.ends_with("/execution") && difference.ends_with("through: null")
}

/// Clients drop a notice that they read together with the answer, so the last one may be missing on either side.
fn is_same_progress(direct: &[Value], through: &[Value]) -> bool {
    direct.len().abs_diff(through.len()) <= 1 && direct.iter().zip(through).all(|(left, right)| left == right)
}

/// Whether the two direct runs differ exactly where the server's list says so: a list that allows too much hides faults.
pub(crate) fn unstable(server: &Server, step: &Step, first: &Reply, second: &Reply) -> Vec<Difference> {
    let found = payload_differences(&payload(Endpoint::Single, server, first), &payload(Endpoint::Single, server, second));
    let unlisted = found.into_iter().filter(|difference| !server.expectation(step).allows(difference));
    unlisted.map(|difference| format!("{}: two direct runs of {} differ at {difference}", server.name, step.label())).collect()
}

/// An error's text may be put otherwise on the way; that it is one and not a result is what counts, and its code where
/// both have one.
fn error_differences(direct: &Value, through: &Value) -> Vec<Difference> {
    let same = direct["code"] == through["code"] || direct["code"].is_null() || through["code"].is_null();
    if same { Vec::new() } else { vec![format!("error\n      direct:  {direct}\n      through: {through}")] }
}

/// The members of a result, by name, as the bytes they came in.
fn payload(endpoint: Endpoint, server: &Server, reply: &Reply) -> BTreeMap<String, String> {
    let text = reply.result.as_deref().map_or("{}", RawValue::get);
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).expect("a result is an object");
    let payload = members.into_iter().filter(|(name, _)| !ENVELOPE.contains(&name.as_str()));
    let own = payload.map(|(name, value)| (name, endpoint.read(server.name, value.get())));
    own.filter_map(|(name, value)| if name == "_meta" { Some((name, without_reserved(&value)?)) } else { Some((name, value)) }).collect()
}

fn without_reserved(meta: &str) -> Option<String> {
    let mut meta: BTreeMap<String, Box<RawValue>> = serde_json::from_str(meta).expect("_meta is an object");
    meta.retain(|key, _| !key.starts_with(RESERVED));
    if meta.is_empty() { None } else { serde_json::to_string(&meta).ok() }
}

fn payload_differences(direct: &BTreeMap<String, String>, through: &BTreeMap<String, String>) -> Vec<Difference> {
    let names: BTreeSet<&String> = direct.keys().chain(through.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        match (direct.get(name), through.get(name)) {
            (Some(left), Some(right)) if left == right => {}
            (Some(left), Some(right)) => found.extend(text_differences(&format!("/{name}"), left, right)),
            (left, right) => found.push(format!("/{name}\n      direct:  {left:?}\n      through: {right:?}")),
        }
    }
    found
}

/// Two texts that are not the same: which values differ, or, if none does, that their spelling does.
fn text_differences(place: &str, left: &str, right: &str) -> Vec<Difference> {
    let parse = |text| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    let mut found = Vec::new();
    value_differences(place, &parse(left), &parse(right), &mut found);
    if found.is_empty() {
        found.push(format!("{place} is spelt otherwise\n      direct:  {left}\n      through: {right}"));
    }
    found
}

fn value_differences(place: &str, left: &Value, right: &Value, found: &mut Vec<Difference>) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let none = Value::Null;
                value_differences(&format!("{place}/{key}"), a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                value_differences(&format!("{place}/{index}"), a, b, found);
            }
        }
        _ if left == right => {}
        _ => found.push(format!("{place}\n      direct:  {}\n      through: {}", cut(left), cut(right))),
    }
}

fn cut(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

/// The entries of a list that belong to the server, by name (resources: by URI), as the bytes they came in.
pub(crate) fn entries(endpoint: Endpoint, server: &Server, reply: &Reply) -> BTreeMap<String, String> {
    let text = reply.result.as_deref().map_or("{}", RawValue::get);
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).expect("a list is an object");
    let list = members.into_iter().find(|(name, _)| !ENVELOPE.contains(&name.as_str()) && name != "_meta");
    let raw: Vec<Box<RawValue>> = list.map_or_else(Vec::new, |(_, list)| serde_json::from_str(list.get()).expect("a list is an array"));
    let mut entries = BTreeMap::new();
    for entry in raw {
        let whole: Value = serde_json::from_str(entry.get()).expect("an entry is JSON");
        if !endpoint.is_of(server.name, &whole) {
            continue;
        }
        let own = endpoint.read(server.name, entry.get());
        let parsed: Value = serde_json::from_str(&own).expect("an entry is JSON");
        let key = ["uri", "uriTemplate", "name"].iter().find_map(|key| parsed[key].as_str());
        entries.insert(key.unwrap_or("(nameless)").to_owned(), own);
    }
    entries
}

impl Expectation {
    /// Whether a difference lies where the step's list says that there may be one.
    fn allows(&self, difference: &str) -> bool {
        self.unstable.iter().any(|place| difference.starts_with(place))
    }
}
