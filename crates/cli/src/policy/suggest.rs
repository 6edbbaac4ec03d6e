//! `sallyport policy suggest`: the least that would have allowed what was done.
//!
//! Looks at calls that policy let through, and at what the records say of their arguments: those that rules declare.

use std::collections::{BTreeMap, BTreeSet};

use sallyport_gateway::config;
use sallyport_gateway::plan::Plan;
use sallyport_policy::{ArgumentKind, ArgumentRule, NumberRule, PathRule, SqlRule, UrlRule};
use sallyport_telemetry::AuditRecord;
use serde::Serialize;
use serde_json::{Value, json};

use super::records::{self, LeftOut, Wanted};
use crate::arguments::{Global, PolicySuggestArguments};
use crate::output::{self, Failure};
use crate::tenant;
use crate::tools::shown;

/// What was done at one server.
#[derive(Default)]
struct Used {
    records: usize,
    /// By principal, as policies call it: the tools.
    tools: BTreeMap<String, BTreeSet<String>>,
    /// By tool and argument: what it meant, each time.
    arguments: BTreeMap<(String, String), Vec<Value>>,
}

pub(crate) fn run(global: &Global, arguments: &PolicySuggestArguments) -> Result<(), Failure> {
    let plan = tenant::of_or_whole(config::load(&global.invocation()?)?, arguments.tenant.as_deref())?;
    if let Some(server) = &arguments.server {
        super::known_server(&plan, server)?;
    }
    let wanted = Wanted { plan: &plan, server: arguments.server.as_deref(), tenant: arguments.tenant.as_deref(), since: arguments.since };
    let (mut used, mut left_out) = (BTreeMap::new(), LeftOut::default());
    records::each(
        &records::files(arguments.records.as_deref())?,
        &wanted,
        &mut left_out,
        |_| {},
        |record, left_out| {
            gather(&mut used, &record, left_out);
            Ok(())
        },
    )?;
    for (why, count) in left_out.iter().filter(|_| !arguments.json) {
        output::note(format!("left out: {count} records {}", shown(why)));
    }
    if used.is_empty() {
        return Err(Failure::new("no record tells of a call that was let through").hint("let it be used for some time first"));
    }
    if arguments.json {
        return output::json(&as_json(&plan, &used, &left_out, arguments.cedar));
    }
    for (server, used) in &used {
        output::line(if arguments.cedar { cedar(server, used) } else { rules(&plan, server, used).as_toml(&plan, server, used) })?;
    }
    Ok(())
}

/// Puts a call that was let through to the others of its server.
fn gather(servers: &mut BTreeMap<String, Used>, record: &AuditRecord<'_>, left_out: &mut LeftOut) {
    let was_let_through =
        record.method.as_str() == "tools/call" && record.decision.as_ref().is_some_and(|decision| decision.as_str() == "allow");
    // What a person approved was meant for that call alone.
    let was_let_through = was_let_through && record.approval.is_none();
    let (Some(server), Some(tool), Some(principal)) = (&record.server, &record.target, &record.principal) else { return };
    if !was_let_through {
        return;
    }
    if tool.is_cut() || principal.is_cut() {
        return left_out.count("whose tool or principal has a name that is too long for them");
    }
    // What engines know it by: `Principal::full_id`.
    let principal = match record.tenant.as_ref().map(|tenant| tenant.as_str()) {
        None | Some("") => principal.to_string(),
        Some(tenant) => format!("{tenant}/{principal}"),
    };
    let used = servers.entry(server.to_string()).or_default();
    used.records += 1;
    used.tools.entry(principal).or_default().insert(tool.to_string());
    let attributes = record.attributes.as_ref().and_then(Value::as_object).into_iter().flatten();
    for (name, value) in attributes.filter(|(_, value)| !value.is_null()) {
        used.arguments.entry((tool.to_string(), name.clone())).or_default().push(value.clone());
    }
}

/// A policy for each principal.
fn cedar(server: &str, used: &Used) -> String {
    let mut text = format!("// {server}, calls: {}", used.records);
    for (principal, tools) in &used.tools {
        let actions: Vec<String> = tools.iter().map(|tool| format!("Action::{:?}", format!("{server}/{tool}"))).collect();
        text += &format!("\npermit (principal == User::{principal:?}, action in [{}], resource);", actions.join(", "));
    }
    shown(&text)
}

/// The members of a server's table that let through what was done there, and nothing else.
#[derive(Serialize)]
struct Rules {
    allow: Vec<String>,
    arguments: Vec<ArgumentRule>,
}

fn rules(plan: &Plan, server: &str, used: &Used) -> Rules {
    let tools: BTreeSet<&str> = used.tools.values().flatten().map(String::as_str).collect();
    let declared = |argument: &str| {
        plan.servers.get(server).into_iter().flat_map(|server| &server.rules.arguments).find(|rule| rule.argument == argument)
    };
    let narrow = |((tool, argument), values): (&(String, String), &Vec<Value>)| narrowed(declared(argument)?, tool, values);
    Rules { allow: tools.into_iter().map(globset_escaped).collect(), arguments: used.arguments.iter().filter_map(narrow).collect() }
}

impl Rules {
    /// For the configuration.
    fn as_toml(&self, plan: &Plan, server: &str, used: &Used) -> String {
        let of_tenant = plan.tenant.as_deref().map(|name| format!("tenants.{name}.")).unwrap_or_default();
        let table = format!("{of_tenant}servers.{server}");
        let mut text = format!("# calls: {}, by {}\n[{table}]\nallow = {}\n", used.records, principals(used), toml_list(&self.allow));
        for rule in &self.arguments {
            if let Ok(toml::Value::Table(keys)) = toml::Value::try_from(rule) {
                text += &format!("\n[[{table}.arguments]]\n");
                text.extend(keys.iter().map(|(key, value)| format!("{key} = {value}\n")));
            }
        }
        shown(&text)
    }
}

/// For programs: the rules as the configuration has them, or the policies as text.
fn as_json(plan: &Plan, used: &BTreeMap<String, Used>, left_out: &LeftOut, as_cedar: bool) -> Value {
    let servers = used.iter().map(|(server, used)| {
        let (key, proposal) = if as_cedar { ("cedar", json!(cedar(server, used))) } else { ("rules", json!(rules(plan, server, used))) };
        json!({ "server": server, "calls": used.records, "principals": used.tools, key: proposal })
    });
    json!({
        "servers": servers.collect::<Vec<_>>(),
        "left_out": left_out.iter().map(|(why, records)| json!({ "why": why, "records": records })).collect::<Vec<_>>(),
    })
}

fn principals(used: &Used) -> String {
    used.tools.keys().cloned().collect::<Vec<_>>().join(", ")
}

fn toml_list(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|entry| toml::Value::from(entry.as_str()).to_string()).collect::<Vec<_>>().join(", "))
}

/// A tool's name as a glob that matches it alone.
fn globset_escaped(name: &str) -> String {
    name.chars().flat_map(|character| if "*?[]{}\\".contains(character) { vec!['\\', character] } else { vec![character] }).collect()
}

/// The rule that lets just these values through; `None` where the records do not tell enough.
fn narrowed(declared: &ArgumentRule, tool: &str, values: &[Value]) -> Option<ArgumentRule> {
    let mut rule = ArgumentRule {
        tools: vec![globset_escaped(tool)],
        argument: declared.argument.clone(),
        optional: declared.optional,
        ..ArgumentRule::default()
    };
    let each = || values.iter().flat_map(|value| value.as_array().map_or_else(|| vec![value], |list| list.iter().collect()));
    let texts = |member: &str| -> BTreeSet<String> {
        let own = each().filter_map(|value| value.get(member));
        own.flat_map(|value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]))
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    let dialect = match (&declared.sql, declared.kind) {
        (Some(sql), _) => Some(sql.dialect),
        (_, Some(ArgumentKind::Sql(dialect))) => Some(dialect),
        _ => None,
    };
    if let Some(dialect) = dialect {
        let reads = texts("kind").iter().all(|kind| kind == "select");
        let list = |member| texts(member).into_iter().collect::<Vec<_>>();
        let columns = Some(list("columns")).filter(|columns| !columns.iter().any(|column| column == "*"));
        rule.sql = reads.then(|| SqlRule { dialect, tables: list("tables"), functions: Some(list("functions")), columns });
        rule.sql.as_ref()?;
    } else if declared.path.is_some() || declared.kind == Some(ArgumentKind::Path) {
        rule.path = Some(PathRule { below: folders(each()) });
    } else if declared.url.is_some() || declared.kind == Some(ArgumentKind::Url) {
        rule.url = Some(UrlRule { hosts: hosts(each()), schemes: texts("scheme").into_iter().collect() });
    } else if declared.kind == Some(ArgumentKind::Text) {
        // Of a list the rule would bound the entries.
        let lengths = values.iter().map(|value| value.get("length").and_then(Value::as_u64)).collect::<Option<Vec<_>>>()?;
        rule.longest = Some(u32::try_from(lengths.into_iter().max()?).ok()?);
    } else {
        let numbers: Vec<i64> = each().map(Value::as_i64).collect::<Option<_>>()?;
        rule.number = Some(NumberRule { min: numbers.iter().min().copied(), max: numbers.iter().max().copied() });
    }
    Some(rule)
}

/// The deepest folder of all absolute paths, and that of all relative ones.
fn folders<'v>(paths: impl Iterator<Item = &'v Value>) -> Vec<String> {
    let mut common: BTreeMap<bool, Vec<String>> = BTreeMap::new();
    for path in paths {
        let Some(below) = path.get("below").and_then(Value::as_array) else { continue };
        // Without the path itself, unless that is all there is.
        let folders: Vec<String> = below.iter().filter_map(Value::as_str).map(str::to_owned).take(below.len().max(2) - 1).collect();
        let known = common.entry(path.get("absolute") == Some(&Value::Bool(true))).or_insert_with(|| folders.clone());
        let shared = known.iter().zip(&folders).take_while(|(one, two)| one == two).count();
        known.truncate(shared);
    }
    common.into_values().filter_map(|mut folders| folders.pop()).collect()
}

/// Each host, with its port where that is not the scheme's own.
fn hosts<'v>(addresses: impl Iterator<Item = &'v Value>) -> Vec<String> {
    let host = |address: &Value| {
        let (host, port) = (address.get("host")?.as_str()?, address.get("port")?.as_u64()?);
        let usual = matches!((address.get("scheme")?.as_str()?, port), ("https" | "wss", 443) | ("http" | "ws", 80) | ("ftp", 21));
        Some(if usual { host.to_owned() } else { format!("{host}:{port}") })
    };
    addresses.filter_map(host).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::time::UNIX_EPOCH;

    use futures_util::FutureExt as _;
    use sallyport_policy::{Action, Arguments, Circumstances, KnownTool, Policy, Principal, Resource};
    use serde_json::json;

    use super::*;

    fn record(principal: &str, tool: &str, decision: &str, attributes: Value) -> AuditRecord<'static> {
        serde_json::from_value(json!({
            "time": "2026-11-22T20:00:00.000000Z", "id": "0".repeat(32), "principal": principal, "endpoint": "/mcp", "method": "tools/call",
            "server": "db", "target": tool, "decision": decision, "attributes": attributes, "outcome": "ok", "duration_us": {},
        }))
        .unwrap()
    }

    #[test]
    fn what_was_let_through_is_what_is_proposed() {
        let records = [
            record("key:a", "query", "allow", json!({ "limit": 7 })),
            record("key:b", "query", "allow", json!({ "limit": 3 })),
            record("key:b", "drop*", "allow", Value::Null),
            record("key:b", "denied", "deny", Value::Null),
            record("key:b", "query", "allow", json!({ "limit": null })),
        ];
        let mut used = BTreeMap::new();
        records.iter().for_each(|record| gather(&mut used, record, &mut LeftOut::default()));
        let used = &used["db"];
        assert_eq!(used.records, 4);
        assert_eq!(
            cedar("db", used),
            "// db, calls: 4\npermit (principal == User::\"key:a\", action in [Action::\"db/query\"], resource);\n\
             permit (principal == User::\"key:b\", action in [Action::\"db/drop*\", Action::\"db/query\"], resource);"
        );
        assert_eq!(used.arguments[&("query".to_owned(), "limit".to_owned())], [json!(7), json!(3)]);
    }

    #[test]
    fn what_is_proposed_in_cedar_allows_exactly_what_was_recorded() {
        const ISSUER: &str = "https://login.example.com/realms/a";
        const TOOLS: [&str; 4] = ["query", "read_\"file\"*", "write", "\u{fc}ber \u{202e}x"];
        let moment = Circumstances::local(UNIX_EPOCH);
        let long = "x".repeat(2_000);
        let callers = [
            Principal::user(ISSUER, "alice"),
            Principal::user("https://elsewhere.example.com", "alice"),
            Principal::user(ISSUER, "alice").of_tenant("acme"),
            Principal::user(ISSUER, "o'brien \"x\" \\ e\u{301} \u{202e}*\n@"),
            Principal::client(ISSUER, "alice"),
            Principal::key("ci"),
            Principal::key("ci").of_tenant("acme"),
            Principal::local_user(),
            Principal::user(ISSUER, "nobody"),
            Principal::user(ISSUER, &long),
        ];
        // Of each caller some tools, of `nobody` none.
        let is_recorded = |caller: usize, tool: usize| caller != 8 && (caller + tool).is_multiple_of(3);
        let (mut used, mut left_out) = (BTreeMap::new(), LeftOut::default());
        for (at, caller) in callers.iter().enumerate() {
            for (_, tool) in TOOLS.iter().enumerate().filter(|(tool, _)| is_recorded(at, *tool)) {
                let tenant = Some(caller.tenant()).filter(|tenant| !tenant.is_empty()).map(Into::into);
                gather(&mut used, &AuditRecord { tenant, ..record(caller.id(), tool, "allow", Value::Null) }, &mut left_out);
            }
        }
        let proposed = cedar("db", &used["db"]);
        let config = json!({ "engines": [{ "cedar": { "text": proposed } }] });
        let policy = Policy::build(&serde_json::from_value(config).unwrap(), &[("db".to_owned(), <_>::default())].into()).unwrap();
        assert_eq!(policy.learn("db", &TOOLS.map(|name| KnownTool { name, input_schema: Some("{}") })), [], "{proposed}");
        for (at, caller) in callers.iter().enumerate() {
            for (place, tool) in TOOLS.iter().enumerate() {
                let called = Resource::tool("db", tool, None, false).with(Arguments::Given("{}"));
                let decided = policy.decide(caller, Action::Call, &called, moment, ()).now_or_never().unwrap();
                // A record does not tell all of the longest name.
                let expected = is_recorded(at, place) && caller.id().len() < long.len();
                assert_eq!(decided.is_ok(), expected, "{} {tool}:\n{proposed}", caller.full_id());
            }
        }
        assert_eq!(left_out.iter().map(|(_, records)| records).collect::<Vec<_>>(), [2], "{proposed}");
        assert!(!proposed.contains('\u{2026}'), "{proposed}");
    }

    fn rule(value: Value) -> ArgumentRule {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn arguments_are_narrowed_to_what_was_seen() {
        let sql = rule(json!({ "tools": ["*"], "argument": "sql", "kind": { "sql": "postgresql" } }));
        let read = |table: &str| json!({ "kind": "select", "tables": [table], "functions": ["count"], "columns": [] });
        let narrow = narrowed(&sql, "query", &[read("orders"), read("people")]).unwrap().sql.unwrap();
        assert_eq!((narrow.tables, narrow.functions), (vec!["orders".to_owned(), "people".to_owned()], Some(vec!["count".to_owned()])));
        assert!(narrowed(&sql, "query", &[json!({ "kind": "delete", "tables": ["orders"] })]).is_none(), "rules let nothing write");

        let path = rule(json!({ "tools": ["*"], "argument": "path", "kind": "path" }));
        let at = |below: &[&str]| json!({ "text": below.last(), "absolute": true, "below": below });
        let narrow = narrowed(&path, "read", &[at(&["/", "/srv", "/srv/a", "/srv/a/x"]), at(&["/", "/srv", "/srv/a", "/srv/a/y"])]);
        assert_eq!(narrow.unwrap().path.unwrap().below, ["/srv/a"]);

        let url = rule(json!({ "tools": ["*"], "argument": "url", "kind": "url" }));
        let to = |host: &str, port: u16| json!({ "scheme": "https", "host": host, "port": port });
        let narrow = narrowed(&url, "get", &[to("a.example", 443), to("b.example", 8443)]).unwrap().url.unwrap();
        assert_eq!((narrow.hosts, narrow.schemes), (vec!["a.example".to_owned(), "b.example:8443".to_owned()], vec!["https".to_owned()]));

        let number = rule(json!({ "tools": ["*"], "argument": "limit", "number": { "max": 100 } }));
        let narrow = narrowed(&number, "get", &[json!(7), json!(3)]).unwrap().number.unwrap();
        assert_eq!((narrow.min, narrow.max), (Some(3), Some(7)));
    }
}
