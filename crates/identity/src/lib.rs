//! Establishes who calls, and gets the credentials of the next hop.
//!
//! [`Identity`] turns what a caller showed (a key, a token) into a [`Principal`](sallyport_policy::Principal), or refuses it.
#![forbid(unsafe_code)]

pub mod api_keys;
mod authenticate;
pub mod authorization_server;
pub mod certificates;
pub mod fetch;
mod key;
pub mod resource_server;
pub mod upstream;

pub use authenticate::{Authentication, Identity, Unauthenticated};
pub use key::InvalidKey;
