//! Packages that the command itself names: `npm:PACKAGE`, `pypi:PACKAGE`, `cargo:CRATE`, `oci:IMAGE`, each with `#PROGRAM` behind it if
//! it has several programs.

use super::super::reference::Reference;
use super::{Error, Package, Source, not_a_requirement, not_an_image, npm, pypi};

/// What a command that names a package begins with.
const SCHEMES: &[(&str, Source)] = &[
    ("npm:", Source::Npm),
    ("npx:", Source::Npm),
    ("pypi:", Source::PyPi),
    ("uvx:", Source::PyPi),
    ("cargo:", Source::Cargo),
    ("oci:", Source::Oci),
];

/// The source, and what is named of it.
pub(super) fn source(command: &str) -> Option<(Source, &str)> {
    SCHEMES.iter().find_map(|(scheme, source)| Some((*source, command.strip_prefix(scheme)?)))
}

pub(super) fn package(source: Source, named: &str, args: &[&str]) -> Result<Package, Error> {
    let (wanted, program) = match named.split_once('#') {
        Some((wanted, program)) => (wanted, Some(program.to_owned()).filter(|program| !program.is_empty())),
        None => (named, None),
    };
    let (requirement, usual) = match source {
        Source::Npm => (npm::requirement(wanted), None),
        Source::PyPi => (pypi::requirement(wanted), Some(pypi::name_of(wanted).to_owned())),
        Source::Cargo => (of_cargo(wanted), None),
        Source::Oci => (Reference::read(wanted).map(|reference| reference.to_string()), None),
    };
    let requirement = requirement.ok_or_else(|| match source {
        Source::Oci => not_an_image(source.name(), wanted),
        _ => not_a_requirement(source.name(), wanted),
    })?;
    Ok(super::package(source, vec![requirement], program.or(usual), args))
}

/// `NAME[@VERSION]`.
fn of_cargo(text: &str) -> Option<String> {
    let (name, version) = text.split_once('@').unwrap_or((text, "*"));
    let of_name = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    let of_version = |character: char| character.is_ascii_alphanumeric() || ".-+^~<>=*, ".contains(character);
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic());
    (begins && name.chars().all(of_name) && !version.is_empty() && version.chars().all(of_version)).then(|| text.to_owned())
}
