//! Understands the commands that install a package and run a program of it.

mod npm;
mod options;
mod pypi;

use std::path::{Path, PathBuf};

use super::{Error, INSTALL_YOURSELF, Package, Registry};

/// Characters of a refused requirement that are shown: names of packages are shorter.
const MOST_SHOWN: usize = 100;

/// The package that a command would install and run: `npx`, `npm exec`, `uvx`, `uv tool run`, `pipx run`, each with the options
/// that say which package and which program. `None` where it is another command.
///
/// # Errors
/// When it is such a command and its options cannot be met: what is run would not be what was meant.
pub fn recognise(command: &str, args: &[String]) -> Result<Option<Package>, Error> {
    let name = command.rsplit('/').next().unwrap_or(command);
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let package = match (name, words.as_slice()) {
        ("npx", words) => npm::npx(words)?,
        ("npm", ["exec" | "x", words @ ..]) => npm::exec(words)?,
        ("uvx", words) => pypi::uvx("uvx", words)?,
        ("uv", ["tool", "run", words @ ..]) => pypi::uvx("uv tool run", words)?,
        ("pipx", ["run", words @ ..]) => pypi::pipx(words)?,
        _ => return Ok(None),
    };
    Ok(Some(Package { tools: folder_of(command), ..package }))
}

fn folder_of(command: &str) -> Option<PathBuf> {
    Path::new(command).parent().filter(|folder| folder.is_absolute()).map(Path::to_path_buf)
}

fn package(registry: Registry, requirements: Vec<String>, program: Option<String>, args: &[&str]) -> Package {
    Package { registry, requirements, program, args: args.iter().map(|arg| (*arg).to_owned()).collect(), tools: None }
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

#[cfg(test)]
mod tests;
