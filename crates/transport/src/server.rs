//! The front doors. All of them open to one [`Front`](sallyport_protocol::Front), and none knows what stands behind it.
//!
//! A message's way: bytes are bounded and read ([`http`], [`stdio`]), the era is decided for this message alone
//! (`modern`, `legacy`), the request becomes a `call` that runs in the front, and what it says on the way back goes
//! through `asker` to a stream of events or to the lines of stdout.

pub mod http;
pub mod stdio;
pub mod tls;

mod answered;
mod asker;
pub(crate) mod batch;
mod body;
mod call;
mod client_authorities;
mod client_certificate;
mod connection;
mod door;
pub(crate) mod era;
mod forwarded;
mod guard;
mod http_sse;
mod intake;
mod legacy;
mod modern;
pub(crate) mod outgoing;
pub(crate) mod parts;
mod route;
mod session_streams;
mod standing;
mod streamable_http;
mod subscription;
mod task_news;
mod workers;

pub use forwarded::Proxies;
pub use guard::Hosts;
pub use route::DOORS;
pub use workers::{Turns, Workers};
