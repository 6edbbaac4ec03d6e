//! Where it is found out what one set of requirements comes to, and who may do so now.
//!
//! ```text
//! PACKAGES/npm/left-pad-0123456789abcdef/tmp           what package managers download and build, there only while they work
//!                                        given         what package managers are told by files, which they see read-only
//!                                        locked.json   what the requirements came to, where no lock file says it
//!                                        lock          held by whoever is at work here
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sallyport_telemetry::state_folder::private_folder;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::locked::{Locked, hex};
use super::{Error, Package, tree};

/// How often it is looked whether the lock is free: an installation takes seconds.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of the digest that tell requirements apart: 64 bits are enough where nobody gains from a collision of his own.
const DIGEST_BYTES: usize = 8;

/// Characters of a package's name in a folder's name; the digest does the telling apart.
const NAME_CHARACTERS: usize = 40;

/// A folder that is one's own to work in, until the last of these is gone.
pub(super) type Turn = Arc<File>;

/// The folder of one set of requirements.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    folder: PathBuf,
}

impl Desk {
    pub(super) fn of(packages: &Path, package: &Package) -> Self {
        Self { folder: packages.join(package.source.name()).join(folder_name(package)) }
    }

    /// Scratch space of the package manager: on disk, because what it downloads may be large.
    pub(super) fn tmp(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// Files for package managers. No step writes there: what this process writes must not be led astray by links.
    pub(super) fn given(&self) -> PathBuf {
        self.folder.join("given")
    }

    /// Waits until nobody else is at work here.
    pub(super) async fn turn(&self, limit: Duration, waiting: impl FnOnce()) -> Result<Turn, Error> {
        turn(&self.folder, limit, waiting).await
    }

    /// Empty scratch space, whatever an earlier installation has left.
    pub(super) async fn clear(&self, turn: &Turn) -> Result<(), Error> {
        let folders = [self.tmp(), self.given()];
        let clear = move || folders.iter().try_for_each(|folder| gone(tree::remove(folder)).and_then(|()| fs::create_dir(folder)));
        in_turn(turn, clear).await.map_err(|cause| Error::io(format_args!("{} cannot be cleared", self.folder.display()), &cause))
    }

    /// Removes the scratch space. What stays of it is removed by the next.
    pub(super) async fn clean_up(&self, turn: &Turn) {
        let folders = [self.tmp(), self.given()];
        let _next_time = in_turn(turn, move || folders.iter().try_for_each(|folder| gone(tree::remove(folder)))).await;
    }

    /// What the requirements came to when they were last looked up.
    pub(super) fn remembered(&self, package: &Package) -> Option<Locked> {
        let locked: Locked = serde_json::from_slice(&fs::read(self.folder.join("locked.json")).ok()?).ok()?;
        locked.is_of(package).then_some(locked)
    }

    pub(super) fn remember(&self, locked: &Locked) -> Result<(), Error> {
        let written = private_folder(&self.folder).map_err(io::Error::other).and_then(|()| write(&self.folder.join("locked.json"), locked));
        written.map_err(|cause| Error::io(format_args!("{} cannot be written", self.folder.display()), &cause))
    }
}

/// Waits until no other gateway, and no other task of this one, works in `folder`. The lock ends with the process at the latest.
pub(super) async fn turn(folder: &Path, limit: Duration, waiting: impl FnOnce()) -> Result<Turn, Error> {
    private_folder(folder).map_err(|error| Error::new(error.to_string()).with_hint(error.hint()))?;
    let path = folder.join("lock");
    let failed = |cause: io::Error| Error::io(format_args!("{} cannot be locked", path.display()), &cause);
    let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let mut waiting = Some(waiting);
    let deadline = Instant::now() + limit;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Arc::new(lock)),
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

/// Writes a file whose reader sees the old content or the new.
pub(super) fn write(file: &Path, content: &impl serde::Serialize) -> io::Result<()> {
    let draft = file.with_extension("json.new");
    let text = serde_json::to_vec(content).map_err(io::Error::from)?;
    fs::write(&draft, text).and_then(|()| fs::rename(&draft, file))
}

/// Many small files are removed or read: not on the runtime's own threads.
pub(super) async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The same for what changes a folder: it is nobody else's turn before that is done, also when nobody waits for it any more.
pub(super) async fn in_turn<T: Send + 'static>(turn: &Turn, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let turn = Turn::clone(turn);
    let held = move || {
        let done = work();
        drop(turn);
        done
    };
    off_the_runtime(held).await
}

pub(super) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What of a package's name may stand in a folder's.
pub(super) fn plain_name(text: &str) -> String {
    let plain = |character: char| if character.is_ascii_alphanumeric() || ".-_".contains(character) { character } else { '-' };
    text.chars().map(plain).skip_while(|character| !character.is_ascii_alphanumeric()).take(NAME_CHARACTERS).collect()
}

/// A readable name, made unique by a digest of all requirements.
fn folder_name(package: &Package) -> String {
    let mut digest = Sha256::new();
    for requirement in &package.requirements {
        digest.update(requirement.as_bytes());
        digest.update([0]);
        digest.update(state_of_file(requirement));
    }
    if package.scripts {
        digest.update("scripts");
    }
    format!("{}-{}", plain_name(package.requirement()), hex(digest.finalize().iter().take(DIGEST_BYTES)))
}

/// A package in a local file is another one when the file has changed.
fn state_of_file(requirement: &str) -> String {
    let Some(found) = Some(requirement).filter(|path| path.starts_with('/')).and_then(|path| fs::metadata(path).ok()) else {
        return String::new();
    };
    let modified = found.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    format!("{} {modified:?}", found.len())
}
