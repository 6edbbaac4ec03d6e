//! Where one set of requirements is installed, and who may do so now.
//!
//! ```text
//! PACKAGES/npm/left-pad-0123456789abcdef/tree             what was installed, and nothing else that an installation can write
//!                                        tmp              the package manager's own, there only while it works
//!                                        installed.json   written last: without it the rest counts for nothing
//!                                        lock             held by whoever installs
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sallyport_telemetry::state_folder::private_folder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Error, Package, Registry};

/// How often it is looked whether the lock is free: an installation takes seconds.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of the digest that tell requirements apart: 64 bits are enough where nobody gains from a collision of his own.
const DIGEST_BYTES: usize = 8;

/// Characters of a package's name in a folder's name; the digest does the telling apart.
const NAME_CHARACTERS: usize = 40;

/// What is known of a complete installation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The name under which the package was installed, where it is needed to find the program.
    pub(super) name: Option<String>,
    /// The packages whose installation scripts were not run.
    pub(super) unbuilt: Vec<String>,
}

/// The folder of one set of requirements.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: PathBuf,
    registry: Registry,
}

impl Place {
    pub(super) fn of(packages: &Path, package: &Package) -> Self {
        let folder = packages.join(package.registry.folder()).join(folder_name(package));
        Self { folder, registry: package.registry }
    }

    /// What was installed.
    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Scratch space of the package manager: on disk, because what it downloads may be large.
    pub(super) fn tmp(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    fn record_file(&self) -> PathBuf {
        self.folder.join("installed.json")
    }

    /// What is known of the installation if it is complete and still of use.
    pub(super) fn record(&self) -> Option<Record> {
        let record = serde_json::from_slice(&fs::read(self.record_file()).ok()?).ok()?;
        // An environment refers to the Python it was made with, which an upgrade of the system may have taken away.
        let usable = match self.registry {
            Registry::Npm => self.tree().is_dir(),
            Registry::PyPi => self.tree().join("bin/python").exists(),
        };
        usable.then_some(record)
    }

    /// Waits until no other gateway, and no other task of this one, installs here. The lock ends with the process at the latest.
    pub(super) async fn turn(&self, limit: Duration, waiting: impl FnOnce()) -> Result<File, Error> {
        private_folder(&self.folder).map_err(|error| Error::new(error.to_string()).with_hint(error.hint()))?;
        let path = self.folder.join("lock");
        let failed = |cause: io::Error| Error::io(format_args!("{} cannot be locked", path.display()), &cause);
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        let mut waiting = Some(waiting);
        let deadline = Instant::now() + limit;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(cause)) => return Err(failed(cause)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(Error::new(format!("another gateway has been installing it for {limit:?}")));
                }
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    tokio::time::sleep(LOCK_INTERVAL).await;
                }
            }
        }
    }

    /// Removes what an earlier installation has left, its record first.
    pub(super) async fn clear(&self) -> Result<(), Error> {
        let place = self.clone();
        off_the_runtime(move || {
            gone(fs::remove_file(place.record_file()))?;
            gone(fs::remove_dir_all(place.tree()))?;
            gone(fs::remove_dir_all(place.tmp()))
        })
        .await
        .map_err(|cause| Error::io(format_args!("{} cannot be cleared", self.folder.display()), &cause))
    }

    /// Makes the empty folders.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        [self.tree(), self.tmp()].iter().try_for_each(|folder| {
            fs::create_dir(folder).map_err(|cause| Error::io(format_args!("folder {} cannot be made", folder.display()), &cause))
        })
    }

    /// Removes the scratch space and writes the record, which makes the installation count.
    pub(super) async fn complete(&self, record: &Record) -> Result<(), Error> {
        let (place, text) = (self.clone(), serde_json::to_vec(record).map_err(io::Error::from));
        off_the_runtime(move || {
            gone(fs::remove_dir_all(place.tmp()))?;
            let draft = place.folder.join("installed.json.new");
            fs::write(&draft, text?)?;
            fs::rename(draft, place.record_file())
        })
        .await
        .map_err(|cause| Error::io(format_args!("{} cannot be completed", self.folder.display()), &cause))
    }
}

/// Many small files are removed: not on the runtime's own threads.
async fn off_the_runtime(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A readable name, made unique by a digest of all requirements.
fn folder_name(package: &Package) -> String {
    let plain = |character: char| if character.is_ascii_alphanumeric() || ".-_".contains(character) { character } else { '-' };
    let last = package.requirement().trim_start_matches('/');
    let name: String = last.chars().map(plain).skip_while(|character| !character.is_ascii_alphanumeric()).take(NAME_CHARACTERS).collect();
    let mut digest = Sha256::new();
    for requirement in &package.requirements {
        digest.update(requirement.as_bytes());
        digest.update([0]);
        digest.update(state_of_file(requirement));
    }
    let digest: String = digest.finalize().iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("{name}-{digest}")
}

/// A package in a local file is another one when the file has changed.
fn state_of_file(requirement: &str) -> String {
    let Some(found) = Some(requirement).filter(|path| path.starts_with('/')).and_then(|path| fs::metadata(path).ok()) else {
        return String::new();
    };
    let modified = found.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    format!("{} {modified:?}", found.len())
}
