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

/// Which records are wanted.
pub(super) struct Wanted<'a> {
    pub(super) plan: &'a Plan,
    pub(super) server: Option<&'a str>,
    pub(super) tenant: Option<&'a str>,
    pub(super) since: Option<Timestamp>,
}

/// How many records were left out, by the reason, to be read after `records`.
#[derive(Default)]
pub(super) struct LeftOut(BTreeMap<&'static str, u64>);

impl LeftOut {
    pub(super) fn count(&mut self, why: &'static str) {
        *self.0.entry(why).or_default() += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(why, count)| (*why, *count))
    }
}

/// The files of a log: the one that was asked for, or all of the gateways' own, the oldest first.
pub(crate) fn files(asked: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
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
    each_line(files, &mut read, |line| {
        match serde_json::from_slice::<AuditRecord<'static>>(line) {
            Ok(record) => match wanted.fate(&record) {
                Fate::Wanted => return tell(record, left_out),
                Fate::NotMeant => {}
                Fate::LeftOut(why) => left_out.count(why),
            },
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) => left_out.count("that are no records"), // a log may end in the middle of one
        }
        Ok(())
    })
}

/// Tells each line of the files; `read` hears how many bytes were read.
pub(crate) fn each_line(
    files: &[PathBuf],
    mut read: impl FnMut(u64),
    mut tell: impl FnMut(&[u8]) -> Result<(), Failure>,
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
            tell(&line)?;
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

/// What becomes of a record.
enum Fate {
    Wanted,
    /// Nobody asked for its like.
    NotMeant,
    /// It may have been meant: why it is left out all the same.
    LeftOut(&'static str),
}

impl Wanted<'_> {
    fn fate(&self, record: &AuditRecord<'_>) -> Fate {
        let (Some(server), Some(_), Some(_)) = (&record.server, &record.decision, &record.principal) else { return Fate::NotMeant };
        let is_early = self.since.is_some_and(|since| record.time < since);
        if is_early || self.server.is_some_and(|wanted| wanted != server.as_str()) {
            return Fate::NotMeant;
        }
        let is_stdio = record.endpoint.as_str() == "stdio";
        let of_caller = record.tenant.as_ref().map(|tenant| tenant.as_str());
        // A tenant of the configuration has endpoints of its own; another is a claim of those who call.
        let of_caller = of_caller.filter(|_| is_stdio || self.plan.tenant.is_none());
        let of_endpoint = record.endpoint.as_str().strip_prefix("/t/").map(|rest| rest.split('/').next().unwrap_or_default());
        match self.tenant {
            // How many there are of others is none of its business.
            Some(wanted) if of_endpoint.or(of_caller) != Some(wanted) => Fate::NotMeant,
            None if of_endpoint.is_some() || (is_stdio && of_caller.is_some() && !self.plan.tenants.is_empty()) => {
                Fate::LeftOut("of tenants (ask for those of one by --tenant)")
            }
            _ if !self.plan.servers.contains_key(server.as_str()) => Fate::LeftOut("of servers that the configuration does not have"),
            _ => Fate::Wanted,
        }
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
