//! Packages that the command itself names: `npm:PACKAGE`, `pypi:PACKAGE`, `cargo:CRATE`, each with `#PROGRAM` behind it if it has
//! several programs.

use super::{Error, Package, Source, not_a_requirement, npm, pypi};

/// What a command that names a package begins with.
#[derive(Clone, Copy)]
pub(super) enum Scheme {
    Of(Source),
    Oci,
}

const SCHEMES: &[(&str, Scheme)] = &[
    ("npm:", Scheme::Of(Source::Npm)),
    ("npx:", Scheme::Of(Source::Npm)),
    ("pypi:", Scheme::Of(Source::PyPi)),
    ("uvx:", Scheme::Of(Source::PyPi)),
    ("cargo:", Scheme::Of(Source::Cargo)),
    ("oci:", Scheme::Oci),
];

/// The source, and what is named of it.
pub(super) fn source(command: &str) -> Option<(Scheme, &str)> {
    SCHEMES.iter().find_map(|(scheme, source)| Some((*source, command.strip_prefix(scheme)?)))
}

pub(super) fn package(scheme: Scheme, named: &str, args: &[&str]) -> Result<Package, Error> {
    let Scheme::Of(source) = scheme else {
        return Err(Error::new("an image is not fetched from a registry of containers").with_hint(
            "get it as a folder or an archive, and name that in the server's `sandbox`; npm:, pypi: and cargo: packages are fetched",
        ));
    };
    let (wanted, program) = match named.split_once('#') {
        Some((wanted, program)) => (wanted, Some(program.to_owned()).filter(|program| !program.is_empty())),
        None => (named, None),
    };
    let (requirement, usual) = match source {
        Source::Npm => (npm::requirement(wanted), None),
        Source::PyPi => (pypi::requirement(wanted), Some(pypi::name_of(wanted).to_owned())),
        Source::Cargo => (of_cargo(wanted), None),
    };
    let requirement = requirement.ok_or_else(|| not_a_requirement(source.name(), wanted))?;
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
