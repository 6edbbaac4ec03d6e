//! Carries MCP messages over bytes, on either side.
#![forbid(unsafe_code)]

pub mod client;
pub mod frame;
pub mod headers;
pub mod sse;
pub mod relay;
pub mod server;
pub mod session;
