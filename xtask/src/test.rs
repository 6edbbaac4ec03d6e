//! `cargo xtask test`: every check a change has to pass, from the cheapest to the dearest.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::repository::{Outcome, Repository};
use crate::{conformance, fuzz, peers, step, tidy};

/// What is off by default is checked all the same. The same set everywhere, so that nothing is compiled twice.
pub(crate) const FEATURES: &str = "--features=sallyport/wasm";

/// What of the whole to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave out the tests that talk to public MCP clients and servers, and the conformance suite
    #[arg(long)]
    without_peers: bool,
    /// Run only tests whose name contains one of these, and no other check
    filters: Vec<String>,
}

/// Runs the checks, then the tests, and ends with the line `N passed, N failed`.
pub(crate) fn run(repository: &Repository, options: &Options) -> Outcome {
    if options.filters.is_empty() {
        step::run("format", || format(repository))?;
        step::run("tidy", || tidy::run(repository))?;
        step::run("lints", || lints(repository))?;
        step::run("documentation", || documentation(repository))?;
    }
    if !options.without_peers {
        peers::install(repository)?;
    }
    let mut tally = Tally::default();
    let mut passed = step::run("tests", || tests(repository, options, &mut tally));
    if options.filters.is_empty() && !options.without_peers {
        let suite_passed = step::run("conformance", || conformance(repository, &mut tally));
        passed = passed.and(suite_passed);
    }
    if options.filters.is_empty() {
        let short = fuzz::Options { seconds: fuzz::SHORT, targets: Vec::new() };
        let fed = step::run("fuzz", || fuzz::run(repository, &short));
        passed = passed.and(fed);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    passed
}

/// The suite's scenarios count like tests.
fn conformance(repository: &Repository, tally: &mut Tally) -> Outcome {
    let score = conformance::run(repository, &conformance::Options::default())?;
    tally.passed += score.passed;
    tally.failed += score.failed;
    conformance::judge(score)
}

fn format(repository: &Repository) -> Outcome {
    let files = repository.rust_files()?;
    step::execute(repository.command("rustfmt").args(["--check", "--edition", "2024"]).args(files))
}

fn lints(repository: &Repository) -> Outcome {
    step::execute(repository.cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", FEATURES, "--", "--deny", "warnings"]))
}

fn documentation(repository: &Repository) -> Outcome {
    step::execute(
        repository
            .cargo()
            .args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items", FEATURES])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )
}

fn tests(repository: &Repository, options: &Options, tally: &mut Tally) -> Outcome {
    let mut all_passed = true;
    for mut runner in runners(repository, options) {
        runner.env("SALLYPORT_PEERS", absolute(repository.peers()));
        all_passed &= step::watch(&mut runner, |line| tally.count(line))?;
    }
    if all_passed { Ok(()) } else { Err("not every test passed".to_owned()) }
}

/// cargo-nextest where it is installed, since it runs each test in a process of its own and in parallel over all
/// binaries; `cargo test` does the same job more slowly. The examples in doc comments are cargo's in either case.
fn runners(repository: &Repository, options: &Options) -> Vec<Command> {
    if !step::answers("cargo", &["nextest", "--version"]) {
        return vec![cargo_test(repository, options)];
    }
    let mut runners = vec![nextest(repository, options)];
    if options.filters.is_empty() {
        let mut examples = repository.cargo();
        examples.args(["test", "--quiet", "--workspace", "--doc", FEATURES]);
        runners.push(examples);
    }
    runners
}

fn nextest(repository: &Repository, options: &Options) -> Command {
    let mut nextest = repository.cargo();
    nextest.args(["nextest", "run", "--workspace", FEATURES, "--no-fail-fast", "--color=never", "--cargo-quiet"]);
    nextest.args(["--status-level=slow", "--final-status-level=slow"]);
    nextest.arg(format!("--test-threads={}", threads()));
    if !options.without_peers {
        nextest.args(["--run-ignored", "all"]);
    }
    nextest.args(&options.filters);
    nextest
}

/// Half as many again as there are processors: much of a test's time is spent waiting, for its servers, its clients or a clock.
fn threads() -> usize {
    let processors = step::processors();
    processors + processors.div_ceil(2)
}

/// One thread: without nextest's groups, tests that measure the machine would disturb each other.
fn cargo_test(repository: &Repository, options: &Options) -> Command {
    let mut test = repository.cargo();
    test.args(["test", "--quiet", "--workspace", FEATURES, "--no-fail-fast", "--", "--test-threads=1"]);
    if !options.without_peers {
        test.arg("--include-ignored");
    }
    test.args(&options.filters);
    test
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// How many tests passed and failed, read from the closing lines of the runners.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    /// Adds the figures of a closing line: nextest's `Summary … tests run: 3 passed, 1 failed, 0 skipped` or libtest's
    /// `test result: ok. 3 passed; 0 failed; …`; leaves other lines alone.
    fn count(&mut self, line: &str) {
        let Some(figures) = Self::figures(line) else { return };
        let words: Vec<&str> = figures.split([' ', ',', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let [number, what] = pair else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match *what {
                "passed" => self.passed += number,
                "failed" | "timed" | "exec" => self.failed += number,
                _ => {}
            }
        }
    }

    /// libtest's line counts at the left edge alone: nextest shows the output of a failed test indented, with such a line in it.
    fn figures(line: &str) -> Option<&str> {
        if line.starts_with("test result: ") {
            return Some(line);
        }
        let summary = line.trim_start().strip_prefix("Summary [")?;
        summary.split_once(" run: ").map(|(_, figures)| figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally_of(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.count(line));
        tally
    }

    #[test]
    fn counts_the_closing_lines_of_both_runners() {
        let lines = [
            "     Summary [   1.234s] 7 tests run: 4 passed (1 slow), 2 failed, 1 timed out, 3 skipped",
            "test result: FAILED. 10 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ];
        assert_eq!(tally_of(&lines), Tally { passed: 14, failed: 4 });
    }

    #[test]
    fn leaves_other_lines_alone() {
        let shown_by_nextest = "    test result: FAILED. 0 passed; 1 failed; 0 ignored";
        assert_eq!(tally_of(&["12 passed, 3 failed", "test passed ... ok", "", shown_by_nextest]), Tally::default());
    }
}
