//! `cargo xtask kill` and `cargo xtask standby`: two tests that `cargo xtask test` runs for a minute, for longer, with their figures.

use clap::Args;

use crate::repository::{Outcome, Repository};
use crate::step;

/// How often.
#[derive(Debug, Args)]
pub(crate) struct Kills {
    /// How many gateways are killed, of each kind: with programs, containers and machines
    #[arg(long, default_value_t = 200)]
    runs: u64,
}

/// How long.
#[derive(Debug, Args)]
pub(crate) struct Standby {
    /// How long the load lasts
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

/// Kills gateways at random moments and looks what is left of each.
pub(crate) fn kill(repository: &Repository, options: &Kills) -> Outcome {
    alone(repository, "faults", "a_gateway_that_is_killed_at_any_moment", ("SALLYPORT_KILL_RUNS", options.runs))
}

/// Calls 50 servers of which five are awake at a time.
pub(crate) fn standby(repository: &Repository, options: &Standby) -> Outcome {
    alone(repository, "standby", "fifty_servers_of_which_five_are_awake", ("SALLYPORT_STANDBY_SECONDS", options.minutes * 60))
}

/// Runs one test by cargo's own runner, which sets it no time and shows what it prints.
fn alone(repository: &Repository, binary: &str, test: &str, (variable, value): (&str, u64)) -> Outcome {
    step::run(test, || {
        let mut run = repository.cargo();
        run.args([
            "test",
            "--quiet",
            "--package=sallyport",
            "--test",
            binary,
            test,
            "--",
            "--nocapture",
            "--include-ignored",
            "--test-threads=1",
        ]);
        step::execute(run.env(variable, value.to_string()))
    })
}
