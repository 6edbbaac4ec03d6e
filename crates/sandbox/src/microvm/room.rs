//! The folder of one machine while it starts: the sockets to which its monitor connects, and its memory. It belongs to this user alone, and is
//! gone as soon as the monitor has opened everything: whatever happens later, nothing is left behind.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use tokio::net::UnixListener;

use super::prepare::failed;
use super::vmm::{CONTROL_SOCKET, DISK_SOCKET, EGRESS_SOCKET, MEMORY, STDIO_SOCKET, STEER_SOCKET};
use crate::error::Error;
use crate::turn;

pub(super) struct Room {
    path: PathBuf,
    /// Locked, so that others see that somebody is in there.
    _lock: OwnedFd,
    pub(super) control: UnixListener,
    pub(super) stdio: UnixListener,
    pub(super) disk: UnixListener,
    pub(super) egress: UnixListener,
    pub(super) steer: UnixListener,
    pub(super) memory: File,
}

impl Room {
    /// Makes one below `folder`; takes away those whose gateway was killed before they were gone.
    pub(super) fn new(folder: &Path, memory_mb: u32) -> Result<Self, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let unusable = |cause: io::Error| failed(format_args!("folder {} for microVMs cannot be used", folder.display()), &cause);
        private_folders(folder).map_err(unusable)?;
        // One at a time: a room that is not locked yet would look left behind.
        let turn = opened(folder).map_err(unusable)?;
        turn::take(&turn, turn::SHORT).map_err(unusable)?;
        sweep(folder);
        loop {
            let path = folder.join(format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
            match DirBuilder::new().mode(0o700).create(&path) {
                // A gateway in another container may have the same pid. No name is tried twice.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.and_then(|()| Self::at(path, memory_mb)).map_err(unusable),
            }
        }
    }

    /// Fills a folder that was just made.
    fn at(path: PathBuf, memory_mb: u32) -> io::Result<Self> {
        let lock = open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        turn::take(&lock, Duration::ZERO)?;
        // The folder's own path may be longer than a socket's can be.
        let short = PathBuf::from(format!("/proc/self/fd/{}", lock.as_raw_fd()));
        let listen = |name: &str| UnixListener::bind(short.join(name));
        let memory = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path.join(MEMORY))?;
        memory.set_len(u64::from(memory_mb) << 20)?;
        let (control, stdio) = (listen(CONTROL_SOCKET)?, listen(STDIO_SOCKET)?);
        let (disk, egress, steer) = (listen(DISK_SOCKET)?, listen(EGRESS_SOCKET)?, listen(STEER_SOCKET)?);
        Ok(Self { control, stdio, disk, egress, steer, memory, _lock: lock, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // If it stays, the next start takes it away.
        let _left = fs::remove_dir_all(&self.path);
    }
}

fn private_folders(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Takes away what gateways have left that were killed; does nothing where there never was a room.
pub(super) fn clear(folder: &Path) {
    // Whoever has the turn sweeps as well.
    if let Ok(turn) = opened(folder)
        && turn::take_now(&turn)
    {
        sweep(folder);
    }
}

fn opened(folder: &Path) -> io::Result<OwnedFd> {
    Ok(open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Who holds no lock is dead.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(there) = open(entry.path(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) else {
            continue;
        };
        if turn::take_now(&there) {
            let _stays_for_the_next = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn it_is_private_and_only_what_nobody_holds_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let rooms = folder.path().join("x".repeat(120)).join("rooms");
        let held = Room::new(&rooms, 4).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&rooms), mode(held.path()), mode(&held.path().join(MEMORY))), (0o700, 0o700, 0o600));

        let left = rooms.join("1-1");
        fs::create_dir(&left).unwrap();
        let other = Room::new(&rooms, 4).unwrap();
        assert!(!left.exists() && held.path().exists());
        fs::create_dir(&left).unwrap();
        clear(&rooms);
        assert!(!left.exists() && held.path().exists() && other.path().exists());
        drop((held, other));
        assert_eq!(fs::read_dir(&rooms).unwrap().count(), 0);

        // A program that may read the folder locks it: it holds up neither a start nor a machine for ever.
        fs::create_dir(&left).unwrap();
        let hostile = File::open(&rooms).unwrap();
        hostile.lock().unwrap();
        clear(&rooms);
        assert!(left.exists());
        drop(hostile);
        clear(&rooms);
        assert!(!left.exists());

        let nowhere = folder.path().join("nowhere");
        clear(&nowhere);
        assert!(!nowhere.exists());
    }

    #[tokio::test]
    async fn a_gateway_of_the_same_pid_in_another_container_takes_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let own = Room::new(folder.path(), 4).unwrap();
        let name = own.path().file_name().unwrap().to_str().unwrap();
        let (pid, number) = name.split_once('-').map(|(pid, number)| (pid, number.parse::<u64>().unwrap())).unwrap();
        let theirs = [1, 2].map(|further| folder.path().join(format!("{pid}-{}", number + further)));
        let held = theirs.each_ref().map(|room| {
            fs::create_dir(room).unwrap();
            let lock = File::open(room).unwrap();
            lock.lock().unwrap();
            lock
        });
        let next = Room::new(folder.path(), 4).unwrap();
        assert_eq!(next.path(), folder.path().join(format!("{pid}-{}", number + 3)));
        assert!(theirs.iter().all(|room| room.exists()));
        drop(held);
    }
}
