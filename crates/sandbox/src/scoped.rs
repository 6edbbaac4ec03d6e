//! Opening what lies below a folder, wherever links lead.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread::yield_now;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// So often the kernel may be unsure on end. Each time something else has happened in between.
const TRIES: usize = 1000;

/// Opens `path` below `root` as `resolve` says. Where `..` is on the way and anything is renamed or mounted on the machine meanwhile, the kernel
/// cannot tell whether the way stays inside, and wants to be asked again (openat2(2), EAGAIN).
///
/// # Errors
/// As `openat2`.
pub(crate) fn open(root: impl AsFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let mut tries = 0;
    loop {
        match openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries < TRIES => tries += 1,
            opened => return opened,
        }
        yield_now();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_is_renamed_elsewhere_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("root/a")).unwrap();
        fs::create_dir(folder.path().join("one")).unwrap();
        let root = rustix::fs::open(folder.path().join("root"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let end = AtomicBool::new(false);
        let up_and_down = Path::new("a/../a/../a/../a/../a/../a/../a/../a");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    fs::rename(folder.path().join("one"), folder.path().join("two")).unwrap();
                    fs::rename(folder.path().join("two"), folder.path().join("one")).unwrap();
                }
            });
            let opened: Result<Vec<_>, _> =
                (0..500).map(|_| open(&root, up_and_down, OFlags::PATH, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)).collect();
            end.store(true, Ordering::Relaxed);
            assert_eq!(opened.map(|opened| opened.len()), Ok(500));
        });
    }
}
