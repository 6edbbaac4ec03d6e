//! `uvx`, `uv tool run` and `pipx run`.

use super::options::{Dialect, Understood};
use super::{Error, INSTALL_YOURSELF, Package, Source, not_a_requirement, package};

const OTHER_PYTHON: &str =
    "leave it out: the first python3 of PATH is used, or what uv chooses; put another one first in the server's PATH";
const OTHER_INDEX: &str = "set it in your own pip.conf or uv.toml, or by PIP_INDEX_URL or UV_DEFAULT_INDEX: they are followed";

const UVX: Dialect<'_> = Dialect {
    command: "uvx",
    package: &["--from"],
    with: &["-w", "--with"],
    ignored: &[
        "-q",
        "--quiet",
        "-v",
        "--verbose",
        "--isolated",
        "--no-progress",
        "-n",
        "--no-cache",
        "--refresh",
        "-U",
        "--upgrade",
        "--native-tls",
        "--system-certs",
        "--no-env-file",
        "--no-build",
        "--no-python-downloads",
    ],
    ignored_with_value: &["--color"],
    refused: &[
        (&["-p", "--python"], OTHER_PYTHON),
        (&["-i", "--index", "--index-url", "--default-index", "--extra-index-url", "-f", "--find-links"], OTHER_INDEX),
        (&["--with-editable", "--with-requirements"], INSTALL_YOURSELF),
    ],
    anywhere: false,
};

const PIPX: Dialect<'_> = Dialect {
    command: "pipx run",
    package: &["--spec"],
    with: &["--with"],
    ignored: &["-q", "--quiet", "-v", "--verbose", "--no-cache"],
    ignored_with_value: &[],
    refused: &[(&["--python", "--fetch-missing-python"], OTHER_PYTHON), (&["-i", "--index-url", "--pip-args"], OTHER_INDEX)],
    anywhere: false,
};

pub(super) fn uvx(command: &str, words: &[&str]) -> Result<Package, Error> {
    of(&Dialect { command, ..UVX }, words)
}

pub(super) fn pipx(words: &[&str]) -> Result<Package, Error> {
    of(&PIPX, words)
}

fn of(dialect: &Dialect<'_>, words: &[&str]) -> Result<Package, Error> {
    let Understood { packages, with, rest } = dialect.understand(words)?;
    let command = dialect.command;
    let [first, args @ ..] = rest.as_slice() else {
        return Err(Error::new(format!("`{command}` names no program")).with_hint(format!("write `{command} PACKAGE`")));
    };
    let check = |text: &str| requirement(text).ok_or_else(|| not_a_requirement(command, text));
    // Without the option the first word names both; with it, as for the command itself, the last one counts.
    let program = match packages.is_empty() {
        true => name_of(first),
        false => first,
    };
    let mut requirements = vec![check(packages.last().unwrap_or(first))?];
    for more in with.iter().flat_map(|list| list.split(',')) {
        requirements.push(check(more.trim())?);
    }
    Ok(package(Source::PyPi, requirements, Some(program.to_owned()), args))
}

/// The name at the start of a requirement.
pub(super) fn name_of(text: &str) -> &str {
    let end = text.find(|character| !is_of_name(character)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || "._-".contains(character)
}

/// `NAME[EXTRAS]` with `@VERSION` as uv writes it or version clauses as pip does, or a wheel in a file.
pub(super) fn requirement(text: &str) -> Option<String> {
    if text.starts_with('/') {
        return text.ends_with(".whl").then(|| text.to_owned());
    }
    let name = name_of(text);
    let rest = text.get(name.len()..)?;
    let (extras, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((extras, rest)) => (format!("[{extras}]"), rest),
        None => (String::new(), rest),
    };
    let versions = match rest.strip_prefix('@') {
        Some("latest") => String::new(),
        Some(version) if version.starts_with(|first: char| first.is_ascii_digit()) => format!("=={version}"),
        Some(_) => return None,
        None => rest.trim().to_owned(),
    };
    let of_extras = |character| is_of_name(character) || "[], ".contains(character);
    let of_versions = |character: char| character.is_ascii_alphanumeric() || "<>=!~.*+-_, ".contains(character);
    let clauses = versions.is_empty() || versions.starts_with(['<', '>', '=', '!', '~']);
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    let fits = begins && clauses && extras.chars().all(of_extras) && versions.chars().all(of_versions);
    fits.then(|| format!("{name}{extras}{versions}"))
}
