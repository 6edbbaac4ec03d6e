//! `sallyport update` and `sallyport rollback`: which versions of servers' packages are locked, and for whom.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::time::Duration;

use indicatif::ProgressBar;
use owo_colors::OwoColorize;
use sallyport_gateway::config;
use sallyport_gateway::packages::{Lost, Packages, RolledBack, Share, Start, ToolChange, ToolChanges, UpdateError, Updated};
use serde::Serialize;

use crate::arguments::{Global, RollbackArguments, UpdateArguments};
use crate::output::{self, Exit, Failure};
use crate::start;
use crate::tenant;
use crate::tools::shown;

/// How long a version may lie unused before it is removed: a month's holidays, and a version to go back to is still there.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Packages and files that are named one by one.
const MOST_SHOWN: usize = 20;

/// Characters of a tool's text that are shown on each side: enough for all but the longest descriptions.
const MOST_TEXT: usize = 2000;

/// How often the line on the terminal moves.
const TICK: Duration = Duration::from_millis(100);

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    updated: &'a [Updated],
    failed: &'a [Failed],
    /// Whether the lock was changed, for one of them at least.
    locked: bool,
    /// How many of a hundred callers get what was locked, where not all do.
    share: Option<Share>,
}

/// A server whose package could not be looked at or locked.
#[derive(Serialize)]
struct Failed {
    server: String,
    error: String,
    hint: Option<String>,
}

/// A server whose callers all get one version again.
#[derive(Serialize)]
struct Finished<'a> {
    server: &'a str,
    version: String,
}

pub(crate) fn run(global: &Global, arguments: &UpdateArguments) -> Result<(), Failure> {
    // What is pruned is in the store of all tenants.
    with_packages(global, arguments.tenant.as_deref().filter(|_| !arguments.prune), |packages| update(packages, arguments))
}

fn update(packages: &Packages, arguments: &UpdateArguments) -> Result<(), Failure> {
    if arguments.prune {
        return prune(packages, arguments.json);
    }
    let all = packages.servers().into_iter().map(str::to_owned).collect();
    let names: Vec<String> = if arguments.names.is_empty() { all } else { arguments.names.clone() };
    if arguments.verify {
        return verify(packages, &names, arguments.json);
    }
    if arguments.finish {
        return finish_shares(packages, &names, arguments.json);
    }
    if let Some(share) = arguments.share.filter(|_| !arguments.dry_run)
        && let [name] = names.as_slice()
        && packages.canary(name).map_err(|error| told(&error))?.is_some()
    {
        return set_share(packages, name, share, arguments.json);
    }
    if !arguments.dry_run && !arguments.yes && !io::stdin().is_terminal() {
        return Err(Failure::new("stdin is no terminal, so nobody can be asked whether to change it")
            .hint("`--yes` changes without asking, `--dry-run` only shows"));
    }
    let runtime = start::runtime()?;
    let (updated, mut failed) = runtime.block_on(look(packages, &names, arguments));
    let changed: Vec<&Updated> = updated.iter().filter(|updated| updated.changes).collect();
    if !arguments.json {
        updated.iter().try_for_each(tell)?;
    }
    let (changed, doubtful): (Vec<_>, Vec<_>) = changed.into_iter().partition(|updated| may_go_unseen(updated, arguments));
    failed.extend(doubtful.into_iter().map(without_provenance));
    let mut locked = false;
    if !arguments.dry_run && !changed.is_empty() && (arguments.yes || confirm()?) {
        let refused = runtime.block_on(accept(packages, &changed, arguments.share));
        locked = refused.len() < changed.len();
        failed.extend(refused);
    }
    if arguments.json {
        let share = arguments.share.filter(|_| locked);
        output::json(&Report { updated: &updated, failed: &failed, locked, share })?;
    } else if locked {
        output::note(arguments.share.map_or_else(|| "locked".to_owned(), |share| format!("locked for {share} of the callers")));
    }
    finish(&failed)
}

/// Whether it may be locked though nobody has looked at what it lacks: a version that was published with a stolen token is known by that alone.
const fn may_go_unseen(updated: &Updated, arguments: &UpdateArguments) -> bool {
    !arguments.yes || arguments.dry_run || arguments.without_provenance || updated.provenance_lost.is_none()
}

fn without_provenance(updated: &Updated) -> Failed {
    Failed {
        server: updated.server.clone(),
        error: "the new version lacks the provenance that the one before has, so it is not taken without being asked about".to_owned(),
        hint: Some("without `--yes` it is asked about; `--yes --without-provenance` takes it".to_owned()),
    }
}

/// Locks what was found. That one server's cannot be locked keeps the others from nothing.
async fn accept(packages: &Packages, changed: &[&Updated], share: Option<Share>) -> Vec<Failed> {
    let mut failed = Vec::new();
    for updated in changed {
        let accepted = match share {
            Some(share) => packages.accept_for(updated, share),
            None => packages.accept(updated).await,
        };
        failed.extend(accepted.err().map(|error| Failed::new(&updated.server, &error)));
    }
    failed
}

/// Gives versions with a share to everybody. That one server has none keeps the others from nothing.
fn finish_shares(packages: &Packages, names: &[String], json: bool) -> Result<(), Failure> {
    let runtime = start::runtime()?;
    let (mut finished, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        match runtime.block_on(packages.finish(name)) {
            Ok(version) => finished.push(Finished { server: name, version }),
            Err(error) => failed.push(Failed::new(name, &error)),
        }
    }
    if json {
        output::json(&serde_json::json!({ "finished": finished, "failed": failed }))?;
    } else {
        finished.iter().try_for_each(|Finished { server, version }| {
            output::line(format!("{} is locked to version {version} for all callers", server.bold()))
        })?;
    }
    finish(&failed)
}

fn set_share(packages: &Packages, server: &str, share: Share, json: bool) -> Result<(), Failure> {
    let version = packages.set_share(server, share).map_err(|error| told(&error))?;
    if json {
        return output::json(&serde_json::json!({ "server": server, "version": version, "share": share }));
    }
    output::line(format!("{share} of the callers of {} get version {version}", server.bold()))
}

pub(crate) fn roll_back(global: &Global, arguments: &RollbackArguments) -> Result<(), Failure> {
    let RollbackArguments { name, version, .. } = arguments;
    let roll_back = |packages: &Packages| {
        let rolled_back = start::runtime()?.block_on(packages.roll_back(name, version.as_deref()));
        rolled_back.map_err(|error| told(&error))
    };
    let RolledBack { to, withdrawn } = with_packages(global, arguments.tenant.as_deref(), roll_back)?;
    if arguments.json {
        return output::json(&serde_json::json!({ "server": name, "locked": to, "withdrawn": withdrawn }));
    }
    let name = name.bold();
    match withdrawn {
        Some(withdrawn) => output::line(format!("nobody gets version {withdrawn} of {name} any more; it is locked to version {to}")),
        None => output::line(format!("{name} is locked to version {to} again")),
    }
}

/// Does something with the packages of the configuration. Versions may be started for it, and what they connect to is recorded.
fn with_packages<T>(global: &Global, tenant: Option<&str>, work: impl FnOnce(&Packages) -> Result<T, Failure>) -> Result<T, Failure> {
    let plan = tenant::of(config::load(&global.invocation()?)?, tenant)?;
    let aside = start::Aside::open(&plan)?;
    let packages = Packages::new(plan, aside.surroundings.clone());
    let done = work(&packages);
    drop(packages);
    aside.close();
    done
}

fn start_of(arguments: &UpdateArguments) -> Start {
    match (arguments.no_start, arguments.with_rights) {
        (true, _) => Start::No,
        (false, true) => Start::WithRights,
        (false, false) => Start::WithoutRights,
    }
}

async fn look(packages: &Packages, names: &[String], arguments: &UpdateArguments) -> (Vec<Updated>, Vec<Failed>) {
    let line = ProgressBar::new_spinner(); // on stderr, and nothing at all where that is no terminal
    line.enable_steady_tick(TICK);
    let (mut updated, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        let progress = |doing: &str| line.set_message(format!("{name}: {doing}"));
        let may_be = arguments.share.map_or(Ok(()), |_| packages.check_share(name));
        let found = match may_be {
            Ok(()) => packages.look(name, start_of(arguments), &progress).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => updated.push(found),
            Err(error) => failed.push(Failed::new(name, &error)),
        }
    }
    line.finish_and_clear();
    (updated, failed)
}

impl Failed {
    fn new(server: &str, error: &UpdateError) -> Self {
        Self { server: server.to_owned(), error: error.to_string(), hint: error.hint().map(str::to_owned) }
    }
}

/// Says what failed, if anything did.
fn finish(failed: &[Failed]) -> Result<(), Failure> {
    for Failed { server, error, hint } in failed {
        let hint = hint.as_ref().map(|hint| format!("\n  {} {hint}", "hint:".cyan())).unwrap_or_default();
        output::note(format!("{} server `{server}`: {}{hint}", "error:".red().bold(), shown(error)));
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::told(Exit::Failed)) }
}

fn told(error: &UpdateError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn tell(updated: &Updated) -> Result<(), Failure> {
    let name = updated.server.bold();
    match (&updated.from, updated.changes) {
        (_, false) => return output::line(format!("{name} {} is what the registry has", updated.to)),
        (None, true) => {
            output::line(format!("{name} {} (nothing is locked yet for what the configuration asks for)", updated.to.green()))?;
        }
        (Some(from), true) => output::line(format!("{name} {from} → {}", updated.to.green()))?,
    }
    let signed = &updated.provenance;
    if signed.signed + signed.unknown_key > 0 {
        output::line(format!("  signed by the registry: {} packages, by keys unknown here: {}", signed.signed, signed.unknown_key))?;
    }
    for (what, kinds) in [
        ("attested, and the signature is verified", &signed.verified),
        ("built by", &signed.builders),
        ("attested for these files, by a signer unknown here", &signed.matching),
        ("attestation announced, not looked at", &signed.announced),
    ] {
        kinds.iter().try_for_each(|kind| output::line(format!("  {what}: {}", shown(kind))))?;
    }
    if let Some(lost) = &updated.provenance_lost {
        tell_lost(updated, lost)?;
    }
    if let Some(change) = &updated.change {
        for moved in change.packages.iter().take(MOST_SHOWN) {
            let [from, to] = [&moved.from, &moved.to].map(|version| if version.is_empty() { "–" } else { version });
            output::line(format!("  package {} {from} → {to}", moved.name))?;
        }
        more(change.packages.len(), "packages")?;
        let (added, removed, other) = (change.files_added, change.files_removed, change.files_changed);
        output::line(format!("  files: {added} added, {removed} removed, {other} changed"))?;
        change.files.iter().take(MOST_SHOWN).try_for_each(|file| output::line(format!("    {}", shown(file))))?;
        more(added + removed + other, "files")?;
    }
    match (&updated.tools, &updated.tools_unknown) {
        (Some(tools), _) => tell_tools(tools),
        (None, Some(why)) => output::line(format!("  {} its tools were not compared: {}", "note:".yellow(), shown(why))),
        (None, None) => Ok(()),
    }
}

/// A package whose publisher's access was stolen looks like this.
fn tell_lost(updated: &Updated, lost: &Lost) -> Result<(), Failure> {
    let from = updated.from.as_deref().unwrap_or_default();
    for (what, lacks) in [("attested", &lost.verified), ("built by", &lost.builders)] {
        lacks.iter().try_for_each(|one| {
            let told = format!("version {from} was {what} {}; version {} is not", shown(one), updated.to);
            output::line(format!("  {} {told}", "provenance lost:".red().bold()))
        })?;
    }
    Ok(())
}

fn more(count: usize, what: &str) -> Result<(), Failure> {
    if count > MOST_SHOWN { output::line(format!("    and {} more {what}", count - MOST_SHOWN)) } else { Ok(()) }
}

fn tell_tools(tools: &ToolChanges) -> Result<(), Failure> {
    if tools.is_empty() {
        return output::line("  tools: the same, to the letter");
    }
    tools.added.iter().try_for_each(|tool| output::line(format!("  tool {} {}", "added".green(), shown(tool))))?;
    tools.removed.iter().try_for_each(|tool| output::line(format!("  tool {} {}", "removed".red(), shown(tool))))?;
    for ToolChange { tool, member, from, to } in &tools.changed {
        output::line(format!("  tool {} {}: {}", "changed".yellow(), shown(tool), shown(member)))?;
        for (mark, text) in [("-", from), ("+", to)] {
            let text: String = shown(text).chars().take(MOST_TEXT).collect();
            text.lines().try_for_each(|line| output::line(format!("    {mark} {line}")))?;
        }
    }
    Ok(())
}

fn verify(packages: &Packages, names: &[String], json: bool) -> Result<(), Failure> {
    let runtime = start::runtime()?;
    let (mut verified, mut absent, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        match runtime.block_on(packages.verify(name)) {
            Ok(true) => verified.push(name),
            Ok(false) => absent.push(name),
            Err(error) => failed.push(Failed::new(name, &error)),
        }
    }
    if json {
        output::json(&serde_json::json!({ "verified": verified, "not_installed": absent, "failed": failed }))?;
        return if failed.is_empty() { Ok(()) } else { Err(Failure::told(Exit::Failed)) };
    }
    verified.iter().try_for_each(|name| output::line(format!("{} {name}: every file is as it was installed", "ok:".green().bold())))?;
    absent.iter().try_for_each(|name| output::line(format!("{name}: not installed here yet")))?;
    finish(&failed)
}

fn prune(packages: &Packages, json: bool) -> Result<(), Failure> {
    let removed = packages.prune(UNUSED).map_err(|error| told(&error))?;
    if json {
        return output::json(&serde_json::json!({ "removed": removed }));
    }
    removed.iter().try_for_each(|name| output::line(format!("removed {name}")))?;
    output::line(format!("{} versions removed that no lock of this machine names and nobody started for 30 days", removed.len()))
}

/// Asks the person at the terminal.
fn confirm() -> Result<bool, Failure> {
    output::note("lock these versions? [y/N]");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
