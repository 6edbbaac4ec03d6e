//! What is installed: one folder for each, named by the digest of all that went into it, and never changed afterwards.
//!
//! ```text
//! PACKAGES/store/npm/left-pad-1.3.0-0123456789abcdef…/tree             what was installed
//!                                                     installed.json   written last: without it the rest counts for nothing
//!                                                     lock             held by whoever installs; when it was last used
//!                                                     in-use           held by whoever runs it
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::desk::{self, Turn, gone, in_turn, off_the_runtime, plain_name};
use super::locked::Locked;
use super::{Error, Source, tree};

/// What is known of a complete installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// What it was made of.
    pub(super) locked: Locked,
    /// The platform that it was made for, as `locked.trees` names it.
    pub(super) platform: String,
    /// The digest of every file, also of those that differ from machine to machine.
    pub(super) whole: String,
    /// The digest of those that are the same everywhere.
    pub(super) portable: String,
    #[serde(flatten)]
    pub(super) notes: Notes,
}

/// What a package manager's installation tells besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    /// The name under which the package was installed, where it is needed to find the program.
    pub(super) name: Option<String>,
    /// The packages whose installation scripts were not run.
    pub(super) unbuilt: Vec<String>,
}

/// The folder of one installation.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: PathBuf,
    source: Source,
}

impl Place {
    pub(super) fn of(packages: &Path, locked: &Locked) -> Self {
        let name = locked.requirements.first().map_or("", String::as_str);
        let last = name.rsplit('/').next().unwrap_or(name).split(['@', '=', '<', '>', '~', '[']).next().unwrap_or_default();
        let folder = format!("{}-{}-{}", plain_name(last), plain_name(&locked.version), locked.key());
        Self { folder: folder_of(packages).join(locked.source.name()).join(folder), source: locked.source }
    }

    /// The same with native modules for the Node that loads `modules` of this number. The key stays at the end.
    pub(super) fn for_node(self, modules: &str) -> Self {
        let name = self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (name, key) = name.rsplit_once('-').unwrap_or((name, ""));
        Self { folder: self.folder.with_file_name(format!("{name}-node{modules}-{key}")), ..self }
    }

    /// What the key of an installation is called in the store: once for each Node that it was built for.
    fn with_key(packages: &Path, source: Source, key: &str) -> impl Iterator<Item = Self> + use<> {
        let end = format!("-{key}");
        let entries = fs::read_dir(folder_of(packages).join(source.name())).into_iter().flatten().flatten();
        let named = entries.filter(move |entry| entry.file_name().to_str().is_some_and(|name| name.ends_with(&end)));
        named.map(move |entry| Self { folder: entry.path(), source })
    }

    /// All installations of what is locked, the one that was used last first.
    pub(super) fn all(packages: &Path, locked: &Locked) -> Vec<Self> {
        Self::all_with_key(packages, locked.source, &locked.key())
    }

    fn all_with_key(packages: &Path, source: Source, key: &str) -> Vec<Self> {
        let mut all: Vec<_> = Self::with_key(packages, source, key).filter(|place| place.record().is_some()).collect();
        all.sort_by_cached_key(|place| Reverse(fs::metadata(place.folder.join("lock")).and_then(|lock| lock.modified()).ok()));
        all
    }

    /// Whether no other installation with its key was used later.
    fn is_last_used(&self, packages: &Path, key: &str) -> bool {
        Self::all_with_key(packages, self.source, key).first().is_none_or(|last| last.folder == self.folder)
    }

    /// The number of the modules that its Node loads, where it was built for one.
    pub(super) fn modules(&self) -> Option<&str> {
        let (name, _key) = self.folder.file_name()?.to_str()?.rsplit_once('-')?;
        let (_version, modules) = name.rsplit_once("-node")?;
        Some(modules).filter(|modules| !modules.is_empty() && modules.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// What was installed.
    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    pub(super) fn source(&self) -> Source {
        self.source
    }

    fn record_file(&self) -> PathBuf {
        self.folder.join("installed.json")
    }

    /// What is known of the installation if it is complete and still of use.
    pub(super) fn record(&self) -> Option<Record> {
        let record = serde_json::from_slice(&fs::read(self.record_file()).ok()?).ok()?;
        // An environment refers to the Python it was made with, which an upgrade of the system may have taken away.
        let usable = match self.source {
            Source::Npm | Source::Cargo | Source::Oci => self.tree().is_dir(),
            Source::PyPi => self.tree().join("bin/python").exists(),
        };
        usable.then_some(record)
    }

    /// Waits until nobody else installs here.
    pub(super) async fn turn(&self, limit: Duration, waiting: impl FnOnce()) -> Result<Turn, Error> {
        desk::turn(&self.folder, limit, waiting).await
    }

    /// Notes that it is used, for [`prune`], which leaves it alone while what this gives is there. Nothing where that cannot be noted: on a
    /// file system without locks, or in another user's store.
    ///
    /// # Errors
    /// When it is being removed.
    pub(super) fn used(&self) -> Result<Option<Arc<File>>, Error> {
        let removed = || Error::new("`sallyport update --prune` removes it").with_hint("the next start installs it anew");
        let held = match self.in_use() {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Ok(Some(Arc::new(file))),
                Err(TryLockError::WouldBlock) => return Err(removed()),
                Err(TryLockError::Error(cause)) => Err(cause),
            },
            Err(cause) => Err(cause),
        };
        let held = held.unwrap_or_else(|cause| {
            tracing::debug!(folder = %self.folder.display(), "that it is in use cannot be noted: {cause}");
            None
        });
        if !self.record_file().exists() {
            return Err(removed());
        }
        let touched = File::options().write(true).open(self.folder.join("lock")).and_then(|lock| lock.set_modified(SystemTime::now()));
        if let Err(cause) = touched {
            tracing::debug!(folder = %self.folder.display(), "its use cannot be noted: {cause}");
        }
        Ok(held)
    }

    fn in_use(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).read(true).write(true).open(self.folder.join("in-use"))
    }

    /// Whether a file lies in what was installed, wherever links lead: a package may have made one to any file of the user's, and what is
    /// round that would be shown to it.
    pub(super) fn holds(&self, file: &Path) -> bool {
        file.canonicalize().is_ok_and(|file| file.is_file() && self.tree().canonicalize().is_ok_and(|tree| file.starts_with(tree)))
    }

    /// An empty tree, whatever an earlier installation has left; its record goes first.
    pub(super) async fn prepare(&self, turn: &Turn) -> Result<(), Error> {
        let place = self.clone();
        in_turn(turn, move || place.remove().and_then(|()| fs::create_dir(place.tree())))
            .await
            .map_err(|cause| Error::io(format_args!("{} cannot be cleared", self.folder.display()), &cause))
    }

    /// Takes back what was begun; what stays is removed by the next.
    pub(super) async fn abandon(&self, turn: &Turn) {
        let place = self.clone();
        let _next_time = in_turn(turn, move || place.remove()).await;
    }

    fn remove(&self) -> io::Result<()> {
        gone(fs::remove_file(self.record_file()))?;
        gone(tree::remove(&self.tree()))
    }

    /// Takes the digests of what was installed and writes the record, which makes the installation count.
    pub(super) async fn complete(&self, locked: &Locked, notes: Notes) -> Result<Record, Error> {
        let (place, mut locked) = (self.clone(), locked.clone());
        let done = off_the_runtime(move || {
            let files = tree::files(&place.tree())?;
            let portable = tree::digest(files.iter().filter(|(path, _)| tree::is_portable(place.source, path)));
            let platform = platform(&place);
            // The plan of a tree that was built says nothing of what came out.
            if !locked.scripts {
                locked.trees.entry(platform.clone()).or_insert_with(|| portable.clone());
            }
            Ok((Record { locked, platform, whole: tree::digest(&files), portable, notes }, place))
        });
        let failed = |cause: io::Error| Error::io(format_args!("{} cannot be completed", self.folder.display()), &cause);
        let (record, place) = done.await.map_err(failed)?;
        matches_lock(&record, &record.locked)?;
        desk::write(&place.record_file(), &record).map_err(failed)?;
        Ok(record)
    }

    /// Looks at every file, and says whether all are as they were installed.
    pub(super) async fn verify(&self, record: &Record) -> Result<(), Error> {
        let tree = self.tree();
        let found = off_the_runtime(move || tree::files(&tree)).await;
        let found = found.map_err(|cause| Error::io(format_args!("{} cannot be read", self.folder.display()), &cause))?;
        if tree::digest(&found) == record.whole {
            return Ok(());
        }
        Err(Error::new(format!("the files in {} are not those that were installed", self.folder.display()))
            .with_hint("somebody has changed them: remove the folder, and it is installed anew from the lock"))
    }
}

/// Whether what is in the store is what a lock says.
pub(super) fn matches_lock(record: &Record, locked: &Locked) -> Result<(), Error> {
    match locked.trees.get(&record.platform) {
        Some(wanted) if *wanted != record.portable && !locked.scripts => Err(Error::new(format!(
            "what is installed of version {} is not what the lock says (installed {}, locked {wanted})",
            locked.version, record.portable
        ))
        .with_hint(
            "if you trust what the registry serves now, `sallyport update NAME` locks it anew; otherwise somebody changed the lock",
        )),
        _ => Ok(()),
    }
}

/// The machine's kind, and for an environment of Python its version: what is installed depends on both.
fn platform(place: &Place) -> String {
    let machine = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let python = || {
        let entries = fs::read_dir(place.tree().join("lib")).ok()?;
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).find(|name| name.starts_with("python"))
    };
    match Some(place.source).filter(|source| *source == Source::PyPi).and_then(|_| python()) {
        Some(python) => format!("{machine}-{python}"),
        None => machine,
    }
}

fn folder_of(packages: &Path) -> PathBuf {
    packages.join("store")
}

/// Removes the installations that nobody has started for `unused` and nobody runs, but for those with the keys `kept`: of several with one
/// key, each built for another Node, the one that was used last. Gives the names of their folders.
///
/// # Errors
/// When the store cannot be read; one that cannot be removed is left out.
pub fn prune(packages: &Path, unused: Duration, kept: &BTreeSet<String>) -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    for source in Source::ALL {
        let entries = match fs::read_dir(folder_of(packages).join(source.name())) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let place = Place { folder: entry?.path(), source };
            let key = place.folder.to_str().and_then(|name| name.rsplit('-').next()).filter(|key| kept.contains(*key));
            let is_kept = key.is_some_and(|key| place.is_last_used(packages, key));
            let Some(_turn) = Some(&place).filter(|_| !is_kept).and_then(|place| place.unused(unused)) else { continue };
            if place.remove().and_then(|()| fs::remove_dir_all(&place.folder)).is_ok() {
                removed.push(place.folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
            }
        }
    }
    Ok(removed)
}

impl Place {
    /// The locks, if nobody has started it for `limit`, and nobody installs or runs it now.
    fn unused(&self, limit: Duration) -> Option<[File; 2]> {
        let lock = File::options().write(true).open(self.folder.join("lock")).ok()?;
        let age = lock.metadata().and_then(|found| found.modified()).ok()?.elapsed().unwrap_or_default();
        if age < limit || lock.try_lock().is_err() {
            return None;
        }
        let running = self.in_use().ok()?;
        running.try_lock().is_ok().then_some([lock, running])
    }
}

/// The installation with this key.
pub(super) fn find(packages: &Path, source: Source, key: &str) -> Option<Locked> {
    Place::with_key(packages, source, key).find_map(|place| place.record()).map(|record| record.locked)
}

/// The files that two installations have, for a comparison.
pub(super) fn files(place: &Place) -> io::Result<BTreeMap<PathBuf, String>> {
    let all = tree::files(&place.tree())?;
    let counts = |path: &PathBuf| place.source == Source::Cargo || tree::is_portable(place.source, path);
    Ok(all.into_iter().filter(|(path, _)| counts(path)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use std::os::unix::fs::symlink;

    use super::*;
    use crate::install::{Package, Start, cargo, pypi};

    fn place(packages: &Path, source: Source) -> Place {
        let place = Place { folder: folder_of(packages).join(source.name()).join("server-1.0.0-0123"), source };
        fs::create_dir_all(place.tree().join("bin")).unwrap();
        fs::write(place.record_file(), "{}").unwrap();
        let lock = File::create(place.folder.join("lock")).unwrap();
        lock.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        place
    }

    fn prune_all(packages: &Path, kept: &[&str]) -> usize {
        prune(packages, Duration::from_secs(60), &kept.iter().map(|key| (*key).to_owned()).collect()).unwrap().len()
    }

    #[test]
    fn what_runs_or_is_locked_is_not_pruned_however_long_ago_it_was_started() {
        let packages = tempfile::tempdir().unwrap();
        let place = place(packages.path(), Source::Npm);
        let held = place.used().unwrap().unwrap();
        let other = place.used().unwrap();
        File::options().write(true).open(place.folder.join("lock")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(prune_all(packages.path(), &[]), 0);
        drop(held);
        assert_eq!(prune_all(packages.path(), &[]), 0, "another program runs it");
        drop(other);
        assert_eq!(prune_all(packages.path(), &["0123"]), 0);
        let removing = place.unused(Duration::ZERO).unwrap();
        assert!(place.used().unwrap_err().to_string().contains("--prune"));
        drop(removing);
        assert_eq!(prune_all(packages.path(), &["123", "4567"]), 1);
        assert!(!place.folder.exists());
        assert!(place.used().is_err());
    }

    #[test]
    fn of_what_was_built_for_several_versions_of_node_the_one_used_last_is_kept() {
        let packages = tempfile::tempdir().unwrap();
        let plain = place(packages.path(), Source::Npm);
        fs::remove_dir_all(&plain.folder).unwrap();
        let record = serde_json::json!({
            "locked": { "source": "npm", "requirements": ["server"], "version": "1.0.0", "artefacts": [] },
            "platform": "", "whole": "", "portable": "", "name": null, "unbuilt": [],
        });
        let built = |modules: &str, days: u64| {
            let place = plain.clone().for_node(modules);
            fs::create_dir_all(place.tree()).unwrap();
            fs::write(place.record_file(), record.to_string()).unwrap();
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(days * 24 * 60 * 60);
            File::create(place.folder.join("lock")).unwrap().set_modified(used).unwrap();
            place
        };
        let builds = [built("108", 2), built("115", 3), built("127", 1)];
        assert_eq!(builds.each_ref().map(Place::modules), [Some("108"), Some("115"), Some("127")]);
        assert_eq!((plain.modules(), prune_all(packages.path(), &["0123"])), (None, 2));
        assert_eq!(builds.each_ref().map(|place| place.folder.exists()), [false, true, false]);
    }

    #[test]
    fn what_is_given_up_keeps_its_turn_until_it_has_come_to_rest() {
        let packages = tempfile::tempdir().unwrap();
        let place = place(packages.path(), Source::Npm);
        let one_thread = tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
        one_thread.block_on(async {
            let (go_on, wait) = std::sync::mpsc::channel();
            let others = tokio::task::spawn_blocking(move || wait.recv());
            let turn = place.turn(Duration::ZERO, || {}).await.unwrap();
            tokio::time::timeout(Duration::ZERO, place.prepare(&turn)).await.unwrap_err();
            drop(turn);
            assert!(place.turn(Duration::ZERO, || {}).await.is_err(), "its tree is still to be removed");
            go_on.send(()).unwrap();
            others.await.unwrap().unwrap();
            let _turn = place.turn(Duration::from_secs(60), || {}).await.unwrap();
            assert_eq!(fs::read_dir(place.tree()).unwrap().count(), 0);
        });
    }

    #[test]
    fn no_link_of_a_package_leads_its_start_out_of_the_installation() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("outside"), "").unwrap();
        let package = |source| Package {
            source,
            requirements: vec!["server".to_owned()],
            program: Some("server".to_owned()),
            args: Vec::new(),
            tools: None,
            scripts: true,
        };
        type StartOf = fn(&Place, &Package) -> Result<Start, Error>;
        let starts: [(Source, StartOf); 2] = [(Source::PyPi, pypi::start), (Source::Cargo, cargo::start)];
        for (source, start) in starts {
            let place = place(folder.path(), source);
            let program = place.tree().join("bin/server");
            symlink(folder.path().join("outside"), &program).unwrap();
            assert!(start(&place, &package(source)).is_err(), "{source:?}");
            fs::remove_file(&program).unwrap();
            fs::write(place.tree().join("inside"), "").unwrap();
            symlink("../inside", &program).unwrap();
            assert_eq!(start(&place, &package(source)).ok().unwrap().command, program);
        }
    }
}
