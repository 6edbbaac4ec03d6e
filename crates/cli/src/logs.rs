//! `sallyport logs`: what a server wrote to stderr, or the gateway's own log.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sallyport_gateway::config;
use sallyport_telemetry::bounded_log;
use serde_json::json;

use crate::arguments::{Global, LogsArguments};
use crate::output::{self, Failure};
use crate::tools::shown;
use crate::{start, tenant};

/// How often a followed log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(crate) fn run(global: &Global, arguments: &LogsArguments) -> Result<(), Failure> {
    let file = file(global, arguments)?;
    let log = File::open(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new("nothing was written yet").hint(format!("the log will be {}", file.display())),
        _ => Failure::new(format!("{} cannot be read: {error}", file.display())).hint("logs are for the user who runs the gateway"),
    })?;
    let mut log = BufReader::new(log);
    let lines = last_lines(&mut log, arguments.lines)?;
    if arguments.json {
        return output::json(&json!({ "file": file, "lines": lines }));
    }
    lines.iter().try_for_each(|line| output::line(shown(line)))?;
    if arguments.follow { follow(&file, log) } else { Ok(()) }
}

fn file(global: &Global, arguments: &LogsArguments) -> Result<PathBuf, Failure> {
    let Some(name) = arguments.name.as_deref() else { return Ok(newest(&start::folders()?.log_file())) };
    let plan = tenant::of(config::load(&global.invocation()?)?, arguments.tenant.as_deref())?;
    if !plan.servers.contains_key(name) {
        let known: Vec<&str> = plan.servers.keys().map(String::as_str).collect();
        let of_tenant = plan.tenants.values().find_map(|tenant| tenant.servers.get(name));
        let hint = match of_tenant {
            Some(server) => format!("a tenant has one: `sallyport logs {}`", server.in_commands()),
            None => format!("there are {}", known.join(", ")),
        };
        return Err(Failure::new(format!("there is no server `{name}`")).hint(hint));
    }
    Ok(tenant::folders(&plan)?.server_log(name))
}

/// The file of that log that was written last: several gateways at once have one each.
fn newest(log: &Path) -> PathBuf {
    let written = |file: &PathBuf| file.metadata().and_then(|metadata| metadata.modified()).ok();
    let files = bounded_log::files(log).unwrap_or_default(); // none yet, or none that can be read: opening it will tell
    files.into_iter().max_by_key(written).unwrap_or_else(|| log.to_owned())
}

fn last_lines(log: &mut impl BufRead, most: usize) -> Result<VecDeque<String>, Failure> {
    let mut lines = VecDeque::new();
    let mut line = Vec::new();
    while log.read_until(b'\n', &mut line)? > 0 {
        if lines.len() == most {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
        line.clear();
    }
    lines.truncate(most); // 0 means none
    Ok(lines)
}

/// Goes on until interrupted; begins anew when the log was rotated.
fn follow(file: &Path, mut log: BufReader<File>) -> Result<(), Failure> {
    let mut line = Vec::new();
    loop {
        if log.read_until(b'\n', &mut line)? > 0 {
            if line.ends_with(b"\n") {
                output::line(shown(&String::from_utf8_lossy(line.trim_ascii_end())))?;
                line.clear();
            }
            continue;
        }
        std::thread::sleep(LOOK_EVERY);
        if is_another(file, log.get_ref())? {
            log = BufReader::new(File::open(file)?);
            line.clear();
        }
    }
}

/// Whether another file has that name now.
fn is_another(file: &Path, log: &File) -> Result<bool, Failure> {
    let (open, named) = (log.metadata()?, std::fs::metadata(file));
    Ok(named.is_ok_and(|named| (named.dev(), named.ino()) != (open.dev(), open.ino())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_log_that_was_written_last_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("sallyport.log");
        assert_eq!(newest(&log), log);
        for (age, name) in ["sallyport-2.log", "sallyport.log", "sallyport.log.1", "another.log"].iter().rev().enumerate() {
            let written = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(age as u64);
            File::create(folder.path().join(name)).unwrap().set_modified(written).unwrap();
        }
        assert_eq!(newest(&log), folder.path().join("sallyport-2.log"));
    }

    #[test]
    fn the_last_lines_are_given() {
        let lines = |most| last_lines(&mut &b"a\nb\n\xffc"[..], most).unwrap();
        assert_eq!(lines(2), ["b", "\u{fffd}c"]);
        assert_eq!(lines(9), ["a", "b", "\u{fffd}c"]);
        assert_eq!(lines(0), [""; 0]);
    }
}
