//! `cargo xtask bench`: what boundaries, standby, tokens and policies cost on this machine.

use clap::{Args, ValueEnum};

use crate::repository::{Outcome, Repository};
use crate::{peers, step};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The subject
    #[arg(value_enum, default_value = "sandbox")]
    subject: Subject,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Subject {
    /// Starts, calls and wakes of programs in the default sandbox, beside the same without; then of machines, which need QEMU
    Sandbox,
    /// Decisions with 1,000 policies, tokens, and a call's way through the gateway with all of it, beside the same with lists and a key
    Policy,
}

/// Builds an optimised program and prints its table. Run it on a quiet machine: beside other work all times grow.
pub(crate) fn run(repository: &Repository, options: &Options) -> Outcome {
    match options.subject {
        Subject::Sandbox => sandbox(repository),
        Subject::Policy => policy(repository),
    }
}

/// Each of one crate, and none of them needs a peer.
fn policy(repository: &Repository) -> Outcome {
    for (told, package, bench) in [
        ("bench decisions", "sallyport-policy", "decide"),
        ("bench tokens", "sallyport-identity", "token"),
        ("bench the pipeline", "sallyport-gateway", "pipeline"),
    ] {
        let arguments = ["bench", "--quiet", "--package", package, "--bench", bench];
        step::run(told, || step::execute(repository.cargo().args(arguments)))?;
    }
    Ok(())
}

fn sandbox(repository: &Repository) -> Outcome {
    peers::npm(repository)?;
    let peers = std::path::absolute(repository.peers()).map_err(|error| format!("the folder of the peers has no name: {error}"))?;
    step::run("bench sandbox", || {
        step::execute(
            repository.cargo().args(["bench", "--quiet", "--package=sallyport-sandbox", "--bench=boundary"]).env("SALLYPORT_PEERS", &peers),
        )
    })?;
    step::run("bench machines", || {
        step::execute(
            repository.cargo().args(["bench", "--quiet", "--package=sallyport-sandbox", "--bench=machine"]).env("SALLYPORT_PEERS", &peers),
        )
    })
}
