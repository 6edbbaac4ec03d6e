//! Installs the package that a command names, so that its program starts from the disk and needs no network.
//!
//! The user's own package manager does the work, but inside a boundary: it writes two folders of a private cache, reaches only the
//! registries that the user's own settings name, and runs no script of any package unless the server allows it. Container images need no
//! foreign program: they are fetched here, by `install/oci.rs`. First it is found out what the requirements come to ([`Locked`]: every
//! package with version and digest), then exactly that is installed, into a folder of the store that is named by the digest of all that,
//! and shown read-only to the server that runs from it.
//!
//! A package stays as it was installed. One that is asked for without a version, or by a tag, is not looked up again: what
//! was tried and allowed yesterday must not be other code today, and a server must start without its registry.

mod below;
mod cargo;
mod change;
mod desk;
mod error;
mod exact;
mod links;
mod locked;
mod network;
mod npm;
#[cfg_attr(not(target_os = "linux"), path = "install/oci_elsewhere.rs")]
mod oci;
mod provenance;
mod pypi;
mod recognise;
mod reference;
mod settings;
mod step;
mod store;
mod tree;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::backend::Backend;
use crate::profile::{EnvText, Profile, Program};

pub use change::{Change, Moved};
pub use error::Error;
pub use locked::{Artefact, Locked};
pub use provenance::{Lost, Provenance};
pub use recognise::{names_a_package, recognise};
pub use store::prune;

use desk::{Desk, Turn};
use settings::Settings;
use step::Job;
use store::{Notes, Place, Record};

/// The hint where the package can be had in another way only.
const INSTALL_YOURSELF: &str = "install it yourself and name its program as the command";

/// How long one installation may take. The largest public servers need one minute on a slow line.
const INSTALL_LIMIT: Duration = Duration::from_secs(5 * 60);

/// How long a program may be built, all that it depends on included, on a small machine.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// How long an image of some gigabytes may take on a slow line.
const IMAGE_LIMIT: Duration = BUILD_LIMIT;

/// As many of a package's programs are named in an error.
const MOST_PROGRAMS: usize = 20;

/// A package to install, and what to run of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    source: Source,
    /// As the package manager takes them, the package itself first. Never empty.
    requirements: Vec<String>,
    /// The program to run; without it the only one, or the one named like the package.
    program: Option<String>,
    /// The program's arguments.
    args: Vec<String>,
    /// Where the command lies if it was given by a path: its siblings are used too.
    tools: Option<PathBuf>,
    /// Scripts of packages may run, and programs be built, while it is installed.
    scripts: bool,
}

/// Where packages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// npm's registry, or another one for npm.
    Npm,
    /// PyPI, or another index for pip and uv.
    PyPi,
    /// crates.io, or another registry of cargo.
    Cargo,
    /// A registry of container images.
    Oci,
}

impl Source {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Npm, Self::PyPi, Self::Cargo, Self::Oci];

    /// Its name: that of a folder, and what a command begins with.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::PyPi => "pypi",
            Self::Cargo => "cargo",
            Self::Oci => "oci",
        }
    }
}

impl Package {
    /// The package itself, as it was asked for.
    fn requirement(&self) -> &str {
        self.requirements.first().map_or("", String::as_str)
    }

    /// Whether it is a container image, which a back-end for images runs.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.source == Source::Oci
    }

    /// The same, whose scripts may run and whose programs may be built while it is installed, if `allowed`.
    ///
    /// # Errors
    /// When they are not allowed and it cannot be installed without, and when it has none.
    pub fn with_scripts(self, allowed: bool) -> Result<Self, Error> {
        if self.source == Source::Cargo && !allowed {
            return Err(Error::new(format!("crate {self} has to be built, which runs code of it and of all that it depends on"))
                .with_hint("`scripts = true` on the server allows that, in a sandbox without a network"));
        }
        if self.is_image() && allowed {
            return Err(
                Error::new(format!("`scripts` has no effect on image {self}: nothing is run while it is installed")).with_hint("remove it")
            );
        }
        Ok(Self { scripts: allowed, ..self })
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.requirement())
    }
}

/// What starts the program of an installed package.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The program's file.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The folder that it runs from: to be shown to it, or the image that is its root.
    pub tree: PathBuf,
    /// It runs out of that image.
    pub is_image: bool,
    /// The `PATH` in which its interpreter is found, if it is not the usual one.
    pub path: Option<String>,
    /// The packages whose installation scripts were not run. Most work without; one that does not may be missing a native part.
    pub unbuilt: Vec<String>,
    /// Held for as long as it runs, so that [`prune`] leaves it alone.
    _in_use: Option<Arc<File>>,
}

impl Installed {
    /// What to tell when its program does not start: that scripts were not run which it may have needed.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let scripts = self.unbuilt.join(", ");
        let hint =
            || format!("it may need the installation scripts of {scripts}, which were not run: `scripts = true` on the server allows them");
        (!self.unbuilt.is_empty()).then(hint)
    }

    /// Makes `program` start this in place of the command that was recognised, and `profile` show it. For an image the back-end is another
    /// one besides: [`Selection::for_image`](crate::Selection::for_image).
    pub fn take_over(&self, program: &mut Program, profile: &mut Profile) {
        program.command.clone_from(&self.command);
        program.args.clone_from(&self.args);
        if let Some(path) = &self.path {
            program.env.insert("PATH".to_owned(), EnvText::from(path.as_str()));
        }
        if !self.is_image {
            profile.read.push(self.tree.clone());
        }
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
    /// Installs what `locked` says unless it is there already, and says how to start its program and what it is. Where `locked` says
    /// nothing of this package, what was found out the last time counts, and without that what the registry has now. Several gateways
    /// may do so at once: one installs, the others wait for it. Dropping the future ends the installation, and the next begins when that has
    /// come to rest; what is left is wiped by it. The network is used only for what is not there.
    ///
    /// # Errors
    /// When the package manager is missing, fails, or takes too long (five minutes; half an hour for images and where programs are built),
    /// when what the registry serves or what is installed is not what was locked, and when the package has no such program.
    pub async fn install(&self, package: &Package, locked: Option<&Locked>) -> Result<(Installed, Locked), Error> {
        let desk = Desk::of(self.packages, package);
        let locked = locked.filter(|locked| locked.is_of(package)).cloned().or_else(|| desk.remembered(package));
        let record = match &locked {
            Some(locked) => self.locked(&desk, package, locked).await,
            None => self.looked_up(&desk, package, true).await,
        };
        self.start(package, record.map_err(|error| error.about(package, "cannot be installed:"))?)
    }

    /// Installs what the registry has now for the requirements, whatever is locked.
    ///
    /// # Errors
    /// As [`install`](Self::install).
    pub async fn newest(&self, package: &Package) -> Result<(Installed, Locked), Error> {
        let desk = Desk::of(self.packages, package);
        let record = self.looked_up(&desk, package, false).await;
        self.start(package, record.map_err(|error| error.about(package, "cannot be installed:"))?)
    }

    fn start(&self, package: &Package, (place, record): (Place, Record)) -> Result<(Installed, Locked), Error> {
        let in_use = place.used().map_err(|error| error.about(package, "is installed, but"))?;
        let start = match place.source() {
            Source::Npm => npm::start(&place, package, &record.notes),
            Source::PyPi => pypi::start(&place, package),
            Source::Cargo => cargo::start(&place, package),
            Source::Oci => oci::start(&place, package),
        };
        let Start { command, args } = start.map_err(|error| error.about(package, "is installed, but"))?;
        let installed = Installed {
            command: command.to_string_lossy().into_owned(),
            args,
            tree: place.tree(),
            is_image: package.is_image(),
            path: package.tools.is_some().then(|| self.search_path(package)).flatten(),
            unbuilt: record.notes.unbuilt,
            _in_use: in_use,
        };
        Ok((installed, record.locked))
    }

    /// What a lock says, out of the store or else installed exactly so.
    async fn locked(&self, desk: &Desk, package: &Package, locked: &Locked) -> Result<(Place, Record), Error> {
        locked.check()?;
        match package.source {
            Source::Npm => npm::is_what_is_named(package, locked),
            Source::PyPi => pypi::is_what_is_named(package, locked),
            Source::Cargo => cargo::is_what_is_named(package, locked),
            Source::Oci => oci::is_what_is_named(package, locked),
        }?;
        let place = self.place(package, locked).await?;
        if let Some(there) = there(&place, locked)? {
            return Ok(there);
        }
        let turn = desk.turn(limit(package), || self.wait(package)).await?;
        let job = self.begin(desk, package, &turn).await?;
        let done = self.fill(&job, locked, place.clone()).await;
        desk.clean_up(&turn).await;
        done.map_err(|error| self.of_another_build(&place, locked, error))
    }

    /// The same error, said of a package that is there and could be used if only it had been built for another Node.
    fn of_another_build(&self, place: &Place, locked: &Locked, error: Error) -> Error {
        let Some(wanted) = place.modules() else { return error };
        let all = Place::all(self.packages, locked);
        let built: Vec<&str> = all.iter().filter_map(Place::modules).filter(|built| *built != wanted).collect();
        if built.is_empty() {
            return error;
        }
        let built = built.join(", ");
        let other =
            format!("the Node that it is built for (`process.versions.modules` is {built}) in the server's `PATH` starts it as it is");
        let hint = error.hint().map_or_else(|| other.clone(), |hint| format!("{hint}; {other}"));
        let said =
            format!("it is built for Node's modules {built}, has to be built anew for {wanted}, which this Node loads, and cannot be");
        error.after(&said).with_hint(hint)
    }

    /// Where an installation lies, or is to lie. What scripts of npm's packages have built serves one version of Node.
    async fn place(&self, package: &Package, locked: &Locked) -> Result<Place, Error> {
        let place = Place::of(self.packages, locked);
        if locked.source != Source::Npm || !locked.scripts {
            return Ok(place);
        }
        Ok(place.for_node(&npm::modules(self.backend, self.search_path(package)).await?))
    }

    /// What the registry has now; if it is to be remembered, only where nothing is remembered yet.
    async fn looked_up(&self, desk: &Desk, package: &Package, remember: bool) -> Result<(Place, Record), Error> {
        let turn = desk.turn(limit(package), || self.wait(package)).await?;
        // Whoever had the turn before may have found it out.
        if let Some(locked) = desk.remembered(package).filter(|_| remember)
            && let Some(there) = there(&self.place(package, &locked).await?, &locked)?
        {
            return Ok(there);
        }
        let job = self.begin(desk, package, &turn).await?;
        let done = self.look_up(&job).await;
        desk.clean_up(&turn).await;
        let (place, record) = done?;
        if remember {
            desk.remember(&record.locked)?;
        }
        Ok((place, record))
    }

    fn wait(&self, package: &Package) {
        (self.progress)(&format!("waiting for another installation of {package}"));
    }

    /// Empties the desk, and gets ready what each run of a package manager needs.
    async fn begin<'j>(&self, desk: &Desk, package: &'j Package, turn: &Turn) -> Result<Job<'j>, Error>
    where
        Self: 'j,
    {
        (self.progress)(&format!("installing {package}"));
        desk.clear(turn).await?;
        let mut settings = Settings::of_the_user(package.source);
        // Files among the requirements; a missing one is the package manager's to complain about.
        let files = package.requirements.iter().map(PathBuf::from).filter(|file| file.is_absolute() && file.is_file());
        settings.read.extend(files);
        if package.source == Source::PyPi && package.scripts {
            settings.refuse_credentials()?;
        }
        let network = network::of(package.source, &settings).await;
        let (path, limit) = (self.search_path(package), limit(package));
        let (backend, progress, deadline) = (self.backend, self.progress, Instant::now() + limit);
        Ok(Job { backend, package, progress, settings, network, path, tmp: desk.tmp(), given: desk.given(), limit, deadline })
    }

    async fn look_up(&self, job: &Job<'_>) -> Result<(Place, Record), Error> {
        let locked = match job.package.source {
            Source::Npm => npm::look_up(job).await,
            Source::PyPi => pypi::look_up(job).await,
            Source::Cargo => cargo::look_up(job).await,
            Source::Oci => oci::look_up(job).await,
        }?;
        locked.check()?;
        let place = self.place(job.package, &locked).await?;
        match there(&place, &locked)? {
            Some(there) => Ok(there),
            None => self.fill(job, &locked, place).await,
        }
    }

    /// Installs what is locked into its place in the store.
    async fn fill(&self, job: &Job<'_>, locked: &Locked, place: Place) -> Result<(Place, Record), Error> {
        let turn = place.turn(job.limit, || self.wait(job.package)).await?;
        if let Some(there) = there(&place, locked)? {
            return Ok(there); // another gateway was faster
        }
        let started = Instant::now();
        place.prepare(&turn).await?;
        let done = match self.fill_tree(job, locked, &place.tree()).await {
            Ok(notes) => place.complete(locked, notes).await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            place.abandon(&turn).await;
        }
        let (record, package) = (done?, job.package);
        let Locked { version, provenance, .. } = &record.locked;
        let seconds = started.elapsed().as_secs_f32();
        tracing::info!(%package, version, seconds, signed = provenance.signed, folder = %place.tree().display(), "installed");
        if !record.notes.unbuilt.is_empty() {
            tracing::warn!(%package, "has installation scripts that were not run: {}", record.notes.unbuilt.join(", "));
        }
        Ok((place, record))
    }

    async fn fill_tree(&self, job: &Job<'_>, locked: &Locked, tree: &Path) -> Result<Notes, Error> {
        match locked.source {
            Source::Npm => npm::fill(job, locked, tree).await,
            Source::PyPi => pypi::fill(job, locked, tree).await,
            Source::Cargo => cargo::fill(job, locked, tree).await,
            Source::Oci => oci::fill(job, locked, tree).await,
        }
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

/// Makes `locked` what [`Installer::install`] takes for `package` where no lock says otherwise. `packages` is the private cache.
///
/// # Errors
/// When the private cache cannot be written.
pub fn remember(packages: &Path, package: &Package, locked: &Locked) -> Result<(), Error> {
    Desk::of(packages, package).remember(locked)
}

/// What is taken for `package` where no lock says otherwise.
#[must_use]
pub fn remembered(packages: &Path, package: &Package) -> Option<Locked> {
    Desk::of(packages, package).remembered(package)
}

/// The installation with this key, if it is in the store.
#[must_use]
pub fn stored(packages: &Path, source: Source, key: &str) -> Option<Locked> {
    store::find(packages, source, key)
}

/// Reads every file of an installation, and compares it with what was installed.
///
/// # Errors
/// When it is not installed, cannot be read, is not what was installed, or is not what `locked` says.
pub async fn verify(packages: &Path, locked: &Locked) -> Result<(), Error> {
    let mut found = Err(Error::new(format!("version {} is not installed", locked.version)));
    for place in Place::all(packages, locked) {
        let Some(record) = place.record() else { continue };
        store::matches_lock(&record, locked)?;
        place.verify(&record).await?;
        found = Ok(());
    }
    found
}

/// How two installations differ.
///
/// # Errors
/// When one of them is not there or cannot be read.
pub async fn compare(packages: &Path, old: &Locked, new: &Locked) -> Result<Change, Error> {
    let last_used = |locked| Place::all(packages, locked).into_iter().next().unwrap_or_else(|| Place::of(packages, locked));
    let (before, after) = (last_used(old), last_used(new));
    let files = desk::off_the_runtime(move || Ok((store::files(&before)?, store::files(&after)?))).await;
    let (before, after) = files.map_err(|cause| Error::io("the installations cannot be compared", &cause))?;
    Ok(Change::between(old, new, &before, &after))
}

/// The installation that a lock says, if it is in its place in the store and is what the lock says.
fn there(place: &Place, locked: &Locked) -> Result<Option<(Place, Record)>, Error> {
    let Some(mut record) = place.record() else { return Ok(None) };
    store::matches_lock(&record, locked)?;
    let trees = locked.trees.clone().into_iter().chain(record.locked.trees).collect();
    record.locked = Locked { trees, ..locked.clone() };
    Ok(Some((place.clone(), record)))
}

fn limit(package: &Package) -> Duration {
    match (package.is_image(), package.scripts) {
        (true, _) => IMAGE_LIMIT,
        (false, true) => BUILD_LIMIT,
        (false, false) => INSTALL_LIMIT,
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
