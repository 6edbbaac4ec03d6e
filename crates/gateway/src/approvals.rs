//! Calls that policy wants a person's approval for.
//!
//! A call that is held leaves an entry in the store, bound to all that it is (`sallyport_policy::Binding`), and its client is told the
//! entry's handle. A person decides elsewhere: on a page of the gateway's own or on the command line of its machine. Nothing that comes with a call
//! decides anything: the next one of the same caller with the same arguments takes the approval out of the store, once, and is decided by the
//! whole policy again.
//!
//! | file | its subject |
//! | --- | --- |
//! | `settings` | `[approvals]` of the configuration |
//! | `pass` | what becomes of a call that is held |
//! | `bare` | what of an approved call reaches its server |
//! | `tell` | how a client is told, and what it brings back |
//! | `decide` | who may decide, and the record of it |
//! | `webhook` | the notice of a call that begins to wait |
//! | `visible` | text as people see it who decide |

pub(crate) mod bare;
pub mod decide;
mod pass;
pub mod settings;
mod tell;
mod visible;
mod webhook;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sallyport_protocol::Failure;
use sallyport_store::{Store, StoreError};
use sallyport_telemetry::Folders;
use sallyport_telemetry::state_folder::private_folder;
use tokio::sync::Semaphore;

use crate::upstream::{Surroundings, WayOut};

pub(crate) use pass::{Held, Passage};
pub(crate) use tell::Brought;
pub use visible::visible;

/// The approvals of all callers. They lie in the store, which several processes may share.
pub(crate) struct Approvals {
    folders: Folders,
    /// Opened at the first question: a gateway without rules that ask needs none.
    store: Mutex<Option<Store>>,
    /// Knows where people reach the gateway's pages.
    way_out: Arc<WayOut>,
    /// The room for requests that wait for a decision.
    waiting: Semaphore,
    /// The room for notices under way.
    notices: Arc<Semaphore>,
}

/// Requests that wait for a decision at once: each looks into the store twice a second. Others are told to come back.
const MOST_WAITING: usize = 64;

impl Approvals {
    pub(crate) fn new(surroundings: &Surroundings) -> Self {
        let Surroundings { folders, way_out, .. } = surroundings;
        Self {
            folders: folders.clone(),
            way_out: way_out.clone(),
            store: Mutex::default(),
            waiting: Semaphore::new(MOST_WAITING),
            notices: Arc::new(Semaphore::new(webhook::MOST)),
        }
    }

    /// The store.
    ///
    /// # Errors
    /// Where it cannot be opened: nothing is approved then.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        let mut opened = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*opened {
            return Ok(store.clone());
        }
        private_folder(&self.folders.state).map_err(|error| unusable(&error))?;
        let store = Store::open(&self.folders.store_file()).map_err(|error| unusable(&error))?;
        *opened = Some(store.clone());
        Ok(store)
    }
}

impl fmt::Debug for Approvals {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Approvals")
    }
}

/// Without a store nothing can be approved. Which file it is, is for the log alone.
fn unusable(error: &dyn fmt::Display) -> Failure {
    tracing::error!("a call that needs an approval is refused: {error}");
    Failure::internal("approvals cannot be looked up").with_internal(error)
}

/// The failure of a call whose approval cannot be looked up.
fn of_store(error: StoreError) -> Failure {
    unusable(&error)
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
