//! MCP messages as plain data, in every revision.
//!
//! No IO, no async runtime, no clock. Payloads stay the text they came in ([`RawJson`]); only the members
//! that a step must look at are opened, one level deep ([`RawObject`]).
#![forbid(unsafe_code)]

pub mod cancel;
pub mod credential;
pub mod discovery;
pub mod event;
pub mod failure;
pub mod input;
pub mod jsonrpc;
pub mod method;
pub mod raw;
pub mod request;
pub mod revision;
pub mod revisions;
pub mod server;

pub use cancel::Cancel;
pub use credential::{CallerToken, Peer, TokenDigest};
pub use discovery::{Discovery, ServerIdentity};
pub use event::{Event, Listener, Listeners};
pub use failure::{ApprovalNeeded, Failure, FailureKind, FailureSource, Limited, Retry};
pub use jsonrpc::{ErrorObject, Message, RequestId};
pub use method::Method;
pub use raw::{RawJson, RawObject};
pub use request::{LogLevel, Meta, Request};
pub use revision::{Era, Revision};
pub use server::{
    Admission, Answer, Asker, BoxFuture, Caller, CallerId, Client, ClientCertificate, Context, Endpoint, Front, Incoming, McpServer,
    Recognised, Reply,
};
