//! One run of a package manager: what it may see and use, its deadline, and what its last words mean.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::settings::Settings;
use super::{Error, Package, below};
use crate::backend::Backend;
use crate::instance::{Exit, Instance, Running};
use crate::profile::{EnvText, Limits, Network, Profile, Program};

/// The lock file of a thousand packages has half a megabyte.
const TEXT_BYTES: u64 = 32 * 1024 * 1024;

/// One installation at work: what each run of a package manager has in common.
pub(super) struct Job<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) package: &'a Package,
    /// Is told what is going on.
    pub(super) progress: &'a (dyn Fn(&str) + Send + Sync),
    pub(super) settings: Settings,
    /// The registries, and the way to them.
    pub(super) network: Network,
    /// The `PATH` for package manager and interpreter, where the usual one does not serve.
    pub(super) path: Option<String>,
    /// Scratch space, there to be written.
    pub(super) tmp: PathBuf,
    /// Files of this process for the package manager, which sees them read-only.
    pub(super) given: PathBuf,
    pub(super) limit: Duration,
    pub(super) deadline: Instant,
}

/// One program of a package manager, to be run to its end.
#[derive(Debug)]
pub(super) struct Step {
    command: String,
    args: Vec<String>,
    /// What it may write beside the scratch space; it starts there.
    folder: PathBuf,
    env: BTreeMap<String, EnvText>,
    /// It sees the registries.
    online: bool,
    /// It runs what it has written: scripts of packages, programs that it has built.
    builds: bool,
}

impl Step {
    /// A program that starts in `folder`, which it may write.
    pub(super) fn new(command: impl Into<String>, folder: &Path, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self { command: command.into(), args, folder: folder.to_path_buf(), env: BTreeMap::new(), online: false, builds: false }
    }

    /// One that sees the registries.
    pub(super) fn online(self) -> Self {
        Self { online: true, ..self }
    }

    /// One that may run what it has written, where `allowed`.
    pub(super) fn builds(self, allowed: bool) -> Self {
        Self { builds: allowed, ..self }
    }

    /// Whether it runs code of packages without a network. What it learns, such a step may leave in what it builds: it gets no credentials.
    fn is_alone(&self) -> bool {
        self.builds && !self.online
    }

    /// One with a variable of its own.
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), EnvText::from(value.into()));
        self
    }
}

impl Job<'_> {
    /// Runs a step to its end, at most until the deadline.
    pub(super) async fn run(&self, step: Step) -> Result<(), Error> {
        let (profile, program) = (self.profile(&step), self.program(step));
        let tool = program.command.rsplit('/').next().unwrap_or_default();
        let instance = self.backend.launch(&profile, &program).await?;
        match timeout_at(self.deadline, to_its_end(&instance)).await {
            Ok(exit) if exit.is_success() => Ok(()),
            Ok(exit) => Err(failure(format!("{tool} {exit}"), &instance)),
            Err(_) => {
                instance.kill();
                instance.wait().await;
                Err(failure(format!("{tool} did not finish within {:?}", self.limit), &instance))
            }
        }
    }

    /// Writes a file for the package manager, and says where it is.
    pub(super) fn give(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        write_text(&self.given, name, text).map(|()| self.given.join(name))
    }

    fn program(&self, step: Step) -> Program {
        // The name decides on the uid that a root gateway takes for it, and is seen only where the sandbox itself fails.
        let settings = if step.is_alone() { &self.settings.harmless_env } else { &self.settings.env };
        let mut program = Program::new(format!("installing in {}", self.tmp.display()), step.command);
        program.env = settings.clone();
        program.env.extend(self.path.iter().map(|path| ("PATH".to_owned(), EnvText::from(path.as_str()))));
        program.env.insert("TMPDIR".to_owned(), EnvText::from(self.tmp.to_string_lossy().into_owned()));
        program.env.extend(step.env);
        program.args = step.args;
        program.cwd = Some(step.folder);
        program
    }

    /// Two folders to write; of the home only the settings, and not those where code of packages is run without the registries; the
    /// registries only where they are needed.
    fn profile(&self, step: &Step) -> Profile {
        let limits = Limits {
            processes: 256,   // npm and uv work with many threads
            open_files: 4096, // npm unpacks hundreds of files at once
            file_mb: 2048,    // the largest wheels hold more than a gigabyte
            // Of all processes together: compilers run one for each processor.
            memory_mb: if step.builds { 16 * 1024 } else { 4096 },
            ..Limits::default()
        };
        let network = if step.online { self.network.clone() } else { Network::None };
        let secret = self.settings.read.iter().filter(|_| !step.is_alone());
        let read = self.settings.harmless.iter().chain(secret).chain([&self.given]).cloned().collect();
        let write = vec![step.folder.clone(), self.tmp.clone()];
        let profile = Profile { read, write, network, limits, ..Profile::default() };
        Profile { exec_in_write: step.builds, ..profile }
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
    let error = Error::new(match instance.exceeded() {
        Some(exceeded) => format!("{message}: it {exceeded}"),
        None => message,
    });
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
            "failed to download from",
            "Could not resolve host",
            "Couldn't connect to server",
        ],
        "the registry cannot be reached: look at the network, the proxy, and the registry in ~/.npmrc, pip.conf or uv.toml; it is needed to install, not to start",
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
    (&["error: no matching package named", "failed to select a version for the requirement"], "look at the name and the version"),
    (
        &["npm error code E404", "npm error code ETARGET"],
        "look at the name and the version; a private package needs its registry in ~/.npmrc",
    ),
    (&["EALLOWGIT"], "a package that depends on a git repository is not installed, because preparing that runs its code"),
    (
        &["No matching distribution found", "was not found in the package registry", "No solution found", "has no wheels"],
        "look at the name and the version; of PyPI only built packages (wheels) for this Python and machine are installed, because building runs their code: `scripts = true` on the server allows that",
    ),
    (
        &["EINTEGRITY", "DO NOT MATCH THE HASHES", "Hash mismatch", "checksum for", "checksum changed"],
        "the registry serves other files under this version than those that were locked: do not trust it before you know why",
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

/// What a step has written into `name` below `root`.
pub(super) fn read_text(root: &Path, name: impl AsRef<Path>) -> Result<String, Error> {
    let failed = |cause: io::Error| Error::io(format_args!("{} cannot be read", root.join(&name).display()), &cause);
    below::read(root, name.as_ref(), TEXT_BYTES).map_err(failed)
}

/// Writes `name` below `root`, where a step is to find it.
pub(super) fn write_text(root: &Path, name: impl AsRef<Path>, text: &str) -> Result<(), Error> {
    let failed = |cause: io::Error| Error::io(format_args!("{} cannot be written", root.join(&name).display()), &cause);
    below::write(root, name.as_ref(), text).map_err(failed)
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
