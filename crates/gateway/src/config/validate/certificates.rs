//! Certificates of clients: whose are taken, and whose they are.

use std::collections::BTreeMap;

use sallyport_identity::certificates::CertificateHolder;
use sallyport_policy::Scopes;
use sallyport_transport::server::tls::{ClientAuthorities, ClientAuthority};

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::model::{CertificateConfig, ClientAuth, Config, TenantConfig, TlsConfig};
use crate::config::validate::tenant::TABLE;
use crate::config::validate::{Context, is_name};

/// The kinds of names that a certificate has.
const KINDS: [&str; 4] = ["subject:", "dns:", "uri:", "email:"];

/// Checks what `tls`, and that of each tenant, says of clients' certificates.
pub(super) fn authorities(
    tls: &TlsConfig,
    tenants: &BTreeMap<String, TenantConfig>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<ClientAuthorities> {
    let of_tenants = tenants.iter().filter_map(|(name, tenant)| Some((name, tenant.tls.as_ref()?)));
    let mut signing: Vec<ClientAuthority> = Vec::new();
    match &tls.client_ca {
        Some(ca) => signing.extend(authority("", ca, tls.client_revoked.as_ref(), context, report)),
        None => check_lonely(tls, of_tenants.clone().next().is_none(), report),
    }
    for (name, tls) in of_tenants {
        signing.extend(authority(name, &tls.client_ca, tls.client_revoked.as_ref(), context, report));
    }
    let is_required = tls.client_auth == Some(ClientAuth::Required);
    (!signing.is_empty()).then_some(ClientAuthorities { authorities: signing, is_required })
}

/// What is said of certificates where nobody signs any for the gateway itself; `is_nobodys` where no tenant has somebody either.
fn check_lonely(tls: &TlsConfig, is_nobodys: bool, report: &mut Report) {
    for (key, is_there) in [("client_auth", tls.client_auth.is_some() && is_nobodys), ("client_revoked", tls.client_revoked.is_some())] {
        if is_there {
            report.error(
                Diagnostic::new(join("tls", key), "nothing says whose certificates clients may show")
                    .hint("set `client_ca` to the file with the certificate of who signs them"),
            );
        }
    }
}

fn authority(tenant: &str, ca: &str, revoked: Option<&String>, context: &Context<'_>, report: &mut Report) -> Option<ClientAuthority> {
    let path = if tenant.is_empty() { "tls".to_owned() } else { join(&join(TABLE, tenant), "tls") };
    let ca = report.take(context.path(&join(&path, "client_ca"), ca));
    let revoked = revoked.and_then(|file| report.take(context.path(&join(&path, "client_revoked"), file)));
    Some(ClientAuthority { tenant: tenant.into(), ca: ca?, revoked })
}

/// Without TLS of the gateway's own nobody shows a certificate to a tenant either.
pub(super) fn check_door(tenants: &BTreeMap<String, TenantConfig>, report: &mut Report) {
    for name in tenants.iter().filter(|(_, tenant)| tenant.tls.is_some()).map(|(name, _)| name) {
        report.error(
            Diagnostic::new(join(&join(TABLE, name), "tls"), "nobody can show a certificate here")
                .hint("set `tls` of the file itself to the gateway's own certificate and key: it has to speak TLS itself"),
        );
    }
}

/// Checks `identity.certificates`.
pub(super) fn check(config: &Config, context: &Context<'_>, report: &mut Report) -> Vec<CertificateHolder> {
    let written = &config.identity.certificates;
    if !written.is_empty() && !context.has_client_ca {
        let ca = context.tenant.map_or_else(|| "tls".to_owned(), |name| join(&join(TABLE, name), "tls"));
        let hint = format!("set `{ca}.client_ca` to the file with the certificate of who signs them; the gateway has to speak TLS itself");
        report.error(Diagnostic::new("identity.certificates", "nobody can show a certificate here").hint(hint));
    }
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut holders = Vec::new();
    for (name, holder) in written {
        if let Some(other) = seen.insert(holder.certificate.to_ascii_lowercase(), name) {
            report.error(
                Diagnostic::new(
                    join(&join("identity.certificates", name), "certificate"),
                    format!("this is the certificate of `{other}` too"),
                )
                .hint("name each certificate once"),
            );
        }
        holders.extend(check_one(name, holder, report));
    }
    holders
}

fn check_one(name: &str, holder: &CertificateConfig, report: &mut Report) -> Option<CertificateHolder> {
    let path = join("identity.certificates", name);
    let before = report.errors.len();
    let mut wrong = |key: &str, message: String, hint: &str| report.error(Diagnostic::new(join(&path, key), message).hint(hint));
    if !is_name(name) {
        wrong(
            "",
            format!("`{}` cannot be a name here", name.escape_debug()),
            "a letter or digit, then at most 31 letters, digits, `-` or `_`",
        );
    }
    let text = &holder.certificate;
    if !KINDS.iter().any(|kind| text.strip_prefix(kind).is_some_and(|rest| !rest.is_empty())) {
        wrong(
            "certificate",
            format!("`{}` is no name that a certificate has", text.escape_debug()),
            "write `dns:NAME`, `uri:ADDRESS`, `email:ADDRESS` or `subject:CN=…`; `openssl x509 -noout -subject -nameopt RFC2253` shows the last",
        );
    }
    let scopes = holder.scopes.as_ref().map(|scopes| Scopes::parse(&scopes.join(" ")));
    if scopes == Some(None) {
        wrong(
            "scopes",
            "a scope has a character that none may have, or there are too many".to_owned(),
            "scopes are `SERVER`, `SERVER:TOOL`, `mcp` or `mcp:read`",
        );
    }
    // Names of hosts are compared as they are looked up: in lower case.
    let certificate = if text.starts_with("dns:") { text.to_ascii_lowercase() } else { text.clone() };
    let holder = CertificateHolder { name: name.to_owned(), certificate, groups: holder.groups.clone(), scopes: scopes.flatten() };
    (report.errors.len() == before).then_some(holder)
}
