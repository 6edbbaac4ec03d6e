//! `sallyport check`: tells everything that is wrong with the configuration.

use std::path::PathBuf;

use owo_colors::OwoColorize;
use sallyport_gateway::config::{self, Diagnostic};
use sallyport_gateway::packages::{self, Canary, Share};
use sallyport_gateway::plan::{IdentityPlan, Plan, Source};
use sallyport_sandbox::Host;
use sallyport_telemetry::state_folder::Folders;
use serde::Serialize;

use crate::arguments::{CheckArguments, Global};
use crate::output::{self, Exit, Failure};

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    file: Option<&'a std::path::Path>,
    servers: Vec<&'a str>,
    /// Servers whose package is not locked yet.
    not_locked: Vec<&'a str>,
    /// Newer versions that a share of a server's callers gets.
    shares: Vec<Shared<'a>>,
    errors: &'a [Diagnostic],
    warnings: &'a [Diagnostic],
}

/// A newer version, and how many of a hundred callers get it.
#[derive(Serialize)]
struct Shared<'a> {
    server: &'a str,
    version: String,
    share: Share,
}

impl<'a> Shared<'a> {
    fn of((server, canary): (&'a str, Canary)) -> Self {
        Self { server, version: canary.locked.version, share: canary.share }
    }
}

pub(crate) fn run(global: &Global, arguments: &CheckArguments) -> Result<(), Failure> {
    if arguments.schema {
        return output::line(format!("{:#}", config::reference::schema().to_value()));
    }
    let mut loaded = config::load(&global.invocation()?);
    if let Ok(plan) = &mut loaded {
        let lacking = lacking(plan, "");
        plan.warnings.extend(lacking);
    }
    match (loaded, arguments.json) {
        (Ok(plan), true) => output::json(&Report {
            ok: true,
            file: plan.origin.file.as_deref(),
            servers: plan.servers.keys().map(String::as_str).collect(),
            not_locked: packages::unlocked(&plan, &lock_drafts()),
            shares: packages::canaries(&plan, &lock_drafts()).into_iter().map(Shared::of).collect(),
            errors: &[],
            warnings: &plan.warnings,
        }),
        (Ok(plan), false) => {
            output::warnings(&plan.warnings);
            tell(&plan)
        }
        (Err(errors), true) => {
            let file = errors.iter().find_map(|error| error.file.as_deref());
            let report =
                Report { ok: false, file, servers: Vec::new(), not_locked: Vec::new(), shares: Vec::new(), errors: &errors, warnings: &[] };
            output::json(&report)?;
            Err(Failure::told(Exit::Configuration))
        }
        (Err(errors), false) => Err(errors.into()),
    }
}

/// What this machine lacks for the sandboxes that servers name. Warnings, since the file may be meant for another one; `doctor` starts
/// something in each.
fn lacking(plan: &Plan, below: &str) -> Vec<Diagnostic> {
    let mut lacking = Vec::new();
    for (name, server) in &plan.servers {
        let Source::Stdio(program) = &server.source else { continue };
        if let Err(error) = program.sandbox.look_round(&Host::this_binary()) {
            let warning = Diagnostic::new(format!("{below}servers.{name}.sandbox"), format!("does not work on this machine: {error}"));
            lacking.push(match error.hint() {
                Some(hint) => warning.hint(hint),
                None => warning,
            });
        }
    }
    for (tenant, plan) in &plan.tenants {
        lacking.extend(self::lacking(plan, &format!("tenants.{tenant}.")));
    }
    lacking
}

/// Where this user's changes of lock files are made. A file can be checked by somebody who has no place for any.
pub(crate) fn lock_drafts() -> PathBuf {
    Folders::of_user().map(|folders| folders.lock_drafts_folder()).unwrap_or_default()
}

/// Says what the configuration comes to.
fn tell(plan: &Plan) -> Result<(), Failure> {
    let origin =
        plan.origin.file.as_ref().map_or_else(|| "the built-in default (there is no file)".to_owned(), |file| file.display().to_string());
    output::line(format!("{} {origin}", "ok:".green().bold()))?;
    output::line(format!("  listens on {}", plan.listen))?;
    output::line(format!("  servers: {}", names(plan.servers.keys())))?;
    if !plan.disabled.is_empty() {
        output::line(format!("  disabled: {}", names(&plan.disabled)))?;
    }
    if !plan.toolsets.is_empty() {
        output::line(format!("  toolsets: {}", names(plan.toolsets.keys())))?;
    }
    if !plan.tenants.is_empty() {
        let tenants: Vec<&str> = plan.tenants.keys().map(|name| &**name).collect();
        output::line(format!("  tenants: {}", tenants.join(", ")))?;
    }
    let not_locked = packages::unlocked(plan, &lock_drafts());
    if !not_locked.is_empty() {
        let names = not_locked.join(", ");
        output::line(format!("  not locked: {names} (the first start takes what the registry has then, and locks it)"))?;
    }
    for Shared { server, version, share } in packages::canaries(plan, &lock_drafts()).into_iter().map(Shared::of) {
        output::line(format!("  {share} of the callers of {server} get version {version}"))?;
    }
    output::line(format!("  servers without rules: {}", default_decision(plan)))
}

fn names<'n>(names: impl IntoIterator<Item = &'n String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn default_decision(plan: &Plan) -> String {
    match plan.policy.default {
        Some(effect) => format!("{}, as the file says", effect.as_str()),
        None if !plan.policy.engines.is_empty() => "deny, unless an engine of `policy.engines` allows it".to_owned(),
        None if plan.keys.is_empty() && plan.identity == IdentityPlan::default() => "allow, because only you can call".to_owned(),
        None => "deny to whoever comes with a key or a token".to_owned(),
    }
}
