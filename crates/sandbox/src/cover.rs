//! Covers what is not there and must not come to be: names of the deny-write list that nobody has used yet.
//!
//! A mount needs something to be mounted on, so an empty folder takes the place of each name as long as the sandbox lives. A *keeper*,
//! this very binary once more, makes the folders and takes them away again. It belongs to nobody who could take it along: neither the
//! gateway's end nor a signal to the gateway's group ends it, only the end of the sandbox does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::sys::{self, control};

/// The first argument that makes this binary the keeper.
pub(crate) const KEEPER_ARGUMENT: &str = "__sandbox_keeper";

/// How a placeholder is told from a folder that somebody uses: empty, for nobody to write, and sticky, which has no meaning then. A
/// folder, because git does not see an empty one, and because removing it can never remove what somebody put into it.
pub(crate) const FOLDER_MODE: u32 = 0o1555;

/// The one name that git minds also as an empty folder. As a file it says that everything is where it always is, which changes nothing.
const FILE: &str = "commondir";
pub(crate) const FILE_TEXT: &[u8] = b".\n";
pub(crate) const FILE_MODE: u32 = 0o1444;

/// Whether a file, and not a folder, covers this name.
pub(crate) fn is_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == FILE)
}

/// How long a keeper may take for one name, which is a call or two of the file system.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Said to the keeper after the last name.
pub(crate) const THATS_ALL: &[u8] = b"\0";

/// The keeper of one sandbox.
pub(crate) struct Keeper {
    child: Option<Child>,
    pidfd: OwnedFd,
    control: OwnedFd,
}

impl Keeper {
    /// Has every one of `names` covered. Those that nobody could make are left out: gives the others.
    ///
    /// # Errors
    /// One cannot be covered, for another reason than that it cannot be made at all.
    pub(crate) fn cover(binary: &Path, names: &[PathBuf]) -> io::Result<(Self, Vec<PathBuf>)> {
        let (control, theirs) = control::pair()?;
        let mut child = Command::new(binary)
            .arg0("sallyport")
            .arg(KEEPER_ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH);
        let pidfd = match pid.and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK)) {
            Ok(pidfd) => pidfd,
            Err(errno) => {
                child.kill().and_then(|()| child.wait())?; // it has heard no name yet
                return Err(errno.into());
            }
        };
        let keeper = Self { pidfd, child: Some(child), control };
        // It is the launching thread that waits here, for room as for answers.
        for direction in [Timeout::Send, Timeout::Recv] {
            set_socket_timeout(&keeper.control, direction, Some(ANSWER_LIMIT))?;
        }
        for name in names {
            control::send_bytes(keeper.control.as_fd(), name.as_os_str().as_bytes(), &[])?;
        }
        control::send_bytes(keeper.control.as_fd(), THATS_ALL, &[])?;
        let mut covered = Vec::with_capacity(names.len());
        for name in names {
            let (said, _) = control::receive_bytes(keeper.control.as_fd())?;
            match Reply::read(&said) {
                Some(Reply::Covered) => covered.push(name.clone()),
                Some(Reply::Impossible) => {}
                None => return Err(io::Error::other(format!("{} cannot be covered", name.display()))),
            }
        }
        Ok((keeper, covered))
    }

    /// The same line to the keeper, for whoever hears of the init.
    pub(crate) fn line(&self) -> io::Result<Line> {
        self.control.try_clone().map(Line)
    }

    /// Waits for its end, which follows that of the sandbox.
    pub(crate) async fn end(mut self) -> io::Result<()> {
        // For the case that it never came to a sandbox.
        control::send_bytes(self.control.as_fd(), b"over", &[])?;
        let pidfd = sys::readable(self.pidfd.try_clone()?)?;
        let _readable = pidfd.readable().await?;
        self.child.take().map_or(Ok(()), |mut child| child.wait().map(drop))
    }
}

/// The line to a keeper.
pub(crate) struct Line(OwnedFd);

impl Line {
    /// Until `init` has ended, everything stays covered.
    pub(crate) fn until_end_of(&self, init: BorrowedFd<'_>) -> io::Result<()> {
        match control::send_bytes(self.0.as_fd(), b"init", &[init]) {
            // The program has ended already, and the keeper with it.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            said => said,
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It ends by itself when it hears no more; somebody must be there to take its exit code.
        if let Some(mut child) = self.child.take() {
            let _no_thread = std::thread::Builder::new().spawn(move || child.wait());
        }
    }
}

/// What the keeper says of one name.
pub(crate) enum Reply {
    Covered,
    /// Whoever the gateway is may not make it, so neither may what it starts.
    Impossible,
}

impl Reply {
    pub(crate) fn word(self) -> &'static [u8] {
        match self {
            Self::Covered => b"covered",
            Self::Impossible => b"impossible",
        }
    }

    fn read(word: &[u8]) -> Option<Self> {
        match word {
            b"covered" => Some(Self::Covered),
            b"impossible" => Some(Self::Impossible),
            _ => None,
        }
    }
}
