//! `sallyport list`: the servers of the configuration.

use owo_colors::OwoColorize;
use sallyport_gateway::config;
use sallyport_gateway::plan::{ServerPlan, Source};
use sallyport_sandbox::Network;
use serde::Serialize;

use crate::arguments::{Global, ListArguments};
use crate::output::{self, Failure};
use crate::tenant;

/// A server, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// `program`, `remote` or `builtin`.
    kind: &'static str,
    /// The command line, the endpoint or the root; never a secret.
    target: String,
    /// The boundary of a program by its name; `auto` where it may be less than `os`.
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'static str>,
    /// Where a program may connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Vec<String>>,
    disabled: bool,
}

pub(crate) fn run(global: &Global, arguments: &ListArguments) -> Result<(), Failure> {
    let plan = tenant::of(config::load(&global.invocation()?)?, arguments.of.tenant.as_deref())?;
    let disabled = plan.disabled.iter().map(|name| Row {
        name: name.clone(),
        kind: "",
        target: String::new(),
        sandbox: None,
        network: None,
        disabled: true,
    });
    let rows: Vec<Row> = plan.servers.values().map(row).chain(disabled).collect();
    if arguments.json {
        return output::json(&rows);
    }
    let origin = plan.origin.file.as_ref().map_or_else(|| "no file: the built-in default".to_owned(), |file| file.display().to_string());
    output::note(origin.dimmed());
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    rows.iter().try_for_each(|row| output::line(format!("{:width$}  {}", row.name.bold(), described(row))))
}

fn row(server: &ServerPlan) -> Row {
    let (kind, target, sandbox, network) = match &server.source {
        Source::Stdio(program) => {
            let words = std::iter::once(program.program.clone()).chain(program.arguments.iter().map(ToString::to_string));
            let network = network(&program.network);
            ("program", words.collect::<Vec<_>>().join(" "), Some(program.sandbox.name()), Some(network))
        }
        Source::Remote(remote) => ("remote", remote.public_url(), None, None),
        Source::BuiltIn(built_in) => {
            let access = if built_in.writes() { "to write" } else { "to read" };
            ("builtin", format!("{} {} {access}", built_in.name(), built_in.target()), None, None)
        }
    };
    Row { name: server.name.clone(), kind, target, sandbox, network, disabled: false }
}

/// The destinations, as the configuration could write them.
fn network(network: &Network) -> Vec<String> {
    match network {
        Network::None => Vec::new(),
        Network::Only(allowed) => allowed.destinations().iter().map(ToString::to_string).collect(),
        Network::Host => vec!["host-network".to_owned()],
    }
}

fn described(row: &Row) -> String {
    if row.disabled {
        return "disabled".dimmed().to_string();
    }
    let mut described = format!("{:7}  {}", row.kind, row.target);
    if row.sandbox == Some("none") {
        described = format!("{described}  {}", "no sandbox".red());
    }
    match row.network.as_deref() {
        Some(hosts) if !hosts.is_empty() => format!("{described}  {}", format!("network: {}", hosts.join(", ")).yellow()),
        _ => described,
    }
}
