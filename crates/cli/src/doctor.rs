//! `sallyport doctor`: what this machine can enforce, what is missing, what that costs and how to get it.

mod apparmor;
mod boundary;

use std::net::TcpListener;

use owo_colors::OwoColorize;
use sallyport_gateway::plan::Plan;
use sallyport_gateway::{config, packages};
use serde::Serialize;

use crate::arguments::{DoctorArguments, Global};
use crate::check::lock_drafts;
use crate::output::{self, Exit, Failure};
use crate::{running, start, tenant};
use boundary::Boundaries;

/// Programs that commands of servers commonly need.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("node", "servers from npm (`npx …`) cannot run", "install Node.js 20 or newer"),
    ("npm", "servers from npm (`npx …`) cannot be installed", "install npm"),
    ("python3", "servers from PyPI (`uvx …`) cannot run", "install Python 3.10 or newer"),
];

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    area: &'static str,
    subject: String,
    ok: bool,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

pub(crate) fn run(global: &Global, arguments: &DoctorArguments) -> Result<(), Failure> {
    if arguments.apparmor_profile {
        return apparmor::print();
    }
    let plan = config::load(&global.invocation()?);
    let boundaries = Boundaries::probe(plan.as_ref().ok())?;
    let mut findings = vec![configuration(&plan)];
    findings.extend(boundaries.findings());
    findings.extend(PROGRAMS.iter().map(program));
    if let Ok(plan) = &plan {
        findings.extend(boundaries.of_servers(plan));
        findings.extend(
            plans(plan).flat_map(|plan| packages::unlocked(plan, &lock_drafts()).into_iter().map(|server| not_locked(plan, server))),
        );
        findings.extend(plan.tls_warnings().map(certificates));
        findings.push(port(plan));
    }
    if arguments.json {
        output::json(&findings)?;
    } else {
        findings.iter().try_for_each(tell)?;
    }
    if plan.is_ok() && boundaries.suffice(plan.as_ref().ok()) { Ok(()) } else { Err(Failure::told(Exit::Failed)) }
}

fn configuration(plan: &Result<Plan, Vec<config::Diagnostic>>) -> Finding {
    match plan {
        Ok(plan) => {
            let file = plan.origin.file.as_ref().map_or_else(|| "the built-in default".to_owned(), |file| file.display().to_string());
            finding("configuration", "file", true, file)
        }
        Err(errors) => Finding {
            cost: Some("the gateway does not start".into()),
            cure: Some("`sallyport check` says what is wrong".into()),
            ..finding("configuration", "file", false, format!("{} errors", errors.len()))
        },
    }
}

fn program((name, cost, cure): &(&'static str, &'static str, &'static str)) -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()) {
        Some(file) => finding("programs", name, true, file.display().to_string()),
        None => {
            Finding { cost: Some((*cost).into()), cure: Some((*cure).into()), ..finding("programs", name, false, "not in PATH".into()) }
        }
    }
}

/// The gateway's own plan, and those of its tenants.
fn plans(plan: &Plan) -> impl Iterator<Item = &Plan> {
    std::iter::once(plan).chain(plan.tenants.values())
}

/// What a server is called here: `TENANT/SERVER` where it is a tenant's.
fn called(plan: &Plan, server: &str) -> String {
    plan.tenant.as_deref().map_or_else(|| server.to_owned(), |tenant| format!("{tenant}/{server}"))
}

fn not_locked(plan: &Plan, server: &str) -> Finding {
    let whose = tenant::option(plan.tenant.as_deref());
    Finding {
        cost: Some("its first start takes whatever the registry has then".into()),
        cure: Some(format!("`sallyport update {server}{whose}` shows and locks it")),
        ..finding("packages", &called(plan, server), false, "not locked".into())
    }
}

fn certificates(warning: &config::Diagnostic) -> Finding {
    Finding { cure: warning.hint.clone(), ..finding("certificates", &warning.path, false, warning.message.clone()) }
}

fn port(plan: &Plan) -> Finding {
    let address = plan.listen.to_string();
    let runs = start::folders().ok().and_then(|folders| running::find(&folders.run_folder(), &plan.origin));
    match (TcpListener::bind(plan.listen), runs) {
        (_, Some(gateway)) => {
            finding("endpoint", &address, true, format!("a gateway runs already at {} (process {})", gateway.url, gateway.pid))
        }
        (Ok(_), None) => finding("endpoint", &address, true, "free".into()),
        (Err(error), None) => Finding {
            cost: Some("`sallyport up` does not start".into()),
            cure: Some("choose another address with `listen` or `--listen`".into()),
            ..finding("endpoint", &address, false, error.to_string())
        },
    }
}

fn finding(area: &'static str, subject: &str, ok: bool, detail: String) -> Finding {
    Finding { area, subject: subject.to_owned(), ok, detail, cost: None, cure: None }
}

fn tell(finding: &Finding) -> Result<(), Failure> {
    let mark = if finding.ok { "ok".green().to_string() } else { "--".yellow().to_string() };
    let detail = if finding.detail.is_empty() { String::new() } else { format!(": {}", finding.detail) };
    output::line(format!("{mark}  {} {}{detail}", finding.area.dimmed(), finding.subject.bold()))?;
    for (label, text) in [("costs", &finding.cost), ("cure", &finding.cure)] {
        if let Some(text) = text {
            output::line(format!("      {} {text}", format!("{label}:").cyan()))?;
        }
    }
    Ok(())
}
