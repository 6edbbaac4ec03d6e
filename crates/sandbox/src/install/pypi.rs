//! Packages of PyPI.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::place::Place;
use super::step::Step;
use super::{Error, Package, Start};

/// How a script begins whose `#!` line would be too long: a shell looks for the interpreter.
const SHELL_TRICK: &[u8] = b"#!/bin/sh\n'''exec'";

/// What an environment has beside the programs of its packages.
const NOT_OF_PACKAGES: &[&str] = &["activate", "Activate", "deactivate", "pip", "pydoc", "python", "wheel"];

/// An environment of its own, and the wheels into it: by uv if it is there, else by Python's own means.
pub(super) fn steps(place: &Place, package: &Package, path: Option<&str>) -> Vec<Step> {
    let (tree, tmp) = (place.tree().display().to_string(), place.tmp().join("uv").display().to_string());
    let python = place.tree().join("bin/python").display().to_string();
    let wanted = package.requirements.iter().map(String::as_str);
    if is_there("uv", path) {
        let quiet = ["--no-progress", "--cache-dir", &tmp, "--no-python-downloads"];
        let make = ["venv", &tree];
        let fill = ["pip", "install", "--only-binary", ":all:", "--link-mode", "copy", "--python", &python];
        // uv leaves it to the first start, which cannot write there. Without `site` nothing of the packages is run; some of
        // them hold files that no Python can compile.
        let compile = ["-I", "-S", "-m", "compileall", "-qq", &tree];
        return vec![
            Step::new("uv", quiet.into_iter().chain(make)),
            Step::new("uv", quiet.into_iter().chain(fill).chain(["--"]).chain(wanted)),
            Step::new(python.as_str(), compile).optional(),
        ];
    }
    let quiet =
        ["--no-cache-dir", "--no-input", "--no-color", "--progress-bar", "off", "--disable-pip-version-check", "--no-warn-script-location"];
    let fill = ["-m", "pip", "install", "--only-binary", ":all:", "--no-user"];
    let make = Step::new("python3", ["-m", "venv", &tree]);
    vec![make, Step::new(python.as_str(), fill.into_iter().chain(quiet).chain(["--"]).chain(wanted))]
}

/// The script that is named; by its interpreter where it would otherwise go by the shell.
pub(super) fn start(place: &Place, package: &Package) -> Result<Start, Error> {
    let programs = place.tree().join("bin");
    let program = package.program.as_deref().unwrap_or_default();
    let script = programs.join(program);
    if program.is_empty() || program.contains('/') || !script.is_file() {
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

fn is_there(tool: &str, path: Option<&str>) -> bool {
    let path = path.map(Into::into).or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.is_absolute() && folder.join(tool).is_file())
}
