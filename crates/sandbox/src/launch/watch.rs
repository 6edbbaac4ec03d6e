//! Watches one launcher to its end, so that no zombie stays and whoever waits hears how it ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::warden::Warden;
use crate::cover::Keeper;
use crate::instance::Exit;
use crate::stderr_log::{self, Log};
use crate::sys;

/// When the program has ended, what it wrote last is in the pipe already.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The launcher's process. Dropped before its end, it is killed and waited for.
pub(super) struct Launcher {
    pidfd: Arc<OwnedFd>,
    has_ended: bool,
    /// There where the program has a boundary.
    warden: Option<Arc<Warden>>,
}

impl Launcher {
    /// `pidfd` is of a child of this process that nobody else waits for.
    pub(super) fn new(pidfd: OwnedFd, warden: Option<Arc<Warden>>) -> Self {
        Self { pidfd: Arc::new(pidfd), has_ended: false, warden }
    }

    async fn end(&mut self) -> io::Result<Exit> {
        let pidfd = sys::readable(self.pidfd.try_clone()?)?;
        let _readable = pidfd.readable().await?;
        self.wait()
    }

    /// Waits for its end, which is near.
    fn wait(&mut self) -> io::Result<Exit> {
        let status = retry_on_intr(|| waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED))?;
        self.has_ended = true;
        let code = status.as_ref().and_then(WaitIdStatus::exit_status).map(Exit::Code);
        let exit = code.unwrap_or_else(|| Exit::Signal(status.and_then(|status| status.terminating_signal()).unwrap_or(0)));
        if let Some(warden) = &self.warden {
            warden.has_ended(exit);
        }
        Ok(exit)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Ended and waited for in the usual case; else a kill, after which the wait is short.
        if !self.has_ended {
            let _ended = pidfd_send_signal(&self.pidfd, Signal::KILL).map_err(io::Error::from).and_then(|()| self.wait());
        }
    }
}

/// A launcher that is being watched. Unless [`Watched::keep`] is called, dropping it ends the launcher.
pub(super) struct Watched {
    pidfd: Arc<OwnedFd>,
    end: watch::Receiver<Option<Exit>>,
    unless_kept: Option<AbortHandle>,
}

/// Starts watching: one task for the end, one for stderr.
pub(super) fn watch(
    mut launcher: Launcher,
    keeper: Option<Keeper>,
    stderr: impl AsyncRead + Send + Unpin + 'static,
    log: Log,
) -> io::Result<Watched> {
    let pidfd = Arc::clone(&launcher.pidfd);
    let (tell, end) = watch::channel(None);
    let mut stderr = tokio::spawn(stderr_log::drain(stderr, log));
    let task = tokio::spawn(async move {
        let exit = match launcher.end().await {
            Ok(exit) => exit,
            Err(error) => {
                tracing::warn!(%error, "a server's end cannot be watched");
                drop(launcher);
                Exit::Signal(9)
            }
        };
        if let Some(keeper) = keeper {
            // If it takes longer, it does its work all the same.
            let _in_time = timeout(LAST_WORDS, keeper.end()).await;
        }
        if timeout(LAST_WORDS, &mut stderr).await.is_err() {
            stderr.abort();
        }
        tell.send_replace(Some(exit));
    });
    Ok(Watched { pidfd, end, unless_kept: Some(task.abort_handle()) })
}

impl Watched {
    /// The launch went well: the watch goes on, and what it watches belongs to the instance.
    pub(super) fn keep(mut self) -> (Arc<OwnedFd>, watch::Receiver<Option<Exit>>) {
        self.unless_kept = None;
        (Arc::clone(&self.pidfd), self.end.clone())
    }

    /// Tells of the end.
    pub(super) fn end(&self) -> watch::Receiver<Option<Exit>> {
        self.end.clone()
    }

    /// Gives a launcher that has failed the time to end by itself, its children before it.
    pub(super) async fn wait_a_moment(&self) {
        let mut end = self.end.clone();
        // If it does not, dropping this ends it.
        let _ended = timeout(LAST_WORDS, end.wait_for(Option::is_some)).await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(task) = &self.unless_kept {
            task.abort(); // drops the launcher, which ends it
        }
    }
}
