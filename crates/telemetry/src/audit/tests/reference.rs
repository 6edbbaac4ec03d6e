//! `docs/reference/audit.md`, made from the record's own documentation.

use std::fmt::Write as _;

use serde_json::Value;

use super::full;
use crate::audit::AuditRecord;

#[test]
fn the_reference_page_is_up_to_date() {
    crate::reference::check("audit.md", &page());
}

fn page() -> String {
    let example = serde_json::to_string_pretty(&full()).unwrap();
    let schema = schemars::schema_for!(AuditRecord<'static>).to_value();
    let mut page = String::from(
        "<!-- Generated from crates/telemetry/src/audit.rs: SALLYPORT_BLESS=1 cargo test -p sallyport-telemetry -->\n\
         # The audit log\n\n\
         One JSON object a line, for every request for a tool, resource, prompt or completion that has ended, and for every\n\
         connection that a server makes, or wants to make, out of its sandbox (of each server at most 300 a minute, and 20\n\
         refused ones; of further ones, at the minute's end, a record for each way in which they ended, whose target is\n\
         `N others`, with the sum of their bytes), in\n\
         `$XDG_STATE_HOME/sallyport/audit/audit.jsonl` (`~/.local/state/…` unless set). The file and its folder are open to\n\
         their owner alone. At 32 MiB a file is set aside as `audit.jsonl.1`; five files are kept. While one gateway writes\n\
         `audit.jsonl`, a second one of the same user writes `audit-2.jsonl`.\n\n\
         Arguments and results are never recorded. Records are written at most a tenth of a second after the call, and a\n\
         call never waits for it: records that cannot be kept because the disk or the queue is full are counted in\n\
         `sallyport_audit_lost_records_total`, and the gateway's log says so.\n\n\
         Fields that are not known are left out. Text is cut at 1024 bytes and then ends in `…`.\n\n\
         | field | type | meaning |\n| --- | --- | --- |\n",
    );
    rows(&mut page, &schema, &schema, &serde_json::to_string(&full()).unwrap(), "");
    writeln!(page, "\nOutcomes:\n\n| outcome | how the call ended |\n| --- | --- |").unwrap();
    for outcome in schema["$defs"]["Outcome"]["oneOf"].as_array().unwrap() {
        writeln!(page, "| `{}` | {} |", outcome["const"].as_str().unwrap(), text(&outcome["description"])).unwrap();
    }
    writeln!(page, "\nAn example, spread over lines to be read:\n\n```json\n{example}\n```").unwrap();
    page
}

/// A row for each field of `object`, in the order in which they are written, and for the fields inside of it.
fn rows(page: &mut String, root: &Value, object: &Value, line: &str, prefix: &str) {
    let mut fields: Vec<(&String, &Value)> = object["properties"].as_object().unwrap().iter().collect();
    fields.sort_by_key(|(name, _)| line.find(&format!("\"{name}\":")).expect("the example has every field"));
    for (name, field) in fields {
        let inner = definition(root, field);
        let kind = inner.map_or_else(|| kind(field), |_| "object".to_owned());
        let plain = inner.filter(|inner| inner.get("properties").is_some());
        let kind = if inner.is_some() && plain.is_none() { "string".to_owned() } else { kind };
        writeln!(page, "| `{prefix}{name}` | {kind} | {} |", text(&field["description"])).unwrap();
        if let Some(inner) = plain {
            rows(page, root, inner, line, &format!("{prefix}{name}."));
        }
    }
}

/// The named type that a field has, whether it may be missing or not.
fn definition<'a>(root: &'a Value, field: &'a Value) -> Option<&'a Value> {
    let direct = field.get("$ref");
    let reference = direct.or_else(|| field.get("anyOf")?.get(0)?.get("$ref"))?.as_str()?;
    root.pointer(reference.strip_prefix('#')?)
}

fn kind(field: &Value) -> String {
    match &field["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds[0].as_str().unwrap().to_owned(),
        _ => "string".to_owned(),
    }
}

fn text(description: &Value) -> String {
    description.as_str().unwrap().replace('\n', " ")
}
