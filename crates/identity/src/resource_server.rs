//! The gateway as a resource server (OAuth 2.1 §1.1): whose tokens it takes, and what they have to say.

pub(crate) mod jws;
pub mod key;
pub mod key_source;
