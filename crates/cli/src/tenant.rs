//! `sallyport tenant`: the tenants of the configuration; and what other commands need of one.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;

use owo_colors::OwoColorize;
use sallyport_gateway::config;
use sallyport_gateway::plan::Plan;
use sallyport_telemetry::Folders;
use serde::Serialize;
use serde_json::json;

use crate::arguments::{ForgetTenantArguments, Global, TenantCommand};
use crate::output::{self, Failure};
use crate::start;

/// A tenant, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// Where its merged endpoint is, with the gateway's public address where that is configured.
    endpoint: String,
    servers: Vec<String>,
    toolsets: Vec<String>,
    /// How many keys the configuration names.
    keys: usize,
    /// Keys that `sallyport key add --tenant` gives out are taken.
    api_keys: bool,
    /// People of its own log in here.
    logins: bool,
    /// How many callers come by a certificate.
    certificates: usize,
    /// Whose tokens are taken.
    issuers: Vec<String>,
    /// It is in the configuration; else only what it kept is left.
    configured: bool,
}

pub(crate) fn run(global: &Global, command: &TenantCommand) -> Result<(), Failure> {
    let plan = config::load(&global.invocation()?)?;
    let folders = start::folders()?;
    match command {
        TenantCommand::List(arguments) => list(&plan, &folders, arguments.json),
        TenantCommand::Forget(arguments) => forget(&plan, &folders, arguments),
    }
}

/// What a command that is told to the user needs to be about that tenant, too.
pub(crate) fn option(name: Option<&str>) -> String {
    name.map(|name| format!(" --tenant {name}")).unwrap_or_default()
}

/// The plan of the tenant that a command is about, or the gateway's own.
pub(crate) fn of(plan: Plan, name: Option<&str>) -> Result<Plan, Failure> {
    let Some(name) = name else { return Ok(plan) };
    let known: Vec<&str> = plan.tenants.keys().map(|name| &**name).collect();
    let hint = if known.is_empty() { "the configuration has none".to_owned() } else { format!("there are {}", known.join(", ")) };
    plan.tenants.get(name).cloned().ok_or_else(|| Failure::new(format!("there is no tenant `{name}`")).hint(hint))
}

/// The same, where the tenants need not stand in the file: then it is about principals of a tenant that only their tokens name, or the file
/// holds one tenant's tables.
pub(crate) fn of_or_whole(plan: Plan, name: Option<&str>) -> Result<Plan, Failure> {
    if plan.tenants.is_empty() { Ok(plan) } else { of(plan, name) }
}

/// The folders of whose plan it is.
pub(crate) fn folders(plan: &Plan) -> Result<Folders, Failure> {
    let folders = start::folders()?;
    Ok(plan.tenant.as_deref().map_or_else(|| folders.clone(), |name| folders.of_tenant(name)))
}

/// The folders of the tenant that a command is about, which the configuration has to know; or the user's own.
pub(crate) fn folders_of(global: &Global, name: Option<&str>) -> Result<Folders, Failure> {
    match name {
        Some(_) => folders(&of(config::load(&global.invocation()?)?, name)?),
        None => start::folders(),
    }
}

fn list(plan: &Plan, folders: &Folders, as_json: bool) -> Result<(), Failure> {
    let left = kept(folders)?.into_iter().filter(|name| !plan.tenants.contains_key(name.as_str())).map(left);
    let rows: Vec<Row> = plan.tenants.values().map(row).chain(left).collect();
    if as_json {
        return output::json(&rows);
    }
    if rows.is_empty() {
        output::note("the configuration has no tenants");
    }
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    rows.iter().try_for_each(|row| output::line(format!("{:width$}  {}", row.name.bold(), described(row))))
}

fn row(plan: &Plan) -> Row {
    let name = plan.tenant_name().to_owned();
    let base = plan.public_url.as_ref().map_or_else(|| format!("/t/{name}"), ToString::to_string);
    Row {
        endpoint: format!("{base}/mcp"),
        servers: plan.servers.keys().cloned().collect(),
        toolsets: plan.toolsets.keys().cloned().collect(),
        keys: plan.keys.len(),
        api_keys: plan.identity.api_keys,
        logins: plan.identity.server.is_some(),
        certificates: plan.identity.certificates.len(),
        issuers: plan.identity.issuers.iter().map(|issuer| issuer.terms.issuer.clone()).collect(),
        configured: true,
        name,
    }
}

fn left(name: String) -> Row {
    let (servers, toolsets, issuers) = (Vec::new(), Vec::new(), Vec::new());
    Row {
        name,
        endpoint: String::new(),
        servers,
        toolsets,
        keys: 0,
        api_keys: false,
        logins: false,
        certificates: 0,
        issuers,
        configured: false,
    }
}

fn described(row: &Row) -> String {
    if !row.configured {
        return format!("not configured any more; `sallyport tenant forget {}` removes what it kept", row.name).yellow().to_string();
    }
    let servers = if row.servers.is_empty() { "none".to_owned() } else { row.servers.join(", ") };
    let mut callers = Vec::new();
    let counted = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    if row.keys > 0 {
        callers.push(format!("{} configured", counted(row.keys, "key")));
    }
    if row.certificates > 0 {
        callers.push(counted(row.certificates, "certificate"));
    }
    if row.api_keys {
        callers.push("keys given out".to_owned());
    }
    if row.logins {
        callers.push("people of its own".to_owned());
    }
    callers.extend(row.issuers.iter().map(|issuer| format!("tokens of {issuer}")));
    format!("{}  servers: {servers}  callers: {}", row.endpoint, callers.join(", "))
}

/// The tenants that have kept something.
fn kept(folders: &Folders) -> Result<BTreeSet<String>, Failure> {
    let folder = folders.tenants_folder();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(Failure::new(format!("{} cannot be read: {error}", folder.display()))),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Removes what a tenant kept that is gone. Its name is compared with those that there are, so it leads nowhere else.
fn forget(plan: &Plan, folders: &Folders, arguments: &ForgetTenantArguments) -> Result<(), Failure> {
    let name = arguments.name.as_str();
    if plan.tenants.contains_key(name) {
        return Err(
            Failure::new(format!("the configuration has a tenant `{name}`")).hint("take it out first; a running gateway then ends it")
        );
    }
    if !kept(folders)?.contains(name) {
        return Err(Failure::new(format!("no tenant `{name}` has kept anything")).hint("`sallyport tenant list` shows those that have"));
    }
    let folder = folders.of_tenant(name).state;
    if !arguments.yes {
        return Err(
            Failure::new(format!("its keys, users, grants and logs in {} would be removed", folder.display())).hint("say so with `--yes`")
        );
    }
    fs::remove_dir_all(&folder).map_err(|error| Failure::new(format!("{} cannot be removed: {error}", folder.display())))?;
    if arguments.json {
        return output::json(&json!({ "tenant": name, "removed": folder }));
    }
    output::line(format!("forgotten `{name}`: its keys, users, grants and logs"))
}
