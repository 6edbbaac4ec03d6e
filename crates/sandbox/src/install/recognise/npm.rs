//! `npx` and `npm exec`.

use super::options::{Dialect, Understood};
use super::{Error, Package, Source, not_a_requirement, package};

const NPX: Dialect<'_> = Dialect {
    command: "npx",
    package: &["-p", "--package"],
    with: &[],
    ignored: &[
        "-y",
        "--yes",
        "-q",
        "--quiet",
        "-s",
        "--silent",
        "--prefer-offline",
        "--prefer-online",
        "--ignore-existing",
        "--ignore-scripts",
    ],
    ignored_with_value: &["--loglevel"],
    refused: &[
        (&["-c", "--call"], "write the program and its arguments as words of their own: no shell is started"),
        (&["--no", "--no-install"], "name the program that is installed already as the command"),
        (&["--registry", "--cache", "--userconfig"], "set it in ~/.npmrc, which is followed"),
    ],
    anywhere: false,
};

pub(super) fn npx(words: &[&str]) -> Result<Package, Error> {
    of(&NPX, words)
}

pub(super) fn exec(words: &[&str]) -> Result<Package, Error> {
    of(&Dialect { command: "npm exec", anywhere: true, ..NPX }, words)
}

fn of(dialect: &Dialect<'_>, words: &[&str]) -> Result<Package, Error> {
    let Understood { packages, rest, .. } = dialect.understand(words)?;
    let check = |text: &&str| requirement(text).ok_or_else(|| not_a_requirement(dialect.command, text));
    match (packages.as_slice(), rest.as_slice()) {
        ([], []) => Err(Error::new(format!("`{}` names no package", dialect.command)).with_hint("write `npx -y PACKAGE`")),
        ([], [first, args @ ..]) => Ok(package(Source::Npm, vec![check(first)?], None, args)),
        (_, []) => Err(Error::new(format!("`{}` names no program of the package", dialect.command))
            .with_hint("write `npx -y --package PACKAGE PROGRAM`")),
        (several, [program, args @ ..]) => {
            let requirements = several.iter().map(check).collect::<Result<_, _>>()?;
            Ok(package(Source::Npm, requirements, Some((*program).to_owned()), args))
        }
    }
}

/// `[@SCOPE/]NAME[@VERSION]`, the same with `ALIAS@npm:` before it, or a packed package in a file.
pub(super) fn requirement(text: &str) -> Option<String> {
    let file = text.strip_prefix("file:").unwrap_or(text);
    if file.starts_with('/') {
        return [".tgz", ".tar.gz"].iter().any(|end| file.ends_with(end)).then(|| file.to_owned());
    }
    let real = match text.split_once("@npm:") {
        Some((alias, real)) if is_name(alias) => real,
        Some(_) => return None,
        None => text,
    };
    let (name, version) = match real.char_indices().skip(1).find(|(_, character)| *character == '@') {
        Some((at, _)) => (real.get(..at)?, real.get(at + 1..)?),
        None => (real, ""),
    };
    let of_version = |character: char| character.is_ascii_alphanumeric() || ".-+^~<>=*| _".contains(character);
    (is_name(name) && version.chars().all(of_version)).then(|| text.to_owned())
}

fn is_name(text: &str) -> bool {
    let part = |text: &str| {
        let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
        begins && text.chars().all(|character| character.is_ascii_alphanumeric() || "._-~".contains(character))
    };
    match text.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| part(scope) && part(name)),
        None => part(text),
    }
}
