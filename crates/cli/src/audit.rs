//! `sallyport audit`: the records of the gateway itself, or of one tenant.

use std::collections::BTreeMap;

use sallyport_gateway::config;
use sallyport_gateway::plan::Plan;
use sallyport_telemetry::audit::Text;
use sallyport_telemetry::{AuditRecord, RecordId, Timestamp};
use serde_json::value::RawValue;

use crate::arguments::{AuditArguments, Global};
use crate::output::{self, Failure};
use crate::policy::records;
use crate::tenant;
use crate::tools::shown;

pub(crate) fn run(global: &Global, arguments: &AuditArguments) -> Result<(), Failure> {
    let plan = config::load(&global.invocation()?)?;
    let wanted = arguments.of.tenant.as_deref();
    tenant::of(plan.clone(), wanted)?;
    let last = last(&plan, wanted, arguments)?;
    if arguments.json {
        return output::json(&last.values().collect::<Vec<_>>());
    }
    if last.is_empty() {
        output::note("no record tells of a call");
    }
    last.values().try_for_each(|line| tell(line))
}

/// The last records of whose they are to be, as they were written. Those of several files are put in order by their time.
fn last(plan: &Plan, wanted: Option<&str>, arguments: &AuditArguments) -> Result<BTreeMap<(Timestamp, RecordId), Box<RawValue>>, Failure> {
    let mut last = BTreeMap::new();
    let each = |line: &[u8]| {
        let Ok(record) = serde_json::from_slice::<AuditRecord<'_>>(line) else { return Ok(()) }; // a log may end in the middle of one
        let is_early = arguments.since.is_some_and(|since| record.time < since);
        if is_early || whose(&record, plan) != wanted {
            return Ok(());
        }
        if let Ok(text) = serde_json::from_slice(line) {
            last.insert((record.time, record.id), text);
        }
        if last.len() > arguments.lines {
            last.pop_first();
        }
        Ok(())
    };
    records::each_line(&records::files(arguments.records.as_deref())?, |_| {}, each)?;
    Ok(last)
}

/// The tenant at whose endpoint a record was made, or whose server or caller it tells of; `None` for the gateway itself. A tenant that the
/// configuration does not have is a claim of those who call.
fn whose<'a>(record: &'a AuditRecord<'_>, plan: &Plan) -> Option<&'a str> {
    let of_endpoint = record.endpoint.as_str().strip_prefix("/t/").map(|rest| rest.split('/').next().unwrap_or_default());
    of_endpoint.or_else(|| record.tenant.as_ref().map(|tenant| tenant.as_str()).filter(|tenant| plan.tenants.contains_key(*tenant)))
}

fn tell(line: &RawValue) -> Result<(), Failure> {
    let Ok(record) = serde_json::from_str::<AuditRecord<'_>>(line.get()) else { return Ok(()) };
    let text = |text: &Option<Text<'_>>| one_line(text.as_ref().map_or("-", |text| text.as_str()));
    let target = match (&record.server, &record.target) {
        (None, None) => String::new(),
        (server, target) => format!(" {}/{}", text(server), text(target)),
    };
    let failure = record.failure.as_ref().map(|failure| format!(" ({})", one_line(failure.as_str()))).unwrap_or_default();
    let (who, method) = (text(&record.principal), one_line(record.method.as_str()));
    output::line(format!("{}  {who}  {method}{target}  {}{failure}", record.time, record.outcome.as_str()))
}

/// A text of whoever called, as part of one line.
fn one_line(text: &str) -> String {
    shown(text).replace('\n', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_names_makes_no_lines_of_its_own() {
        assert_eq!(one_line("a\n2026-11-23  key:b\r\u{1b}[2J"), "a\u{fffd}2026-11-23  key:b\u{fffd}\u{fffd}[2J");
    }
}
