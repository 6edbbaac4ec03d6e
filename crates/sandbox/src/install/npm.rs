//! Packages of npm.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::place::{Place, Record};
use super::step::Step;
use super::{Error, Package, Start};

/// The lock file of a thousand packages has half a megabyte.
const JSON_BYTES: u64 = 32 * 1024 * 1024;

/// As many packages are named; the rest is counted.
const MOST_UNBUILT: usize = 20;

/// `npm install` without scripts, into a project of its own.
pub(super) fn steps(place: &Place, package: &Package) -> Result<Vec<Step>, Error> {
    let project = place.tree().join("package.json");
    fs::write(&project, r#"{"private":true}"#)
        .map_err(|cause| Error::io(format_args!("{} cannot be written", project.display()), &cause))?;
    let (tree, cache) = (place.tree().display().to_string(), place.tmp().join("npm").display().to_string());
    // A dependency that is a git repository would be prepared by running it.
    let unrun = ["--ignore-scripts", "--allow-git=none"];
    let options = ["--save-prod", "--global=false", "--location=project", "--install-strategy=hoisted"];
    let quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--no-progress", "--loglevel=error"];
    let folders = ["--prefix", &tree, "--cache", &cache, "--"];
    let args = ["install"].into_iter().chain(unrun).chain(options).chain(quiet).chain(folders);
    let args = args.chain(package.requirements.iter().map(String::as_str));
    Ok(vec![Step::new("npm", args)])
}

/// What npm has installed.
pub(super) fn look(place: &Place, package: &Package) -> Result<Record, Error> {
    let project: Project = read(&place.tree().join("package.json"))?;
    // A file or an alias tells its name only now. Of several packages the command names the program.
    let name = Some(project.dependencies).filter(|_| package.requirements.len() == 1).and_then(|names| names.into_keys().next());
    let lock: Lock = read(&place.tree().join("node_modules/.package-lock.json"))?;
    let unbuilt = lock.packages.into_iter().filter(|(_, package)| package.has_install_script);
    let unbuilt = unbuilt.filter_map(|(path, _)| Some(path.rsplit_once("node_modules/")?.1.to_owned()));
    Ok(Record { name, unbuilt: unbuilt.take(MOST_UNBUILT).collect() })
}

/// The program: the one that is named, the only one, or the one named like the package.
pub(super) fn start(place: &Place, package: &Package, record: &Record) -> Result<Start, Error> {
    let programs = place.tree().join("node_modules/.bin");
    let program = match (&package.program, &record.name) {
        (Some(program), _) => program.clone(),
        (None, Some(name)) => own_program(place, name)?,
        (None, None) => return Err(Error::new("the command does not say which program to run")),
    };
    let command = programs.join(&program);
    let inside = command.canonicalize().is_ok_and(|file| place.tree().canonicalize().is_ok_and(|tree| file.starts_with(tree)));
    if !inside || program.contains('/') {
        return Err(super::no_such_program(&program, &programs, |_| true));
    }
    Ok(Start { command, args: package.args.clone() })
}

fn own_program(place: &Place, name: &str) -> Result<String, Error> {
    let manifest: Manifest = read(&place.tree().join("node_modules").join(name).join("package.json"))?;
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

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(JSON_BYTES).read_to_end(&mut text));
    let parsed = read.and_then(|_| serde_json::from_slice(&text).map_err(io::Error::from));
    parsed.map_err(|cause| Error::io(format_args!("{} cannot be read", path.display()), &cause))
}

#[derive(Deserialize)]
struct Project {
    dependencies: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Lock {
    packages: BTreeMap<String, Locked>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Locked {
    #[serde(default)]
    has_install_script: bool,
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
