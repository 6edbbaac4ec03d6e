//! `sallyport connect`: writes Sallyport's entry into a client's configuration, and takes it out again.

mod edit;
mod entry;

use std::fs;
use std::path::{Path, PathBuf};

use sallyport_gateway::config;
use sallyport_gateway::plan::Plan;
use serde::Serialize;

use crate::arguments::{Client, ConnectArguments, Global};
use crate::atomic_write;
use crate::client_files::ClientFiles;
use crate::output::{self, Failure};

use entry::{Entry, Way};

/// What is put behind a file's name to name its backup.
const BACKUP: &str = ".before-sallyport";

pub(crate) fn run(global: &Global, arguments: &ConnectArguments) -> Result<(), Failure> {
    let invocation = global.invocation()?;
    let client = arguments.client;
    let files = ClientFiles::of(&invocation).ok_or_else(|| Failure::new("HOME is not set").hint("set it to your home folder"))?;
    let file = match (arguments.project, files.of_project(client)) {
        (false, _) => files.own(client),
        (true, Some(file)) => file,
        (true, None) => {
            let none = Failure::new(format!("{} has no configuration of a project", client.title()));
            return Err(none.hint("leave `--project` out: it has one for all folders"));
        }
    };
    if arguments.undo {
        let outcome = undo(client, &file, arguments.dry_run)?;
        return if arguments.json { output::json(&outcome) } else { Ok(()) };
    }
    let plan = config::load(&invocation)?;
    let way = if arguments.stdio {
        Way::stdio(&plan)?
    } else if arguments.http {
        Way::http(client, &plan)?
    } else {
        Way::http(client, &plan).or_else(|_| Way::stdio(&plan))?
    };
    let outcome = connect(client, &file, &Entry::new(client, &way), arguments.dry_run)?;
    if !arguments.dry_run && matches!(way, Way::Http { .. }) {
        output::note("`sallyport up` must run for the client to reach it");
    }
    match &outcome.entry {
        _ if arguments.json => output::json(&outcome),
        Some(entry) if arguments.dry_run && outcome.changes => output::line(entry),
        _ => Ok(()),
    }
}

/// What became of a client's configuration, as `--json` prints it.
#[derive(Serialize)]
struct Outcome<'a> {
    client: &'static str,
    file: &'a Path,
    /// Our entry is in it, or would be.
    connected: bool,
    /// The file is not as it was, or would not be.
    changes: bool,
    written: bool,
    /// Our entry; what stands around it may have secrets in it.
    entry: Option<String>,
    /// The file as it was before the first change.
    backup: Option<PathBuf>,
}

impl<'a> Outcome<'a> {
    /// Nothing is changed.
    fn new(client: Client, file: &'a Path, entry: Option<&Entry>) -> Self {
        let (connected, entry) = (entry.is_some(), entry.map(Entry::to_text));
        Self { client: client.name(), file, connected, changes: false, written: false, entry, backup: kept(file) }
    }

    /// It is, or would be.
    fn changed(self, written: bool) -> Self {
        Self { changes: true, written, backup: kept(self.file), ..self }
    }
}

/// What to paste for each client: shown by `sallyport up`.
pub(crate) fn paste(plan: &Plan) -> Vec<(Client, String)> {
    let lines = |client: Client| {
        let way = Way::http(client, plan).or_else(|_| Way::stdio(plan)).ok()?;
        Some((client, Entry::new(client, &way).to_paste(&way)))
    };
    Client::ALL.into_iter().filter_map(lines).collect()
}

fn connect<'a>(client: Client, file: &'a Path, entry: &Entry, dry_run: bool) -> Result<Outcome<'a>, Failure> {
    let old = read(file)?;
    let outcome = Outcome::new(client, file, Some(entry));
    let new = edit::insert(old.as_deref().unwrap_or_default(), entry).map_err(|problem| unusable(file, problem))?;
    if old.as_deref() == Some(new.as_str()) {
        output::note(format!("{} is connected already: {}", client.title(), file.display()));
        return Ok(outcome);
    }
    if dry_run {
        output::note(format!("would write to {}:", file.display()));
        return Ok(outcome.changed(false));
    }
    if let Some(old) = &old {
        keep_backup(file, old)?;
    }
    write(file, &new)?;
    output::note(format!("connected {}: {}", client.title(), file.display()));
    if old.is_some() {
        output::note(format!(
            "the file as it was: {}; `sallyport connect {} --undo` brings it back",
            backup(file).display(),
            client.name()
        ));
    }
    Ok(outcome.changed(true))
}

fn undo(client: Client, file: &Path, dry_run: bool) -> Result<Outcome<'_>, Failure> {
    let outcome = Outcome::new(client, file, None);
    let current = read(file)?;
    let without = current.as_deref().map(|text| edit::remove(text, client).map_err(|problem| unusable(file, problem))).transpose()?;
    let (Some(_), Some(Some(without))) = (&current, without) else {
        output::note(format!("{} is not connected: {}", client.title(), file.display()));
        return Ok(outcome);
    };
    if dry_run {
        output::note(format!("would take the entry out of {}", file.display()));
        return Ok(outcome.changed(false));
    }
    let saved = read(&backup(file))?;
    match saved {
        // Nothing but our entry changed since: the file comes back byte for byte.
        Some(saved) if edit::passed_through(&saved, client).is_some_and(|text| text.trim() == without.trim()) => write(file, &saved)?,
        None if edit::is_empty(&without) => fs::remove_file(file).map_err(|error| cannot_write(file, &error))?,
        _ => write(file, &without)?,
    }
    let _ = fs::remove_file(backup(file)); // it may not be there
    output::note(format!("disconnected {}: {}", client.title(), file.display()));
    Ok(outcome.changed(true))
}

fn read(file: &Path) -> Result<Option<String>, Failure> {
    if file.exists() { Ok(Some(config::read_bounded(file)?)) } else { Ok(None) }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    atomic_write::replace(file, text).map_err(|error| cannot_write(file, &error))
}

/// Keeps the file as it was before the first change; a later change keeps that backup.
fn keep_backup(file: &Path, text: &str) -> Result<(), Failure> {
    let backup = backup(file);
    if backup.exists() {
        return Ok(());
    }
    // A copy has the mode of the file: what was private stays so.
    fs::copy(file, &backup).map_err(|error| cannot_write(&backup, &error))?;
    debug_assert!(fs::read_to_string(&backup).is_ok_and(|copy| copy.trim_start_matches('\u{feff}') == text));
    Ok(())
}

/// The backup, where there is one.
fn kept(file: &Path) -> Option<PathBuf> {
    Some(backup(file)).filter(|backup| backup.exists())
}

fn backup(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(BACKUP);
    name.into()
}

fn unusable(file: &Path, problem: String) -> Failure {
    Failure::new(format!("{} is not changed: {problem}", file.display()))
        .hint("put the file right, or paste by hand what `sallyport up` shows on a terminal")
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be written: {error}", file.display()))
        .hint("look whose it is and whether its disk has room; `--dry-run` shows the lines to paste by hand")
}
