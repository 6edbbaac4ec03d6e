//! Establishes who calls, and gets the credentials of the next hop.
//!
//! Today by bearer key: [`Identity`] holds the digests of the configured keys and turns what a caller showed into a
//! [`Principal`](sallyport_policy::Principal), or refuses it.
#![forbid(unsafe_code)]

mod authenticate;
pub mod fetch;
mod key;
pub mod upstream;

pub use authenticate::{Identity, Unauthenticated};
pub use key::InvalidKey;
