//! The launcher: everything that happens in the process that becomes the program. The only place of `unsafe`.
//!
//! [`launcher::run`] reads from top to bottom as the boundary is built; one file a subject beside it. Three processes
//! take part, each the child of the one before: the *launcher*, a copy of the gateway's [`zygote`], which only waits and passes the
//! end on; the *init*, PID 1 of the pid namespace, which reaps; and the *server*, which becomes the program.
#![allow(unsafe_code, reason = "the kernel's interface has no safe form for fork, mount_setattr, close_range and signals")]

mod around;
pub(crate) mod attack;
pub(crate) mod bpf;
pub(crate) mod control;
mod identity;
mod ipc;
pub(crate) mod keeper;
pub(crate) mod landlock;
mod landlocked;
pub(crate) mod launcher;
pub(crate) mod lifetime;
mod network;
pub(crate) mod notify;
mod privileges;
mod raw;
mod read_back;
mod root;
pub(crate) mod seccomp;
mod sources;
mod step;
mod unconfined;
pub(crate) mod zygote;

use std::io;
use std::os::fd::OwnedFd;

pub(crate) use identity::INSIDE;
#[cfg(target_arch = "x86_64")]
pub(crate) use raw::time_stamp;
pub(crate) use raw::{fetch, page_out};
pub(crate) use root::etc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The whole of a probe's program.
pub(crate) fn end_trial() -> ! {
    raw::exit(0)
}

/// Lets tokio wait until a descriptor can be read; for the gateway's side.
pub(crate) fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `OwnedFd` is moved into the `AsyncFd`, so it stays open and the same until that is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(registered?)
}
