//! The process that every launcher is a copy of.
//!
//! A program as large as this one takes the kernel and the linker more time to start than a boundary takes to build. So it is started
//! once, does nothing, and knows nothing: no policy and no secret ever comes here. For each launch it makes a copy of itself, which
//! belongs to the gateway as if the gateway had started it (`CLONE_PARENT`), and that becomes the launcher.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

use rustix::process::{Signal, chdir, set_parent_process_death_signal, setsid};
use rustix::stdio::dup2_stdin;

use super::control::{receive_bytes, send_bytes};
use super::launcher;
use super::raw::{self, Copied};

/// The zygote's main: stdin is the line to the gateway. In each copy, the launcher's.
pub(crate) fn run() -> ! {
    // Its end is the answer; whoever waits for a launcher hears that there is none.
    let _told = serve();
    raw::exit(0)
}

fn serve() -> io::Result<()> {
    raw::close_others(raw::Others::Close)?;
    let line = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    // What interrupts the gateway at its terminal is not for this one: it ends with the gateway, by either of two ways.
    setsid()?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    chdir("/")?;
    while let Some(control) = next(line.as_fd())? {
        match raw::copy()? {
            Copied::Copy => become_launcher(control, line),
            Copied::Original(pidfd) => {
                // Only the copy may hold it: the gateway waits for its end.
                drop(control);
                send_bytes(line.as_fd(), b"started", &[pidfd.as_fd()])?;
            }
        }
    }
    Ok(())
}

/// The control socket of the next launch; `None` when the gateway is gone.
fn next(line: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let (said, descriptors) = receive_bytes(line)?;
    if said.is_empty() {
        return Ok(None);
    }
    descriptors.into_iter().next().map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn become_launcher(control: OwnedFd, line: OwnedFd) -> ! {
    if dup2_stdin(&control).is_err() {
        raw::exit(super::lifetime::SETUP_FAILED);
    }
    // The launcher closes what it does not know, by number.
    let _closed_there = (control.into_raw_fd(), line.into_raw_fd());
    launcher::run()
}
