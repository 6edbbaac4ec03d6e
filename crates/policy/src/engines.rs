//! The policy engines, one file each.

pub mod allowlist;
