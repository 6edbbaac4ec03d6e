//! From what a configuration says to what a gateway is built from. No IO; every error is found, not only the first.

mod approvals;
mod authorization_server;
mod built_in;
mod certificates;
mod context;
mod credential;
mod deny_write;
mod endpoint;
mod identity;
mod isolation;
mod limits;
mod remote;
mod server;
mod sign_in;
mod slips;
mod standby;
mod stdio;
mod tenant;
mod toolset;

use std::collections::BTreeMap;
use std::sync::Arc;

use globset::Glob;
use sallyport_identity::resource_server::resource::PublicUrl;
use sallyport_policy::engines::EngineConfig;
use sallyport_policy::{LimitRule, Limits, Policy, SCOPE_OF_ALL};
use sallyport_secrets::SecretReference;

use crate::approvals::settings::ApprovalsPlan;
use crate::config::Variables;
use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::model::Config;
use crate::config::validate::context::Context;
use crate::config::validate::endpoint::Endpoint;
use crate::own_files;
use crate::plan::{IdentityPlan, Origin, Plan, ServerPlan, ToolsetPlan};

pub use slips::good_for_nothing;

/// Checks `config`, which came from `origin`, and makes a [`Plan`] of it. `variables` are those of the environment, needed where a
/// value must be known now (`url`) and to warn of references that point nowhere.
///
/// # Errors
/// Everything that is wrong, each with the key it is about.
pub fn validate(config: Config, origin: Origin, variables: &Variables) -> Result<Plan, Vec<Diagnostic>> {
    let mut report = Report::default();
    let has_client_ca = config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let context = Context { origin: &origin, variables, min_isolation: config.min_isolation, tenant: None, has_client_ca };
    let tenants = config.tenants.clone();
    let endpoint = endpoint::check(&config, &context, &mut report);
    let front = Front { endpoint, public_url: identity::public_url(&config, &mut report) };
    let mut own = own(config, front.public_url.as_ref(), &context, &mut report);
    own.check_subjects(front.public_url.as_ref(), &mut report);
    check_names(tenant::TABLE, &tenants.keys().cloned().collect::<Vec<_>>(), &mut report);
    let tenants = tenant::check_all(&tenants, &own, &front, &context, &mut report);
    if !tenants.is_empty() {
        own.identity.issuers = own.identity.issuers.into_iter().map(|issuer| issuer.of_tenant("")).collect();
    }
    let Report { errors, warnings, secret_files } = report;
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut plan = Plan { tenants, warnings, secret_files, ..front.plan(&origin, None, own) };
    own_files::hand_out(&mut plan);
    Ok(plan)
}

/// What all tenants have in common.
struct Front {
    endpoint: Endpoint,
    public_url: Option<PublicUrl>,
}

/// What each tenant has of its own, and the file itself.
struct Own {
    keys: Vec<SecretReference>,
    identity: IdentityPlan,
    policy: sallyport_policy::Config,
    limits: Vec<LimitRule>,
    approvals: ApprovalsPlan,
    vault_key: Option<SecretReference>,
    toolsets: BTreeMap<String, ToolsetPlan>,
    servers: BTreeMap<String, ServerPlan>,
    disabled: Vec<String>,
}

impl Own {
    /// Looks for servers whose credential begins with a token that no caller has; `public` is where this tenant, or the gateway, is.
    fn check_subjects(&self, public: Option<&PublicUrl>, report: &mut Report) {
        let own = public.filter(|_| self.identity.server.is_some()).map(ToString::to_string);
        let issuers = self.identity.issuers.iter().map(|issuer| &issuer.terms.issuer).chain(&own);
        let issuers: Vec<&str> = issuers.map(|issuer| issuer.trim_end_matches('/')).collect();
        credential::check_subjects(&self.servers, |issuer| issuers.contains(&issuer), report);
    }
}

impl Front {
    /// The plan of a tenant, or of the file itself.
    fn plan(&self, origin: &Origin, tenant: Option<Arc<str>>, own: Own) -> Plan {
        let Endpoint { listen, tls, proxies, allowed_origins, allowed_hosts } = self.endpoint.clone();
        let public_url = self.public_url.as_ref().map(|public| match &tenant {
            Some(name) => public.of_tenant(name),
            None => public.clone(),
        });
        let Own { keys, identity, policy, limits, approvals, vault_key, toolsets, servers, disabled } = own;
        Plan {
            origin: origin.clone(),
            tenant,
            tenants: BTreeMap::new(),
            listen,
            keys,
            tls,
            proxies,
            allowed_origins,
            allowed_hosts,
            public_url,
            identity,
            policy,
            limits,
            approvals,
            vault_key,
            toolsets,
            servers,
            disabled,
            warnings: Vec::new(),
            secret_files: Vec::new(),
        }
    }
}

/// Checks what each tenant has of its own.
fn own(mut config: Config, public: Option<&PublicUrl>, context: &Context<'_>, report: &mut Report) -> Own {
    anchor_tokens(&mut config.policy, context);
    for (index, key) in config.keys.iter().enumerate() {
        context.look_for(&format!("keys[{index}]"), key, "the gateway cannot start", report);
    }
    let identity = identity::check(&config, public, context, report);
    let names: Vec<String> = config.servers.keys().cloned().collect();
    check_names("servers", &names, report);
    check_scope_of_all(&names, report);
    check_policy(&config, report);
    slips::check(&config, context, report);
    let approvals = approvals::check(&config.approvals, public.filter(|_| identity.server.is_some()), context, report);
    let toolsets: BTreeMap<_, _> =
        config.toolsets.into_iter().map(|(name, set)| (name.clone(), toolset::check(&name, set, &names, report))).collect();
    check_names("toolsets", &toolsets.keys().cloned().collect::<Vec<_>>(), report);
    let disabled = config.servers.iter().filter(|(_, server)| server.disabled).map(|(name, _)| name.clone()).collect();
    let mut servers = BTreeMap::new();
    for (name, server) in config.servers {
        if let Some(plan) = server::check(&name, server, context, report) {
            servers.insert(name, plan);
        }
    }
    credential::check_shared(&servers, report);
    let keys = config.keys.into_iter().map(|key| key.within(&context.origin.folder)).collect();
    let vault_key = config.vault.key.map(|key| key.within(&context.origin.folder));
    Own { keys, identity, policy: config.policy, limits: config.limits, approvals, vault_key, toolsets, servers, disabled }
}

/// Makes the paths absolute at which tokens of decision points elsewhere lie.
fn anchor_tokens(policy: &mut sallyport_policy::Config, context: &Context<'_>) {
    for engine in policy.engines.iter_mut().chain(&mut policy.shadow) {
        let EngineConfig::Remote(remote) = engine else { continue };
        if let Some(Ok(reference)) = remote.token.as_deref().map(str::parse::<SecretReference>) {
            remote.token = Some(reference.within(&context.origin.folder).to_string());
        }
    }
}

/// The longest name of a server or toolset: with `__` and a tool's name it must fit into 48 characters (clients allow 64 and put
/// their own prefix before it).
pub(crate) const LONGEST_NAME: usize = 32;

/// Whether `name` may name a server or a toolset.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && !name.contains("__")
        && !name.ends_with('_')
}

/// Notes the names that do not fit, and those that a reader would take for one another.
fn check_names(table: &str, names: &[String], report: &mut Report) {
    let mut seen: BTreeMap<String, &String> = BTreeMap::new();
    for name in names {
        let path = join(table, name);
        if !is_name(name) {
            report.error(Diagnostic::new(&path, format!("`{}` cannot be a name here", name.escape_debug())).hint(
                "a letter or digit, then at most 31 letters, digits, `-` or `_`; no `__` and no `_` at the end, which separate server and tool",
            ));
        }
        if let Some(other) = seen.insert(name.to_ascii_lowercase().replace('_', "-"), name) {
            report.error(
                Diagnostic::new(&path, format!("`{name}` and `{other}` are too much alike"))
                    .hint("a person or a model would take one for the other: rename one of them"),
            );
        }
    }
}

/// Refuses a server whose scope would be that of everything, whoever calls: keys of our own and certificates have scopes, too, and the next
/// edit of the file may let in tokens.
fn check_scope_of_all(names: &[String], report: &mut Report) {
    if names.iter().any(|name| name == SCOPE_OF_ALL) {
        report.error(
            Diagnostic::new(
                join("servers", SCOPE_OF_ALL),
                "whoever may use this server alone could use everything: `mcp` is the scope of all",
            )
            .hint("give the server another name"),
        );
    }
}

/// Asks the policy itself whether it can be built from this.
fn check_policy(config: &Config, report: &mut Report) {
    let rules = config.servers.iter().map(|(name, server)| (name.clone(), server::rules(server))).collect();
    let invalid = Policy::build(&config.policy, &rules).err().into_iter().chain(Limits::build(&config.limits).err());
    for invalid in invalid.flatten() {
        report.error(Diagnostic::new(invalid.place, invalid.message).hint(invalid.hint));
    }
}

/// Whether one of some patterns, as rules have them, matches all of `name`.
#[must_use]
pub fn matches(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(name)))
}

/// Compiles the patterns of the list at `path`.
fn patterns(path: &str, patterns: &[String], report: &mut Report) -> Vec<Glob> {
    let compile = |(index, pattern): (usize, &String)| {
        let glob = Glob::new(pattern).map_err(|error| {
            Diagnostic::new(format!("{path}[{index}]"), format!("`{pattern}` is not a pattern: {}", error.kind()))
                .hint("`*` matches anything, `?` one character, `[ab]` one of these, `{a,b}` either")
        });
        report.take(glob)
    };
    patterns.iter().enumerate().filter_map(compile).collect()
}
