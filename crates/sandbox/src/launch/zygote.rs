//! The gateway's side of the zygote: the process that launchers are copies of.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::LAUNCHER_ARGUMENT;
use crate::cgroup;
use crate::sys::control;

/// A copy is made within a millisecond. It is the launching thread that waits here.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

thread_local! {
    /// By binary; a gateway has one. Theirs is the launching thread: its end, which is the gateway's, ends them.
    static ZYGOTES: RefCell<BTreeMap<PathBuf, Zygote>> = const { RefCell::new(BTreeMap::new()) };
}

/// Makes a launcher, a child of this process that waits at the other end of `control` for what to do; gives a pidfd of it. Only for the
/// launching thread.
///
/// # Errors
/// The binary cannot be started, the machine has no room for another process.
pub(super) fn copy(binary: &Path, control: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    ZYGOTES.with_borrow_mut(|zygotes| {
        if let Some(zygote) = zygotes.get(binary) {
            match zygote.copy(control) {
                // It may have made a copy and not told yet, which would then be one of two at the same socket: this launch fails, and the
                // socket that is closed with it ends the copy.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    zygotes.remove(binary);
                    return Err(error);
                }
                // Somebody has ended it, or a machine without memory: with the next one it may go better.
                Err(error) => tracing::debug!(%error, "the zygote is made anew"),
                copied => return copied,
            }
        }
        zygotes.remove(binary);
        let zygote = Zygote::start(binary)?;
        let copied = zygote.copy(control)?;
        zygotes.insert(binary.into(), zygote);
        Ok(copied)
    })
}

struct Zygote {
    line: OwnedFd,
    child: Child,
}

impl Zygote {
    fn start(binary: &Path) -> io::Result<Self> {
        // What groups can be made is found out while the gateway is alone in its own.
        let _found = cgroup::places();
        let (line, theirs) = control::pair()?;
        set_socket_timeout(&line, Timeout::Recv, Some(ANSWER_LIMIT))?;
        let child = Command::new(binary)
            .arg0("sallyport")
            .arg(LAUNCHER_ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { line, child })
    }

    fn copy(&self, control: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        control::send_bytes(self.line.as_fd(), b"launch", &[control])?;
        let (_, descriptors) = control::receive_bytes(self.line.as_fd())?;
        descriptors.into_iter().next().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // It holds nothing that would have to be put in order.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}
