//! Understands the commands that install a package and run a program of it.

mod docker;
mod named;
mod npm;
mod options;
mod pypi;

use std::path::{Path, PathBuf};

use super::{Error, INSTALL_YOURSELF, Package, Source};

/// Characters of a refused requirement that are shown: names of packages are shorter.
const MOST_SHOWN: usize = 100;

/// The package that a command names (`npm:`, `npx:`, `pypi:`, `uvx:`, `cargo:`, `oci:`) or would install and run: `npx`, `npm exec`, `uvx`,
/// `uv tool run`, `pipx run`, `docker run` and its like, each with the options that say which package and which program. `None` where it is
/// another command.
///
/// # Errors
/// When it is such a command and its options cannot be met: what is run would not be what was meant.
pub fn recognise(command: &str, args: &[String]) -> Result<Option<Package>, Error> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Some((source, rest)) = named::source(command) {
        return named::package(source, rest, &words).map(Some);
    }
    let name = command.rsplit('/').next().unwrap_or(command);
    let package = match (name, words.as_slice()) {
        ("npx", words) => npm::npx(words)?,
        ("npm", ["exec" | "x", words @ ..]) => npm::exec(words)?,
        ("uvx", words) => pypi::uvx("uvx", words)?,
        ("uv", ["tool", "run", words @ ..]) => pypi::uvx("uv tool run", words)?,
        ("pipx", ["run", words @ ..]) => pypi::pipx(words)?,
        ("docker" | "podman" | "nerdctl", ["run", words @ ..]) => docker::run(name, words)?,
        _ => return Ok(None),
    };
    Ok(Some(Package { tools: folder_of(command), ..package }))
}

/// Whether a command's first word names a package (`npm:NAME`, …), and not a program.
#[must_use]
pub fn names_a_package(command: &str) -> bool {
    named::source(command).is_some()
}

/// The name at the start of a requirement of Python's.
pub(super) fn python_name(requirement: &str) -> &str {
    pypi::name_of(requirement)
}

fn folder_of(command: &str) -> Option<PathBuf> {
    Path::new(command).parent().filter(|folder| folder.is_absolute()).map(Path::to_path_buf)
}

fn package(source: Source, requirements: Vec<String>, program: Option<String>, args: &[&str]) -> Package {
    Package { source, requirements, program, args: args.iter().map(|arg| (*arg).to_owned()).collect(), tools: None, scripts: false }
}

/// A requirement that names no package of a registry and no built package in a file. It may hold a token: little of it is told.
fn not_a_requirement(command: &str, text: &str) -> Error {
    let shown = match text.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://…"),
        None => text.chars().take(MOST_SHOWN).collect(),
    };
    Error::new(format!("`{command}` is given `{shown}`, which is not a package of a registry"))
        .with_hint(format!("only packages of a registry and absolute paths of built packages are installed: {INSTALL_YOURSELF}"))
}

/// The same of what names no image in a registry.
fn not_an_image(command: &str, text: &str) -> Error {
    // Before an `@` may stand a password, behind it a digest.
    let shown = text.rsplit_once('@').map_or(text, |(before, after)| if after.contains('/') { after } else { before });
    let shown: String = shown.chars().take(MOST_SHOWN).collect();
    Error::new(format!("`{command}` is given `{shown}`, which is not an image of a registry")).with_hint(
        "name the registry, too: `registry.example.com/team/server:1.2`, `docker.io/library/NAME`; or a digest, `…/server@sha256:…`",
    )
}

#[cfg(test)]
mod tests;
