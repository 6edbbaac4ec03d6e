//! Tenants: the tables of one are those of the file itself, checked by the same code.

use std::collections::BTreeMap;
use std::sync::Arc;

use sallyport_secrets::SecretReference;

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::model::{Config, TenantConfig};
use crate::config::validate::{Context, Front, Own, own};
use crate::plan::{IdentityPlan, IssuerPlan, Plan, SecretFile};

/// The table in which tenants stand.
pub(super) const TABLE: &str = "tenants";

/// Checks every tenant; `file` is what the file itself has, `front` what all have in common.
pub(super) fn check_all(
    tenants: &BTreeMap<String, TenantConfig>,
    file: &Own,
    front: &Front,
    context: &Context<'_>,
    report: &mut Report,
) -> BTreeMap<Arc<str>, Plan> {
    let mut plans = BTreeMap::new();
    check_inside(None, &file.identity, tenants, front, report);
    for (name, tenant) in tenants {
        let path = join(TABLE, name);
        let mut told = Report::default();
        let min_isolation = tenant.min_isolation.or(context.min_isolation);
        let within = Context { tenant: Some(name), min_isolation, has_client_ca: tenant.tls.is_some(), ..*context };
        let public = front.public_url.as_ref().map(|public| public.of_tenant(name));
        let mut own = own(config(tenant, front), public.as_ref(), &within, &mut told);
        own.identity.issuers = of_tenant(name, own.identity.issuers, shared(&file.identity));
        own.check_subjects(public.as_ref(), &mut told);
        check_callers(tenant, &own.identity, &mut told);
        check_strangers(name, &own.identity, tenants, &file.identity, &mut told);
        check_inside(Some(name), &own.identity, tenants, front, &mut told);
        check_keys(name, tenants, &file.keys, context, &mut told);
        let Report { errors, warnings, secret_files } = told;
        report.errors.extend(errors.into_iter().map(|diagnostic| below(&path, diagnostic)));
        report.warnings.extend(warnings.into_iter().map(|diagnostic| below(&path, diagnostic)));
        report.secret_files.extend(secret_files.into_iter().map(|file| SecretFile { path: format!("{path}.{}", file.path), ..file }));
        let name: Arc<str> = name.as_str().into();
        plans.insert(name.clone(), front.plan(context.origin, Some(name), own));
    }
    plans
}

/// A tenant's tables, as a file of their own.
fn config(tenant: &TenantConfig, front: &Front) -> Config {
    let TenantConfig { keys, tls: _, identity, min_isolation: _, policy, limits, approvals, vault, toolsets, servers } = tenant.clone();
    let public_url = front.public_url.as_ref().map(ToString::to_string);
    Config { keys, identity, policy, limits, approvals, vault, toolsets, servers, public_url, ..Config::default() }
}

/// The issuers that say of each token whose it is: all tenants trust them, each with the tokens that are its own.
fn shared(identity: &IdentityPlan) -> impl Iterator<Item = &IssuerPlan> {
    identity.issuers.iter().filter(|issuer| issuer.terms.tenant_claim.is_some())
}

fn of_tenant<'a>(name: &str, own: Vec<IssuerPlan>, shared: impl Iterator<Item = &'a IssuerPlan>) -> Vec<IssuerPlan> {
    // An issuer that the tenant names itself is trusted as the tenant says.
    let shared: Vec<IssuerPlan> = shared.filter(|shared| own.iter().all(|own| own.terms.issuer != shared.terms.issuer)).cloned().collect();
    own.into_iter().chain(shared).map(|issuer| issuer.of_tenant(name)).collect()
}

/// A tenant that nobody can call is a mistake, and a key without effect.
fn check_callers(tenant: &TenantConfig, identity: &IdentityPlan, report: &mut Report) {
    let has_no_tokens = !identity.api_keys && identity.issuers.is_empty() && identity.server.is_none();
    if tenant.keys.is_empty() && tenant.identity.certificates.is_empty() && has_no_tokens {
        report.error(Diagnostic::new("keys", "nobody could call: nothing says whose credentials this tenant takes").hint(
            "set `keys = [\"env:NAME\"]`, `identity.api_keys = true`, an issuer in `identity.issuers`, `identity.server`, or \
             `identity.certificates`",
        ));
    }
    let asked = identity.issuers.iter().filter(|issuer| issuer.introspection.is_some()).count();
    if asked > 1 {
        report.error(
            Diagnostic::new("identity.issuers", "two issuers would be asked about tokens, one of them for all tenants")
                .hint("such a token does not say whose it is: keep one `introspection`"),
        );
    }
}

/// Two tenants may trust one issuer where its tokens say by themselves for whom they are: by their claim, or by the tenant's own address.
fn check_strangers(
    name: &str,
    identity: &IdentityPlan,
    tenants: &BTreeMap<String, TenantConfig>,
    file: &IdentityPlan,
    report: &mut Report,
) {
    for IssuerPlan { terms, .. } in &identity.issuers {
        let of_file = file.issuers.iter().find(|other| other.terms.issuer == terms.issuer);
        if let Some(claim) = of_file.and_then(|of_file| of_file.terms.tenant_claim.as_ref())
            && terms.tenant_claim.as_ref() != Some(claim)
        {
            let message =
                format!("tokens of {} name their tenant in `{claim}`, as the file itself says, and here that is not asked", terms.issuer);
            report.error(Diagnostic::new("identity.issuers", message).hint(format!("set `tenant_claim = \"{claim}\"`")));
        }
        let is_named = |tenant: &TenantConfig| tenant.identity.issuers.values().any(|other| other.issuer == terms.issuer);
        let others_trust = of_file.is_some() || tenants.iter().any(|(other, tenant)| other != name && is_named(tenant));
        if others_trust && terms.tenant_claim.is_none() && !terms.audiences.is_empty() {
            let message = format!("{} is not trusted here alone, and its tokens for `audiences` do not say whose they are", terms.issuer);
            report.error(Diagnostic::new("identity.issuers", message).hint("set `tenant_claim`, or leave `audiences` out"));
        }
    }
}

/// An authorization server inside the gateway is one tenant's: another that trusts it would let that one's people in.
fn check_inside(name: Option<&str>, identity: &IdentityPlan, tenants: &BTreeMap<String, TenantConfig>, front: &Front, report: &mut Report) {
    let Some(public) = &front.public_url else { return };
    let others = tenants.keys().filter(|other| Some(other.as_str()) != name).map(|other| public.of_tenant(other).to_string());
    let inside: Vec<String> = others.chain(name.map(|_| public.to_string())).collect();
    for IssuerPlan { terms, .. } in identity.issuers.iter().filter(|issuer| inside.contains(&issuer.terms.issuer)) {
        let message = format!("{} is the address of another tenant, or of the gateway itself", terms.issuer);
        report.error(Diagnostic::new("identity.issuers", message).hint("people of a tenant's own log in with `identity.server`"));
    }
}

/// A key is one caller's, of one tenant.
fn check_keys(
    name: &str,
    tenants: &BTreeMap<String, TenantConfig>,
    of_file: &[SecretReference],
    context: &Context<'_>,
    report: &mut Report,
) {
    let within = |key: &SecretReference| key.clone().within(&context.origin.folder);
    let others = tenants.iter().filter(|(other, _)| *other != name).flat_map(|(_, tenant)| tenant.keys.iter().map(within));
    let others: Vec<SecretReference> = others.chain(of_file.iter().cloned()).collect();
    let own = tenants.get(name).into_iter().flat_map(|tenant| &tenant.keys);
    for (index, key) in own.enumerate().filter(|(_, key)| others.contains(&within(key))) {
        report.error(
            Diagnostic::new(format!("keys[{index}]"), format!("`{key}` opens another tenant, or the gateway itself, too"))
                .hint("give each tenant keys of its own"),
        );
    }
}

/// The same, about the tenant at `path`. What is said of the front door is said of the file itself.
fn below(path: &str, diagnostic: Diagnostic) -> Diagnostic {
    let is_of_front = diagnostic.path == "public_url";
    let path = if is_of_front { diagnostic.path } else { format!("{path}.{}", diagnostic.path) };
    Diagnostic { path, ..diagnostic }
}
