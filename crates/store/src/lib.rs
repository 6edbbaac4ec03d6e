//! Keeps what must outlive a process or be shared by several.
//!
//! A [`Store`] is one SQLite file. Each thing that is kept has a module of its own with its tables, its type and its questions; all of
//! them go through [`Store::read`] and [`Store::write`]. Several processes may have the same file open: a write is one transaction, and
//! two of them never interleave.
//!
//! Nothing here knows the time: who keeps something with an end passes the moment in, so that tests and fleets have one clock.
#![forbid(unsafe_code)]

pub mod api_key;
pub mod approval;
pub mod authorization;
pub mod client;
pub mod device;
mod error;
mod grant;
pub mod login;
mod migration;
pub mod pin;
pub mod signing_key;
mod store;
pub mod token_grant;
pub mod user;

pub use error::StoreError;
pub use grant::{GrantId, KeptGrant, client_bound};
pub use store::Store;

/// Forgets everything of logins and approvals that has ended by `now`, in seconds since 1970.
///
/// # Errors
/// Where the store cannot be written.
pub async fn sweep(store: &Store, now: i64) -> Result<(), StoreError> {
    let sweep = store.write(move |tables| {
        login::sweep(tables, now)?;
        client::sweep(tables, now)?;
        authorization::sweep(tables, now)?;
        token_grant::sweep(tables, now)?;
        device::sweep(tables, now)?;
        approval::sweep(tables, now)
    });
    sweep.await
}
