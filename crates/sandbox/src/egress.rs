//! The way out of a sandbox: which destinations a program may connect to, and how its connections get there.
//!
//! The program stays in a network namespace of its own. Before it runs, the launcher makes listening sockets *inside* and hands
//! them to the gateway: a socket stays in the namespace in which it was made, so whatever is accepted there comes from this
//! program and nobody else. Names are answered by the gateway with addresses that stand for them; a connection to such an address
//! arrives at a listener, the gateway resolves the name itself, looks at what it resolved to, dials, and carries the bytes. A
//! program knows nothing of all this, and one that likes proxies finds one.
//!
//! Everything that is read here is hostile: what the program sends, and what names resolve to.

#[cfg(target_os = "linux")]
mod accounts;
mod allowed;
#[cfg(target_os = "linux")]
mod bytes;
#[cfg(target_os = "linux")]
mod carried;
mod destination;
#[cfg(target_os = "linux")]
mod dns;
mod event;
#[cfg(target_os = "linux")]
mod hello;
#[cfg(target_os = "linux")]
mod limit;
mod name;
#[cfg(target_os = "linux")]
mod proxy;
#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
mod request;
#[cfg(target_os = "linux")]
mod room;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(target_os = "linux")]
mod start;
pub(crate) mod synthetic;
#[cfg(target_os = "linux")]
mod told;

#[cfg(target_os = "linux")]
pub use accounts::Accounts;
pub use allowed::{Allowed, Host, PROXY_PORT};
#[cfg(target_os = "linux")]
pub(crate) use carried::start as start_carried;
pub use destination::{Destination, DestinationError, Hosts, WEB_PORTS};
pub use event::{Connection, Observe, Outcome, Refusal, Resolve, Surroundings, Untold, Way};
pub use name::Name;
#[cfg(target_os = "linux")]
pub(crate) use room::Room;
pub use sallyport_address::{Block, is_public};
#[cfg(target_os = "linux")]
pub(crate) use serve::{Sockets, start, thread};
