//! Packages of npm.

mod cache;
mod node;
mod plan;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::desk::off_the_runtime;
use super::locked::{Artefact, Locked, contradicts};
use super::provenance::{self, Provenance};
use super::step::{Job, Step, read_text, write_text};
use super::store::{Notes, Place};
use super::{Error, Package, Start, links};
pub(super) use node::modules;
use plan::Plan;

/// As many packages are named; the rest is counted.
const MOST_UNBUILT: usize = 20;

/// What npm is told each time. A dependency that is a git repository would be prepared by running it.
const OPTIONS: &[&str] = &[
    "--ignore-scripts",
    "--allow-git=none",
    "--global=false",
    "--location=project",
    "--install-strategy=hoisted",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--no-progress",
    "--loglevel=error",
];

/// What the requirements come to now.
pub(super) async fn look_up(job: &Job<'_>) -> Result<Locked, Error> {
    let project = job.tmp.join("project");
    make(&project)?;
    write_text(&project, "package.json", r#"{"private":true}"#)?;
    let only_look = ["install", "--save-prod", "--package-lock-only"];
    let wanted = job.package.requirements.iter().map(String::as_str);
    job.run(npm(job, &project, &only_look, wanted).online()).await?;
    let plan = Plan::made_by_npm(&read_text(&project, "package-lock.json")?, &project)?;
    let provenance = provenance(job, &plan).await?;
    Ok(Locked {
        source: job.package.source,
        requirements: job.package.requirements.clone(),
        version: plan.version(job.package)?,
        scripts: job.package.scripts,
        provenance,
        trees: BTreeMap::new(),
        artefacts: plan.artefacts()?,
        plan: Some(plan.to_text()),
    })
}

/// Refuses a lock that is of other packages than the configuration names.
pub(super) fn is_what_is_named(package: &Package, locked: &Locked) -> Result<(), Error> {
    let plan = Plan::of_lock(locked.plan.as_deref().unwrap_or_default())?;
    plan.is_of(&package.requirements)?;
    if plan.version(package)? == locked.version { Ok(()) } else { Err(contradicts("its plan is of another version")) }
}

/// Installs exactly that, as `npm ci` does.
pub(super) async fn fill(job: &Job<'_>, locked: &Locked, tree: &Path) -> Result<Notes, Error> {
    let plan = Plan::of_lock(locked.plan.as_deref().unwrap_or_default())?;
    if plan.artefacts()? != locked.artefacts {
        return Err(contradicts("its list of packages is not that of its plan"));
    }
    write_text(tree, "package.json", &plan.project())?;
    write_text(tree, "package-lock.json", &plan.to_text())?;
    job.run(npm(job, tree, &["ci"], []).online()).await?;
    let installed: Hidden = read(tree, "node_modules/.package-lock.json")?;
    installed.is_part_of(locked)?;
    if locked.scripts {
        let rebuild = ["rebuild", "--ignore-scripts=false", "--foreground-scripts=false"];
        // Scripts get neither credentials nor a network: nothing could keep the two apart.
        job.run(npm(job, tree, &rebuild, []).builds(true)).await?;
    }
    links::refuse_others(tree, &links::Leaving::new()).await?;
    let unbuilt = if locked.scripts { Vec::new() } else { installed.unbuilt() };
    // A file or an alias tells its name only now. Of several packages the command names the program.
    let name = Some(plan.roots()).filter(|_| locked.requirements.len() == 1).and_then(|mut names| names.next().map(str::to_owned));
    Ok(Notes { name, unbuilt })
}

fn npm<'a>(job: &Job<'_>, project: &Path, what: &[&'a str], wanted: impl IntoIterator<Item = &'a str>) -> Step {
    let (prefix, cache) = (project.display().to_string(), job.tmp.join("npm").display().to_string());
    let folders = ["--prefix", &prefix, "--cache", &cache];
    let (command, own) = what.split_first().map_or(("", what), |(command, own)| (*command, own));
    let wanted: Vec<&str> = wanted.into_iter().collect();
    let end = (!wanted.is_empty()).then_some("--");
    // The last of two equal options counts.
    let args = [command].into_iter().chain(OPTIONS.iter().copied()).chain(own.iter().copied()).chain(folders);
    Step::new("npm", project, args.chain(end).chain(wanted))
}

/// What the registry says of who made the packages, out of what npm has fetched of it.
async fn provenance(job: &Job<'_>, plan: &Plan) -> Result<Provenance, Error> {
    let cache = job.tmp.join("npm/_cacache");
    let failed = |cause| Error::io("npm's cache cannot be read", &cause);
    let told = off_the_runtime(move || Ok(cache::distributions(&cache))).await.map_err(failed)?;
    let mut found = Provenance::default();
    for artefact in plan.artefacts()? {
        let Some(dist) = told.get(&(artefact.name.clone(), artefact.version.clone())) else { continue };
        provenance::count(&mut found, &artefact, dist)?;
        // Of the package itself; asking for those of a hundred others would take longer than all the rest.
        let itself = plan.roots().any(|root| root == artefact.name);
        if let Some(address) = provenance::address(dist).filter(|_| itself)
            && let Some(attestations) = fetched(job, address).await
        {
            provenance::check(&mut found, &artefact, &attestations)?;
        }
    }
    Ok(found)
}

/// Fetches a file of the registry, which npm itself has no command for. `None` if that fails: it is then only known to be announced.
async fn fetched(job: &Job<'_>, address: &str) -> Option<String> {
    // Twenty seconds: what is only additional must not hold up an installation.
    const FETCH: &str = "fetch(process.argv[1], { signal: AbortSignal.timeout(20000) }).then(async (answer) => {
        if (!answer.ok) process.exit(1);
        require('node:fs').writeFileSync(process.argv[2], Buffer.from(await answer.arrayBuffer()));
    }, () => process.exit(1));";
    let file = job.tmp.join("attestations.json");
    let step = Step::new("node", &job.tmp, ["-e", FETCH, address, &file.display().to_string()]).online();
    match job.run(step).await {
        Ok(()) => read_text(&job.tmp, "attestations.json").ok(),
        Err(error) => {
            tracing::debug!(package = %job.package, "its attestations cannot be fetched: {error}");
            None
        }
    }
}

/// What npm notes of what it has put into a tree.
#[derive(Deserialize)]
struct Hidden {
    packages: BTreeMap<String, Installed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Installed {
    name: Option<String>,
    version: Option<String>,
    integrity: Option<String>,
    #[serde(default)]
    has_install_script: bool,
}

impl Hidden {
    /// Whether everything in the tree was locked.
    fn is_part_of(&self, locked: &Locked) -> Result<(), Error> {
        for (path, installed) in &self.packages {
            let Installed { name, version: Some(version), integrity: Some(integrity), .. } = installed else { continue };
            let name = name.as_deref().unwrap_or_else(|| plan::name_at(path));
            let is_it = |artefact: &Artefact| artefact.name == name && artefact.version == *version && artefact.digests.contains(integrity);
            if !locked.artefacts.iter().any(is_it) {
                return Err(Error::new(format!("npm has installed {name} {version}, which was not locked")));
            }
        }
        Ok(())
    }

    fn unbuilt(&self) -> Vec<String> {
        let with_scripts = self.packages.iter().filter(|(_, package)| package.has_install_script);
        with_scripts.map(|(path, _)| plan::name_at(path).to_owned()).take(MOST_UNBUILT).collect()
    }
}

fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir(folder).map_err(|cause| Error::io(format_args!("folder {} cannot be made", folder.display()), &cause))
}

/// The program: the one that is named, the only one, or the one named like the package.
pub(super) fn start(place: &Place, package: &Package, notes: &Notes) -> Result<Start, Error> {
    let programs = place.tree().join("node_modules/.bin");
    let program = match (&package.program, &notes.name) {
        (Some(program), _) => program.clone(),
        (None, Some(name)) => own_program(place, name)?,
        (None, None) => return Err(Error::new("the command does not say which program to run")),
    };
    let command = programs.join(&program);
    if !place.holds(&command) || program.contains('/') {
        return Err(super::no_such_program(&program, &programs, |_| true));
    }
    Ok(Start { command, args: package.args.clone() })
}

fn own_program(place: &Place, name: &str) -> Result<String, Error> {
    let manifest: Manifest = read(&place.tree(), &format!("node_modules/{name}/package.json"))?;
    let last_part = name.rsplit('/').next().unwrap_or(name);
    match manifest.bin {
        None => Err(Error::new("it has no program to run").with_hint("name the package that holds the server; this one may be a library")),
        Some(Programs::One(_)) => Ok(last_part.to_owned()),
        Some(Programs::Several(programs)) => choose(&programs, last_part),
    }
}

fn choose(programs: &BTreeMap<String, String>, last_part: &str) -> Result<String, Error> {
    let mut files = programs.values();
    let first = files.next();
    if let Some((only, _)) = programs.first_key_value().filter(|_| files.all(|file| Some(file) == first)) {
        return Ok(only.clone());
    }
    if programs.contains_key(last_part) {
        return Ok(last_part.to_owned());
    }
    let names: Vec<&str> = programs.keys().map(String::as_str).collect();
    Err(Error::new(format!("which of its programs to run is not said: it has {}", names.join(", ")))
        .with_hint("write `npx -y --package PACKAGE PROGRAM`"))
}

fn read<T: DeserializeOwned>(root: &Path, name: &str) -> Result<T, Error> {
    let parsed = serde_json::from_str(&read_text(root, name)?).map_err(io::Error::from);
    parsed.map_err(|cause| Error::io(format_args!("{} cannot be read", root.join(name).display()), &cause))
}

#[derive(Deserialize)]
struct Manifest {
    bin: Option<Programs>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Programs {
    One(#[allow(dead_code, reason = "only that it is one matters: its name is the package's")] String),
    Several(BTreeMap<String, String>),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn the_only_program_or_the_one_named_like_the_package_is_run() {
        for (programs, expected) in [
            (&[("mcp-x", "cli.js")][..], Some("mcp-x")),
            (&[("a", "./cli.js"), ("b", "./cli.js")], Some("a")),
            (&[("server-x", "x.js"), ("other", "y.js")], Some("server-x")),
            (&[("a", "x.js"), ("b", "y.js")], None),
        ] {
            let programs = programs.iter().map(|(name, file)| ((*name).to_owned(), (*file).to_owned())).collect();
            assert_eq!(choose(&programs, "server-x").ok().as_deref(), expected);
        }
    }
}
