//! Packages of PyPI.

mod distribution;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde_json::value::RawValue;

use super::desk::off_the_runtime;
use super::exact;
use super::locked::{Artefact, Locked, contradicts};
use super::provenance::{self, Provenance};
use super::step::{Job, Step, read_text};
use super::store::{Notes, Place};
use super::{Error, Package, Start, below, links, tree};
use distribution::Distribution;

/// How a script begins whose `#!` line would be too long: a shell looks for the interpreter.
const SHELL_TRICK: &[u8] = b"#!/bin/sh\n'''exec'";

/// What an environment has beside the programs of its packages.
const NOT_OF_PACKAGES: &[&str] = &["activate", "Activate", "deactivate", "pip", "pydoc", "python", "wheel"];

/// Files that are downloaded for one installation; a lock has no more.
const MOST_DOWNLOADED: usize = 20_000;

/// What pip is told each time.
const PIP_OPTIONS: &[&str] = &["--no-input", "--no-color", "--disable-pip-version-check", "--no-cache-dir", "--progress-bar=off"];

/// Only what is built already: building runs code of the package.
const BUILT: &[&str] = &["--only-binary", ":all:"];

/// What the requirements come to now.
pub(super) async fn look_up(job: &Job<'_>) -> Result<Locked, Error> {
    let package = job.package;
    let artefacts = if uses_uv(job) { uv_compiles(job).await? } else { pip_downloads(job, &[], &package.requirements).await? };
    let asked = Distribution::asked(package.requirement());
    let itself = artefacts.iter().find(|artefact| artefact.name == asked);
    let provenance = match itself {
        Some(itself) => attested(job, itself).await?,
        None => Provenance::default(),
    };
    let version = itself.map(|artefact| artefact.version.clone());
    Ok(Locked {
        source: package.source,
        requirements: package.requirements.clone(),
        version: version.ok_or_else(|| Error::new("it is not among what was found for it"))?,
        scripts: package.scripts,
        provenance,
        trees: BTreeMap::new(),
        artefacts,
        plan: None,
    })
}

/// What the index shows of who published the package itself; of a hundred others it would take longer than all the rest. What cannot be
/// fetched is as if it were not there: most indexes have nothing of the kind.
async fn attested(job: &Job<'_>, itself: &Artefact) -> Result<Provenance, Error> {
    const FETCH: &str = include_str!("pypi/attestations.py");
    let mut found = Provenance::default();
    let out = job.tmp.join("attestations.json");
    let digests = itself.digests.iter().filter_map(|digest| digest.strip_prefix("sha256:"));
    let words = ["-c", FETCH, &itself.name].map(str::to_owned).into_iter().chain([out.display().to_string()]);
    let environment = job.tmp.join("pip/bin/python");
    let python = if environment.exists() { environment.display().to_string() } else { "python3".to_owned() };
    if let Err(error) = job.run(Step::new(python, &job.tmp, words.chain(digests.map(str::to_owned))).online()).await {
        tracing::debug!(package = %job.package, "its attestations cannot be fetched: {error}: {}", error.last_words().join(" | "));
        return Ok(found);
    }
    let text = read_text(&job.tmp, "attestations.json")?;
    let files: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(&text).map_err(|_| Error::new("the index's attestations cannot be read"))?;
    files.values().try_for_each(|file| provenance::check_file(&mut found, itself, file.get()))?;
    Ok(found)
}

/// Refuses a lock that is of other packages than the configuration names.
pub(super) fn is_what_is_named(package: &Package, locked: &Locked) -> Result<(), Error> {
    let is_there = |requirement: &str| {
        let asked = Distribution::asked(requirement);
        locked.artefacts.iter().any(|artefact| artefact.name == asked && exact::fits(requirement, "==", &artefact.version))
    };
    let asked = Distribution::asked(package.requirement());
    if !locked.artefacts.iter().any(|artefact| artefact.name == asked && artefact.version == locked.version) {
        return Err(contradicts("its own version is not among its packages"));
    }
    match package.requirements.iter().find(|requirement| !is_there(requirement)) {
        Some(missing) => Err(contradicts(&format!("{} is not among its packages", missing.escape_debug()))),
        None => Ok(()),
    }
}

/// Installs exactly that: each file by its digest, and nothing else.
pub(super) async fn fill(job: &Job<'_>, locked: &Locked, tree: &Path) -> Result<Notes, Error> {
    let text: String = locked.artefacts.iter().map(line).collect();
    let list = job.give("locked.txt", &text)?;
    if uses_uv(job) {
        with_uv(job, tree, &list).await?
    } else {
        with_pip(job, locked, tree, &list).await?
    }
    Ok(Notes::default())
}

/// A line of a list of requirements with digests.
fn line(artefact: &Artefact) -> String {
    let digests: String = artefact.digests.iter().map(|digest| format!(" --hash={digest}")).collect();
    format!("{}=={}{digests}\n", artefact.name, artefact.version)
}

/// Folders in which the requirements name files.
fn local_folders(package: &Package) -> Vec<String> {
    let files = package.requirements.iter().filter(|text| text.starts_with('/'));
    let folders: BTreeSet<_> = files.filter_map(|file| Path::new(file).parent()).map(|folder| folder.display().to_string()).collect();
    folders.into_iter().flat_map(|folder| ["--find-links".to_owned(), folder]).collect()
}

/// Has pip download all files for `wanted`; what they are is then looked at here. pip itself comes with Python, into scratch space: the
/// server does not get it.
async fn pip_downloads(job: &Job<'_>, options: &[String], wanted: &[String]) -> Result<Vec<Artefact>, Error> {
    let (files, environment) = (job.tmp.join("files"), job.tmp.join("pip"));
    if !environment.exists() {
        job.run(Step::new("python3", &job.tmp, ["-m", "venv", &environment.display().to_string()])).await?;
    }
    let download = ["-m", "pip", "download", "--dest", &files.display().to_string()].map(str::to_owned);
    let args = download.into_iter().chain(pip_options(job)).chain(options.iter().cloned()).chain(wanted.iter().cloned());
    let pip = environment.join("bin/python").display().to_string();
    job.run(Step::new(pip, &job.tmp, args).online().builds(job.package.scripts)).await?;
    let tmp = job.tmp.clone();
    let found = off_the_runtime(move || digests_of(&tmp, "files")).await;
    found.map_err(|cause| Error::io(format_args!("{} cannot be read", files.display()), &cause))?
}

fn pip_options(job: &Job<'_>) -> impl Iterator<Item = String> + use<> {
    let built = if job.package.scripts { &[] } else { BUILT };
    PIP_OPTIONS.iter().chain(built).map(|option| (*option).to_owned())
}

/// What was downloaded into a folder below `root`, each file with the digest that it really has.
fn digests_of(root: &Path, folder: &str) -> io::Result<Result<Vec<Artefact>, Error>> {
    let (mut found, mut bytes) = (BTreeSet::new(), 0);
    for entry in fs::read_dir(root.join(folder))?.take(MOST_DOWNLOADED) {
        let name = entry?.file_name();
        let file = name.to_str().unwrap_or_default();
        let Some(Distribution { name, version }) = Distribution::of_file(file) else {
            return Ok(Err(Error::new(format!("{} is no package", file.escape_debug()))));
        };
        let mut content = below::open(root, &Path::new(folder).join(file))?;
        bytes += content.metadata()?.len();
        if bytes > tree::MOST_BYTES {
            return Err(io::Error::other("more bytes than an installation has"));
        }
        let digest = tree::sha256(&mut content)?;
        found.insert(Artefact { name, version, digests: BTreeSet::from([digest]) });
    }
    Ok(Ok(found.into_iter().collect()))
}

/// Downloads what is not there yet, by digest, and installs that: each file by its digest, so nothing else takes its place.
async fn with_pip(job: &Job<'_>, locked: &Locked, tree: &Path, list: &Path) -> Result<(), Error> {
    let files = job.tmp.join("files");
    let list = list.display().to_string();
    if !files.exists() {
        let mut options = vec!["--require-hashes".to_owned(), "--no-deps".to_owned(), "--requirement".to_owned(), list.clone()];
        options.extend(local_folders(job.package));
        let downloaded = pip_downloads(job, &options, &[]).await?;
        let locked_too = |found: &Artefact| {
            locked
                .artefacts
                .iter()
                .any(|one| one.name == found.name && one.version == found.version && found.digests.is_subset(&one.digests))
        };
        if let Some(other) = downloaded.iter().find(|found| !locked_too(found)) {
            return Err(Error::new(format!("pip has downloaded {} {}, which was not locked so", other.name, other.version)));
        }
    }
    let (environment, files) = (tree.display().to_string(), files.display().to_string());
    job.run(Step::new("python3", tree, ["-m", "venv", "--without-pip", &environment])).await?;
    let before = links::leaving(tree).await?;
    let exact = ["--require-hashes", "--no-deps", "--find-links", &files, "--requirement", &list, "--no-warn-script-location", "--no-user"];
    // What has to be built needs tools from the index, and pip looks for them where it looks for the rest.
    let alone: &[&str] = if job.package.scripts { &[] } else { &["--no-index"] };
    let args = ["-m", "pip", "install"].iter().chain(&exact).chain(alone).map(|word| (*word).to_owned()).chain(pip_options(job));
    let install =
        Step::new(tree.join("bin/python").display().to_string(), tree, args).with("PYTHONPATH", pip_itself(&job.tmp.join("pip"))?);
    let install = if job.package.scripts { install.online().builds(true) } else { install };
    job.run(install).await?;
    links::refuse_others(tree, &before).await
}

/// Where the scratch environment has pip, to be run by another environment's Python.
fn pip_itself(environment: &Path) -> Result<String, Error> {
    let libraries = fs::read_dir(environment.join("lib")).into_iter().flatten().flatten();
    let places = libraries.map(|library| library.path().join("site-packages")).find(|place| place.join("pip").is_dir());
    places.map(|place| place.display().to_string()).ok_or_else(|| Error::new("Python has made an environment without pip"))
}

async fn uv_compiles(job: &Job<'_>) -> Result<Vec<Artefact>, Error> {
    let list = job.tmp.join("compiled.txt");
    let text: String = job.package.requirements.iter().map(|requirement| format!("{}\n", Distribution::exact(requirement))).collect();
    let wanted = job.give("wanted.txt", &text)?;
    let (input, output) = (wanted.display().to_string(), list.display().to_string());
    let args = ["pip", "compile", "--generate-hashes", "--no-header", "--no-annotate", "--output-file", &output, &input];
    job.run(uv(job, &job.tmp, &args, local_folders(job.package)).online()).await?;
    Ok(distribution::compiled(&read_text(&job.tmp, "compiled.txt")?))
}

async fn with_uv(job: &Job<'_>, tree: &Path, list: &Path) -> Result<(), Error> {
    let (environment, list) = (tree.display().to_string(), list.display().to_string());
    let python = tree.join("bin/python").display().to_string();
    job.run(uv(job, tree, &["venv", "--allow-existing", &environment], Vec::new())).await?;
    let before = links::leaving(tree).await?;
    let install = ["pip", "install", "--require-hashes", "--no-deps", "--link-mode", "copy", "--python", &python, "--requirement", &list];
    job.run(uv(job, tree, &install, local_folders(job.package)).online().builds(job.package.scripts)).await?;
    links::refuse_others(tree, &before).await?;
    // uv leaves it to the first start, which cannot write there. Without `site` nothing of the packages is run; some of them hold files
    // that no Python can compile.
    let compile = Step::new(python.as_str(), tree, ["-I", "-S", "-m", "compileall", "-qq", &environment]);
    if let Err(error) = job.run(compile).await {
        tracing::debug!(package = %job.package, "{error}: {}", error.last_words().join(" | "));
    }
    Ok(())
}

fn uv(job: &Job<'_>, folder: &Path, what: &[&str], more: Vec<String>) -> Step {
    let cache = job.tmp.join("uv").display().to_string();
    let is_venv = what.first() == Some(&"venv");
    // What a build of a package has left in the cache says of the interpreters here where they lie.
    let cache: &[&str] = if is_venv { &["--no-cache"] } else { &["--cache-dir", &cache] };
    let built = if job.package.scripts || is_venv { &[] } else { BUILT };
    let quiet = ["--no-progress", "--no-python-downloads"];
    let args = what.iter().chain(&quiet).chain(cache).chain(built).map(|word| (*word).to_owned()).chain(more);
    Step::new("uv", folder, args)
}

fn uses_uv(job: &Job<'_>) -> bool {
    let path = job.path.as_ref().map(Into::into).or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.is_absolute() && folder.join("uv").is_file())
}

/// The script that is named; by its interpreter where it would otherwise go by the shell.
pub(super) fn start(place: &Place, package: &Package) -> Result<Start, Error> {
    let programs = place.tree().join("bin");
    let program = package.program.as_deref().unwrap_or_default();
    let script = programs.join(program);
    if program.is_empty() || program.contains('/') || !place.holds(&script) {
        let of_a_package = |name: &str| !NOT_OF_PACKAGES.iter().any(|known| name.starts_with(known));
        return Err(super::no_such_program(program, &programs, of_a_package));
    }
    if !begins_with(&script, SHELL_TRICK) {
        return Ok(Start { command: script, args: package.args.clone() });
    }
    // Only the interpreter of the `#!` line would be shown, which is the shell.
    let args = std::iter::once(script.to_string_lossy().into_owned()).chain(package.args.iter().cloned()).collect();
    Ok(Start { command: programs.join("python"), args })
}

fn begins_with(file: &Path, mark: &[u8]) -> bool {
    let mut start = vec![0; mark.len()];
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == mark
}
