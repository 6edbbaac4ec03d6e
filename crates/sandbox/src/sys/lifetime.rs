//! Ties of life and death: who dies with whom, and how an end is passed on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions, getppid, set_dumpable_behavior, set_parent_process_death_signal,
    setrlimit, setsid, wait, waitpid,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::control::{self, Control, Message};
use super::raw::{self, HeldBack};
use super::step::{Step, failure};
use crate::error::Failure;
use crate::layer::Layer;
use crate::policy::Policy;

/// Set-up failed before or after a boundary stood; the program has not run.
pub(super) const SETUP_FAILED: i32 = 125;

/// Dies by `signal` when the gateway's launching thread ends. Called again after each change of uid, which clears it.
pub(super) fn tie_to_gateway(gateway: i32, signal: Signal) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(signal)).step(Layer::Lifetime, "tie to the gateway")?;
    if getppid().map(Pid::as_raw_nonzero).map(i32::from) == Some(gateway) {
        Ok(())
    } else {
        Err(failure(Layer::Lifetime, "the gateway has ended", Errno::SRCH))
    }
}

/// No controlling terminal: TIOCSTI cannot reach the user's shell.
pub(super) fn leave_session() -> Result<(), Failure> {
    setsid().step(Layer::Lifetime, "leave the session")?;
    Ok(())
}

/// No core dump of, and no look through `/proc` into, the launcher's memory: it holds the program's environment.
pub(super) fn hide_memory() -> Result<(), Failure> {
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, nothing).step(Layer::Limits, "no core dumps")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).step(Layer::Lifetime, "hide the launcher's memory")
}

/// The link between launcher and init: whose other end closes has died; the program's wait status crosses it.
pub(super) struct Link(OwnedFd);

impl Link {
    pub(super) fn pair() -> Result<(Self, Self), Failure> {
        let (launcher, init) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .step(Layer::Lifetime, "link launcher and init")?;
        Ok((Self(launcher), Self(init)))
    }

    /// Init's tie: its parent is outside the pid namespace, so `getppid` cannot tell whether it is still there.
    pub(super) fn tie_to_launcher(&self) -> Result<(), Failure> {
        set_parent_process_death_signal(Some(Signal::KILL)).step(Layer::Lifetime, "tie to the launcher")?;
        let mut link = [PollFd::new(&self.0, PollFlags::RDHUP)];
        let ended = poll(&mut link, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 }));
        match ended.step(Layer::Lifetime, "look for the launcher")? {
            0 => Ok(()),
            _ => Err(failure(Layer::Lifetime, "the launcher has ended", Errno::SRCH)),
        }
    }

    fn tell(&self, status: ExitStatus) {
        // If the launcher is gone there is nobody to tell.
        let _nobody = send(&self.0, &status.into_raw().to_ne_bytes(), SendFlags::NOSIGNAL);
    }

    fn told(&self) -> Option<ExitStatus> {
        let mut bytes = [0; 4];
        let (read, _) = recv(&self.0, &mut bytes, RecvFlags::DONTWAIT).ok()?;
        (read == bytes.len()).then(|| ExitStatus::from_raw(i32::from_ne_bytes(bytes)))
    }
}

/// The launcher from here on: waits for init and ends as the program ended.
pub(super) fn pass_on_the_end(init: Pid, link: &Link) -> ! {
    let own = wait_for(init);
    // Init tells how the program ended; when it was killed itself, its own end is the answer.
    end_as(link.told().or(own))
}

/// What the gateway writes to init: stop everything else in the namespace, and let it go on.
pub(crate) const FREEZE: u8 = b'f';
pub(crate) const THAW: u8 = b't';

/// What init waits for: ends of its children, and words of the gateway. Those come through a pipe and are no signals, since a program may send
/// its init signals where Landlock knows no scopes for them.
pub(super) struct Wishes {
    ended: OwnedFd,
    words: OwnedFd,
}

impl Wishes {
    /// Made before the program is forked, so that no end is missed. Only the gateway has the other end of the pipe.
    pub(super) fn of_gateway(control: &Control) -> Result<Self, Failure> {
        let (words, gateways) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).step(Layer::Lifetime, "make the gateway's pipe")?;
        let ended = HeldBack::these(&[Signal::CHILD]).descriptor().step(Layer::Lifetime, "wait for ends")?;
        control.send(&Message::Wishes, &[gateways.as_fd()])?;
        Ok(Self { ended, words })
    }

    /// Waits until there is something. Several words come in the order in which they were written, so that what was woken never stays stopped.
    fn next(&self) -> [u8; 64] {
        let mut ready = [PollFd::new(&self.ended, PollFlags::IN), PollFd::new(&self.words, PollFlags::IN)];
        let _interrupted = poll(&mut ready, None);
        let (mut words, mut whose_end) = ([0; 64], [0; 128]);
        // Whoever has ended is asked for by the caller; without a word there is nothing to do.
        let _none = rustix::io::read(&self.ended, &mut whose_end);
        let _none = rustix::io::read(&self.words, &mut words);
        words
    }
}

/// Init from here on: reaps whatever is handed to it, stops and continues all of it, until the program ends. Its own end takes
/// everything else along, stopped or not.
pub(super) fn serve_until_end_of(server: Pid, link: &Link, wishes: &Wishes) -> ! {
    loop {
        for word in wishes.next() {
            match word {
                FREEZE => raw::signal_all_but_init(Signal::STOP),
                THAW => raw::signal_all_but_init(Signal::CONT),
                _ => {}
            }
        }
        reap(server, link);
    }
}

/// Takes the ended children that are there; ends with the program.
fn reap(server: Pid, link: &Link) {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == server && !status.stopped() => {
                link.tell(ExitStatus::from_raw(status.as_raw()));
                raw::exit(0);
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return,
            Err(_) => raw::exit(SETUP_FAILED),
        }
    }
}

fn wait_for(child: Pid) -> Option<ExitStatus> {
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Some(ExitStatus::from_raw(status.as_raw())),
            Err(Errno::INTR) | Ok(None) => {}
            Err(_) => return None,
        }
    }
}

/// Ends this process the way another one ended.
pub(super) fn end_as(status: Option<ExitStatus>) -> ! {
    if let Some(signal) = status.and_then(|status| status.signal()) {
        raw::die_by(signal);
    }
    raw::exit(status.and_then(|status| status.code()).unwrap_or(SETUP_FAILED));
}

/// `/dev/null`, opened while there still is one.
pub(super) fn open_null() -> Result<OwnedFd, Failure> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).step(Layer::Descriptors, "open /dev/null")
}

/// Lets go of the program's stdio, so that the gateway sees its end when the program closes it.
pub(super) fn let_go_of_stdio(null: BorrowedFd<'_>) -> Result<(), Failure> {
    dup2_stdin(null)
        .and_then(|()| dup2_stdout(null))
        .and_then(|()| dup2_stderr(null))
        .step(Layer::Descriptors, "let go of the program's stdio")
}

/// A pidfd of a child that has not been waited for yet.
pub(super) fn pidfd(child: Pid) -> Result<OwnedFd, Failure> {
    rustix::process::pidfd_open(child, rustix::process::PidfdFlags::empty()).step(Layer::Lifetime, "open a pidfd")
}

/// Gives the control socket, which came as stdin, another number, and moves the program's stdio into place.
pub(super) fn take_over_stdio() -> Result<(Control, Policy), Errno> {
    let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::PROTO);
    raw::close_others(raw::Others::Close)?;
    let control = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    let (policy, [stdin, stdout, stderr]) = control::receive_policy(control.as_fd()).map_err(io)?;
    dup2_stdin(&stdin)?;
    dup2_stdout(&stdout)?;
    dup2_stderr(&stderr)?;
    Ok((Control::new(control), policy))
}
