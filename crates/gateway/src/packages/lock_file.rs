//! `sallyport.lock`: what each server's package came to.
//!
//! It is written in place, so that a server it is kept from (mounted read-only where it may write the folder) cannot write the new one
//! either. What is to be in it is put into the private cache first: a write that was cut off is finished by the next who opens it.
//! There lies also where the file is, for who prunes the store, and what readers and writers of this user lock. They lock the file itself
//! first, since two users of a machine, or host and container, have caches of their own; but whoever may read a file may lock it, so a
//! server that sees it could keep everybody waiting: that lock is waited for as long as a change takes, and then done without.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sallyport_sandbox::install::{Locked, Source};
use sallyport_telemetry::state_folder::private_folder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::canary::Canary;
use super::known_locks;

/// Versions of a server that one can go back to.
const MOST_PREVIOUS: usize = 10;

/// A hundred servers with a thousand packages each.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// How much younger than a draft the file is that another user has written since: writing takes milliseconds.
const OVERTAKEN: Duration = Duration::from_secs(60);

/// A change takes milliseconds.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(2);
/// For how long those of other users are waited for, and then no more: anybody who can read the file can hold its lock.
const WAIT_FOR_USERS: Duration = Duration::from_millis(300);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The form that this program writes.
const VERSION: u32 = 1;

const HEAD: &str = "# Which packages servers run, each by its digest. Made by sallyport; `sallyport update` changes it. Keep it with the\n\
    # configuration: with it, the same is installed everywhere.\n\n";

/// A lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    version: u32,
    #[serde(default)]
    servers: BTreeMap<String, Entry>,
}

/// What one server's package came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it was before, the last one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<Previous>,
    /// A newer version, which a share of its callers gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// What it is.
    pub locked: Locked,
}

/// An installation that a server ran before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// The version of the package itself.
    pub version: String,
    /// Where it came from.
    pub source: Source,
    /// What it is called in the store.
    pub key: String,
}

/// Why a lock file cannot be used.
#[derive(Debug)]
pub struct LockError {
    message: String,
}

impl LockError {
    fn new(path: &Path, problem: impl fmt::Display) -> Self {
        Self { message: format!("{}: {problem}", path.display()) }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "take the file back from where you keep it; without it, servers are locked anew when they start"
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LockError {}

impl Default for LockFile {
    fn default() -> Self {
        Self { version: VERSION, servers: BTreeMap::new() }
    }
}

impl LockFile {
    /// Finishes a change that was cut off, then reads it; `drafts` is as in [`change`](Self::change). From now on what it names stays in the
    /// store.
    ///
    /// # Errors
    /// As [`read`](Self::read), and when the change cannot be finished.
    pub fn open(path: &Path, drafts: &Path) -> Result<Self, LockError> {
        if draft(path, drafts).exists() {
            Self::change(path, drafts, |_| {})?;
        }
        remember(path, drafts);
        Self::read(path, drafts)
    }

    /// All that are known to be on this machine.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub(super) fn known(drafts: &Path) -> Result<Vec<PathBuf>, LockError> {
        known_locks::all(drafts).map_err(|error| LockError::new(drafts, error))
    }

    /// Reads it; one that is not there has nothing in it. `drafts` is as in [`change`](Self::change).
    ///
    /// # Errors
    /// When it cannot be read, is none, or is of a newer version of this program.
    pub fn read(path: &Path, drafts: &Path) -> Result<Self, LockError> {
        match File::open(path) {
            Ok(mut file) => {
                wait_for_other_users(path, || file.try_lock_shared());
                let _no_change = held(path, drafts)?;
                Self::parse(path, &mut file)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(LockError::new(path, error)),
        }
    }

    fn parse(path: &Path, file: &mut File) -> Result<Self, LockError> {
        let mut text = String::new();
        file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(|error| LockError::new(path, error))?;
        if text.len() as u64 > MOST_BYTES {
            return Err(LockError::new(path, "larger than a lock file is"));
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read: Self = toml::from_str(&text).map_err(|error| LockError::new(path, error.message()))?;
        match read.version {
            VERSION => Ok(read),
            other => Err(LockError::new(path, format!("of version {other}, which this program does not know"))),
        }
    }

    /// What is said of a server.
    #[must_use]
    pub fn entry(&self, server: &str) -> Option<&Entry> {
        self.servers.get(server)
    }

    /// What all that it names is called in the store: what servers run, what a share of their callers gets, and what they ran before.
    pub fn keys(&self) -> impl Iterator<Item = String> + '_ {
        self.servers.values().flat_map(|entry| {
            let canary = entry.canary.iter().map(|canary| canary.locked.key());
            let previous = entry.previous.iter().map(|previous| previous.key.clone());
            canary.chain(previous).chain([entry.locked.key()])
        })
    }

    /// Says that a server runs `locked` from now on; what it ran before is kept in mind. A newer version keeps its share only beside
    /// the same one.
    pub fn set(&mut self, server: &str, locked: Locked) {
        let (mut previous, mut canary) = (Vec::new(), None);
        if let Some(Entry { previous: older, canary: beside, locked: old }) = self.servers.remove(server) {
            if old.key() == locked.key() {
                canary = beside;
            } else {
                previous.push(Previous { version: old.version.clone(), source: old.source, key: old.key() });
            }
            previous.extend(older.into_iter().filter(|older| older.key != locked.key() && older.key != old.key()));
            previous.truncate(MOST_PREVIOUS);
        }
        self.servers.insert(server.to_owned(), Entry { previous, canary, locked });
    }

    /// Takes note of what a start that began with `read` has installed. Whoever locked something else meanwhile has decided later.
    pub(crate) fn note(&mut self, server: &str, read: Option<&Locked>, installed: Locked) {
        let now = self.entry(server).map(|entry| entry.locked.key());
        if now == read.map(Locked::key) || now.as_ref() == Some(&installed.key()) {
            self.set(server, installed);
        }
    }

    /// Says which version a share of the server's callers gets, if anything is locked for the others.
    pub(super) fn set_canary(&mut self, server: &str, canary: Option<Canary>) {
        if let Some(entry) = self.servers.get_mut(server) {
            entry.canary = canary;
        }
    }

    /// Changes the file as long as the version of that key still has a share of the server's callers, and gives `change` what stands there of
    /// it now; says whether it has. `drafts` is as in [`change`](Self::change).
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(super) fn change_share(
        path: &Path,
        drafts: &Path,
        (server, key): (&str, &str),
        change: impl FnOnce(&mut Self, Canary),
    ) -> Result<bool, LockError> {
        let mut is_there = false;
        Self::change(path, drafts, |lock| {
            let canary = lock.entry(server).and_then(|entry| entry.canary.clone());
            if let Some(canary) = canary.filter(|canary| canary.locked.key() == key) {
                is_there = true;
                change(lock, canary);
            }
        })?;
        Ok(is_there)
    }

    /// Takes note of what the version that has a share is on this machine too.
    pub(crate) fn note_canary(&mut self, server: &str, installed: Locked) {
        let canary = self.servers.get_mut(server).and_then(|entry| entry.canary.as_mut());
        if let Some(canary) = canary.filter(|canary| canary.locked.key() == installed.key()) {
            canary.locked = installed;
        }
    }

    /// Changes the file; `drafts` is a private folder. One at a time, whatever process it is in.
    ///
    /// # Errors
    /// When it cannot be read or written. Then it is as it was, or the next who opens it finishes the change.
    pub fn change(path: &Path, drafts: &Path, change: impl FnOnce(&mut Self)) -> Result<(), LockError> {
        let failed = |error: io::Error| LockError::new(path, error);
        private_folder(drafts).map_err(|error| LockError::new(path, error))?;
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        wait_for_other_users(path, || file.try_lock());
        let alone = hold(path, drafts)?;
        let draft = draft(path, drafts);
        // The draft of a change that was cut off is complete: only a complete one has this name.
        if let Ok(text) = fs::read(&draft) {
            let finished = if is_overtaken(&draft, &file) { Ok(()) } else { put(&mut file, &text) };
            finished.and_then(|()| fs::remove_file(&draft)).map_err(failed)?;
        }
        file.rewind().map_err(failed)?;
        let old = Self::parse(path, &mut file)?;
        let mut new = old.clone();
        change(&mut new);
        if new == old {
            return Ok(());
        }
        let text = HEAD.to_owned() + &toml::to_string_pretty(&new).map_err(|error| LockError::new(path, error))?;
        let unfinished = draft.with_extension("new");
        fs::write(&unfinished, &text).and_then(|()| fs::rename(&unfinished, &draft)).map_err(failed)?;
        put(&mut file, text.as_bytes()).and_then(|()| fs::remove_file(&draft)).map_err(failed)?;
        drop((file, alone));
        remember(path, drafts);
        Ok(())
    }
}

/// Lets whoever prunes the store know of a lock file that is there. Nothing where that cannot be noted: in another user's store, which cannot be
/// pruned either.
fn remember(path: &Path, drafts: &Path) {
    let Ok(canonical) = path.canonicalize() else { return };
    let file = draft(path, drafts);
    if known_locks::is_remembered(&canonical, &file) {
        return;
    }
    let failed = |error: &dyn fmt::Display| LockError::new(path, error);
    let alone = private_folder(drafts).map_err(|error| failed(&error)).and_then(|()| hold(path, drafts));
    if let Err(error) = alone.and_then(|_alone| known_locks::remember(&canonical, &file).map_err(|error| failed(&error))) {
        tracing::debug!("that a lock file is there cannot be noted: {error}");
    }
}

/// Puts `text` in the place of what is in the file.
fn put(file: &mut File, text: &[u8]) -> io::Result<()> {
    file.rewind()?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

/// Whether another user has written the file since a draft of ours was cut off.
fn is_overtaken(draft: &Path, file: &File) -> bool {
    let modified = |found: io::Result<fs::Metadata>| found.and_then(|found| found.modified()).ok();
    let ages = modified(fs::metadata(draft)).zip(modified(file.metadata()));
    ages.and_then(|(draft, file)| file.duration_since(draft).ok()).is_some_and(|younger| younger > OVERTAKEN)
}

/// Holds everybody else of this user off.
fn hold(path: &Path, drafts: &Path) -> Result<File, LockError> {
    let lock = File::options().create(true).truncate(false).write(true).open(draft(path, drafts).with_extension("lock"));
    let lock = lock.map_err(|error| LockError::new(path, error))?;
    wait(path, WAIT_FOR_OTHERS, || lock.try_lock())?;
    Ok(lock)
}

/// Holds off who of this user would change it; `None` where nobody ever did.
fn held(path: &Path, drafts: &Path) -> Result<Option<File>, LockError> {
    let Ok(lock) = File::open(draft(path, drafts).with_extension("lock")) else { return Ok(None) };
    wait(path, WAIT_FOR_OTHERS, || lock.try_lock_shared())?;
    Ok(Some(lock))
}

/// Takes a lock of the file itself, where it can be had soon. Before the lock of this user, which is not to be held meanwhile: a server that may
/// read the file can lock it for as long as it likes.
fn wait_for_other_users(path: &Path, take: impl Fn() -> Result<(), TryLockError>) {
    if let Err(error) = wait(path, WAIT_FOR_USERS, take) {
        tracing::debug!("read or written without a lock of the file itself: {error}");
    }
}

fn wait(path: &Path, most: Duration, take: impl Fn() -> Result<(), TryLockError>) -> Result<(), LockError> {
    let late = Instant::now() + most;
    loop {
        match take() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(LockError::new(path, error)),
            Err(TryLockError::WouldBlock) if Instant::now() < late => std::thread::sleep(LOOK_AGAIN),
            Err(TryLockError::WouldBlock) => return Err(LockError::new(path, "another process changes it, and does not end")),
        }
    }
}

fn draft(path: &Path, drafts: &Path) -> PathBuf {
    let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let digest = Sha256::digest(canonical.as_os_str().as_encoded_bytes());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    drafts.join(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn locked(version: &str) -> Locked {
        serde_json::from_value(serde_json::json!({
            "source": "npm", "requirements": ["a"], "version": version, "artefacts": [format!("a {version} sha512-x"), "b 1 sha512-y".to_owned()],
            "trees": {"linux-x86_64": "sha256:x"}, "plan": "{\n \"a\": '''\n}",
        }))
        .unwrap()
    }

    fn versions(entry: &Entry) -> Vec<&str> {
        std::iter::once(&entry.locked.version).chain(entry.previous.iter().map(|previous| &previous.version)).map(String::as_str).collect()
    }

    #[test]
    fn what_was_before_is_kept_in_mind() {
        let folder = tempfile::tempdir().unwrap();
        let (path, drafts) = (folder.path().join(LOCK), folder.path().join("drafts"));
        for version in ["1", "2", "2", "3", "1"] {
            LockFile::change(&path, &drafts, |lock| lock.set("s", locked(version))).unwrap();
        }
        let read = LockFile::read(&path, &drafts).unwrap();
        assert_eq!(versions(read.entry("s").unwrap()), ["1", "3", "2"]);
        assert_eq!(read.entry("s").unwrap().locked, locked("1"), "what is written is read as the same");
        assert_eq!(fs::read_dir(&drafts).unwrap().count(), 2, "no draft, but what is locked and where the lock file is");
        assert!(fs::read_to_string(&path).unwrap().contains("\n    \"b 1 sha512-y\",\n"), "one line a package");
    }

    fn canary(version: &str) -> Canary {
        Canary { share: "10%".parse().unwrap(), salt: "5a17".to_owned(), locked: locked(version) }
    }

    #[test]
    fn a_share_lasts_as_long_as_what_it_lies_beside() {
        let folder = tempfile::tempdir().unwrap();
        let (path, drafts) = (folder.path().join(LOCK), folder.path().join("drafts"));
        let change = |change: &dyn Fn(&mut LockFile)| {
            LockFile::change(&path, &drafts, |lock| change(lock)).unwrap();
            LockFile::read(&path, &drafts).unwrap().entry("s").cloned()
        };
        assert_eq!(change(&|lock| lock.set_canary("s", Some(canary("2")))), None, "nothing is locked for the others");
        change(&|lock| lock.set("s", locked("1")));
        assert_eq!(change(&|lock| lock.set_canary("s", Some(canary("2")))).unwrap().canary, Some(canary("2")));
        let elsewhere = Locked { trees: [("other".to_owned(), "sha256:y".to_owned())].into(), ..locked("2") };
        let noted = change(&|lock| {
            lock.note_canary("s", elsewhere.clone());
            lock.note_canary("s", locked("3"));
            lock.set("s", locked("1"));
        });
        assert_eq!(noted.unwrap().canary.unwrap().locked, elsewhere);
        let taken = change(&|lock| lock.set("s", locked("2"))).unwrap();
        assert_eq!((taken.canary.clone(), versions(&taken)), (None, vec!["2", "1"]));
    }

    #[test]
    fn a_share_that_was_taken_back_meanwhile_is_not_given_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, drafts) = (folder.path().join(LOCK), folder.path().join("drafts"));
        LockFile::change(&path, &drafts, |lock| {
            lock.set("s", locked("1"));
            lock.set_canary("s", Some(canary("2")));
        })
        .unwrap();
        let key = canary("2").locked.key();
        let change = |change: &dyn Fn(&mut LockFile)| LockFile::change_share(&path, &drafts, ("s", &key), |lock, _| change(lock)).unwrap();
        assert!(change(&|lock| lock.set_canary("s", None)));
        for later in
            [&|lock: &mut LockFile| lock.set_canary("s", Some(canary("2"))) as _, &|lock: &mut LockFile| lock.set("s", locked("2"))]
                as [&dyn Fn(&mut LockFile); 2]
        {
            assert!(!change(later));
            let entry = LockFile::read(&path, &drafts).unwrap().entry("s").unwrap().clone();
            assert_eq!((versions(&entry), &entry.canary), (vec!["1"], &None));
        }
        let (key, elsewhere) = (canary("3").locked.key(), BTreeMap::from([("other".to_owned(), "sha256:y".to_owned())]));
        LockFile::change(&path, &drafts, |lock| lock.set_canary("s", Some(canary("3")))).unwrap();
        assert!(!change(&|lock| lock.set_canary("s", None)), "another has it now");
        let noted = Locked { trees: elsewhere, ..locked("3") };
        LockFile::change(&path, &drafts, |lock| lock.note_canary("s", noted.clone())).unwrap();
        let larger = |lock: &mut LockFile, now| lock.set_canary("s", Some(Canary { share: "20%".parse().unwrap(), ..now }));
        assert!(LockFile::change_share(&path, &drafts, ("s", &key), larger).unwrap());
        let kept = LockFile::read(&path, &drafts).unwrap().entry("s").unwrap().canary.clone().unwrap();
        assert_eq!((kept.share.to_string().as_str(), kept.locked), ("20 %", noted), "what was noted meanwhile stays");
    }

    #[test]
    fn a_start_that_took_long_undoes_no_update() {
        let mut lock = LockFile::default();
        lock.note("s", None, locked("1"));
        let (read, elsewhere) = (locked("1"), BTreeMap::from([("other".to_owned(), "sha256:y".to_owned())]));
        let installed = Locked { trees: elsewhere, ..locked("1") };
        lock.note("s", Some(&read), installed.clone());
        assert_eq!(lock.entry("s").unwrap().locked, installed, "on another platform");
        lock.set("s", locked("2"));
        lock.set_canary("s", Some(canary("3")));
        let updated = lock.clone();
        lock.note("s", Some(&read), installed);
        lock.note("s", None, locked("1"));
        assert_eq!(lock, updated);
        lock.note("s", Some(&locked("2")), locked("4"));
        assert_eq!(versions(lock.entry("s").unwrap()), ["4", "2", "1"], "the configuration asks for something else");
    }

    #[test]
    fn a_share_of_none_or_all_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (path, drafts) = (folder.path().join(LOCK), folder.path().join("drafts"));
        LockFile::change(&path, &drafts, |lock| {
            lock.set("s", locked("1"));
            lock.set_canary("s", Some(canary("2")));
        })
        .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for share in ["0", "100", "-1", "\"10%\""] {
            fs::write(&path, text.replace("share = 10", &format!("share = {share}"))).unwrap();
            assert!(LockFile::read(&path, &drafts).is_err(), "{share}");
        }
    }

    const LOCK: &str = "sallyport.lock";

    #[test]
    fn a_write_that_was_cut_off_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let (path, drafts) = (folder.path().join(LOCK), folder.path().join("drafts"));
        LockFile::change(&path, &drafts, |lock| lock.set("s", locked("2"))).unwrap();
        fs::rename(&path, draft(&path, &drafts)).unwrap();
        fs::write(&path, "version = 1\n[servers.s.lo").unwrap();
        // By its canonical path, as it was before.
        assert!(LockFile::read(&path, &drafts).is_err());
        let read = LockFile::open(&path, &drafts).unwrap();
        assert!(read.entry("s").is_some() && LockFile::read(&path, &drafts).is_ok());
    }

    #[test]
    fn who_locks_the_file_itself_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (path, drafts) = (folder.path().join(LOCK), folder.path().join("drafts"));
        fs::write(&path, "").unwrap();
        let hostile = File::open(&path).unwrap();
        hostile.lock().unwrap();
        LockFile::change(&path, &drafts, |lock| lock.set("s", locked("1"))).unwrap();
        assert!(LockFile::open(&path, &drafts).unwrap().entry("s").is_some());
    }

    #[test]
    fn two_users_of_one_file_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let (path, [ours, theirs]) = (folder.path().join(LOCK), ["ours", "theirs"].map(|user| folder.path().join(user)));
        std::thread::scope(|scope| {
            LockFile::change(&path, &ours, |lock| {
                let (done, is_done) = std::sync::mpsc::channel();
                let (path, theirs) = (&path, &theirs);
                scope.spawn(move || {
                    LockFile::change(path, theirs, |lock| lock.set("theirs", locked("1"))).unwrap();
                    let _nobody_waits = done.send(());
                });
                assert!(is_done.recv_timeout(Duration::from_millis(50)).is_err(), "this change is not done yet");
                lock.set("ours", locked("1"));
            })
            .unwrap();
        });
        let read = LockFile::read(&path, &ours).unwrap();
        assert!(["ours", "theirs"].iter().all(|server| read.entry(server).is_some()), "none is lost");
    }

    #[test]
    fn what_another_user_has_written_since_is_not_undone_by_a_write_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let (path, [ours, theirs]) = (folder.path().join(LOCK), ["ours", "theirs"].map(|user| folder.path().join(user)));
        LockFile::change(&path, &ours, |lock| lock.set("s", locked("1"))).unwrap();
        let draft = draft(&path, &ours);
        fs::copy(&path, &draft).unwrap();
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(&draft).unwrap().set_modified(long_ago).unwrap();
        LockFile::change(&path, &theirs, |lock| lock.set("s", locked("2"))).unwrap();
        assert_eq!(LockFile::open(&path, &ours).unwrap().entry("s").unwrap().locked, locked("2"));
        assert!(!draft.exists());
    }

    #[test]
    fn one_changes_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (path, drafts) = (folder.path().join(LOCK), folder.path().join("drafts"));
        let change = |number: u32| LockFile::change(&path, &drafts, |lock| lock.set(&format!("s{number}"), locked("1"))).unwrap();
        std::thread::scope(|scope| (0..8).for_each(|number| drop(scope.spawn(move || change(number)))));
        let read = LockFile::read(&path, &drafts).unwrap();
        assert!((0..8).all(|number| read.entry(&format!("s{number}")).is_some()), "none is lost");
    }

    #[test]
    fn what_is_no_lock_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, drafts) = (folder.path().join(LOCK), folder.path().join("drafts"));
        for text in ["version = 2", "servers = 1", "version = 1\nother = 2", "<<<<<<< ours"] {
            fs::write(&path, text).unwrap();
            assert!(LockFile::read(&path, &drafts).is_err(), "{text}");
            assert!(LockFile::change(&path, &drafts, |lock| lock.set("s", locked("1"))).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
