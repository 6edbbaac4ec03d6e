//! What a gateway could be built from and is most likely a slip: references that lead nowhere, and names that nobody has.

use globset::Glob;
use sallyport_policy::engines::EngineConfig;
use sallyport_policy::{ArgumentRule, SCOPE_OF_ALL, implies};
use sallyport_secrets::SecretReference;
use sallyport_servers::BuiltInConfig;

use crate::config::diagnostic::{Diagnostic, Report, join, nearest};
use crate::config::model::Config;
use crate::config::validate::context::Context;

/// Warns of each.
pub(super) fn check(config: &Config, context: &Context<'_>, report: &mut Report) {
    secrets(config, context, report);
    limits(config, report);
    scopes(config, report);
    for (name, server) in &config.servers {
        if let Some(BuiltInConfig::Database(database)) = &server.builtin {
            let rules = format!("{}.arguments", join("servers", name));
            tables(&rules, &server.arguments, database.tables.as_deref(), report);
        }
    }
}

/// Secrets that the gateway itself needs to start.
fn secrets(config: &Config, context: &Context<'_>, report: &mut Report) {
    if let Some(key) = &config.vault.key {
        context.look_for("vault.key", key, "nobody can grant anything, and nothing that was granted is used", report);
    }
    let mut look = |path: String, reference: &SecretReference| context.look_for(&path, reference, "the gateway cannot start", report);
    for (id, client) in config.identity.server.iter().flat_map(|server| &server.clients) {
        if let Some(secret) = &client.secret {
            look(format!("{}.secret", join("identity.server.clients", id)), secret);
        }
    }
    for (name, issuer) in &config.identity.issuers {
        if let Some(asked) = &issuer.introspection {
            look(format!("{}.introspection.client_secret", join("identity.issuers", name)), &asked.client_secret);
        }
    }
    for (key, engines) in [("engines", &config.policy.engines), ("shadow", &config.policy.shadow)] {
        for (index, engine) in engines.iter().enumerate() {
            let EngineConfig::Remote(remote) = engine else { continue };
            if let Some(Ok(token)) = remote.token.as_deref().map(str::parse) {
                look(format!("policy.{key}[{index}].remote.token"), &token);
            }
        }
    }
}

/// Limits that are about no server.
fn limits(config: &Config, report: &mut Report) {
    for (index, rule) in config.limits.iter().enumerate() {
        let Some(glob) = rule.server.as_deref() else { continue };
        let Ok(matcher) = Glob::new(glob).map(|glob| glob.compile_matcher()) else { continue };
        if !config.servers.keys().any(|name| matcher.is_match(name)) {
            let message = format!("no server is called `{glob}`, so nothing is limited");
            report.warn(Diagnostic::new(format!("limits[{index}].server"), message).hint(meant(glob, config)));
        }
    }
}

/// Scopes of clients and holders of certificates that are good for nothing here.
fn scopes(config: &Config, report: &mut Report) {
    let clients = config.identity.server.iter().flat_map(|server| &server.clients);
    let clients = clients.map(|(id, client)| (join("identity.server.clients", id), &client.scopes));
    let holders = config.identity.certificates.iter().map(|(name, holder)| (join("identity.certificates", name), &holder.scopes));
    for (path, scopes) in clients.chain(holders) {
        for scope in scopes.iter().flatten() {
            if let Some((why, hint)) = good_for_nothing(scope, config.servers.keys().map(String::as_str)) {
                let message = format!("the scope `{}` is good for nothing: {why}", scope.escape_debug());
                report.warn(Diagnostic::new(format!("{path}.scopes"), message).hint(hint));
            }
        }
    }
}

/// Rules that let tables through which the database server itself does not give.
fn tables(path: &str, rules: &[ArgumentRule], given: Option<&[String]>, report: &mut Report) {
    let Some(given) = given else { return };
    // A rule may name a table with its schema or without, and databases compare names in their own ways.
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    for (index, sql) in rules.iter().enumerate().filter_map(|(index, rule)| Some((index, rule.sql.as_ref()?))) {
        for table in sql.tables.iter().filter(|table| !given.iter().any(|own| last(own) == last(table))) {
            let hint = match nearest(table, given.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its tables are: {}", given.join(", ")),
            };
            let message = format!("the server itself does not give the table `{}`", table.escape_debug());
            report.warn(Diagnostic::new(format!("{path}[{index}].sql.tables"), message).hint(hint));
        }
    }
}

fn meant(written: &str, config: &Config) -> String {
    of_names(written, config.servers.keys().map(String::as_str))
}

fn of_names<'n>(written: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    match nearest(written, names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the servers are: {}", names.collect::<Vec<_>>().join(", ")),
    }
}

/// Why a scope is good for nothing where there are these servers, with what may have been meant.
#[must_use]
pub fn good_for_nothing<'n>(scope: &str, servers: impl Iterator<Item = &'n str> + Clone) -> Option<(String, String)> {
    let server = scope.split_once(':').map_or(scope, |(server, _)| server);
    if server == SCOPE_OF_ALL {
        // What is good for anything implies itself.
        let hint = "`mcp` is good for everything, `mcp:read` for what changes nothing";
        return (!implies(scope, scope)).then(|| ("of all servers together there is no other scope".to_owned(), hint.to_owned()));
    }
    let is_known = servers.clone().any(|known| known == server);
    (!is_known).then(|| (format!("no server is called `{}`", server.escape_debug()), of_names(server, servers)))
}
