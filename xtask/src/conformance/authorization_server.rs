//! The gateway's own authorization server under the suite's `authorization` mode: the suite is a client that sends a person to log in, and
//! this is the person.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use sallyport_testkit::browser::Browser;

use super::checks::Report;
use super::gateway::{Gateway, Programs, free_port};
use super::homes;
use super::requirements::Requirements;
use super::suite::{Suite, scenario_in};
use crate::repository::Outcome;

/// What has to pass. The suite has no list of what a revision requires of an authorization server; these are all that it knows.
const SCENARIOS: [&str; 2] = ["authorization-server-metadata-endpoint", "authorization-code-grant"];

const NAME: &str = "alice";
const PASSWORD: &str = "correct horse battery staple";
/// The client that the suite is.
const CLIENT: &str = "suite";

/// The scenarios of this mode, with `only` that one.
pub(super) fn wanted(only: Option<&str>) -> Requirements {
    let required = SCENARIOS.into_iter().filter(|name| only.is_none_or(|only| only == *name)).map(str::to_owned).collect();
    Requirements { required, unscored: Vec::new() }
}

/// Runs both scenarios, one after the other: the second begins with what the first has found.
pub(super) fn run(suite: &Suite, programs: &Programs, folder: &Path, mut tell: impl FnMut(&str)) -> Outcome<Vec<Report>> {
    let (port, back) = (free_port()?, free_port()?);
    let issuer = format!("http://127.0.0.1:{port}");
    let configuration = format!(
        "public_url = \"{issuer}\"\n[policy]\ndefault = \"allow\"\n[identity.server.clients.{CLIENT}]\n\
         redirect_uris = [\"http://127.0.0.1:{back}/callback\"]\n[servers.files]\nbuiltin = {{ filesystem = {{}} }}\n"
    );
    fs::write(folder.join("sallyport.toml"), configuration).map_err(|error| format!("could not write the configuration: {error}"))?;
    add_user(programs, folder)?;
    let _gateway = Gateway::of(programs, port, folder)?;
    let mut has_logged_in = Ok(false);
    let reports = suite.run_authorization(&issuer, CLIENT, &format!("{issuer}/mcp"), back, folder, |line| {
        scenario_in(line).into_iter().for_each(&mut tell);
        if let (Ok(false), Some(address)) = (&has_logged_in, address_in(line, &issuer)) {
            has_logged_in = log_in(address).map(|()| true);
        }
    })?;
    match has_logged_in {
        Err(why) => Err(format!("nobody could log in: {why}")),
        Ok(_) => Ok(reports),
    }
}

/// Where the suite sends its user, once it says so.
fn address_in<'line>(line: &'line str, issuer: &str) -> Option<&'line str> {
    line.split_whitespace().find(|word| word.strip_prefix(issuer).is_some_and(|rest| rest.starts_with("/oauth/authorize?")))
}

/// Logs in, agrees, and is sent back to the suite.
fn log_in(address: &str) -> Outcome {
    let mut browser = Browser::default();
    let page = browser.open(address)?;
    let consent = browser.submit(&page, &[("name", NAME), ("password", PASSWORD)])?;
    browser.submit(&consent, &[("decision", "allow")]).map(|_back| ())
}

fn add_user(programs: &Programs, folder: &Path) -> Outcome {
    let mut command = homes::command(&programs.sallyport, folder)?;
    command.arg("--config").arg(folder.join("sallyport.toml")).args(["user", "add", NAME, "--admin"]);
    let failed = |error: std::io::Error| format!("could not add a user: {error}");
    let mut adding = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(failed)?;
    if let Some(mut stdin) = adding.stdin.take() {
        writeln!(stdin, "{PASSWORD}").map_err(failed)?;
    }
    let ended = adding.wait().map_err(failed)?;
    if ended.success() { Ok(()) } else { Err(format!("`sallyport user add` ended with {ended}")) }
}
