//! Runs one untrusted program inside a boundary and gives back its stdio.
//!
//! A [`Selection`] of the configuration builds a [`Backend`]; a back-end launches a [`Program`] as a [`Profile`] allows
//! and gives back an [`Instance`], whose [`Layers`] say what holds. Launching fails closed: a layer that is asked for and
//! refused means that nothing of the program has run, and the [`Error`] names the layer and the cure.
//!
//! Each program is started by a launcher, which is this very binary executed again: so `main` must call
//! [`enter_if_asked`] before anything else.
#![deny(unsafe_code)]
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only launching uses it, and that needs linux"))]

pub mod alone;
pub mod attack;
mod auto;
mod backend;
pub mod backends;
mod calls;
pub mod egress;
mod enforced;
mod error;
mod exceeded;
pub mod install;
mod instance;
mod isolation;
mod layer;
pub mod learn;
mod probe;
mod profile;
mod rehearsal;

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod cover;
#[cfg(target_os = "linux")]
mod cure;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
pub mod microvm;
#[cfg(target_os = "linux")]
mod oci;
#[cfg(target_os = "linux")]
mod output;
#[cfg(target_os = "linux")]
mod policy;
#[cfg(target_os = "linux")]
mod scoped;
#[cfg(target_os = "linux")]
mod stderr_log;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod turn;
#[cfg(target_os = "linux")]
mod visible;
#[cfg(all(feature = "wasm", target_os = "linux"))]
mod wasm;

pub use backend::{Backend, Host, Pending, Selection};
pub use backends::BackendConfig;
pub use calls::{CallGroup, SystemCalls, UnknownCalls};
pub use enforced::{Enforced, Mount};
pub use error::Error;
pub use exceeded::Exceeded;
pub use instance::{Exit, GivenBack, Instance, Memory, Running, Standby, Stdin, Stdout};
pub use isolation::Isolation;
pub use layer::{Layer, Layers, State};
pub use probe::{Finding, Report};
pub use profile::{Cpus, DENY_WRITE, EnvText, Limits, Network, Profile, Program};
pub use rehearsal::Rehearsal;

/// Clears away what gateways have left that were killed and so could not: control groups, and the folders of containers and machines. Never
/// those of another that lives. The first launch of each kind does it too.
pub fn clear_leftovers() {
    #[cfg(target_os = "linux")]
    {
        cgroup::clear();
        microvm::clear();
        oci::clear();
    }
}

/// The files of `profile.hidden` that lie in what the program would see, if it were launched now: in its roots, in the folder that it comes
/// with, in what the system gives to all.
#[must_use]
pub fn hidden_in_view(profile: &Profile, program: &Program) -> Vec<std::path::PathBuf> {
    #[cfg(target_os = "linux")]
    return visible::hidden(profile, program);
    #[cfg(not(target_os = "linux"))]
    return profile.hidden.clone();
}

/// Takes over, and never returns, when this process was started to launch programs. Call it first in `main`,
/// before any thread is started: the launcher must be single-threaded.
pub fn enter_if_asked() {
    #[cfg(target_os = "linux")]
    if let Some(first) = std::env::args_os().nth(1) {
        if first == launch::LAUNCHER_ARGUMENT {
            sys::zygote::run();
        } else if first == probe::TRIAL_ARGUMENT {
            sys::end_trial();
        } else if first == cover::KEEPER_ARGUMENT {
            sys::keeper::run();
        } else if first == attack::HOSTILE_ARGUMENT {
            attack::hostile();
        }
    }
}
