//! One run of a package manager: what it may see and use, its deadline, and what its last words mean.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::time::{Instant, timeout_at};

use super::place::Place;
use super::{Error, INSTALL_LIMIT};
use crate::backend::Backend;
use crate::instance::{Exit, Instance, Running};
use crate::profile::{EnvText, Limits, Network, Profile, Program};

/// One program of a package manager, to be run to its end.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) command: String,
    pub(super) args: Vec<String>,
    /// Its failure is not that of the installation.
    pub(super) optional: bool,
}

impl Step {
    pub(super) fn new(command: impl Into<String>, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { command: command.into(), args: args.into_iter().map(Into::into).collect(), optional: false }
    }

    /// A step that may fail.
    pub(super) fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    pub(super) fn program(self, place: &Place, mut env: BTreeMap<String, EnvText>) -> Program {
        env.insert("TMPDIR".to_owned(), EnvText::from(place.tmp().to_string_lossy().into_owned()));
        // The name decides on the uid that a root gateway takes for it, and is seen only where the sandbox itself fails.
        let mut program = Program::new(format!("installing to {}", place.tree().display()), self.command);
        program.args = self.args;
        program.env = env;
        program.cwd = Some(place.tree());
        program
    }
}

/// The host's network, for the registries; one folder to write; of the home only the settings named in `read`.
pub(super) fn profile(place: &Place, read: &[PathBuf]) -> Profile {
    let limits = Limits {
        processes: 256,   // npm and uv work with many threads
        open_files: 4096, // npm unpacks hundreds of files at once
        file_mb: 2048,    // the largest wheels hold more than a gigabyte
        ..Limits::default()
    };
    Profile { read: read.to_vec(), write: vec![place.tree(), place.tmp()], network: Network::Host, limits, ..Profile::default() }
}

/// Runs it to its end, at most until `deadline`.
pub(super) async fn run(backend: &dyn Backend, profile: &Profile, program: &Program, deadline: Instant) -> Result<(), Error> {
    let tool = program.command.rsplit('/').next().unwrap_or_default();
    let instance = backend.launch(profile, program).await?;
    match timeout_at(deadline, to_its_end(&instance)).await {
        Ok(exit) if exit.is_success() => Ok(()),
        Ok(exit) => Err(failure(format!("{tool} {exit}"), &instance)),
        Err(_) => {
            instance.kill();
            instance.wait().await;
            Err(failure(format!("{tool} did not finish within {INSTALL_LIMIT:?}"), &instance))
        }
    }
}

async fn to_its_end(instance: &Instance<Running>) -> Exit {
    if let Some((stdin, mut stdout)) = instance.take_io() {
        drop(stdin);
        // What it says that matters is on stderr; a broken pipe only means that it has ended.
        let _end = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
    }
    instance.wait().await
}

fn failure(message: String, instance: &Instance<Running>) -> Error {
    let mut lines = instance.stderr_tail();
    lines.retain(|line| !line.trim().is_empty() && !line.contains("A complete log of this run can be found in"));
    let error = Error::new(message);
    let error = match hint(&lines) {
        Some(hint) => error.with_hint(hint),
        None => error,
    };
    error.with_last_words(lines)
}

/// What users can do about the failures that they meet, by what npm, pip and uv say of them. The first that fits.
const HINTS: &[(&[&str], &str)] = &[
    (
        &[
            "ENOTFOUND",
            "EAI_AGAIN",
            "ECONNREFUSED",
            "ETIMEDOUT",
            "ENETUNREACH",
            "ECONNRESET",
            "Failed to establish a new connection",
            "Temporary failure in name resolution",
            "dns error",
            "error sending request",
            "Network is unreachable",
        ],
        "the registry cannot be reached: look at the network, the proxy, and the registry in ~/.npmrc, pip.conf or uv.toml; once installed, it starts without",
    ),
    (
        &["CERT_", "certificate verify failed", "SELF_SIGNED", "UNABLE_TO_GET_ISSUER", "invalid peer certificate"],
        "the registry's certificate is not trusted: name the authority by SSL_CERT_FILE, NODE_EXTRA_CA_CERTS, or the package manager's own settings",
    ),
    (
        &["E401", "E403", "401 Unauthorized", "403 Forbidden", "ENEEDAUTH"],
        "the registry wants other credentials: look at ~/.npmrc, pip.conf or uv.toml",
    ),
    (&["ensurepip is not available"], "install Python's venv module (package python3-venv of Debian and Ubuntu), or uv"),
    (
        &["npm error code E404", "npm error code ETARGET"],
        "look at the name and the version; a private package needs its registry in ~/.npmrc",
    ),
    (&["EALLOWGIT"], "a package that depends on a git repository is not installed, because preparing that runs its code"),
    (
        &["No matching distribution found", "was not found in the package registry", "No solution found", "has no wheels"],
        "look at the name and the version; of PyPI only built packages (wheels) for this Python and machine are installed, because building runs their code",
    ),
    (
        &["ENOSPC", "No space left on device"],
        "make room on the disk that holds the packages, or set XDG_CACHE_HOME to a folder on another one",
    ),
];

fn hint(lines: &[String]) -> Option<&'static str> {
    let said = |marks: &[&str]| lines.iter().any(|line| marks.iter().any(|mark| line.contains(mark)));
    HINTS.iter().find(|(marks, _)| said(marks)).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_package_managers_say_leads_to_a_hint() {
        for (line, expected) in [
            ("npm error code ENOTFOUND", "cannot be reached"),
            ("npm error code E404", "~/.npmrc"),
            ("ERROR: No matching distribution found for x", "only built packages"),
            ("  x Failed to fetch: dns error: failed to lookup address information", "cannot be reached"),
            ("npm error code E401", "credentials"),
            ("npm error code SELF_SIGNED_CERT_IN_CHAIN", "not trusted"),
            ("OSError: [Errno 28] No space left on device", "make room"),
        ] {
            let found = hint(&["npm error".to_owned(), line.to_owned()]);
            assert!(found.is_some_and(|hint| hint.contains(expected)), "{line}: {found:?}");
        }
        assert_eq!(hint(&["something else".to_owned()]), None);
    }
}
