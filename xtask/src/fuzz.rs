//! `cargo xtask fuzz`: builds the targets of `fuzz/` with libFuzzer and AddressSanitizer, and feeds each for a while.
//!
//! What a target found worth keeping stays in the target folder and is where its next run begins; so do the recorded messages of
//! `crates/protocol/tests/corpus`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;

use crate::repository::{Outcome, Repository};
use crate::step;

mod outcome;
mod seeds;

use outcome::Ran;

/// Every target of `fuzz/Cargo.toml`, and what of a recorded message it begins with.
const TARGETS: [(&str, seeds::Seed); 5] = [
    ("message", seeds::message),
    ("sse", seeds::sse),
    ("headers", seeds::headers),
    ("revisions", seeds::revisions),
    ("state", seeds::state),
];

/// Seconds a target runs when every change is tested: enough to read all that was kept and to notice a fresh blunder.
pub(crate) const SHORT: u64 = 10;

/// What the targets are compiled with: the coverage that libFuzzer is guided by, as `cargo fuzz` asks for it, and
/// AddressSanitizer, since the crates below ours are not all free of `unsafe`.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg=fuzzing -Zsanitizer=address";

/// Bytes of an input at most: four times the smallest limit that a target has to run into.
const MAX_INPUT: usize = 16 * 1024;
/// Seconds that one input may take. All of them take less than a tenth of one.
const INPUT_SECONDS: u64 = 5;
/// MiB that a target may hold, the instrumentation's own some 300 among them: what grows with each input comes to more in a minute.
const MAX_MEMORY: u64 = 1024;
/// MiB that one allocation may have: no input is larger than [`MAX_INPUT`].
const MAX_ALLOCATION: u64 = 64;

/// What to run, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds that each target runs
    #[arg(long, default_value_t = 600)]
    pub(crate) seconds: u64,
    /// Run only these targets
    #[arg(value_parser = TARGETS.map(|(name, _)| name))]
    pub(crate) targets: Vec<String>,
}

/// Builds all targets and runs the wanted ones; fails if any of them found a fault, after all have run.
pub(crate) fn run(repository: &Repository, options: &Options) -> Outcome {
    let folder = folder(repository);
    let built = step::run("fuzz targets", || build(repository, &folder))?;
    let wanted = |name: &str| options.targets.is_empty() || options.targets.iter().any(|wanted| wanted == name);
    let targets: Vec<_> = TARGETS.into_iter().filter(|(name, _)| wanted(name)).collect();
    let all = step::side_by_side(&targets, |(name, seed)| feed(repository, &folder, &built.join(name), *seed, options.seconds));
    let mut faults = Vec::new();
    for ((name, _), ran) in targets.into_iter().zip(all) {
        let ran = ran?;
        println!("    {name}: {ran}");
        if let Some(fault) = ran.fault {
            println!("{fault}");
            faults.push(name);
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("faults found by: {}", faults.join(", "))) }
}

/// Apart from everything else that is built: these flags would build it all anew.
fn folder(repository: &Repository) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.path("target"), PathBuf::from).join("fuzz")
}

/// Builds the targets and says where they are.
fn build(repository: &Repository, folder: &Path) -> Outcome<PathBuf> {
    let host = host(repository)?;
    let mut cargo = repository.cargo();
    cargo.args(["build", "--quiet", "--release", "--bins", "--manifest-path", "fuzz/Cargo.toml", "--target", &host, "--target-dir"]);
    cargo.arg(folder);
    // The sanitizer's flag wants a nightly compiler or this. So the compiler is the one that everything else is built with.
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    step::execute(&mut cargo)?;
    Ok(folder.join(host).join("release"))
}

/// The machine's own target triple. Named explicitly, so that the flags do not reach build scripts and macros.
fn host(repository: &Repository) -> Outcome<String> {
    let version = step::output(repository.command("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say for which host it is".to_owned())
}

fn feed(repository: &Repository, folder: &Path, program: &Path, seed: seeds::Seed, seconds: u64) -> Outcome<Ran> {
    let name = program.file_name().unwrap_or_default();
    let of_target = |kind: &str| -> Outcome<PathBuf> {
        let path = folder.join(kind).join(name);
        fs::create_dir_all(&path).map_err(|error| format!("could not make {}: {error}", path.display()))?;
        Ok(path)
    };
    let (kept, seeds, faults) = (of_target("kept")?, of_target("seeds")?, of_target("faults")?);
    seeds::write(repository, seed, &seeds)?;
    let mut command = repository.command(program);
    command.arg(kept).arg(seeds);
    command.arg(format!("-artifact_prefix={}/", faults.display()));
    command.arg(format!("-dict={}", repository.path("fuzz/words.dict").display()));
    command.args([format!("-max_total_time={seconds}"), format!("-max_len={MAX_INPUT}"), format!("-timeout={INPUT_SECONDS}")]);
    command.args([format!("-rss_limit_mb={MAX_MEMORY}"), format!("-malloc_limit_mb={MAX_ALLOCATION}")]);
    command.args(["-print_final_stats=1", "-verbosity=0"]);
    // Freed memory is kept from use for a while, to notice who still reads it; 32 MiB of it, so that growth can be told.
    command.env("ASAN_OPTIONS", "quarantine_size_mb=32").stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("could not start {}: {error}", program.display()))?;
    Ok(Ran::read(&String::from_utf8_lossy(&output.stderr), output.status))
}
