//! The way of a request through Sallyport: configuration, catalogue, pipeline, upstreams.
//!
//! [`pipeline`](Gateway) is the only way to a server: HTTP, stdio and the command line all come through [`Gateway`], which is what a
//! front door opens to.
#![forbid(unsafe_code)]

mod about;
pub mod approvals;
pub mod build;
mod canaries;
mod catalogue;
pub mod config;
mod decide;
pub mod egress;
mod failure;
mod gateway;
pub mod grants;
mod heard;
mod limits;
mod news;
pub mod own_files;
pub mod packages;
pub mod pages;
mod persons;
mod pipeline;
pub mod plan;
mod questions;
mod seldom;
mod skills;
mod subscriptions;
mod tasks;
mod tenants;
mod trail;
mod trust;
pub mod upstream;
mod withdrawn;

pub use build::{BuildError, Changes, Fault};
pub use catalogue::Refusal;
pub use decide::policy_of;
pub use gateway::Gateway;
