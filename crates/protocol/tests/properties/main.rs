//! What holds for every message of every revision: recorded ones (`tests/corpus`) and generated ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod corpus;
mod crossing;
mod generate;
mod identity;
