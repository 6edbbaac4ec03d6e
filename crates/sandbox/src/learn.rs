//! A trial: a program runs in its whole boundary, and what it touches, wants and is refused is recorded.
//!
//! A trial grants nothing. The kernel asks the gateway about every call that names a file or an address, and about every call that the
//! ordinary filters refuse (`sys/notify.rs`); the gateway looks what it is about, remembers it, and answers as the filters would have. What may
//! be read, written and connected to is for mounts, Landlock and the network namespace to say, as ever. Two things differ, neither of which
//! opens anything: each such call takes about a tenth of a millisecond longer, and a name that `network` does not know gets an address, so that
//! the port is learnt that it would be connected to; the connection is refused.
//!
//! Everything that is read here is hostile: the program's memory, its paths, the names that it asks for.

#[cfg(target_os = "linux")]
mod asks;
#[cfg(target_os = "linux")]
mod inside;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod names;
mod propose;
mod record;
#[cfg(target_os = "linux")]
mod supervise;
#[cfg(target_os = "linux")]
mod verdict;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(target_os = "linux")]
pub(crate) use asks::watched;
pub use propose::{Kept, Proposal, Warning, propose};
use record::Recorder;
pub use record::{Record, Refused, Used, Want};
#[cfg(target_os = "linux")]
pub(crate) use supervise::supervise;

use crate::egress::{Allowed, Host, Name};
use crate::policy::View;
use crate::profile::{Network, Profile};

/// A trial of one server, and what it has brought to light. Clones are the same trial; it goes on as long as programs of that name are
/// launched.
#[derive(Clone)]
pub struct Trial {
    server: Arc<str>,
    recorder: Arc<Mutex<Recorder>>,
}

impl Trial {
    /// A trial of the server of that name.
    #[must_use]
    pub fn of(server: &str) -> Self {
        Self { server: server.into(), recorder: Arc::default() }
    }

    /// What has been recorded so far.
    #[must_use]
    pub fn record(&self) -> Record {
        self.recorder().record()
    }

    /// Begins a new record.
    pub fn renew(&self) {
        *self.recorder() = Recorder::default();
    }

    /// Whether a program is the one that is tried, and not, say, the installation of it.
    pub(crate) fn is_of(&self, program: &str) -> bool {
        *self.server == *program
    }

    /// The profile for the trial. A program without network gets a way out that leads nowhere: so it can say where it wants to.
    pub(crate) fn profile(&self, profile: &Profile) -> Profile {
        let network = match &profile.network {
            Network::None => Network::Only(Allowed::nothing()),
            other => other.clone(),
        };
        self.recorder().may_reach(&network);
        Profile { network, ..profile.clone() }
    }

    /// The files that the program is about to see.
    pub(crate) fn shows(&self, view: &View) {
        self.recorder().shows(view);
    }

    /// The program was told that `address` stands for `name`.
    pub(crate) fn stands_for(&self, address: Ipv4Addr, name: &Name) {
        self.recorder().stands_for(address, name);
    }

    /// The program asked for a host, at a port if it is known.
    pub(crate) fn wants(&self, host: &Host, port: Option<u16>) {
        self.recorder().wants(host, port);
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trial").field("server", &self.server).finish_non_exhaustive()
    }
}
