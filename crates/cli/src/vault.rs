//! `sallyport vault`: what users granted the gateway at servers elsewhere.

use sallyport_gateway::config;
use sallyport_gateway::upstream::way_out;
use sallyport_identity::upstream::VaultError;
use serde::Serialize;

use crate::arguments::{ForgetArguments, Global, ListKept, VaultArguments, VaultCommand};
use crate::output::{self, Failure};
use crate::{start, tenant};

/// A grant, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(skip_serializing_if = "String::is_empty")]
    tenant: String,
    user: String,
    server: String,
    issuer: String,
    /// When the access token ends, in seconds since 1970; the grant lasts longer where the issuer renews.
    expires: i64,
    /// When it was granted or renewed last.
    updated: i64,
}

/// How many grants a command was about.
#[derive(Debug, Serialize)]
struct Count {
    grants: usize,
}

pub(crate) fn run(global: &Global, arguments: &VaultArguments) -> Result<(), Failure> {
    let tenant = arguments.tenant.tenant.as_deref();
    let folders = tenant::folders_of(global, tenant)?;
    // Only what seals needs the key, and so the configuration that may say where it is.
    let key = match &arguments.command {
        VaultCommand::Rotate(_) => tenant::of(config::load(&global.invocation()?)?, tenant)?.vault_key,
        _ => None,
    };
    let made_by = key.as_ref().map_or_else(|| "a new key".to_owned(), |reference| format!("the first key of `{reference}`"));
    let vault = way_out::vault(&folders, key).map_err(|outage| start::without(&outage))?;
    let runtime = start::runtime()?;
    match &arguments.command {
        VaultCommand::List(arguments) => list(runtime.block_on(vault.store().upstream_grants()).map_err(of_vault)?, arguments),
        VaultCommand::Forget(ForgetArguments { user, server, json, .. }) => {
            let owner = user.clone().map(|user| (None, user));
            let grants = runtime.block_on(vault.store().forget_upstream_grants(owner, server.clone())).map_err(of_vault)?;
            counted(grants, "forgotten", *json)
        }
        VaultCommand::Rotate(arguments) => {
            let grants = runtime.block_on(vault.rotate()).map_err(of_vault)?;
            counted(grants, &format!("sealed with {made_by}"), arguments.json)
        }
    }
}

fn list(grants: Vec<sallyport_store::KeptGrant>, arguments: &ListKept) -> Result<(), Failure> {
    let row = |kept: sallyport_store::KeptGrant| {
        let id = kept.id;
        Row { tenant: id.tenant, user: id.principal, server: id.resource, issuer: id.issuer, expires: kept.expires, updated: kept.updated }
    };
    let rows: Vec<Row> = grants.into_iter().map(row).collect();
    if arguments.json {
        return output::json(&rows);
    }
    if rows.is_empty() {
        output::note("nobody has granted anything");
    }
    rows.iter().try_for_each(|row| output::line(format!("{}  {}  (by {})", row.user, row.server, row.issuer)))
}

fn counted(grants: usize, what: &str, json: bool) -> Result<(), Failure> {
    if json {
        output::json(&Count { grants })
    } else {
        output::line(format!("{grants} {}: {what}", if grants == 1 { "grant" } else { "grants" }))
    }
}

fn of_vault(error: impl Into<VaultError>) -> Failure {
    let error = error.into();
    let failure = Failure::new(error.to_string());
    error.hint().into_iter().fold(failure, Failure::hint)
}
