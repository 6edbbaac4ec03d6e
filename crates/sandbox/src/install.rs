//! Installs the package that an `npx` or `uvx` command names, so that its program starts from the disk and needs no network.
//!
//! The user's own package manager does the work, with the registries that the user's own settings name, but inside a boundary:
//! it may write one folder of a private cache, and no script of any package is run. Each set of requirements has a folder
//! of its own there, shown read-only to the server that runs from it.
//!
//! A package stays as it was installed. One that is asked for without a version, or by a tag, is not looked up again: what
//! was tried and allowed yesterday must not be other code today, and a server must start without its registry. To get
//! another version, name it; to look up a tag again, remove the folder.

mod error;
mod npm;
mod place;
mod pypi;
mod recognise;
mod settings;
mod step;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Backend;
use crate::profile::{EnvText, Profile, Program};

pub use error::Error;
pub use recognise::recognise;

use place::{Place, Record};
use settings::Settings;
use step::Step;

/// The hint where the package can be had in another way only.
const INSTALL_YOURSELF: &str = "install it yourself and name its program as the command";

/// How long one installation may take. The largest public servers need one minute on a slow line.
const INSTALL_LIMIT: Duration = Duration::from_secs(5 * 60);

/// As many of a package's programs are named in an error.
const MOST_PROGRAMS: usize = 20;

/// A package to install, and what to run of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    registry: Registry,
    /// As the package manager takes them, the package itself first. Never empty.
    requirements: Vec<String>,
    /// The program to run; without it the only one, or the one named like the package.
    program: Option<String>,
    /// The program's arguments.
    args: Vec<String>,
    /// Where the command lies if it was given by a path: its siblings are used too.
    tools: Option<PathBuf>,
}

/// Where packages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registry {
    Npm,
    PyPi,
}

impl Registry {
    /// Its folder in the cache.
    fn folder(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::PyPi => "pypi",
        }
    }
}

impl Package {
    /// The package itself, as it was asked for.
    fn requirement(&self) -> &str {
        self.requirements.first().map_or("", String::as_str)
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.requirement())
    }
}

/// What starts the program of an installed package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The program's file.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The folder that it runs from, to be shown to it.
    pub read: PathBuf,
    /// The `PATH` in which its interpreter is found, if it is not the usual one.
    pub path: Option<String>,
    /// The packages whose installation scripts were not run. Most work without; one that does not may be missing a native part.
    pub unbuilt: Vec<String>,
}

impl Installed {
    /// What to tell when its program does not start: that scripts were not run which it may have needed.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let scripts = self.unbuilt.join(", ");
        let hint = || format!("it may need the installation scripts of {scripts}, which are never run: {INSTALL_YOURSELF}");
        (!self.unbuilt.is_empty()).then(hint)
    }

    /// Makes `program` start this in place of the command that was recognised, and `profile` show it.
    pub fn take_over(&self, program: &mut Program, profile: &mut Profile) {
        program.command.clone_from(&self.command);
        program.args.clone_from(&self.args);
        if let Some(path) = &self.path {
            program.env.insert("PATH".to_owned(), EnvText::from(path.as_str()));
        }
        profile.read.push(self.read.clone());
    }
}

/// Installs packages.
#[derive(Clone, Copy)]
pub struct Installer<'a> {
    /// Runs the package manager. The server's own: where a server runs without a boundary, so does its installation.
    pub backend: &'a dyn Backend,
    /// The private cache; made if it is not there.
    pub packages: &'a Path,
    /// The `PATH` in which package manager and interpreter are looked up, if the server is given one of its own.
    pub path: Option<&'a str>,
    /// Is told what is going on, for people: "installing …".
    pub progress: &'a (dyn Fn(&str) + Send + Sync),
}

impl Installer<'_> {
    /// Installs `package` unless it is there already, and says how to start its program. Several gateways may do so at once:
    /// one installs, the others wait for it. Dropping the future ends the installation; what it leaves is wiped by the next.
    ///
    /// # Errors
    /// When the package manager is missing, fails, or takes longer than five minutes, and when the package has no such program.
    pub async fn install(&self, package: &Package) -> Result<Installed, Error> {
        let place = Place::of(self.packages, package);
        let record = match place.record() {
            Some(record) => record,
            None => self.install_in(&place, package).await?,
        };
        let start = match package.registry {
            Registry::Npm => npm::start(&place, package, &record),
            Registry::PyPi => pypi::start(&place, package),
        };
        let Start { command, args } = start.map_err(|error| error.about(package, "is installed, but"))?;
        Ok(Installed {
            command: command.to_string_lossy().into_owned(),
            args,
            read: place.tree(),
            path: package.tools.is_some().then(|| self.search_path(package)).flatten(),
            unbuilt: record.unbuilt,
        })
    }

    async fn install_in(&self, place: &Place, package: &Package) -> Result<Record, Error> {
        let fail = |error: Error| error.about(package, "cannot be installed:");
        let waiting = || (self.progress)(&format!("waiting for another installation of {package}"));
        let _turn = place.turn(INSTALL_LIMIT, waiting).await.map_err(fail)?;
        // Whoever had the turn before may have installed it.
        if let Some(record) = place.record() {
            return Ok(record);
        }
        (self.progress)(&format!("installing {package}"));
        let started = Instant::now();
        place.clear().await.map_err(fail)?;
        let record = match self.fill(place, package).await {
            Ok(record) => record,
            Err(error) => {
                place.clear().await.map_err(fail)?;
                return Err(fail(error));
            }
        };
        place.complete(&record).await.map_err(fail)?;
        tracing::info!(%package, seconds = started.elapsed().as_secs_f32(), folder = %place.tree().display(), "installed");
        if !record.unbuilt.is_empty() {
            tracing::warn!(%package, "has installation scripts that were not run: {}", record.unbuilt.join(", "));
        }
        Ok(record)
    }

    /// Runs the package manager in the empty folder, and looks at what it has made.
    async fn fill(&self, place: &Place, package: &Package) -> Result<Record, Error> {
        place.prepare()?;
        let path = self.search_path(package);
        let steps = match package.registry {
            Registry::Npm => npm::steps(place, package)?,
            Registry::PyPi => pypi::steps(place, package, path.as_deref()),
        };
        let settings = Settings::of_the_user(package.registry);
        let deadline = Instant::now() + INSTALL_LIMIT;
        for step in steps {
            let mut env = settings.env.clone();
            env.extend(path.iter().map(|path| ("PATH".to_owned(), EnvText::from(path.as_str()))));
            let optional = step.optional;
            match self.run(step, place, &settings.read, env, deadline).await {
                Err(error) if optional => tracing::debug!(%package, "{error}: {}", error.last_words().join(" | ")),
                done => done?,
            }
        }
        match package.registry {
            Registry::Npm => npm::look(place, package),
            Registry::PyPi => Ok(Record::default()),
        }
    }

    async fn run(
        &self,
        step: Step,
        place: &Place,
        read: &[PathBuf],
        env: BTreeMap<String, EnvText>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let profile = step::profile(place, read);
        let program = step.program(place, env);
        step::run(self.backend, &profile, &program, deadline).await
    }

    /// The `PATH` for package manager and interpreter; nothing where the usual one serves.
    fn search_path(&self, package: &Package) -> Option<String> {
        let path = self.path.map(str::to_owned);
        match &package.tools {
            None => path,
            Some(tools) => {
                let path = path.or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
                Some(format!("{}:{path}", tools.display()))
            }
        }
    }
}

impl fmt::Debug for Installer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installer").field("backend", &self.backend).field("packages", &self.packages).finish_non_exhaustive()
    }
}

/// The program that was found in an installation.
struct Start {
    command: PathBuf,
    args: Vec<String>,
}

/// What to say when a program is not among those of an installation that `counts`.
fn no_such_program(program: &str, programs: &Path, counts: impl Fn(&str) -> bool) -> Error {
    let entries = std::fs::read_dir(programs).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| counts(name)).collect();
    names.sort_unstable();
    names.truncate(MOST_PROGRAMS);
    let error = Error::new(format!("has no program {program}"));
    match names.is_empty() {
        true => error.with_hint("name the package that holds the server; this one may be a library"),
        false => error.with_hint(format!("its programs: {}", names.join(", "))),
    }
}
