//! Programs of crates.io and other registries of cargo. They are built here, and building runs code of theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::exact;
use super::locked::{Artefact, Locked, contradicts};
use super::provenance::Provenance;
use super::step::{Job, Step, read_text, write_text};
use super::store::{Notes, Place};
use super::{Error, Package, Start, links};

/// What is fetched of a crate that nobody depends on but this.
const PROJECT: &str = "[package]\nname = \"sallyport-fetches\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[dependencies]\n";

/// What the requirement comes to now.
pub(super) async fn look_up(job: &Job<'_>) -> Result<Locked, Error> {
    let (name, version) = split(job.package.requirement());
    let source = fetch(job, name, &as_written(version)).await?;
    let lock = source.folder.join("Cargo.lock");
    // Many crates come with the lock that their authors built them with; for the others cargo makes one.
    let exact: &[&str] = if lock.exists() { &["--locked"] } else { &[] };
    fetch_dependencies(job, &source.folder, exact).await?;
    let plan = read_text(&job.tmp, source.inside(&job.tmp, "Cargo.lock"))?;
    Ok(Locked {
        source: job.package.source,
        requirements: job.package.requirements.clone(),
        version: source.version.clone(),
        scripts: true,
        provenance: Provenance::default(),
        trees: BTreeMap::new(),
        artefacts: artefacts(&plan, &source)?,
        plan: Some(plan),
    })
}

/// Refuses a lock that is of another crate than the configuration names.
pub(super) fn is_what_is_named(package: &Package, locked: &Locked) -> Result<(), Error> {
    let (name, _) = split(package.requirement());
    let is_it = |artefact: &Artefact| {
        artefact.name == name && artefact.version == locked.version && exact::fits(package.requirement(), "@", &artefact.version)
    };
    if locked.artefacts.iter().any(is_it) {
        Ok(())
    } else {
        Err(contradicts(&format!("{} is not among its packages", package.requirement())))
    }
}

/// Builds exactly that, without network.
pub(super) async fn fill(job: &Job<'_>, locked: &Locked, tree: &Path) -> Result<Notes, Error> {
    let (name, _) = split(job.package.requirement());
    let source = fetch(job, name, &format!("={}", locked.version)).await?;
    let plan = locked.plan.as_deref().ok_or_else(|| contradicts("it has no plan"))?;
    if artefacts(plan, &source)? != locked.artefacts {
        return Err(Error::new(format!("the registry serves other files of {name} {} than those that were locked", locked.version))
            .with_hint("do not trust it before you know why; `sallyport update NAME` locks it anew"));
    }
    write_text(&job.tmp, source.inside(&job.tmp, "Cargo.lock"), plan)?;
    fetch_dependencies(job, &source.folder, &["--locked"]).await?;
    let (path, root) = (source.folder.display().to_string(), tree.display().to_string());
    let target = job.tmp.join("target").display().to_string();
    let args = ["install", "--path", &path, "--root", &root, "--target-dir", &target, "--locked", "--offline", "--no-track"];
    job.run(alone(job, tree, &args)?).await?;
    links::refuse_others(tree, &links::Leaving::new()).await?;
    Ok(Notes { name: Some(name.to_owned()), unbuilt: Vec::new() })
}

/// The program that is named, the only one, or the one named like the crate.
pub(super) fn start(place: &Place, package: &Package) -> Result<Start, Error> {
    let programs = place.tree().join("bin");
    let found = fs::read_dir(&programs).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let found: Vec<String> = found.collect();
    let name = match (&package.program, found.as_slice()) {
        (Some(program), _) => program,
        (None, [only]) => only,
        (None, _) => split(package.requirement()).0,
    };
    match found.iter().any(|program| program == name) && place.holds(&programs.join(name)) {
        true => Ok(Start { command: programs.join(name), args: package.args.clone() }),
        false => Err(super::no_such_program(name, &programs, |_| true)),
    }
}

/// A crate's source.
struct Source {
    folder: PathBuf,
    name: String,
    version: String,
    checksum: String,
}

impl Source {
    /// A file of it, named from scratch space.
    fn inside(&self, tmp: &Path, name: &str) -> PathBuf {
        self.folder.strip_prefix(tmp).unwrap_or(&self.folder).join(name)
    }
}

/// Fetches the crate's source by a project that depends on it: cargo then verifies it against the registry's checksum.
async fn fetch(job: &Job<'_>, name: &str, version: &str) -> Result<Source, Error> {
    let project = job.tmp.join("fetch");
    let made = fs::create_dir_all(project.join("src"));
    made.map_err(|cause| Error::io(format_args!("folder {} cannot be made", project.display()), &cause))?;
    write_text(&project, "src/lib.rs", "")?;
    write_text(&project, "Cargo.toml", &format!("{PROJECT}{name} = \"{version}\"\n"))?;
    let manifest = project.join("Cargo.toml").display().to_string();
    job.run(cargo(job, &project, &["fetch", "--manifest-path", &manifest]).online()).await?;
    let lock = read_lock(&read_text(&project, "Cargo.lock")?)?;
    let found = lock.package.into_iter().find(|package| package.name == name && package.checksum.is_some());
    let found = found.ok_or_else(|| Error::new(format!("cargo has not found {name}")))?;
    let folder = source_folder(&job.tmp, name, &found.version)?;
    Ok(Source { folder, name: name.to_owned(), version: found.version, checksum: found.checksum.unwrap_or_default() })
}

async fn fetch_dependencies(job: &Job<'_>, source: &Path, exact: &[&str]) -> Result<(), Error> {
    let manifest = source.join("Cargo.toml").display().to_string();
    let args: Vec<&str> = ["fetch", "--manifest-path", &manifest].into_iter().chain(exact.iter().copied()).collect();
    // Not in the source's folder: settings of a package (`.cargo/config.toml`, `rust-toolchain.toml`) name programs to be run.
    job.run(cargo(job, &job.tmp.join("fetch"), &args).online()).await
}

/// Where cargo has unpacked it: below the one registry that it came from.
fn source_folder(tmp: &Path, name: &str, version: &str) -> Result<PathBuf, Error> {
    let registries = fs::read_dir(tmp.join("cargo/registry/src")).into_iter().flatten().flatten();
    let found = registries.map(|registry| registry.path().join(format!("{name}-{version}"))).find(|folder| folder.is_dir());
    found.ok_or_else(|| {
        Error::new(format!("cargo has not unpacked {name} {version}")).with_hint("a vendored or a local registry is not supported")
    })
}

fn cargo(job: &Job<'_>, folder: &Path, args: &[&str]) -> Step {
    with_settings(job, folder, args, &job.settings.cargo)
}

/// One that builds, without network and credentials: what it learns may go into what it builds.
fn alone(job: &Job<'_>, folder: &Path, args: &[&str]) -> Result<Step, Error> {
    let harmless = job.settings.harmless_cargo().into_iter().enumerate();
    let files = harmless.map(|(number, text)| job.give(&format!("cargo-{number}.toml"), &text)).collect::<Result<Vec<_>, _>>()?;
    Ok(with_settings(job, folder, args, &files).builds(true))
}

fn with_settings(job: &Job<'_>, folder: &Path, args: &[&str], files: &[PathBuf]) -> Step {
    let settings = files.iter().flat_map(|file| ["--config".to_owned(), file.display().to_string()]);
    let args = args.iter().map(|word| (*word).to_owned()).chain(["--color=never".to_owned()]).chain(settings);
    Step::new("cargo", folder, args).with("CARGO_HOME", job.tmp.join("cargo").display().to_string())
}

/// `NAME@VERSION`; without a version any.
fn split(requirement: &str) -> (&str, &str) {
    requirement.split_once('@').unwrap_or((requirement, "*"))
}

/// The same for cargo, to which `1.2.3` alone is any version that is compatible with it: what is written without an operator is meant.
fn as_written(version: &str) -> String {
    let each = version.split(',').map(str::trim);
    let each = each.map(|part| if part.starts_with(|first: char| first.is_ascii_digit()) { format!("={part}") } else { part.to_owned() });
    each.collect::<Vec<_>>().join(", ")
}

#[derive(Deserialize)]
struct CargoLock {
    #[serde(default)]
    package: Vec<Locking>,
}

#[derive(Deserialize)]
struct Locking {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

fn read_lock(text: &str) -> Result<CargoLock, Error> {
    toml::from_str(text).map_err(|error| Error::new(format!("cargo's lock cannot be read: {}", error.message())))
}

/// Every crate with its checksum, the program's own among them.
fn artefacts(plan: &str, itself: &Source) -> Result<Vec<Artefact>, Error> {
    let digest = |checksum: &str| BTreeSet::from([format!("sha256:{checksum}")]);
    let own = Artefact { name: itself.name.clone(), version: itself.version.clone(), digests: digest(&itself.checksum) };
    let mut all = BTreeSet::from([own]);
    for Locking { name, version, source, checksum } in read_lock(plan)?.package {
        match (source, checksum) {
            (Some(_), Some(checksum)) => drop(all.insert(Artefact { name, version, digests: digest(&checksum) })),
            (None, _) => {} // the program itself
            (Some(_), None) => {
                return Err(Error::new(format!("{} is not a crate of a registry", name.escape_debug()))
                    .with_hint("crates that depend on repositories are not installed"));
            }
        }
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_one_that_is_written_and_a_range_stays_one() {
        for (written, told) in [
            ("1.2.3", "=1.2.3"),
            ("1.2.3-rc.1", "=1.2.3-rc.1"),
            ("1.2", "=1.2"),
            ("1.*", "=1.*"),
            ("=1.2.3", "=1.2.3"),
            ("^1.2.3", "^1.2.3"),
            ("~1.2", "~1.2"),
            (">=1.2,<2", ">=1.2, <2"),
            ("*", "*"),
        ] {
            assert_eq!(as_written(written), told, "{written}");
        }
    }
}
