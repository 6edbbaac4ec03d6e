//! Whose word is taken for who calls.

use std::collections::BTreeMap;

use sallyport_identity::fetch::{Reach, check as check_address};
use sallyport_identity::resource_server::Terms;
use sallyport_identity::resource_server::resource::{PublicUrl, endpoint_of};
use sallyport_protocol::Endpoint;
use url::Url;

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::model::{Config, IssuerConfig};
use crate::config::validate::{Context, authorization_server, certificates, is_name};
use crate::plan::{IdentityPlan, IssuerPlan};

/// Checks `public_url`.
pub(super) fn public_url(config: &Config, report: &mut Report) -> Option<PublicUrl> {
    let public = config.public_url.as_deref().map(|text| {
        PublicUrl::parse(text).map_err(|why| {
            Diagnostic::new("public_url", format!("`{}` cannot be the gateway's address: {why}", text.escape_debug()))
                .hint("write it as callers do, without a path: `https://mcp.example.com`")
        })
    });
    public.and_then(|public| report.take(public))
}

/// Checks `identity`; `public` is where the gateway is.
pub(super) fn check(config: &Config, public: Option<&PublicUrl>, context: &Context<'_>, report: &mut Report) -> IdentityPlan {
    let identity = &config.identity;
    if !identity.issuers.is_empty() || identity.server.is_some() {
        check_surroundings(config, report);
    }
    let mut issuers: Vec<IssuerPlan> = Vec::new();
    for (name, issuer) in &identity.issuers {
        let path = join("identity.issuers", name);
        if !is_name(name) {
            report.error(
                Diagnostic::new(&path, format!("`{}` cannot be a name here", name.escape_debug()))
                    .hint("a letter or digit, then at most 31 letters, digits, `-` or `_`"),
            );
        }
        if let Some(plan) = check_issuer(&path, issuer, context, report) {
            check_against(&path, &plan, &issuers, report);
            issuers.push(plan);
        }
    }
    let server = identity.server.as_ref().map(|server| authorization_server::check(server, context, report));
    if let Some(public) = public.filter(|_| server.is_some()) {
        check_own_name(&public.to_string(), &issuers, report);
    }
    let certificates = certificates::check(config, context, report);
    IdentityPlan { api_keys: identity.api_keys, certificates, issuers, server }
}

/// The server inside the gateway is an issuer as well, by the gateway's own address.
fn check_own_name(public: &str, issuers: &[IssuerPlan], report: &mut Report) {
    if issuers.iter().any(|issuer| issuer.terms.issuer == public) {
        let message = format!("{public} is the authorization server here itself, which is trusted without being named");
        report.error(Diagnostic::new("identity.issuers", message).hint("take it out"));
    }
}

/// What has to be so wherever tokens are taken.
fn check_surroundings(config: &Config, report: &mut Report) {
    if config.public_url.is_none() {
        report.error(
            Diagnostic::new("public_url", "the gateway takes tokens and does not know its own address, which they have to be for")
                .hint("set `public_url = \"https://mcp.example.com\"`, as callers write it"),
        );
    }
}

/// No two may be taken for each other.
fn check_against(path: &str, plan: &IssuerPlan, others: &[IssuerPlan], report: &mut Report) {
    if others.iter().any(|other| other.terms.issuer == plan.terms.issuer) {
        let message = format!("the issuer {} is there already", plan.terms.issuer);
        report.error(Diagnostic::new(join(path, "issuer"), message).hint("name each issuer once"));
    }
    if plan.introspection.is_some() && others.iter().any(|other| other.introspection.is_some()) {
        report.error(
            Diagnostic::new(join(path, "introspection"), "another issuer is asked about tokens already")
                .hint("such a token does not say whose it is: let the others issue signed ones (RFC 9068)"),
        );
    }
}

fn check_issuer(path: &str, issuer: &IssuerConfig, context: &Context<'_>, report: &mut Report) -> Option<IssuerPlan> {
    let name = report.take(issuer_name(path, &issuer.issuer))?;
    let usual = Terms::new(name);
    let audiences = audiences(path, issuer, report);
    for (key, list) in [("algorithms", issuer.algorithms.as_ref().map(Vec::len)), ("types", issuer.types.as_ref().map(Vec::len))] {
        if list == Some(0) {
            let message = "with an empty list no token would be taken";
            report.error(Diagnostic::new(join(path, key), message).hint("name what is taken, or leave the key out"));
        }
    }
    check_groups(path, &issuer.groups, report);
    if issuer.groups_claim.is_some() && issuer.groups.is_empty() {
        let message = "none of its groups counts here, since `groups` names none";
        report.warn(Diagnostic::new(join(path, "groups_claim"), message).hint("add `groups = { \"THEIRS\" = \"OURS\" }`"));
    }
    let terms = Terms {
        audiences,
        algorithms: issuer.algorithms.clone().unwrap_or(usual.algorithms),
        types: issuer.types.clone().unwrap_or(usual.types),
        scoped: issuer.scoped.unwrap_or(usual.scoped),
        scopes_claim: issuer.scopes_claim.clone().unwrap_or(usual.scopes_claim),
        groups_claim: issuer.groups_claim.clone().unwrap_or(usual.groups_claim),
        groups: Some(issuer.groups.clone()),
        tenant_claim: issuer.tenant_claim.clone(),
        tenant: None,
        issuer: usual.issuer,
    };
    let asked = issuer.introspection.as_ref();
    let introspection = asked.map(|asked| (asked.client_id.clone(), asked.client_secret.clone().within(&context.origin.folder)));
    Some(IssuerPlan { terms, introspection })
}

/// The name as it is written: it is compared byte for byte.
pub(super) fn issuer_name(path: &str, text: &str) -> Result<String, Diagnostic> {
    let wrong = |why: String| {
        Diagnostic::new(join(path, "issuer"), format!("`{}` cannot be an issuer: {why}", text.escape_debug()))
            .hint("write the `issuer` of its metadata, such as `https://login.example.com/realms/main`")
    };
    let url = Url::parse(text).map_err(|_| wrong("it is no URL".into()))?;
    check_address(&url, Reach::Configured).map_err(|error| wrong(error.to_string()))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or a fragment".into())); // RFC 8414 §2
    }
    Ok(text.to_owned())
}

/// Checks what an issuer's groups are called here.
pub(super) fn check_groups(path: &str, groups: &BTreeMap<String, String>, report: &mut Report) {
    for (theirs, ours) in groups {
        if ours.is_empty() || !ours.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:/".contains(&byte)) {
            let path = join(&join(path, "groups"), theirs);
            report.error(
                Diagnostic::new(path, format!("`{}` cannot be a group here", ours.escape_debug()))
                    .hint("letters, digits, `.`, `-`, `_`, `:` and `/`"),
            );
        }
    }
}

fn audiences(path: &str, issuer: &IssuerConfig, report: &mut Report) -> BTreeMap<String, Endpoint> {
    let read = |(audience, endpoint): (&String, &String)| {
        let found = endpoint_of(endpoint).ok_or_else(|| {
            Diagnostic::new(join(&join(path, "audiences"), audience), format!("`{}` is no endpoint", endpoint.escape_debug()))
                .hint("write the endpoint's path: `/mcp`, `/servers/NAME/mcp` or `/toolsets/NAME/mcp`")
        });
        report.take(found).map(|endpoint| (audience.clone(), endpoint))
    };
    issuer.audiences.iter().filter_map(read).collect()
}
