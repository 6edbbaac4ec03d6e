//! The client against scripted servers: every way in which real servers differ from what the revisions say.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod asking;
mod credentials;
mod http_peer;
mod http_sse;
mod negotiation;
mod sessions;
mod stdio;
mod streams;
