//! What the tests with real peers share: where the peers lie, the gateway as a process of its own, and what the machine
//! has to show for it.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod loopback;
pub(crate) mod peers;
pub(crate) mod processes;
