//! How the token of a server elsewhere is had.

use std::collections::BTreeMap;

use sallyport_identity::upstream::{CredentialConfig, PerUserConfig, RegisteredConfig};
use sallyport_secrets::SecretReference;
use url::Url;

use super::remote::is_loopback;
use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::model::ServerConfig;
use crate::config::validate::Context;
use crate::plan::{RemotePlan, ServerPlan, Source};

/// Checks the `credential` of the server at `path`, which is reached at `url`.
pub(super) fn check(path: &str, config: &ServerConfig, url: &Url, context: &Context<'_>, report: &mut Report) -> Option<CredentialConfig> {
    let credential = config.credential.clone()?.within(&context.origin.folder);
    let path = join(path, "credential");
    if url.scheme() == "http" && !is_loopback(url) {
        let message = "a token would cross the network in the clear, for everybody on the way to use";
        report.error(Diagnostic::new(&path, message).hint("use `https://` in `url`"));
    }
    if config.headers.keys().any(|name| name.eq_ignore_ascii_case("authorization")) {
        report.error(Diagnostic::new(&path, "`headers` has an `Authorization` too").hint("keep one of them"));
    }
    match &credential {
        CredentialConfig::ClientCredentials(found) => {
            let path = join(&path, "client_credentials");
            client(&path, &found.client, true, context, report);
            secret_of(&path, &found.client, found.issuer.as_ref(), url, report);
            found.issuer.iter().for_each(|issuer| https(&join(&path, "issuer"), issuer, report));
        }
        CredentialConfig::Exchange(found) => {
            let path = join(&path, "exchange");
            client(&path, &found.client, false, context, report);
            subject(&path, found.subject.as_ref(), context, report);
            https(&join(&path, "issuer"), &found.issuer, report);
        }
        CredentialConfig::IdJag(found) => {
            let path = join(&path, "id_jag");
            client(&path, &found.client, true, context, report);
            client(&join(&path, "provider"), &found.provider.client, false, context, report);
            subject(&join(&path, "provider"), found.provider.subject.as_ref(), context, report);
            https(&join(&join(&path, "provider"), "issuer"), &found.provider.issuer, report);
            secret_of(&path, &found.client, found.issuer.as_ref(), url, report);
            found.issuer.iter().for_each(|issuer| https(&join(&path, "issuer"), issuer, report));
        }
        CredentialConfig::PerUser(found) => {
            let path = join(&path, "per_user");
            if let Some(registered) = &found.client {
                client(&path, registered, false, context, report);
                if found.issuer.is_none() {
                    let message = "a client is known at one authorization server, and none is named";
                    report.error(Diagnostic::new(join(&path, "client"), message).hint("name it: `issuer = \"https://…\"`"));
                }
            }
            found.issuer.iter().for_each(|issuer| https(&join(&path, "issuer"), issuer, report));
            let document = found.client_metadata_url.as_ref();
            if document.is_some_and(|url| url.scheme() != "https" || url.path() == "/" || url.fragment().is_some()) {
                let message = "the address of a metadata document is `https://`, with a path and without `#`";
                report.error(Diagnostic::new(join(&path, "client_metadata_url"), message).hint("write `https://HOST/client.json`"));
            }
        }
    }
    Some(credential)
}

/// Users' grants are kept by a server's address: two entries of one address with other settings would use each other's tokens, and each
/// consent would end the other's.
pub(super) fn check_shared(servers: &BTreeMap<String, ServerPlan>, report: &mut Report) {
    let mut seen: Vec<(&Url, &PerUserConfig, &str)> = Vec::new();
    for (name, server) in servers {
        let Source::Remote(RemotePlan { url, credential: Some(CredentialConfig::PerUser(found)), .. }) = &server.source else { continue };
        match seen.iter().find(|(known, ..)| *known == url) {
            Some((_, other, first)) if *other != found => {
                let message = format!("the server `{first}` has the same `url` and other settings: users' grants would be mixed up");
                let hint = "give both the same settings, or the second another address of the server";
                report.error(Diagnostic::new(join(&join(&join("servers", name), "credential"), "per_user"), message).hint(hint));
            }
            Some(_) => {}
            None => seen.push((url, found, name)),
        }
    }
}

/// Warns of servers to which no call can go: a caller's token is exchanged only at the issuer that gave it, and `takes` says whether the gateway
/// takes tokens of an issuer.
pub(super) fn check_subjects(servers: &BTreeMap<String, ServerPlan>, takes: impl Fn(&str) -> bool, report: &mut Report) {
    for (name, server) in servers {
        let Source::Remote(RemotePlan { credential: Some(credential), .. }) = &server.source else { continue };
        let (key, issuer, subject) = match credential {
            CredentialConfig::Exchange(found) => ("exchange", &found.issuer, &found.subject),
            CredentialConfig::IdJag(found) => ("id_jag.provider", &found.provider.issuer, &found.provider.subject),
            CredentialConfig::ClientCredentials(_) | CredentialConfig::PerUser(_) => continue,
        };
        let issuer = issuer.as_str().trim_end_matches('/');
        if subject.is_none() && !takes(issuer) {
            let path = format!("{}.credential.{key}.issuer", join("servers", name));
            let message = format!("no caller has a token to exchange there: tokens of {issuer} are not taken here");
            let hint = "trust it in `identity.issuers`, or name a token that is not the caller's: `subject = \"file:PATH\"`";
            report.warn(Diagnostic::new(path, message).hint(hint));
        }
    }
}

/// A secret is shown to the authorization server; one that is not named is whichever a server elsewhere names.
fn secret_of(path: &str, client: &RegisteredConfig, issuer: Option<&Url>, server: &Url, report: &mut Report) {
    if client.secret.is_some() && issuer.is_none() && !is_loopback(server) {
        let message = "the client's secret would go to whichever authorization server the server names";
        report.error(Diagnostic::new(join(path, "issuer"), message).hint("name it: `issuer = \"https://…\"`"));
    }
}

/// What does not work without one of its secrets.
const NO_CALL: &str = "no call of the server works";

/// The token that an exchange begins with, where it is not the caller's own.
fn subject(path: &str, found: Option<&SecretReference>, context: &Context<'_>, report: &mut Report) {
    if let Some(reference) = found {
        context.look_for(&join(path, "subject"), reference, NO_CALL, report);
    }
}

fn client(path: &str, found: &RegisteredConfig, needs_proof: bool, context: &Context<'_>, report: &mut Report) {
    let path = join(path, "client");
    if found.id.is_empty() {
        report
            .error(Diagnostic::new(join(&path, "id"), "the client has no id").hint("write the one that the authorization server gave it"));
    }
    for (key, reference) in [("secret", &found.secret), ("key", &found.key)] {
        if let Some(reference) = reference {
            context.look_for(&join(&path, key), reference, NO_CALL, report);
        }
    }
    match (&found.secret, &found.key) {
        (Some(_), Some(_)) => {
            report.error(Diagnostic::new(&path, "the client has both a `secret` and a `key`").hint("keep one of them"));
        }
        (None, None) if needs_proof => {
            let hint = "add `secret = \"file:PATH\"`, or `key = \"file:PATH\"`";
            report.error(Diagnostic::new(&path, "nothing shows that the client is who it says").hint(hint));
        }
        _ => {}
    }
}

/// Secrets go to an issuer: over TLS, unless it is on this machine.
fn https(path: &str, issuer: &Url, report: &mut Report) {
    if issuer.scheme() != "https" && !(issuer.scheme() == "http" && is_loopback(issuer)) {
        report.error(Diagnostic::new(path, "the name of an authorization server is an `https://` address").hint("write `https://HOST`"));
    }
}
