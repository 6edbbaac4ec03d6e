//! How a new version is taken step by step: a share of the callers, a larger one, all; or none again.

use std::path::Path;

use super::canary::{Canary, Share};
use super::lock_file::{Entry, LockFile};
use super::update::{Packages, UpdateError, Updated};

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

    /// Locks what was found beside what is locked: that share of the callers gets it, all others what they had.
    ///
    /// # Errors
    /// When nothing is locked in a file that it could lie beside, or the lock cannot be written.
    pub fn accept_for(&self, updated: &Updated, share: Share) -> Result<(), UpdateError> {
        let (path, entry) = self.entry(&updated.server)?;
        if !entry.is_some_and(|entry| entry.locked.is_of(&updated.package)) {
            let message = format!("no version of server `{}` is locked that its other callers could stay at", updated.server);
            return Err(UpdateError::new(message).with_hint("without `--share`, all get the new one"));
        }
        let canary = Canary { share, salt: salt()?, locked: updated.locked.clone() };
        self.change_lock(path, |lock| lock.set_canary(&updated.server, Some(canary)))
    }

    /// Gives the version that has a share another one. Whoever is in the smaller of the two is in the larger. Gives its version.
    ///
    /// # Errors
    /// When no version of the server has a share, or the lock cannot be written.
    pub fn set_share(&self, server: &str, share: Share) -> Result<String, UpdateError> {
        let (path, canary) = self.shared(server)?;
        let new = Canary { share, ..canary.clone() };
        self.change_share(path, server, &canary, |lock| lock.set_canary(server, Some(new)))?;
        Ok(canary.locked.version)
    }

    /// Locks the version that has a share for everybody. Gives its version.
    ///
    /// # Errors
    /// As [`set_share`](Self::set_share).
    pub fn finish(&self, server: &str) -> Result<String, UpdateError> {
        let (path, canary) = self.shared(server)?;
        let locked = canary.locked.clone();
        self.change_share(path, server, &canary, |lock| lock.set(server, locked))?;
        self.remember(&self.find(server)?.2, &canary.locked)?;
        Ok(canary.locked.version)
    }

    /// Takes a version that has a share from those who got it. Gives its version, and the one that everybody gets again.
    pub(super) fn withdraw(&self, server: &str) -> Result<Option<(String, String)>, UpdateError> {
        let (path, entry) = self.entry(server)?;
        let Some(Entry { canary: Some(canary), locked, .. }) = entry else { return Ok(None) };
        self.change_share(path, server, &canary, |lock| lock.set_canary(server, None))?;
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
        let path = stdio.lock.as_deref().ok_or_else(|| UpdateError::no_file(server))?;
        let entry = LockFile::open(path, &self.lock_drafts())?.entry(&plan.name).cloned();
        Ok((path, entry))
    }

    /// Changes the lock, unless another has decided on that share since it was read.
    fn change_share(&self, path: &Path, server: &str, canary: &Canary, change: impl FnOnce(&mut LockFile)) -> Result<(), UpdateError> {
        let is_there = LockFile::change_share(path, &self.lock_drafts(), (server, &canary.locked.key()), change)?;
        let gone = || {
            let message = format!("version {} of server `{server}` has no share of the callers any more", canary.locked.version);
            UpdateError::new(message).with_hint("another has decided on it at this moment: look with `sallyport check`")
        };
        is_there.then_some(()).ok_or_else(gone)
    }

    fn change_lock(&self, path: &Path, change: impl FnOnce(&mut LockFile)) -> Result<(), UpdateError> {
        Ok(LockFile::change(path, &self.lock_drafts(), change)?)
    }
}

fn salt() -> Result<String, UpdateError> {
    let mut bytes = [0_u8; SALT_BYTES];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| UpdateError::new("this system has no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
