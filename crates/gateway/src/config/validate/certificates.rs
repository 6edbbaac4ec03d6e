//! Certificates of clients: whose are taken, and whose they are.

use std::collections::BTreeMap;

use sallyport_identity::certificates::CertificateHolder;
use sallyport_policy::Scopes;
use sallyport_transport::server::tls::ClientAuthority;

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::model::{CertificateConfig, ClientAuth, Config, TlsConfig};
use crate::config::validate::{Context, is_name};

/// The kinds of names that a certificate has.
const KINDS: [&str; 4] = ["subject:", "dns:", "uri:", "email:"];

/// Checks what `tls` says of clients' certificates.
pub(super) fn authority(tls: &TlsConfig, context: &Context<'_>, report: &mut Report) -> Option<ClientAuthority> {
    let Some(ca) = &tls.client_ca else {
        for (key, is_there) in [("client_auth", tls.client_auth.is_some()), ("client_revoked", tls.client_revoked.is_some())] {
            if is_there {
                report.error(
                    Diagnostic::new(join("tls", key), "nothing says whose certificates clients may show")
                        .hint("set `client_ca` to the file with the certificate of who signs them"),
                );
            }
        }
        return None;
    };
    let ca = report.take(context.path("tls.client_ca", ca));
    let revoked = tls.client_revoked.as_ref().and_then(|file| report.take(context.path("tls.client_revoked", file)));
    Some(ClientAuthority { ca: ca?, revoked, is_required: tls.client_auth == Some(ClientAuth::Required) })
}

/// Checks `identity.certificates`.
pub(super) fn check(config: &Config, report: &mut Report) -> Vec<CertificateHolder> {
    let written = &config.identity.certificates;
    let has_authority = config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if !written.is_empty() && !has_authority {
        report.error(
            Diagnostic::new("identity.certificates", "nobody can show a certificate here")
                .hint("set `tls.client_ca` to the file with the certificate of who signs them; the gateway has to speak TLS itself"),
        );
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
