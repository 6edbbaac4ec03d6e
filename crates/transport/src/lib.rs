//! Carries MCP messages over bytes, on either side.
#![forbid(unsafe_code)]

pub mod client;
pub mod frame;
pub mod headers;
pub mod relay;
pub mod server;
pub mod session;
pub mod sse;
