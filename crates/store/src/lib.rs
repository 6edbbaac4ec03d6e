//! Keeps what must outlive a process or be shared by several.
//!
//! A [`Store`] is one SQLite file. Each thing that is kept has a module of its own with its tables, its type and its questions; all of
//! them go through [`Store::read`] and [`Store::write`]. Several processes may have the same file open: a write is one transaction, and
//! two of them never interleave.
//!
//! Nothing here knows the time: who keeps something with an end passes the moment in, so that tests and fleets have one clock.
#![forbid(unsafe_code)]

mod error;
mod grant;
mod migration;
mod store;

pub use error::StoreError;
pub use grant::{GrantId, KeptGrant, client_bound};
pub use store::Store;
