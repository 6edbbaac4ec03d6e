//! The built-in servers, asked as the gateway asks them, over real files and repositories.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, reason = "a test fails by panicking")]

mod caller;
mod confinement;
mod database;
mod database_confinement;
mod database_postgres;
mod filesystem;
mod frame;
mod git;
mod git_confinement;
mod git_writing;
mod guarded_texts;
mod repository;
mod schema;
mod writing;
