//! The keeper's process: holds what covers names that are not there, and takes it away when the sandbox has ended.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RawMode, fchmod, flock, fstat, lstat, mkdirat, open, rmdir, unlink};
use rustix::io::{Errno, pread};
use rustix::process::{Signal, chdir, geteuid, setsid, umask};

use super::control::{receive_bytes, send_bytes};
use super::raw;
use crate::cover::{self, FILE_MODE, FILE_TEXT, FOLDER_MODE, Reply, THATS_ALL};

/// When the gateway is gone before it could say which sandbox this is about: that dies with it, within milliseconds.
const DYING: Duration = Duration::from_secs(1);

/// How often a name is tried that others cover and uncover meanwhile.
const TRIES: usize = 100;

/// How long after somebody was found to hold one alone: whoever takes it away needs less.
const PAUSE: Duration = Duration::from_millis(10);

/// One name that is covered. The lock is shared by all sandboxes that count on the folder; the last one takes it away.
struct Placeholder {
    path: PathBuf,
    own: OwnedFd,
}

/// The keeper's main.
pub(crate) fn run() -> ! {
    // Without a gateway there is nothing to keep; without a way to tell it, it launches nothing.
    let _told = keep();
    raw::exit(0)
}

fn keep() -> std::io::Result<()> {
    raw::close_others(raw::Others::Close)?;
    let control = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    setsid()?;
    chdir("/")?;
    umask(Mode::empty());
    // Whoever ends a whole group means the gateway; this one ends after the sandbox.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        super::attack::ignore(signal);
    }
    let names = receive_names(control.as_fd())?;
    let mut placeholders = Vec::new();
    let told = names.into_iter().try_for_each(|name| cover(control.as_fd(), name, &mut placeholders));
    if told.is_ok() {
        wait(control.as_fd());
    }
    placeholders.iter().for_each(Placeholder::remove);
    told
}

fn receive_names(control: BorrowedFd<'_>) -> std::io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    loop {
        match receive_bytes(control)?.0 {
            end if end == THATS_ALL => return Ok(names),
            lost if lost.is_empty() => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            name => names.push(PathBuf::from(OsStr::from_bytes(&name))),
        }
    }
}

fn cover(control: BorrowedFd<'_>, name: PathBuf, placeholders: &mut Vec<Placeholder>) -> std::io::Result<()> {
    let word = match Placeholder::make(name.clone()) {
        Ok(placeholder) => {
            placeholders.extend(placeholder);
            Reply::Covered.word()
        }
        Err(Errno::ROFS) => Reply::Impossible.word(),
        // Whoever owns the folder could let himself in again, and a program run by the same user could too.
        Err(Errno::ACCESS | Errno::PERM) if !is_below_an_own_folder(&name) => Reply::Impossible.word(),
        Err(_) => b"failed",
    };
    send_bytes(control, word, &[])
}

/// Whether the last folder above it that can be looked at belongs to this user.
fn is_below_an_own_folder(name: &Path) -> bool {
    name.ancestors().skip(1).find_map(|folder| lstat(folder).ok()).is_some_and(|found| found.st_uid == geteuid().as_raw())
}

/// Until the sandbox has ended.
fn wait(control: BorrowedFd<'_>) {
    match receive_bytes(control) {
        Ok((_, descriptors)) if !descriptors.is_empty() => {
            let mut ends: Vec<PollFd<'_>> = descriptors.iter().map(|init| PollFd::new(init, PollFlags::IN)).collect();
            while poll(&mut ends, None) == Err(Errno::INTR) {}
        }
        Ok((said, _)) if !said.is_empty() => {} // it never came to a sandbox
        _ => std::thread::sleep(DYING),
    }
}

impl Placeholder {
    /// Makes it, or takes part in the one that another sandbox made. `None` when somebody has one of his own there by now.
    fn make(path: PathBuf) -> Result<Option<Self>, Errno> {
        let is_file = cover::is_file(&path);
        let kind = if is_file { OFlags::empty() } else { OFlags::DIRECTORY };
        for _ in 0..TRIES {
            let made = if is_file { make_file(&path) } else { mkdirat(CWD, &path, Mode::from_raw_mode(FOLDER_MODE)) };
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            let own = match open(&path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | kind, Mode::empty()) {
                Ok(own) => own,
                Err(Errno::NOENT) => continue, // another keeper has just taken it away
                Err(errno) => return Err(errno),
            };
            if mode(&own)? != if is_file { FILE_MODE } else { FOLDER_MODE } {
                return Ok(None);
            }
            // Without waiting: a program that can read it could hold it as long as it likes.
            match flock(&own, FlockOperation::NonBlockingLockShared) {
                Err(Errno::WOULDBLOCK) => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                locked => locked?,
            }
            let placeholder = Self { path: path.clone(), own };
            if placeholder.is_there() {
                return Ok(Some(placeholder));
            }
        }
        Err(Errno::BUSY)
    }

    /// Whether the name still means this one.
    fn is_there(&self) -> bool {
        match (fstat(&self.own), lstat(&self.path)) {
            (Ok(own), Ok(found)) => (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino),
            _ => false,
        }
    }

    fn remove(&self) {
        let is_the_last = flock(&self.own, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !is_the_last || !self.is_there() {
            return;
        }
        let (removed, usual) = match cover::is_file(&self.path) {
            true if self.is_unchanged() => (unlink(&self.path), 0o644),
            true => (Err(Errno::NOTEMPTY), 0o644),
            false => (rmdir(&self.path), 0o755),
        };
        if removed == Err(Errno::NOTEMPTY) {
            // Somebody uses it: it is his now.
            let _stays_as_it_is = fchmod(&self.own, Mode::from_raw_mode(usual));
        }
    }

    fn is_unchanged(&self) -> bool {
        let mut text = [0; FILE_TEXT.len() + 1];
        pread(&self.own, &mut text, 0).is_ok_and(|length| text.get(..length) == Some(FILE_TEXT))
    }
}

fn make_file(path: &Path) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::from_raw_mode(FILE_MODE))?;
    rustix::io::write(&file, FILE_TEXT).map(drop)
}

fn mode(own: &OwnedFd) -> Result<RawMode, Errno> {
    Ok(fstat(own)?.st_mode & 0o7777)
}
