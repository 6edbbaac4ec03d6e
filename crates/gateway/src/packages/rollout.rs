//! How a new version is taken step by step: a share of the callers, a larger one, all; or none again.

use std::path::Path;

use super::canary::{Canary, Share};
use super::entry_in;
use super::lock_file::{Entry, LockFile};
use super::update::{Packages, UpdateError, Updated};
use crate::canaries::MOST;
use crate::plan::{ServerPlan, StdioPlan};

/// Random bytes of a salt: enough that no two shares have the same.
const SALT_BYTES: usize = 8;

impl Packages {
    /// The version that a share of the server's callers gets, if one does.
    ///
    /// # Errors
    /// When there is no such server, it is no package, or the lock cannot be read.
    pub fn canary(&self, server: &str) -> Result<Option<Canary>, UpdateError> {
        Ok(self.entry(server)?.1.and_then(|entry| entry.canary))
    }

    /// Whether a share of the server's callers could get another version than the rest, before anything is installed for that.
    ///
    /// # Errors
    /// When each caller has a program of its own, nothing is locked in a file that it could lie beside, too many servers have one already, or
    /// the lock cannot be read.
    pub fn check_share(&self, server: &str) -> Result<(), UpdateError> {
        let (plan, stdio, _) = self.find(server)?;
        self.may_have_a_share(plan, &LockFile::open(lock_of(plan, stdio)?, &self.lock_drafts())?)
    }

    /// Locks what was found beside what is locked: that share of the callers gets it, all others what they had.
    ///
    /// # Errors
    /// As [`check_share`](Self::check_share), and when the lock cannot be written.
    pub fn accept_for(&self, updated: &Updated, share: Share) -> Result<(), UpdateError> {
        let (plan, stdio, _) = self.find(&updated.server)?;
        let canary = Canary { share, salt: salt()?, locked: updated.locked.clone() };
        let mut checked = Ok(());
        LockFile::change(lock_of(plan, stdio)?, &self.lock_drafts(), |lock| {
            checked = self.may_have_a_share(plan, lock);
            if checked.is_ok() {
                lock.set_canary(&plan.name, Some(canary));
            }
        })?;
        checked
    }

    fn may_have_a_share(&self, plan: &ServerPlan, lock: &LockFile) -> Result<(), UpdateError> {
        let server = &plan.name;
        may_be_shared(plan)?;
        if entry_in(lock, plan).is_none() {
            let message = format!("no version of server `{server}` is locked that its other callers could stay at");
            return Err(UpdateError::new(message).with_hint("without `--share`, all get the new one"));
        }
        let others = self.plan.servers.values().filter(|other| other.name != *server && !other.is_personal());
        let shared: Vec<&ServerPlan> = others.filter(|other| entry_in(lock, other).is_some_and(|entry| entry.canary.is_some())).collect();
        let Some(first) = shared.first().filter(|_| shared.len() >= MOST) else { return Ok(()) };
        let names = shared.iter().map(|other| format!("`{}`", other.name)).collect::<Vec<_>>().join(", ");
        let message = format!("{MOST} servers have a newer version for a share of their callers, which is the most there may be: {names}");
        Err(UpdateError::new(message).with_hint(format!(
            "`sallyport update {0} --finish` gives one of them to all, `sallyport rollback {0}` to nobody",
            first.in_commands()
        )))
    }

    /// Gives the version that has a share another one. Whoever is in the smaller of the two is in the larger. Gives its version.
    ///
    /// # Errors
    /// When no version of the server has a share, each caller has a program of its own, or the lock cannot be written.
    pub fn set_share(&self, server: &str, share: Share) -> Result<String, UpdateError> {
        may_be_shared(self.find(server)?.0)?;
        let (path, canary) = self.shared(server)?;
        self.change_share(path, server, &canary, |lock, now| lock.set_canary(server, Some(Canary { share, ..now })))?;
        Ok(canary.locked.version)
    }

    /// Locks the version that has a share for everybody, and lets what its tools say be recorded anew. Gives its version.
    ///
    /// # Errors
    /// When no version of the server has a share, the lock cannot be written, or what is recorded of the tools cannot be forgotten.
    pub async fn finish(&self, server: &str) -> Result<String, UpdateError> {
        let (path, canary) = self.shared(server)?;
        let (plan, _, package) = self.find(server)?;
        self.surroundings.pins.ready().await?;
        self.change_share(path, server, &canary, |lock, now| lock.set(server, now.locked))?;
        self.repin(plan, &canary.locked.version).await?;
        self.remember(&package, &canary.locked)?;
        Ok(canary.locked.version)
    }

    /// Takes a version that has a share from those who got it. Gives its version, and the one that everybody gets again.
    pub(super) fn withdraw(&self, server: &str) -> Result<Option<(String, String)>, UpdateError> {
        let (path, entry) = self.entry(server)?;
        let Some(Entry { canary: Some(canary), locked, .. }) = entry else { return Ok(None) };
        self.change_share(path, server, &canary, |lock, _| lock.set_canary(server, None))?;
        Ok(Some((canary.locked.version, locked.version)))
    }

    fn shared(&self, server: &str) -> Result<(&Path, Canary), UpdateError> {
        let (path, entry) = self.entry(server)?;
        let (plan, _, package) = self.find(server)?;
        let named = plan.in_commands();
        let canary = entry.and_then(|entry| entry.canary).ok_or_else(|| {
            UpdateError::new(format!("no version of server `{server}` has a share of the callers"))
                .with_hint(format!("`sallyport update {named} --share 10%` gives the newest one to a tenth of them"))
        })?;
        if !canary.locked.is_of(&package) {
            let message =
                format!("version {} of server `{server}` is of another package than the configuration asks for now", canary.locked.version);
            return Err(UpdateError::new(message).with_hint(format!("`sallyport rollback {named}` takes it back")));
        }
        Ok((path, canary))
    }

    /// The lock file of a server, and what it says of it.
    fn entry(&self, server: &str) -> Result<(&Path, Option<Entry>), UpdateError> {
        let (plan, stdio, _) = self.find(server)?;
        let path = lock_of(plan, stdio)?;
        let entry = LockFile::open(path, &self.lock_drafts())?.entry(&plan.name).cloned();
        Ok((path, entry))
    }

    /// Changes the lock, unless another has decided on that share since it was read.
    fn change_share(
        &self,
        path: &Path,
        server: &str,
        canary: &Canary,
        change: impl FnOnce(&mut LockFile, Canary),
    ) -> Result<(), UpdateError> {
        let is_there = LockFile::change_share(path, &self.lock_drafts(), (server, &canary.locked.key()), change)?;
        let gone = || {
            let message = format!("version {} of server `{server}` has no share of the callers any more", canary.locked.version);
            UpdateError::new(message).with_hint("another has decided on it at this moment: look with `sallyport check`")
        };
        is_there.then_some(()).ok_or_else(gone)
    }
}

/// A share is of the callers of one program.
fn may_be_shared(plan: &ServerPlan) -> Result<(), UpdateError> {
    if !plan.is_personal() {
        return Ok(());
    }
    let message =
        format!("each caller of server `{}` has a program of its own (`shared = false`), so no share of them gets another", plan.name);
    Err(UpdateError::new(message).with_hint("without `--share`, all get the new version"))
}

fn lock_of<'s>(plan: &ServerPlan, stdio: &'s StdioPlan) -> Result<&'s Path, UpdateError> {
    stdio.lock.as_deref().ok_or_else(|| UpdateError::no_file(&plan.name))
}

fn salt() -> Result<String, UpdateError> {
    let mut bytes = [0_u8; SALT_BYTES];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| UpdateError::new("this system has no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
