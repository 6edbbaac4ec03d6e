//! `cargo xtask conformance`: the public conformance suite against the gateway, from both sides and across the eras.
//!
//! As a server, the gateway stands between the suite and the fixture, once for each way in which the fixture can be reached and each
//! era it can speak; as a client, between a caller of either era and the suite's mock servers. There is no list of expected failures:
//! what is required passes.

mod authorization;
mod authorization_server;
mod browser;
mod caller;
mod checks;
mod expected;
mod gateway;
mod homes;
mod requirements;
mod suite;
mod verdict;
pub(crate) mod visit;

pub(crate) use gateway::free_port;

use std::env;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Deserialize;

use self::caller::Era;
use self::checks::Report;
use self::expected::{BEYOND_THE_LISTS, EXPLANATIONS, Explanation};
use self::gateway::{Gateway, Programs, UPSTREAMS, Upstream};
use self::requirements::{Requirements, Role};
use self::suite::Suite;
use self::verdict::Verdict;
use crate::repository::{Outcome, Repository};
use crate::{peers, step};

/// The revisions that have requirements.
const REVISIONS: [&str; 2] = ["2025-11-25", "2026-07-28"];

/// What of the whole to run.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Run only this part
    #[arg(value_enum)]
    part: Option<Part>,
    /// Run only the pairings whose line contains this, e.g. `legacy stdio` or `2026-07-28 client`
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Run only this scenario
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Run `sallyport` and `sallyport-fixture` from this folder, such as target/release, instead of building them
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Where to leave configurations, logs and checks, instead of target/conformance
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// A part of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// What is about tokens
    Auth,
}

/// How many scenarios were as they should be, over all pairings, and how many were not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Score {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

/// Runs the suite against every pairing and prints a line for each.
pub(crate) fn run(repository: &Repository, options: &Options) -> Outcome<Score> {
    peers::npm(repository)?;
    let programs = match &options.programs {
        Some(folder) => Programs { sallyport: absolute(folder.join("sallyport"))?, fixture: absolute(folder.join("sallyport-fixture"))? },
        None => build(repository)?,
    };
    let suite = Suite::installed(repository)?;
    if !suite.is_private() {
        println!("    the suite's mock servers listen on every interface: this system allows no network of their own (unshare, ip)");
    }
    let folder = options.output.clone().unwrap_or_else(|| repository.path("target/conformance"));
    let score = Run { suite, programs, folder: absolute(folder)?, options }.all()?;
    if score == Score::default() { Err("there is no such pairing or scenario".to_owned()) } else { Ok(score) }
}

/// Fails where anything did not pass.
pub(crate) fn judge(score: Score) -> Outcome {
    match score.failed {
        0 => Ok(()),
        failed => Err(format!("{failed} scenarios are not as they should be")),
    }
}

/// One run of the task.
struct Run<'task> {
    suite: Suite,
    programs: Programs,
    folder: PathBuf,
    options: &'task Options,
}

/// Runs the scenarios of a pairing, with a folder for what they leave.
type Runs<'run> = dyn Fn(&Requirements, &Path, &Progress<'_>) -> Outcome<Verdict> + Sync + 'run;

/// One way in which the gateway meets the suite.
struct Pairing<'run> {
    name: String,
    wanted: Requirements,
    run: Box<Runs<'run>>,
}

impl Run<'_> {
    /// Side by side: most of a pairing's time is one program's start after the other's.
    fn all(&self) -> Outcome<Score> {
        let mut pairings = self.pairings()?;
        pairings.retain(|pairing| self.is_asked_for(pairing));
        let mut score = Score::default();
        for one in step::side_by_side(&pairings, |pairing| self.pairing(pairing)) {
            let one = one?;
            score.passed += one.passed;
            score.failed += one.failed;
        }
        Ok(score)
    }

    fn pairings(&self) -> Outcome<Vec<Pairing<'_>>> {
        let mut all = Vec::new();
        for revision in REVISIONS {
            for caller in [Era::Legacy, Era::Modern] {
                all.push(Pairing {
                    name: format!("{revision} client, {} caller", caller.name()),
                    wanted: self.wanted(revision, Role::Client)?,
                    run: Box::new(move |wanted, folder, progress| self.as_client(revision, caller, wanted, folder, progress)),
                });
            }
        }
        all.push(Pairing {
            name: "authorization server".to_owned(),
            wanted: authorization_server::wanted(self.options.scenario.as_deref()),
            run: Box::new(|wanted, folder, progress| {
                let reports = authorization_server::run(&self.suite, &self.programs, folder, |scenario| progress.tell(scenario))?;
                Ok(Verdict::of(wanted, &reports, &[]))
            }),
        });
        for upstream in UPSTREAMS {
            for revision in REVISIONS {
                all.push(Pairing {
                    name: format!("{revision} server, {} upstream", upstream.name()),
                    wanted: self.wanted(revision, Role::Server)?,
                    run: Box::new(move |wanted, folder, progress| self.as_server(revision, upstream, wanted, folder, progress)),
                });
            }
        }
        Ok(all)
    }

    fn is_asked_for(&self, pairing: &Pairing<'_>) -> bool {
        let is_named = self.options.only.as_ref().is_none_or(|text| pairing.name.contains(text.as_str()));
        is_named && pairing.wanted.all().next().is_some()
    }

    /// Runs one pairing and prints what came of it.
    fn pairing(&self, pairing: &Pairing<'_>) -> Outcome<Score> {
        let folder = empty(&self.folder.join(pairing.name.replace(", ", "-").replace(' ', "-")))?;
        let progress = Progress::new(&pairing.name);
        let verdict = (pairing.run)(&pairing.wanted, &folder, &progress).unwrap_or_else(Verdict::broken);
        progress.end(&verdict);
        Ok(Score { passed: verdict.as_they_should, failed: verdict.faults })
    }

    fn as_client(&self, revision: &str, caller: Era, wanted: &Requirements, folder: &Path, progress: &Progress<'_>) -> Outcome<Verdict> {
        let this = env::current_exe().map_err(|error| format!("could not find this program: {error}"))?;
        let mut reports = Vec::new();
        for scenario in wanted.all() {
            progress.tell(scenario);
            let folder = folder.join(scenario);
            let client = visit::command_line(&this, &self.programs.sallyport, caller, &folder);
            reports.extend(self.suite.run_client_scenario(&client, revision, scenario, &folder)?);
        }
        Ok(Verdict::of(wanted, &reports, &expected::OF_A_CLIENT.iter().collect::<Vec<_>>()))
    }

    fn as_server(
        &self,
        revision: &str,
        upstream: Upstream,
        wanted: &Requirements,
        folder: &Path,
        progress: &Progress<'_>,
    ) -> Outcome<Verdict> {
        let gateway = Gateway::start(&self.programs, upstream, folder)?;
        let url = gateway.url();
        let reports = match &self.options.scenario {
            Some(scenario) => self.suite.run_server_scenario(&url, revision, scenario, folder)?,
            None => self.whole_set(&url, revision, wanted, folder, progress)?,
        };
        Ok(Verdict::of(wanted, &reports, &explanations(upstream)))
    }

    /// What the suite runs by itself, and the scenarios beyond its lists.
    fn whole_set(&self, url: &str, revision: &str, wanted: &Requirements, folder: &Path, progress: &Progress<'_>) -> Outcome<Vec<Report>> {
        let mut reports = self.suite.run_server(url, revision, folder, |scenario| progress.tell(scenario))?;
        for scenario in BEYOND_THE_LISTS.into_iter().filter(|name| wanted.unscored.iter().any(|unscored| unscored == name)) {
            progress.tell(scenario);
            reports.extend(self.suite.run_server_scenario(url, revision, scenario, &folder.join(scenario))?);
        }
        Ok(reports)
    }

    /// What a revision requires, as far as it is asked for.
    fn wanted(&self, revision: &str, role: Role) -> Outcome<Requirements> {
        let mut requirements = self.suite.requirements(revision, role)?;
        if role == Role::Server && revision == "2026-07-28" {
            requirements.unscored.extend(BEYOND_THE_LISTS.map(str::to_owned));
        }
        if self.options.part == Some(Part::Auth) {
            requirements.required.retain(|name| name.starts_with("auth/"));
            requirements.unscored.retain(|name| name.starts_with("auth/"));
        }
        if let Some(scenario) = &self.options.scenario {
            requirements.required.retain(|name| name == scenario);
            requirements.unscored.retain(|name| name == scenario);
        }
        Ok(requirements)
    }
}

fn explanations(upstream: Upstream) -> Vec<&'static Explanation> {
    EXPLANATIONS.iter().filter(|explanation| (explanation.behind)(upstream)).collect()
}

/// The scenario that a pairing runs now, shown on a terminal until a pairing's line takes its place.
struct Progress<'name> {
    pairing: &'name str,
    begin: Instant,
    shown: bool,
}

impl<'name> Progress<'name> {
    fn new(pairing: &'name str) -> Self {
        Self { pairing, begin: Instant::now(), shown: std::io::stdout().is_terminal() }
    }

    fn tell(&self, scenario: &str) {
        if self.shown {
            print!("\r\x1b[K{}: {scenario}", self.pairing);
            let _shown_later = std::io::stdout().flush();
        }
    }

    /// The pairing's lines, in one piece: others may end at the same time.
    fn end(&self, verdict: &Verdict) {
        let seconds = self.begin.elapsed().as_secs_f64();
        let mut lines = format!("{}: {}/{} ({seconds:.1} s)\n", self.pairing, verdict.passed, verdict.required);
        verdict.notes.iter().for_each(|note| lines.push_str(&format!("    {note}\n")));
        print!("{}{lines}", if self.shown { "\r\x1b[K" } else { "" });
    }
}

/// An empty folder, by its absolute path.
fn empty(folder: &Path) -> Outcome<PathBuf> {
    let failed = |error: std::io::Error| format!("could not empty {}: {error}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    fs::create_dir_all(folder).map_err(failed)?;
    absolute(folder)
}

fn absolute(path: impl AsRef<Path>) -> Outcome<PathBuf> {
    std::path::absolute(path).map_err(|error| format!("could not find the working directory: {error}"))
}

/// A line of what cargo says about a build.
#[derive(Debug, Deserialize)]
struct Built {
    executable: Option<PathBuf>,
}

/// Builds the program under test and the fixture: with all the workspace's, since features would be others for these two alone, and most of
/// what the tests have compiled would be compiled again.
fn build(repository: &Repository) -> Outcome<Programs> {
    let said = step::output(repository.cargo().args([
        "build",
        "--quiet",
        "--message-format=json-render-diagnostics",
        "--workspace",
        "--exclude=xtask", // it runs: the suite's clients are this very file
        "--bins",
        crate::test::FEATURES,
    ]))?;
    let executables: Vec<PathBuf> = said.lines().filter_map(|line| serde_json::from_str::<Built>(line).ok()?.executable).collect();
    let program = |name: &str| {
        let found = executables.iter().find(|path| path.file_stem().is_some_and(|stem| stem == name));
        found.cloned().ok_or_else(|| format!("cargo built no `{name}`"))
    };
    Ok(Programs { sallyport: program("sallyport")?, fixture: program("sallyport-fixture")? })
}
