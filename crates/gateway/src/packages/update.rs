//! What another version of a server's package would change, and how it is taken or given back.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sallyport_sandbox::install::{self, Change, Locked, Lost, Package, Provenance};
use serde::Serialize;

use super::canary::Canary;
use super::lock_beside;
use super::lock_file::{LockError, LockFile, Previous};
use super::tools::ToolChanges;
use crate::plan::{Plan, ServerPlan, Source, StdioPlan};
use crate::upstream::{Outage, Surroundings, trial};

/// How long a server that was started to list its tools may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// The packages of one configuration's servers.
#[derive(Debug)]
pub struct Packages {
    pub(super) plan: Plan,
    pub(super) surroundings: Arc<Surroundings>,
}

/// How two versions are started to compare their tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Not at all.
    No,
    /// Without secrets and network, and writing nothing: nobody has taken the new one yet.
    WithoutRights,
    /// With all that the configuration gives the server.
    WithRights,
}

impl Start {
    fn without(self) -> &'static str {
        if self == Self::WithoutRights { " without secrets, network and anything to write" } else { "" }
    }

    /// What to do where a version does not start so.
    fn hint(self) -> &'static str {
        match self {
            Self::WithoutRights => "`--with-rights` starts it as it would run, `--no-start` compares without starting",
            Self::No | Self::WithRights => "it stays at the version that is locked; `--no-start` compares without starting",
        }
    }
}

/// What an update of one server comes to.
#[derive(Debug, Serialize)]
pub struct Updated {
    /// The server.
    pub server: String,
    /// The version that is locked; `None` if none is.
    pub from: Option<String>,
    /// The version that the registry has now.
    pub to: String,
    /// Whether anything is another.
    pub changes: bool,
    /// What is another of packages and files; `None` without a version to compare with.
    pub change: Option<Change>,
    /// What is another of its tools; `None` where that is not known.
    pub tools: Option<ToolChanges>,
    /// Why it is not known.
    pub tools_unknown: Option<String>,
    /// What the registry says of who made the packages.
    pub provenance: Provenance,
    /// What it said of the version that is locked, and does not of this one; `None` if it says as much.
    pub provenance_lost: Option<Lost>,
    #[serde(skip)]
    pub(super) locked: Locked,
    #[serde(skip)]
    pub(super) package: Package,
}

/// What going back came to.
#[derive(Debug)]
pub struct RolledBack {
    /// The version that all callers get again.
    pub to: String,
    /// The version that a share of them got until now.
    pub withdrawn: Option<String>,
}

/// Why a package cannot be updated, verified or given back.
#[derive(Debug)]
pub struct UpdateError {
    message: String,
    hint: Option<String>,
}

impl UpdateError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn no_file(server: &str) -> Self {
        Self::new(format!("server `{server}` is not locked in a file")).with_hint("only a sallyport.toml has one beside it")
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UpdateError {}

impl From<install::Error> for UpdateError {
    fn from(error: install::Error) -> Self {
        let words: String = error.last_words().iter().map(|line| format!("\n  {line}")).collect();
        Self { message: format!("{error}{words}"), hint: error.hint().map(str::to_owned) }
    }
}

impl From<Outage> for UpdateError {
    fn from(outage: Outage) -> Self {
        let words: String = outage.last_words.iter().map(|line| format!("\n  {line}")).collect();
        Self { message: format!("{}{words}", outage.why), hint: outage.hint }
    }
}

impl From<LockError> for UpdateError {
    fn from(error: LockError) -> Self {
        Self::new(error.to_string()).with_hint(error.hint())
    }
}

impl Packages {
    /// The packages of `plan`'s servers.
    #[must_use]
    pub fn new(plan: Plan, surroundings: Arc<Surroundings>) -> Self {
        Self { plan, surroundings }
    }

    /// The servers that are packages.
    #[must_use]
    pub fn servers(&self) -> Vec<&str> {
        self.plan.servers.keys().map(String::as_str).filter(|name| self.find(name).is_ok()).collect()
    }

    /// Installs what the registry has now beside what is locked, and compares the two; unless `start` is no, both are
    /// started in their sandboxes and asked for their tools. Nothing changes for the server yet.
    ///
    /// # Errors
    /// When there is no such server, it is no package, another version of it has a share of its callers, its package cannot be
    /// installed, or the new version does not start.
    pub async fn look(&self, server: &str, start: Start, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<Updated, UpdateError> {
        let (plan, stdio, package) = self.find(server)?;
        if let Some(canary) = self.canary_beside(server, stdio)? {
            let (version, share) = (&canary.locked.version, canary.share);
            return Err(UpdateError::new(format!("version {version} of server `{server}` has {share} of the callers")).with_hint(format!(
                "`sallyport update {0} --finish` gives it to all, `sallyport rollback {0}` to nobody",
                plan.in_commands()
            )));
        }
        let old = self.locked(plan, stdio, &package)?;
        let new = trial::install(stdio, &self.surroundings, &package, None, progress).await?;
        let changes = old.as_ref().is_none_or(|old| differ(old, &new));
        let mut updated = Updated {
            server: server.to_owned(),
            from: old.as_ref().map(|old| old.version.clone()),
            to: new.version.clone(),
            changes,
            change: None,
            tools: None,
            tools_unknown: None,
            provenance: new.provenance.clone(),
            provenance_lost: old.as_ref().map(|old| new.provenance.lost_since(&old.provenance)).filter(|lost| !lost.is_nothing()),
            locked: new,
            package,
        };
        if let Some(old) = old.filter(|_| changes) {
            self.compare(plan, stdio, &old, &mut updated, start, progress).await?;
        }
        Ok(updated)
    }

    async fn compare(
        &self,
        plan: &ServerPlan,
        stdio: &StdioPlan,
        old: &Locked,
        updated: &mut Updated,
        start: Start,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), UpdateError> {
        let package = &updated.package;
        let old = match trial::install(stdio, &self.surroundings, package, Some(old), progress).await {
            Ok(old) => old,
            // What is locked may be what cannot be had any more: that must not keep anybody from leaving it.
            Err(outage) => {
                updated.tools_unknown = Some(format!("version {} is not here: {}", old.version, outage.why));
                return Ok(());
            }
        };
        let new = &updated.locked;
        updated.change = Some(install::compare(&self.packages_folder(), &old, new).await?);
        let tried = match Self::tried(stdio, start) {
            Ok(tried) => tried,
            Err(why) => {
                updated.tools_unknown = Some(why.to_owned());
                return Ok(());
            }
        };
        progress(&format!("starting version {} and version {} of {}", old.version, new.version, plan.name));
        let listed = |locked: &Locked| trial::tools(plan, &tried, &self.surroundings, locked.clone(), GRACE);
        let why_not = |version: &str, outage: &Outage| {
            format!("version {version} of server `{}` does not start{}: {}", plan.name, start.without(), outage.why)
        };
        let after = listed(new).await.map_err(|outage| UpdateError::new(why_not(&new.version, &outage)).with_hint(start.hint()))?;
        match listed(&old).await {
            Ok(before) => updated.tools = Some(ToolChanges::between(&before, &after)),
            Err(outage) => updated.tools_unknown = Some(format!("{}; {}", why_not(&old.version, &outage), start.hint())),
        }
        Ok(())
    }

    /// What is started to compare tools, or why nothing is.
    fn tried(stdio: &StdioPlan, start: Start) -> Result<StdioPlan, &'static str> {
        match start {
            Start::No => Err("the two versions were not started"),
            Start::WithoutRights if stdio.sandbox.is_none() => {
                Err("nothing can be kept from a server without a sandbox; `--with-rights` starts both versions all the same")
            }
            Start::WithoutRights => Ok(trial::without_rights(stdio)),
            Start::WithRights => Ok(stdio.clone()),
        }
    }

    /// Locks what was found: the server runs it from its next start on. What its tools say is recorded anew, since whoever took it was shown
    /// that.
    ///
    /// # Errors
    /// When the lock cannot be written; then it is as it was. And when what is recorded of the tools cannot be forgotten.
    pub async fn accept(&self, updated: &Updated) -> Result<(), UpdateError> {
        let (plan, stdio, _) = self.find(&updated.server)?;
        self.surroundings.pins.ready().await?;
        self.lock(plan, stdio, &updated.package, updated.locked.clone())?;
        self.repin(plan, &updated.to).await
    }

    /// Lets what a server's tools say be recorded anew: they are of the version that was locked just now.
    pub(super) async fn repin(&self, plan: &ServerPlan, version: &str) -> Result<(), UpdateError> {
        let not_forgotten = |outage: Outage| {
            let name = &plan.name;
            let why = outage.why;
            UpdateError::new(format!(
                "version {version} of server `{name}` is locked, but what its tools were before is not forgotten: {why}"
            ))
            .with_hint(format!("policies call tools that differ changed; `sallyport policy repin {}` ends that", plan.in_commands()))
        };
        self.surroundings.pins.forget(plan).await.map(drop).map_err(not_forgotten)
    }

    /// Takes back a version that a share of the callers gets; where there is none, locks what the server ran before: the last one, or
    /// the last one of this version.
    ///
    /// # Errors
    /// When there is none, or it is not in the store of this machine; and as [`accept`](Self::accept).
    pub async fn roll_back(&self, server: &str, version: Option<&str>) -> Result<RolledBack, UpdateError> {
        let (plan, stdio, package) = self.find(server)?;
        let path = stdio.lock.as_ref().ok_or_else(|| UpdateError::no_file(server))?;
        if version.is_none()
            && let Some((withdrawn, to)) = self.withdraw(server)?
        {
            return Ok(RolledBack { to, withdrawn: Some(withdrawn) });
        }
        let lock = LockFile::read(path, &self.lock_drafts())?;
        let previous = lock.entry(server).map(|entry| entry.previous.as_slice()).unwrap_or_default();
        let wanted = previous.iter().find(|previous| version.is_none_or(|version| previous.version == version));
        let Previous { version, source, key } = wanted.ok_or_else(|| {
            let known: Vec<&str> = previous.iter().map(|previous| previous.version.as_str()).collect();
            let hint = if known.is_empty() { "it has not been updated".to_owned() } else { format!("it ran {}", known.join(", ")) };
            UpdateError::new(format!("there is no such version of server `{server}` to go back to")).with_hint(hint)
        })?;
        let missing = || {
            UpdateError::new(format!("version {version} is not in the store of this machine"))
                .with_hint("take the lock file of that time from where you keep it, or name the version in `command`")
        };
        let locked = install::stored(&self.packages_folder(), *source, key).ok_or_else(missing)?;
        if !locked.is_of(&package) {
            return Err(UpdateError::new(format!("version {version} was installed for `{}`", locked.requirements.join(" ")))
                .with_hint("write that in `command` first"));
        }
        self.lock(plan, stdio, &package, locked)?;
        self.repin(plan, version).await?;
        Ok(RolledBack { to: version.clone(), withdrawn: None })
    }

    /// Reads every file of what is locked for a server, and compares it with what was installed. `false` if it is not installed here.
    ///
    /// # Errors
    /// When it is another.
    pub async fn verify(&self, server: &str) -> Result<bool, UpdateError> {
        let (plan, stdio, package) = self.find(server)?;
        let packages = self.packages_folder();
        let locked = self.locked(plan, stdio, &package)?;
        let stored = locked.filter(|locked| install::stored(&packages, locked.source, &locked.key()).is_some());
        let Some(locked) = stored else { return Ok(false) };
        Ok(install::verify(&packages, &locked).await.map(|()| true)?)
    }

    /// Removes the installations that nobody has started for `unused`, nobody runs, and no lock that is known on this machine names: as what
    /// is locked, has a share, or can be gone back to. Gives their names.
    ///
    /// # Errors
    /// When a lock or the store cannot be read.
    pub fn prune(&self, unused: Duration) -> Result<Vec<String>, UpdateError> {
        let stdio = self.plan.servers.values().filter_map(|server| match &server.source {
            Source::Stdio(stdio) => Some(stdio),
            _ => None,
        });
        let tenants = || [None].into_iter().chain(self.plan.tenants.keys().map(|name| Some(&**name)));
        let beside = self.plan.origin.file.iter().flat_map(|file| tenants().filter_map(|tenant| lock_beside(file, tenant)));
        let known = LockFile::known(&self.lock_drafts())?;
        let locks: BTreeSet<PathBuf> =
            stdio.flat_map(|stdio| stdio.own.locks.iter().chain(&stdio.lock)).cloned().chain(beside).chain(known).collect();
        let mut kept = BTreeSet::new();
        for lock in locks {
            kept.extend(LockFile::open(&lock, &self.lock_drafts())?.keys());
        }
        let failed = |cause: io::Error| UpdateError::new(format!("the store of this machine cannot be read: {cause}"));
        install::prune(&self.packages_folder(), unused, &kept).map_err(failed)
    }

    pub(super) fn find(&self, server: &str) -> Result<(&ServerPlan, &StdioPlan, Package), UpdateError> {
        let plan = self.plan.servers.get(server).ok_or_else(|| UpdateError::new(format!("there is no server `{server}`")))?;
        let stdio = match &plan.source {
            Source::Stdio(stdio) => Some(stdio),
            _ => None,
        };
        let package = stdio.and_then(|stdio| Some((stdio, super::package_of(stdio)?)));
        package.map(|(stdio, package)| (plan, stdio, package)).ok_or_else(|| {
            UpdateError::new(format!("server `{server}` is not a package"))
                .with_hint("packages are named by `npm:…`, `pypi:…`, `cargo:…`, `oci:…`, `npx …`, `uvx …` or `docker run …`")
        })
    }

    /// What is locked for a server: by the file, else by the private cache.
    fn locked(&self, plan: &ServerPlan, stdio: &StdioPlan, package: &Package) -> Result<Option<Locked>, UpdateError> {
        let entry = match &stdio.lock {
            Some(path) => LockFile::open(path, &self.lock_drafts())?.entry(&plan.name).cloned(),
            None => None,
        };
        let locked = entry.map(|entry| entry.locked).filter(|locked| locked.is_of(package));
        Ok(locked.or_else(|| install::remembered(&self.packages_folder(), package)))
    }

    pub(super) fn lock(&self, plan: &ServerPlan, stdio: &StdioPlan, package: &Package, locked: Locked) -> Result<(), UpdateError> {
        self.remember(package, &locked)?;
        match &stdio.lock {
            Some(path) => Ok(LockFile::change(path, &self.lock_drafts(), |lock| lock.set(&plan.name, locked))?),
            None => Ok(()),
        }
    }

    /// Lets whoever has no lock have it as well.
    pub(super) fn remember(&self, package: &Package, locked: &Locked) -> Result<(), UpdateError> {
        Ok(install::remember(&self.packages_folder(), package, locked)?)
    }

    fn canary_beside(&self, server: &str, stdio: &StdioPlan) -> Result<Option<Canary>, UpdateError> {
        // Without a file there is no place for one.
        stdio.lock.as_ref().map_or(Ok(None), |_| self.canary(server))
    }

    pub(super) fn lock_drafts(&self) -> PathBuf {
        self.surroundings.folders.lock_drafts_folder()
    }

    fn packages_folder(&self) -> PathBuf {
        self.surroundings.folders.packages_folder()
    }
}

/// Whether two locks are not of the same files.
fn differ(old: &Locked, new: &Locked) -> bool {
    let other_tree = |(platform, tree): (&String, &String)| new.trees.get(platform).is_some_and(|new| new != tree);
    old.key() != new.key() || old.trees.iter().any(other_tree)
}
