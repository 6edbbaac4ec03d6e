//! The back-end `none`: no boundary, but the same care for life and death. Without a pid namespace the launcher stays as
//! the one to whom every orphan of the program is handed, and ends them all.

use std::fs;
use std::os::fd::AsFd;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, set_child_subreaper, wait};
use std::os::unix::process::ExitStatusExt;

use super::control::{Control, Message};
use super::launcher::{Never, become_program, enter_folder, give_up};
use super::lifetime;
use super::raw::{self, Forked, HeldBack};
use super::step::Step;
use crate::error::Failure;
use crate::layer::{Layer, Layers};
use crate::policy::Target;

/// The launcher of a program without a boundary.
pub(super) fn launcher(control: &mut Control, gateway: i32, target: Target) -> Result<Never, Failure> {
    lifetime::tie_to_gateway(gateway, Signal::TERM)?;
    lifetime::leave_session()?;
    adopt(control, target, server)
}

/// Starts the program by `server` in a child, and ends with it, all that it has started before. Whoever calls is tied to the gateway
/// by SIGTERM, not SIGKILL: this process has to end the program's orphans before it ends itself.
pub(super) fn adopt(
    control: &mut Control,
    target: Target,
    server: impl FnOnce(&Control, &Target) -> Result<Never, Failure>,
) -> Result<Never, Failure> {
    let signals = HeldBack::these(&[Signal::CHILD, Signal::TERM]);
    lifetime::hide_memory()?;
    set_child_subreaper(Some(getpid())).step(Layer::Lifetime, "adopt orphans")?;
    let null = lifetime::open_null()?;
    match raw::fork().step(Layer::Start, "fork the server")? {
        Forked::Child => {
            let failed = server(control, &target);
            give_up(control, failed)
        }
        Forked::Parent(server) => {
            drop(target);
            let itself = pidfd_open(getpid(), PidfdFlags::empty()).step(Layer::Lifetime, "open a pidfd")?;
            let ender = Message::Ender { signal: Signal::TERM.as_raw() };
            control.send(&ender, &[itself.as_fd()])?;
            control.send(&Message::Server, &[lifetime::pidfd(server)?.as_fd()])?;
            control.close();
            lifetime::let_go_of_stdio(null.as_fd())?;
            let end = wait_for(server, &signals);
            end_all_orphans();
            lifetime::end_as(end)
        }
    }
}

/// The server's process: only tidied.
fn server(control: &Control, target: &Target) -> Result<Never, Failure> {
    tie_to_launcher()?;
    enter_folder(target)?;
    raw::default_signals();
    raw::unblock_all();
    raw::close_others(raw::Others::CloseOnExec).step(Layer::Descriptors, "close descriptors")?;
    let mut layers = Layers::new("none");
    layers.in_force(Layer::Lifetime, "");
    layers.in_force(Layer::Descriptors, "");
    control.send(&Message::InForce(layers), &[])?;
    become_program(target)
}

/// Dies with the launcher, if that ever ends before it has ended its program.
pub(super) fn tie_to_launcher() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).step(Layer::Lifetime, "tie to the launcher")
}

/// Reaps until the program ends, or is to end: then `None`, after it was killed.
fn wait_for(server: Pid, signals: &HeldBack) -> Option<ExitStatus> {
    loop {
        if signals.next() == Some(Signal::TERM) {
            return None;
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == server && !status.stopped() {
                return Some(ExitStatus::from_raw(status.as_raw()));
            }
        }
    }
}

/// Kills children until there are none: the children of each that dies become this process's own.
fn end_all_orphans() {
    loop {
        for child in children() {
            // It may have ended meanwhile; then the wait below finds it.
            let _ended = kill_process(child, Signal::KILL);
        }
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return, // no child left
        }
    }
}

fn children() -> Vec<Pid> {
    let list = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw)).collect()
}
