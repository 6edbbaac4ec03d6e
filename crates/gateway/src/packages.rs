//! Packages of servers: what they came to is kept in a lock file, which `update` and `rollback` change.

mod canary;
mod known_locks;
mod lock_file;
mod rollout;
mod tools;
mod update;

use std::path::{Path, PathBuf};

pub use sallyport_sandbox::install::Lost;
use sallyport_sandbox::install::{self, Locked, Package};

pub(crate) use canary::Draw;
pub use canary::{Canary, Share};
pub use lock_file::{Entry, LockError, LockFile, Previous};
pub use tools::{ToolChange, ToolChanges};
pub use update::{Packages, RolledBack, Start, UpdateError, Updated};

use crate::config;
use crate::plan::{Plan, ServerPlan, Source, StdioPlan};

/// The name of the file that says what packages came to.
const LOCK_NAME: &str = "sallyport.lock";

/// The lock that belongs to a configuration, or to a tenant in it: beside a `sallyport.toml`. Beside files of other clients nothing is put.
#[must_use]
pub fn lock_beside(configuration: &Path, tenant: Option<&str>) -> Option<PathBuf> {
    let name = tenant.map_or_else(|| LOCK_NAME.to_owned(), |tenant| format!("sallyport.{tenant}.lock"));
    (!config::is_json(configuration)).then(|| configuration.with_file_name(name))
}

/// The package that a command names or would install.
///
/// # Errors
/// When it cannot be met, and when it has to be built and `scripts` does not allow that.
pub(crate) fn package(program: &str, arguments: &[String], scripts: bool) -> Result<Option<Package>, install::Error> {
    install::recognise(program, arguments)?.map(|package| package.with_scripts(scripts)).transpose()
}

/// The package of a server. One whose arguments hold secrets is known only when it is started; what is asked for is none of them.
pub(crate) fn package_of(plan: &StdioPlan) -> Option<Package> {
    let arguments: Vec<String> = plan.arguments.iter().map(ToString::to_string).collect();
    package(&plan.program, &arguments, plan.scripts).ok().flatten()
}

/// What is locked for a server, if that is still what its configuration asks for. Here and below, `drafts` is where lock files' changes are
/// made.
///
/// # Errors
/// As [`LockFile::read`].
pub fn locked(server: &ServerPlan, drafts: &Path) -> Result<Option<Locked>, LockError> {
    Ok(entry(server, drafts)?.map(|entry| entry.locked))
}

/// The same with the version that a share of its callers gets, if that is still what the configuration asks for, too.
///
/// # Errors
/// As [`LockFile::read`].
pub(crate) fn entry(server: &ServerPlan, drafts: &Path) -> Result<Option<Entry>, LockError> {
    let Source::Stdio(StdioPlan { lock: Some(lock), .. }) = &server.source else { return Ok(None) };
    Ok(entry_in(&LockFile::read(lock, drafts)?, server))
}

/// The same in a lock that was read.
fn entry_in(lock: &LockFile, server: &ServerPlan) -> Option<Entry> {
    let Source::Stdio(stdio) = &server.source else { return None };
    let package = package_of(stdio)?;
    let Entry { canary, previous, locked } = lock.entry(&server.name).filter(|entry| entry.locked.is_of(&package))?.clone();
    let canary = canary.filter(|canary| canary.locked.is_of(&package));
    Some(Entry { canary, previous, locked })
}

/// The servers of which a share of the callers gets a newer version.
#[must_use]
pub fn canaries<'a>(plan: &'a Plan, drafts: &Path) -> Vec<(&'a str, Canary)> {
    plan.servers.values().filter_map(|server| Some((server.name.as_str(), entry(server, drafts).ok()??.canary?))).collect()
}

/// The servers whose package could be locked by a file and is not, or locked for something else than the configuration asks for now.
#[must_use]
pub fn unlocked<'a>(plan: &'a Plan, drafts: &Path) -> Vec<&'a str> {
    let is_package =
        |server: &ServerPlan| matches!(&server.source, Source::Stdio(stdio) if stdio.lock.is_some() && package_of(stdio).is_some());
    plan.servers
        .values()
        .filter(|server| is_package(server) && !matches!(locked(server, drafts), Ok(Some(_))))
        .map(|server| server.name.as_str())
        .collect()
}
