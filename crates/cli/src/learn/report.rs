//! What is shown of trials: to people a table, to programs JSON.

use std::collections::BTreeMap;
use std::fmt::Display;

use owo_colors::OwoColorize;
use sallyport_sandbox::learn::{Record, Used, Want, Warning};
use serde::Serialize;

use super::Round;
use crate::output::{self, Failure};
use crate::project_file::ProjectFile;
use crate::tools::shown;

/// Lines of one kind that are shown to people; JSON has all.
const LINES: usize = 20;

/// What several rounds of one server's trial came to.
pub(super) struct Report<'a> {
    server: &'a str,
    rounds: &'a [Round],
    file: &'a ProjectFile,
}

#[derive(Serialize)]
pub(super) struct Json {
    server: String,
    /// The server told what it offers, in the last round.
    answered: bool,
    rounds: Vec<JsonRound>,
    /// What the configuration says of the server with all that is proposed.
    profile: JsonProfile,
    warnings: Vec<JsonWarning>,
    written: bool,
}

#[derive(Serialize)]
struct JsonRound {
    used: Vec<JsonUsed>,
    refused: Vec<JsonRefused>,
    proposed: JsonProfile,
}

#[derive(Serialize)]
struct JsonUsed {
    path: String,
    read: u64,
    written: u64,
    executed: u64,
}

#[derive(Serialize)]
struct JsonRefused {
    kind: &'static str,
    what: String,
    times: u64,
}

#[derive(Serialize)]
struct JsonProfile {
    read: Vec<String>,
    write: Vec<String>,
    network: Vec<String>,
}

#[derive(Serialize)]
struct JsonWarning {
    subject: String,
    why: String,
    grave: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(server: &'a str, rounds: &'a [Round], file: &'a ProjectFile) -> Self {
        Self { server, rounds, file }
    }

    pub(super) fn as_json(&self, written: bool) -> Json {
        Json {
            server: self.server.to_owned(),
            answered: self.rounds.last().is_some_and(|round| round.tried.answered),
            rounds: self.rounds.iter().map(json_round).collect(),
            profile: JsonProfile {
                read: self.file.list_of(self.server, "read"),
                write: self.file.list_of(self.server, "write"),
                network: self.file.list_of(self.server, "network"),
            },
            warnings: self.warnings().map(json_warning).collect(),
            written,
        }
    }

    /// Tells a person what was used, what was refused, and what is not proposed although it was wanted.
    pub(super) fn tell(&self) -> Result<(), Failure> {
        let mut used: BTreeMap<String, Used> = BTreeMap::new();
        let mut wanted: BTreeMap<(&'static str, String), u64> = BTreeMap::new();
        for Round { tried, .. } in self.rounds {
            used.extend(tried.record.used.iter().map(|(path, used)| (path.display().to_string(), *used)));
            for refused in refused(&tried.record) {
                *wanted.entry((refused.kind, refused.what)).or_default() += refused.times;
            }
        }
        section("used", used.iter().map(|(path, used)| (path, counts(used))))?;
        section("refused", wanted.iter().map(|((kind, what), times)| (what, format!("{kind}{}", often(*times)))))?;
        for Warning { subject, why, is_grave } in self.warnings() {
            let label = if *is_grave { "warning:".red().bold().to_string() } else { "note:".yellow().to_string() };
            output::line(format!("{label} {}: {why}", shown(subject).bold()))?;
        }
        Ok(())
    }

    /// Those of the last round: what was granted meanwhile is no matter any more.
    fn warnings(&self) -> impl Iterator<Item = &Warning> {
        self.rounds.last().into_iter().flat_map(|round| &round.proposal.warnings)
    }
}

fn section<S: Display>(title: &str, lines: impl ExactSizeIterator<Item = (S, String)>) -> Result<(), Failure> {
    let count = lines.len();
    if count == 0 {
        return Ok(());
    }
    output::line(title.bold())?;
    for (subject, detail) in lines.take(LINES) {
        output::line(format!("  {}  {}", shown(&subject.to_string()), detail.dimmed()))?;
    }
    match count.saturating_sub(LINES) {
        0 => Ok(()),
        more => output::line(format!("  … and {more} more; --json shows all")),
    }
}

fn counts(used: &Used) -> String {
    let parts = [("read", used.read), ("written", used.written), ("executed", used.executed)];
    let parts: Vec<String> = parts.iter().filter(|(_, times)| *times > 0).map(|(what, times)| format!("{what}{}", often(*times))).collect();
    parts.join(", ")
}

fn often(times: u64) -> String {
    if times > 1 { format!(" {times} times") } else { String::new() }
}

/// Everything that was refused, whatever it was.
fn refused(record: &Record) -> Vec<JsonRefused> {
    let mut rows = Vec::new();
    let mut put = |kind, what: String, times| rows.push(JsonRefused { kind, what, times });
    for (path, refused) in &record.refused {
        let kind = match refused.want {
            Want::Look => "look",
            Want::Read => "read",
            Want::Write => "write",
            Want::Entries => "make or remove files in",
        };
        put(kind, path.display().to_string(), refused.times);
    }
    record.unexecutable.iter().for_each(|(path, times)| put("execute", path.display().to_string(), *times));
    record.services.iter().for_each(|(path, times)| put("connect", path.display().to_string(), *times));
    if record.local_sockets > 0 {
        put("make", "a local socket".to_owned(), record.local_sockets);
    }
    for ((host, port), (_, times)) in record.hosts.iter().filter(|(_, (allowed, _))| !allowed) {
        match port {
            Some(port) => put("connect", format!("{host}:{port}"), *times),
            None => put("look up", host.to_string(), *times),
        }
    }
    record.packets.iter().for_each(|(address, times)| put("send to", address.to_string(), *times));
    record.listens.iter().for_each(|(port, times)| put("listen", port.to_string(), *times));
    record.calls.iter().for_each(|(name, times)| put("system call", name.clone(), *times));
    rows
}

fn json_round(round: &Round) -> JsonRound {
    let Round { tried, proposal } = round;
    let used = |(path, used): (&std::path::PathBuf, &Used)| {
        let Used { read, written, executed } = *used;
        JsonUsed { path: path.display().to_string(), read, written, executed }
    };
    let texts = |paths: &[std::path::PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
    JsonRound {
        used: tried.record.used.iter().map(used).collect(),
        refused: refused(&tried.record),
        proposed: JsonProfile {
            read: texts(&proposal.read),
            write: texts(&proposal.write),
            network: proposal.network.iter().map(ToString::to_string).collect(),
        },
    }
}

fn json_warning(warning: &Warning) -> JsonWarning {
    JsonWarning { subject: warning.subject.clone(), why: warning.why.clone(), grave: warning.is_grave }
}
