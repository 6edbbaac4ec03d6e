//! What the tests of the other crates share: scripted peers and an in-process client.
#![forbid(unsafe_code)]

pub mod browser;
pub mod fixture;
mod npm_registry;
mod ports;
mod postgres;
mod scripted_front;
mod scripted_server;
pub mod wire_client;

pub use npm_registry::NpmRegistry;
pub use ports::free_port;
pub use postgres::Postgres;
pub use scripted_front::ScriptedFront;
pub use scripted_server::{ScriptedServer, object};
