//! Locks by which processes of one user take turns. Whoever may read a file or folder may lock it, so a lock is never waited for without
//! end.

use std::io;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// For what takes milliseconds, or seconds where a gateway that was killed has left much to clear away.
pub(crate) const SHORT: Duration = Duration::from_secs(30);

/// For what a machine boots for, or an image is unpacked.
pub(crate) const LONG: Duration = Duration::from_secs(300);

const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Locks what is open, within `limit`. Blocks the thread.
///
/// # Errors
/// When somebody else does not let go of it, or it cannot be locked.
pub(crate) fn take(open: &impl AsFd, limit: Duration) -> io::Result<()> {
    let late = Instant::now() + limit;
    loop {
        match flock(open, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < late => sleep(LOOK_AGAIN),
            Err(Errno::WOULDBLOCK) => return Err(io::Error::other("somebody else locks it and does not let go: `lslocks` shows which")),
            done => return Ok(done?),
        }
    }
}

/// The same where nothing is waited for: whether it is locked now.
pub(crate) fn take_now(open: &impl AsFd) -> bool {
    flock(open, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use std::fs::File;

    use super::*;

    #[test]
    fn who_only_reads_a_folder_and_locks_it_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let (hostile, ours) = (File::open(folder.path()).unwrap(), File::open(folder.path()).unwrap());
        hostile.lock_shared().unwrap();
        assert!(!take_now(&ours));
        let error = take(&ours, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("lslocks"), "{error}");
        drop(hostile);
        take(&ours, Duration::ZERO).unwrap();
    }
}
