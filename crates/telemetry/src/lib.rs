//! Turns what happened into logs, metrics and audit records.
//!
//! * [`log`]: structured logs, to stderr and to a bounded file.
//! * [`audit`]: one record a call, written by [`sink`] without ever holding a call up.
//! * [`metric`]: the numbers of `/metrics`.
//! * [`trace_context`]: the trace that a call belongs to.
//! * [`state_folder`] and [`bounded_log`]: where all this lies, private and never larger than its bounds.
#![forbid(unsafe_code)]

pub mod audit;
pub mod bounded_log;
mod hex;
pub mod log;
pub mod metric;
#[cfg(test)]
mod reference;
pub mod sink;
pub mod sinks;
pub mod state_folder;
pub mod timestamp;
pub mod trace_context;

pub use audit::{ArgumentDigest, Asked, AuditRecord, Durations, Outcome, RecordId, UNKNOWN_ADDRESS};
pub use metric::{BreakerState, ConnectionOutcome, Metrics, ServerMetrics, StandbyState, UpstreamState};
pub use sink::{Audit, Tap};
pub use state_folder::Folders;
pub use timestamp::Timestamp;
pub use trace_context::{TraceContext, TraceId};
