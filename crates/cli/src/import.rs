//! `sallyport import`: takes over the servers of other clients' configurations.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use sallyport_gateway::config::client_file::fitting_name;
use sallyport_gateway::config::model::ServerConfig;
use sallyport_gateway::config::{Diagnostic, user_file};
use serde::Serialize;

use crate::arguments::{Global, ImportArguments};
use crate::output::{self, Failure};
use crate::project_file::{Outcome, ProjectFile};
use crate::secret_file::SecretFiles;

use source::Source;

/// What is taken over.
#[derive(Default)]
struct Harvest {
    servers: BTreeMap<String, ServerConfig>,
    /// The file that each was found in.
    files: BTreeMap<String, PathBuf>,
}

pub(crate) fn run(global: &Global, arguments: &ImportArguments) -> Result<(), Failure> {
    let mut file = ProjectFile::open(global, &arguments.target)?;
    let sources = source::find(arguments.from.as_deref(), file.invocation())?;
    let mut harvest = harvest(&sources, &file)?;
    harvest.leave_out_refused(&mut file)?;
    let (target, as_json) = (&arguments.target, arguments.target.json);
    if harvest.servers.is_empty() {
        output::note("there is nothing to take over");
        return if as_json { Imported::new(&harvest, &BTreeMap::new(), file.outcome(false, &[])).print() } else { Ok(()) };
    }
    let folder = user_file(file.invocation()).map(|own| own.with_file_name("secrets"));
    let folder =
        folder.ok_or_else(|| Failure::new("HOME is not set, so there is no place for secrets").hint("set it to your home folder"))?;
    let mut secrets = SecretFiles::in_folder(folder.clone());
    let mut moved = BTreeMap::new();
    for (name, server) in &mut harvest.servers {
        moved.insert(name.clone(), secrets.take_from(name, server));
        file.insert(name, server)?;
    }
    moved.retain(|_, keys| !keys.is_empty());
    let plan = file.check()?;
    if !as_json {
        file.show()?;
    }
    tell(&harvest, &moved, &folder);
    let about_them = |warning: &&Diagnostic| harvest.servers.keys().any(|name| warning.path.starts_with(&format!("servers.{name}")));
    // The files of secrets are not there yet.
    let is_moved = |path: &str| moved.iter().any(|(name, keys)| keys.iter().any(|key| path == format!("servers.{name}.{key}")));
    let warnings = plan.warnings.iter().filter(about_them).filter(|warning| !is_moved(&warning.path));
    let warnings: Vec<_> = warnings.cloned().collect();
    if !as_json {
        output::warnings(&warnings);
    }
    if as_json && !arguments.yes && !target.dry_run {
        return Err(Failure::new("nobody is asked with `--json`").hint("`--yes` changes without asking, `--dry-run` only shows"));
    }
    let write = !target.dry_run && (arguments.yes || confirm()?);
    if write {
        secrets.write().map_err(|error| Failure::new(format!("a secret cannot be written below {}: {error}", folder.display())))?;
        file.save(target)?;
    } else {
        output::note("nothing was changed");
    }
    if as_json { Imported::new(&harvest, &moved, file.outcome(write, &warnings)).print() } else { Ok(()) }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Imported<'a> {
    servers: Vec<Taken<'a>>,
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

/// A server that was taken over.
#[derive(Serialize)]
struct Taken<'a> {
    server: &'a str,
    /// The file that it was found in.
    from: &'a Path,
    /// The keys whose secrets went to files of their own.
    secrets: &'a [String],
}

impl<'a> Imported<'a> {
    fn new(harvest: &'a Harvest, moved: &'a BTreeMap<String, Vec<String>>, outcome: Outcome<'a>) -> Self {
        let taken = harvest.files.iter().filter(|(name, _)| harvest.servers.contains_key(*name));
        let secrets = |name: &str| moved.get(name).map(Vec::as_slice).unwrap_or_default();
        Self { servers: taken.map(|(name, from)| Taken { server: name, from, secrets: secrets(name) }).collect(), outcome }
    }

    fn print(&self) -> Result<(), Failure> {
        output::json(self)
    }
}

/// Reads the sources, and leaves out what is there already and what is Sallyport itself.
fn harvest(sources: &[Source], file: &ProjectFile) -> Result<Harvest, Failure> {
    let mut harvest = Harvest::default();
    for source in sources {
        let read = source.read(file.invocation())?;
        output::warnings(&read.warnings);
        let servers = read.config.servers.into_iter().filter(|(_, server)| !source::is_sallyport(server));
        servers.for_each(|(name, server)| harvest.take(name, server, source, file));
    }
    Ok(harvest)
}

impl Harvest {
    /// Takes one server, under another name where two clients give one name to different servers.
    fn take(&mut self, name: String, server: ServerConfig, source: &Source, file: &ProjectFile) {
        let from = source.file.display();
        if file.has(&name) {
            return output::note(format!("`{name}` of {from} is left out: a server of this name is there already"));
        }
        let name = match self.servers.get(&name) {
            None => name,
            Some(there) if source::is_same(there, &server) => return,
            Some(_) => {
                let other = fitting_name(&format!("{name}-{}", source.title));
                if file.has(&other) || self.servers.contains_key(&other) {
                    return output::note(format!("`{name}` of {from} is left out: `{name}` and `{other}` are other servers"));
                }
                output::note(format!("`{name}` of {from} is called `{other}`: another client has a different server of that name"));
                other
            }
        };
        self.files.insert(name.clone(), source.file.clone());
        self.servers.insert(name, server);
    }
}

impl Harvest {
    /// Leaves out the servers that cannot be served as they are, and says why: one of them must not keep the others out.
    fn leave_out_refused(&mut self, file: &mut ProjectFile) -> Result<(), Failure> {
        self.servers.iter().try_for_each(|(name, server)| file.insert(name, server))?;
        for error in file.errors() {
            let subject = error.path.strip_prefix("servers.").and_then(|path| path.split('.').next()).map(str::to_owned);
            let Some(name) = subject.filter(|name| self.files.contains_key(name)) else { continue };
            self.servers.remove(&name);
            let hint = error.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
            output::note(format!("`{name}` of {} is left out: {}{hint}", self.files[&name].display(), error.message));
        }
        for name in self.files.keys() {
            file.remove(name); // it comes again, without its secrets
        }
        Ok(())
    }
}

/// Says what the diff does not.
fn tell(harvest: &Harvest, moved: &BTreeMap<String, Vec<String>>, folder: &Path) {
    if !moved.is_empty() {
        output::note(format!("secrets in plain text go to files in {} that only you may read:", folder.display()));
        for (name, keys) in moved {
            keys.iter().for_each(|key| output::note(format!("  servers.{name}.{key}")));
        }
        output::note("they still stand in plain text in the files they come from:");
        let files: BTreeSet<_> = moved.keys().filter_map(|name| harvest.files.get(name)).collect();
        files.into_iter().for_each(|file| output::note(format!("  {}", file.display())));
    }
    if harvest.servers.values().any(|server| server.command.is_some()) {
        output::note("programs have no network until `network = [\"HOST\"]` names where each may connect to");
    }
}

/// Asks the person at the terminal.
fn confirm() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new("stdin is no terminal, so nobody can be asked whether to change it")
            .hint("`--yes` changes without asking, `--dry-run` only shows"));
    }
    output::note("change the configuration so? [y/N]");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
