//! `cargo xtask soak`: a gateway under mixed load for a long time, whose holdings have to stay flat.
//!
//! Clients of every revision come and go, cancel, subscribe, begin tasks, and abandon calls that wait for their answer;
//! meanwhile servers of both eras, over stdio and HTTP, are killed and started again. What the gateway holds of the machine is
//! looked at all the time, and judged by [`verdict`].

mod fleet;
mod holdings;
mod load;
mod verdict;

use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;

use crate::repository::{Outcome, Repository};
use crate::step;
use fleet::Fleet;
use holdings::Holdings;
use load::Load;
use verdict::Verdict;

/// Between two lines on the terminal.
const LINE: Duration = Duration::from_secs(30);
/// Between two kills of a server: long enough that the one killed before is back, and that most failures are nobody's doing.
const KILL: Duration = Duration::from_secs(60);
/// How long everything may take to be back where it was, after the load: outcomes are kept for a minute.
const SETTLE: Duration = Duration::from_secs(150);

/// How long, and how hard.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long the load lasts
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Clients at once
    #[arg(long, default_value_t = 8)]
    clients: u64,
}

/// Builds what is needed, runs the load, and fails unless everything stayed flat and came back.
pub(crate) fn run(repository: &Repository, options: &Options) -> Outcome {
    step::run("build", || {
        step::execute(repository.cargo().args(["build", "--quiet", "--package=sallyport", "--package=sallyport-testkit", "--bins"]))
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("could not start a runtime: {error}"))?;
    step::run("soak", || tokio::task::LocalSet::new().block_on(&runtime, soak(repository, options)))
}

async fn soak(repository: &Repository, options: &Options) -> Outcome {
    let mut fleet = Fleet::start(repository)?;
    let load = Rc::new(Load::new(&fleet)?);
    load.warm_up().await?;
    let before = Holdings::of(&fleet);
    println!("    before the load      {before}");
    let workers: Vec<_> = (0..options.clients).map(|seed| tokio::task::spawn_local(Rc::clone(&load).work(seed))).collect();
    let verdict = watch(&mut fleet, &load, Duration::from_secs(options.minutes * 60)).await?;
    load.stop();
    for worker in workers {
        worker.await.map_err(|error| format!("a client of the load panicked: {error}"))?;
    }
    println!("    {}", load.told());
    let end = settle(&fleet, &before, &verdict).await;
    println!("    {verdict}");
    load.judge().and_then(|()| verdict.judge()).and(end)
}

/// Prints a line every half minute and kills a server now and then, until the time is over.
async fn watch(fleet: &mut Fleet, load: &Load, time: Duration) -> Outcome<Verdict> {
    let begin = Instant::now();
    let line = LINE.min(time / 20);
    let mut verdict = Verdict::new(time);
    let (mut next_line, mut next_kill) = (line, KILL);
    while begin.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let elapsed = begin.elapsed();
        if elapsed >= next_kill {
            next_kill += KILL;
            load.disturbed();
            println!("    {}", fleet.kill_one()?);
        }
        if elapsed >= next_line {
            next_line += line;
            let now = Holdings::of(fleet);
            println!("    {:>5} s {now}  {}", elapsed.as_secs(), load.told());
            verdict.add(elapsed, now);
        }
    }
    Ok(verdict)
}

/// Takes all servers out of the configuration, with which the abandoned calls end, puts them back, and waits until the gateway
/// holds no more than before.
async fn settle(fleet: &Fleet, before: &Holdings, verdict: &Verdict) -> Outcome {
    let begin = Instant::now();
    fleet.configure_without_servers()?;
    while Holdings::of(fleet).processes > 0 && begin.elapsed() < SETTLE {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    fleet.configure()?;
    loop {
        let now = Holdings::of(fleet);
        let missing = verdict.missing(before, &now);
        if missing.is_empty() && now.processes == before.processes {
            println!("    after the load       {now}, back within {} s", begin.elapsed().as_secs());
            return Ok(());
        }
        if begin.elapsed() > SETTLE {
            return Err(format!("not back where it was within {} s: {}", SETTLE.as_secs(), missing.join(", ")));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
