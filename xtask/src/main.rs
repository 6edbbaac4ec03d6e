//! The tasks of this repository: `cargo xtask --help`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a task's only user is the person or the CI at this terminal")]
#![cfg_attr(test, allow(clippy::expect_used, reason = "a sample that does not parse is a fault of the test"))]

mod bench;
mod bless;
mod conformance;
mod endurance;
mod fuzz;
mod peers;
mod repository;
mod soak;
mod step;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::repository::Repository;

/// Builds, tests and checks Sallyport.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that must pass before a change lands: format, lints, invariants, docs and all tests against real peers
    Test(test::Options),
    /// Check the invariants of docs/ARCHITECTURE.md and deny.toml from cargo metadata and the source
    Tidy,
    /// Install the public MCP clients and servers that the tests talk to (into .peers, or $SALLYPORT_PEERS)
    Peers,
    /// Write the generated reference pages and snapshots anew
    Bless,
    /// Run the public conformance suite against the gateway, as a server and as a client, in both eras
    Conformance(conformance::Options),
    /// Feed everything that reads hostile input with what a fuzzer thinks of, ten minutes a target
    Fuzz(fuzz::Options),
    /// Put a gateway under mixed load for half an hour, and fail unless what it holds of the machine stays flat
    Soak(soak::Options),
    /// Kill gateways at random moments, and fail if anything of one goes on or is not cleared away by the next
    Kill(endurance::Kills),
    /// Call 50 servers of which five are awake at a time, and fail if a call is lost
    Standby(endurance::Standby),
    /// Measure what a boundary and standby cost here
    Bench(bench::Options),
    /// Play a client scenario of the conformance suite, which starts this
    #[command(hide = true)]
    ConformanceClient(conformance::visit::Options),
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    let outcome = Repository::find().and_then(|repository| match task {
        Task::Test(options) => test::run(&repository, &options),
        Task::Tidy => tidy::run(&repository),
        Task::Peers => peers::install(&repository),
        Task::Bless => bless::run(&repository),
        Task::Conformance(options) => conformance::run(&repository, &options).and_then(conformance::judge),
        Task::Fuzz(options) => fuzz::run(&repository, &options),
        Task::Soak(options) => soak::run(&repository, &options),
        Task::Kill(options) => endurance::kill(&repository, &options),
        Task::Standby(options) => endurance::standby(&repository, &options),
        Task::Bench(options) => bench::run(&repository, &options),
        Task::ConformanceClient(options) => conformance::visit::run(&options),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
