//! `sallyport sandbox inspect`: the boundary of one server, as it is meant and as the kernel has it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use indicatif::ProgressBar;
use owo_colors::OwoColorize;
use sallyport_gateway::config;
use sallyport_gateway::plan::{Plan, ServerPlan, Source, Standby, StdioPlan};
use sallyport_gateway::upstream::{Launched, Outage, Surroundings, launch_alone};
use sallyport_sandbox::{Enforced, Layers, Limits, Network, State};
use serde::Serialize;

use crate::arguments::{Global, InspectArguments};
use crate::output::{self, Failure};
use crate::tools::shown;
use crate::{start, tenant};

/// Everything that is told of one server.
#[derive(Serialize)]
struct Inspection {
    server: String,
    backend: String,
    layers: Layers,
    profile: Shown,
    /// What the kernel was asked about.
    process: &'static str,
    /// What it said; nothing of a program that is no process of its own.
    kernel: Option<Enforced>,
}

/// The profile; of the environment the names alone.
#[derive(Serialize)]
struct Shown {
    command: String,
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    deny_write: Vec<String>,
    network: Vec<String>,
    limits: Limits,
    environment: Vec<String>,
    folder: Option<PathBuf>,
    /// How its system calls differ from the usual.
    seccomp: Vec<String>,
    standby: Descent,
}

/// After how many seconds without a request it goes down each step; `None`: never.
#[derive(Serialize)]
struct Descent {
    freeze_after: Option<f64>,
    reclaim_after: Option<f64>,
    stop_after: Option<f64>,
}

impl From<Standby> for Descent {
    fn from(Standby { freeze_after, reclaim_after, stop_after }: Standby) -> Self {
        let [freeze_after, reclaim_after, stop_after] =
            [freeze_after, reclaim_after, stop_after].map(|after| after.map(|after| after.as_secs_f64()));
        Self { freeze_after, reclaim_after, stop_after }
    }
}

pub(crate) fn run(global: &Global, arguments: &InspectArguments) -> Result<(), Failure> {
    let plan = tenant::of(config::load(&global.invocation()?)?, arguments.tenant.as_deref())?;
    let (server, stdio) = find(&plan, &arguments.name)?;
    let aside = start::Aside::open(&plan)?;
    let inspection = start::runtime()?.block_on(inspect(server, stdio, aside.surroundings.clone()));
    aside.close();
    let inspection = inspection?;
    if arguments.json { output::json(&inspection) } else { print(&inspection) }
}

fn find<'p>(plan: &'p Plan, name: &str) -> Result<(&'p ServerPlan, &'p StdioPlan), Failure> {
    let server = plan.servers.get(name).ok_or_else(|| {
        let known: Vec<&str> = plan.servers.keys().map(String::as_str).collect();
        Failure::new(format!("there is no server `{}`", name.escape_debug())).hint(format!("there are {}", known.join(", ")))
    })?;
    let no_program = match &server.source {
        Source::Stdio(stdio) => return Ok((server, stdio)),
        Source::Remote(_) => "runs elsewhere",
        Source::BuiltIn(_) => "is built into the gateway, and confined by its file code alone",
    };
    Err(Failure::new(format!("server `{name}` has no sandbox: it {no_program}")).hint("`sallyport list` says which servers are programs"))
}

/// Launches the program as for its first request, looks at it, and ends it.
async fn inspect(server: &ServerPlan, stdio: &StdioPlan, surroundings: Arc<Surroundings>) -> Result<Inspection, Failure> {
    let line = ProgressBar::new_spinner(); // on stderr, and nothing at all where that is no terminal
    let doing = |now: std::borrow::Cow<'static, str>| line.set_message(now.into_owned());
    let launched = launch_alone(server, &surroundings, &doing).await;
    line.finish_and_clear();
    let launched = launched.map_err(|outage| told(&server.name, &outage))?;
    let launched = launched.ok_or_else(|| Failure::new(format!("server `{}` is no program", server.name)))?;
    // A WebAssembly program has no process.
    let pid = Some(launched.instance.pid()).filter(|pid| *pid != 0);
    let kernel = pid.map(Enforced::on).transpose();
    launched.instance.kill();
    launched.instance.wait().await;
    let kernel = kernel.map_err(|error| {
        let last = launched.instance.stderr_tail().last().map(|line| format!(" after it wrote: {line}")).unwrap_or_default();
        Failure::new(format!("server `{}` cannot be looked at: {error}{last}", server.name)).hint("it may end as soon as it starts")
    })?;
    Ok(Inspection::of(server, stdio, launched, kernel))
}

fn told(name: &str, outage: &Outage) -> Failure {
    let failure = Failure::new(format!("server `{name}` cannot be launched: {}", outage.why));
    outage.hint.clone().into_iter().fold(failure, Failure::hint)
}

impl Inspection {
    fn of(server: &ServerPlan, stdio: &StdioPlan, launched: Launched, kernel: Option<Enforced>) -> Self {
        let Launched { instance, profile, program, .. } = launched;
        let network = match &profile.network {
            Network::None => Vec::new(),
            Network::Host => vec!["host-network".to_owned()],
            Network::Only(allowed) => allowed.destinations().iter().map(ToString::to_string).collect(),
        };
        let backend = instance.in_force().boundary().to_owned();
        let folder = program.cwd.or_else(|| profile.write.iter().chain(&profile.read).next().cloned());
        Self {
            server: server.name.clone(),
            process: match &*backend {
                "microvm" => "the monitor of its machine",
                "wasm" => "none: a module runs in a thread of the gateway",
                "oci" => "the container runtime round it",
                _ => "the program",
            },
            backend,
            layers: instance.in_force().clone(),
            profile: Shown {
                command: program.command,
                read: profile.read,
                write: profile.write,
                deny_write: profile.deny_write,
                network,
                limits: profile.limits,
                environment: program.env.into_keys().chain(["HOME", "LANG", "PATH"].map(str::to_owned)).collect(),
                folder,
                seccomp: profile.seccomp.words().collect(),
                standby: stdio.standby.into(),
            },
            kernel,
        }
    }
}

fn print(inspection: &Inspection) -> Result<(), Failure> {
    let Inspection { server, backend, layers, profile, process, kernel } = inspection;
    output::line(format!("{} in back-end {}", shown(server).bold(), backend.bold()))?;
    title("layers")?;
    for (layer, state) in layers.iter() {
        let (mark, detail) = match state {
            State::InForce(detail) => ("ok".green().to_string(), detail),
            State::Absent(reason) => ("--".yellow().to_string(), reason),
        };
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        output::line(format!("  {mark}  {layer}{detail}"))?;
    }
    title("profile")?;
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    list("program", std::slice::from_ref(&profile.command))?;
    list("reads", &paths(&profile.read))?;
    list("writes", &paths(&profile.write))?;
    if !profile.write.is_empty() {
        list("but not", &profile.deny_write)?;
    }
    list("network", &profile.network)?;
    list("variables", &profile.environment)?;
    list("starts in", &paths(profile.folder.as_slice()))?;
    list("limits", &entries(&profile.limits)?)?;
    list("changed system calls", &profile.seccomp)?;
    list("standby, seconds", &entries(&profile.standby)?)?;
    title(&format!("kernel, of {process}"))?;
    kernel.as_ref().map_or(Ok(()), print_kernel)
}

/// The members of a table that say something.
fn entries(of: &impl Serialize) -> Result<Vec<String>, Failure> {
    let failed = |error: serde_json::Error| Failure::new(error.to_string());
    let table: BTreeMap<String, serde_json::Value> = serde_json::from_value(serde_json::to_value(of).map_err(failed)?).map_err(failed)?;
    Ok(table.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| format!("{name} {value}")).collect())
}

fn print_kernel(kernel: &Enforced) -> Result<(), Failure> {
    for (key, value) in &kernel.status {
        output::line(format!("  {key}: {value}"))?;
    }
    let of = |own: bool| kernel.namespaces.iter().filter(|(_, is_own)| **is_own == own).map(|(name, _)| name.clone()).collect::<Vec<_>>();
    list("own namespaces", &of(true))?;
    list("shared namespaces", &of(false))?;
    list("control groups", &kernel.cgroups)?;
    for (name, value) in &kernel.limits {
        output::line(format!("  limit of {name}: {value}"))?;
    }
    for mount in &kernel.mounts {
        output::line(format!("  {} {} {}", shown(&mount.at.display().to_string()), mount.kind.dimmed(), mount.options.dimmed()))?;
    }
    Ok(())
}

fn title(text: &str) -> Result<(), Failure> {
    output::line(text.cyan())
}

fn list(name: &str, entries: &[String]) -> Result<(), Failure> {
    let entries = if entries.is_empty() { "none".dimmed().to_string() } else { shown(&entries.join(", ")).to_string() };
    output::line(format!("  {name}: {entries}"))
}
