//! `sallyport learn`: a server on trial inside its whole sandbox, and what its configuration would have to say.

mod door;
mod grant;
mod report;
mod trial;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use sallyport_gateway::config::client_file::fitting_name;
use sallyport_gateway::config::escape;
use sallyport_gateway::config::model::ServerConfig;
use sallyport_gateway::packages;
use sallyport_gateway::plan::{Plan, Source, Standby, StdioPlan};
use sallyport_sandbox::learn::{Kept, Proposal, propose};
use sallyport_sandbox::{Isolation, Selection, install};
use sallyport_telemetry::Folders;

use crate::arguments::{Global, LearnArguments, Target};
use crate::output::{self, Exit, Failure};
use crate::project_file::ProjectFile;
use crate::{start, tenant};
use report::Report;
use trial::Tried;

pub(crate) fn run(global: &Global, arguments: &LearnArguments) -> Result<(), Failure> {
    let target = Target { user: arguments.user, dry_run: !arguments.write, json: arguments.json };
    let mut file = ProjectFile::open(global, &target)?.of_tenant(arguments.tenant.as_deref())?;
    let name = subject(&mut file, arguments)?;
    let rounds = start::runtime()?.block_on(rounds(&mut file, &name, arguments))?;
    let report = Report::new(&name, &rounds, &file);
    if arguments.json {
        output::json(&report.as_json(arguments.write && file.has_changed()))?;
    } else {
        report.tell()?;
        tell_change(&file, &name, arguments.write)?;
    }
    if arguments.write && file.has_changed() {
        file.save(&target)?;
    }
    if rounds.last().is_some_and(|round| round.tried.answered) { Ok(()) } else { Err(Failure::told(Exit::Failed)) }
}

/// One trial, and what it would take not to be refused anything of it.
struct Round {
    tried: Tried,
    proposal: Proposal,
}

/// The server's name. One that is not configured yet is put into the file, which is written only if that was asked for.
fn subject(file: &mut ProjectFile, arguments: &LearnArguments) -> Result<String, Failure> {
    let Some((program, words)) = arguments.command.split_first() else {
        let name = arguments.name.clone().unwrap_or_default();
        if !file.has(&name) {
            let failure = Failure::new(format!("there is no server `{}`", name.escape_debug()));
            let whose = tenant::option(file.tenant());
            let hint = format!("`sallyport list{whose}` names them; `sallyport learn{whose} -- COMMAND` tries one that is not configured");
            return Err(failure.hint(hint));
        }
        return Ok(name);
    };
    let name = arguments.name.clone().unwrap_or_else(|| name_of(program, words));
    if fitting_name(&name) != name || file.has(&name) {
        let failure = Failure::new(format!("`{}` cannot be a new server's name", name.escape_debug()));
        return Err(failure.hint("give it one that is not there yet: `sallyport learn NAME -- COMMAND`"));
    }
    let command = Some(arguments.command.iter().map(|word| escape(word)).collect());
    file.insert(&name, &ServerConfig { command, ..ServerConfig::default() })?;
    Ok(name)
}

/// A name for a program: that of the package, if it is one that is installed first, without what the packages of servers have in common.
fn name_of(program: &str, arguments: &[String]) -> String {
    let installs = install::recognise(program, arguments).is_ok_and(|package| package.is_some());
    let package = arguments.iter().find(|argument| !argument.starts_with('-')).filter(|_| installs);
    let whole = package.map_or(program, String::as_str);
    let name = whole.rsplit('/').next().unwrap_or(whole).split(['@', '=']).next().unwrap_or(whole);
    let short = ["mcp-server-", "server-"].iter().find_map(|prefix| name.strip_prefix(prefix));
    fitting_name(short.unwrap_or(name))
}

/// Tries the server, and again with what each trial proposes, until one brings nothing new.
async fn rounds(file: &mut ProjectFile, name: &str, arguments: &LearnArguments) -> Result<Vec<Round>, Failure> {
    let (plan, stdio) = only(file.plan()?, name, arguments.write)?;
    let kept = kept(file, &stdio);
    let mut giver = grant::Giver::new(file, name, &stdio);
    let trial = trial::Trial::open(plan, name, arguments, &std::io::stderr()).await?;
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        let tried = trial.hold(number).await?;
        let proposal = propose(&tried.record, home().as_deref(), &kept);
        let is_new = giver.give(file, &proposal)?;
        rounds.push(Round { tried, proposal });
        if !is_new || number == arguments.rounds {
            break;
        }
        trial.renew(only(file.plan()?, name, arguments.write)?.0).await?;
    }
    trial.close().await;
    Ok(rounds)
}

/// The plan with this server alone, as it is tried. A trial that writes no file locks nothing either.
fn only(plan: Plan, name: &str, writes: bool) -> Result<(Plan, StdioPlan), Failure> {
    let mut plan = plan.for_one_caller();
    plan.servers.retain(|server, _| server == name);
    plan.toolsets.clear();
    plan.tenants.clear();
    let Some(server) = plan.servers.get_mut(name) else {
        return Err(Failure::new(format!("server `{name}` is disabled")).hint("take `disabled` out to try it"));
    };
    let locked = packages::locked(server, &start::folders()?.lock_drafts_folder());
    let is_locked = locked.map_err(|error| Failure::new(error.to_string()).hint(error.hint()))?.is_some();
    let Source::Stdio(stdio) = &mut server.source else {
        return Err(
            Failure::new(format!("server `{name}` is no program, and runs in no sandbox")).hint("only servers with `command` can be tried")
        );
    };
    stdio.standby = Standby::default(); // it would sleep while it is tried
    stdio.lock = stdio.lock.take().filter(|_| writes || is_locked);
    stdio.sandbox = boundary_of_trials(name, &stdio.sandbox)?;
    let stdio = stdio.clone();
    Ok((plan, stdio))
}

/// The sandbox that a server is tried in, which is one that can be watched.
fn boundary_of_trials(name: &str, chosen: &Selection) -> Result<Selection, Failure> {
    if chosen.has_image() {
        return Err(Failure::new(format!("server `{name}` is a container image, in which nothing can be watched"))
            .hint("write down what it needs: `read`, `write` and `network`"));
    }
    if chosen.floor() > Isolation::Os {
        let floor = chosen.floor();
        return Err(Failure::new(format!("server `{name}` has `min_isolation = \"{floor}\"`, and a trial is held in sandbox `os`"))
            .hint("where a trial in that is enough, lower `min_isolation` on this server while it is tried"));
    }
    if !chosen.is_auto() && chosen.name() != "os" {
        let named = chosen.name();
        output::note(format!("note: `{name}` has `sandbox = \"{named}\"`; it is tried inside the sandbox that it would have without"));
        return Ok(Selection::default());
    }
    Ok(chosen.clone())
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
}

/// What is the gateway's own, by the paths that are written and by those to which they lead.
fn kept(file: &ProjectFile, stdio: &StdioPlan) -> Kept {
    let both = |paths: &mut dyn Iterator<Item = &PathBuf>| -> Vec<PathBuf> {
        paths.flat_map(|path| path.canonicalize().into_iter().chain([path.clone()])).collect()
    };
    let file = file.path().to_path_buf();
    let own = &stdio.own;
    let folders: Vec<PathBuf> = Folders::of_user().iter().flat_map(Folders::all).map(Path::to_owned).collect();
    Kept {
        rules: both(&mut own.rules.iter().chain(&own.locks).chain([&file])),
        secrets: both(&mut own.secrets.iter()),
        folders: both(&mut folders.iter()),
    }
}

/// Shows what the configuration would have to say.
fn tell_change(file: &ProjectFile, name: &str, writes: bool) -> Result<(), Failure> {
    if !file.has_changed() {
        return output::line("no change of the configuration is proposed");
    }
    file.show()?;
    let key = file.key_of(name);
    let about_it = |path: &str| path.strip_prefix(&key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    output::warnings(&file.check()?.warnings.into_iter().filter(|warning| about_it(&warning.path)).collect::<Vec<_>>());
    if !writes && std::io::stdout().is_terminal() {
        output::note("nothing was changed; `--write` puts that into the configuration");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_named_after_its_package() {
        let name = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            name_of(&words[0], &words[1..])
        };
        assert_eq!(name(&["npx", "-y", "@modelcontextprotocol/server-memory@1.2.3"]), "memory");
        assert_eq!(name(&["uvx", "mcp-server-git==1.0", "--repository", "/x"]), "git");
        assert_eq!(name(&["/opt/tool/bin/server", "serve"]), "server");
        assert_eq!(name(&["python3", "server.py"]), "python3");
    }
}
