//! Where audit records go, one file a kind of place.

pub mod file;
