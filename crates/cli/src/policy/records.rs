//! The audit records of calls that policy decided, as far as they are one configuration's: gateways of a user write into one log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sallyport_gateway::plan::Plan;
use sallyport_telemetry::{AuditRecord, Timestamp, bounded_log};

use crate::output::Failure;
use crate::start;

/// Longest line that is read, in bytes: records are below 64 KiB.
const LONGEST_LINE: u64 = 1 << 20;
/// Most different reasons of leaving records out that are told: servers of other configurations are as many as somebody likes.
const MOST_REASONS: usize = 50;

/// Which records are wanted.
pub(super) struct Wanted<'a> {
    pub(super) plan: &'a Plan,
    pub(super) server: Option<&'a str>,
    pub(super) tenant: Option<&'a str>,
    pub(super) since: Option<Timestamp>,
}

/// How many records were left out, by the reason, to be read after `records`.
#[derive(Default)]
pub(super) struct LeftOut(BTreeMap<String, u64>);

impl LeftOut {
    pub(super) fn count(&mut self, why: impl Into<String>) {
        let why = why.into();
        let has_room = self.0.len() < MOST_REASONS || self.0.contains_key(&why);
        *self.0.entry(if has_room { why } else { "of other servers still".to_owned() }).or_default() += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(why, count)| (why.as_str(), *count))
    }
}

/// The files of a log: the one that was asked for, or all of the gateways' own, the oldest first.
pub(super) fn files(asked: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    match asked {
        Some(file) if file != Path::new("default") => Ok(vec![file.to_owned()]),
        _ => {
            let log = start::folders()?.audit_file();
            let files = bounded_log::files(&log).unwrap_or_default();
            Ok(if files.is_empty() { vec![log] } else { files }) // opening what is not there tells where it would be
        }
    }
}

/// Tells each record of a wanted call that was decided, in the order of the files; `read` hears how many bytes were read.
pub(super) fn each(
    files: &[PathBuf],
    wanted: &Wanted<'_>,
    left_out: &mut LeftOut,
    mut read: impl FnMut(u64),
    mut tell: impl FnMut(AuditRecord<'static>, &mut LeftOut) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for file in files {
        let unreadable = |error: io::Error| {
            Failure::new(format!("{} cannot be read: {error}", file.display())).hint("records are there once a gateway has served calls")
        };
        let mut log = BufReader::new(File::open(file).map_err(unreadable)?);
        let mut line = Vec::new();
        loop {
            let bytes = read_line(&mut log, &mut line).map_err(unreadable)?;
            if bytes == 0 {
                break;
            }
            read(bytes);
            match serde_json::from_slice::<AuditRecord<'static>>(&line) {
                Ok(record) => match wanted.leaves_out(&record) {
                    None => tell(record, left_out)?,
                    Some("") => {}
                    Some(why) => left_out.count(why),
                },
                Err(_) if line.trim_ascii().is_empty() => {}
                Err(_) => left_out.count("that are no records"), // a log may end in the middle of one
            }
        }
    }
    Ok(())
}

/// Reads a line into `line`, which is left empty where it is too long; gives back how many bytes were read.
fn read_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut bytes = log.by_ref().take(LONGEST_LINE).read_until(b'\n', line)? as u64;
    if bytes == LONGEST_LINE && line.last() != Some(&b'\n') {
        line.clear();
        line.push(b'?'); // no record, and to be told so
        bytes += log.skip_until(b'\n')? as u64;
    }
    Ok(bytes)
}

impl Wanted<'_> {
    /// Why a record is not wanted; nothing, where nobody asked for its like.
    fn leaves_out<'w>(&'w self, record: &AuditRecord<'_>) -> Option<&'w str> {
        let (Some(server), Some(_), Some(_)) = (&record.server, &record.decision, &record.principal) else { return Some("") };
        let is_early = self.since.is_some_and(|since| record.time < since);
        if is_early || self.server.is_some_and(|wanted| wanted != server.as_str()) {
            return Some("");
        }
        let of_endpoint = record.endpoint.as_str().strip_prefix("/t/").map(|rest| rest.split('/').next().unwrap_or_default());
        let is_of_tenant = match self.tenant {
            Some(wanted) => of_endpoint.or(record.tenant.as_ref().map(|tenant| tenant.as_str())) == Some(wanted),
            None => of_endpoint.is_none(),
        };
        if !is_of_tenant {
            return Some(if self.tenant.is_some() { "of other tenants" } else { "of tenants (ask for those of one by --tenant)" });
        }
        (!self.plan.servers.contains_key(server.as_str())).then_some("of servers that the configuration does not have")
    }
}

/// Reads how far back to look: `36h`, `7d`, `2026-11-20` or `2026-11-20T08:00:00Z` (UTC).
pub(crate) fn since(text: &str) -> Result<Timestamp, String> {
    let written = match text.len() {
        10 => format!("{text}T00:00:00.000000Z"),
        20 => text.replace('Z', ".000000Z"),
        _ => text.to_owned(),
    };
    if let Ok(moment) = written.parse() {
        return Ok(moment);
    }
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 0,
    };
    let ago = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).filter(|seconds| *seconds > 0);
    let moment = ago.and_then(|seconds| SystemTime::now().checked_sub(Duration::from_secs(seconds)));
    moment.map(Timestamp::from).ok_or_else(|| "write how long ago, as `36h` or `7d`, or a day, as `2026-11-20`".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_moment_is_written_in_several_ways() {
        assert_eq!(since("2026-11-20").unwrap().to_string(), "2026-11-20T00:00:00.000000Z");
        assert_eq!(since("2026-11-20T08:00:01Z").unwrap().to_string(), "2026-11-20T08:00:01.000000Z");
        assert!(since("7d").unwrap() < since("36h").unwrap() && since("36h").unwrap() < Timestamp::now());
        for text in ["", "d", "0d", "-1d", "7", "7w", "2026-13-01", "99999999999999999999d", "9999999999999999d", "ä"] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_passed_over() {
        let long = [vec![b'x'; usize::try_from(LONGEST_LINE).unwrap() + 5], b"\nnext\n".to_vec()].concat();
        let (mut log, mut line) = (long.as_slice(), Vec::new());
        assert_eq!(read_line(&mut log, &mut line).unwrap(), LONGEST_LINE + 6);
        assert_eq!((line.as_slice(), read_line(&mut log, &mut line.clone()).unwrap()), (&b"?"[..], 5));
    }
}
