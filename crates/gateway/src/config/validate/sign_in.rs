//! The identity providers that people may log in with.

use std::collections::BTreeMap;

use sallyport_identity::authorization_server::sign_in::Config;

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::validate::identity::{check_groups, issuer_name};
use crate::config::validate::{Context, is_name};

const PATH: &str = "identity.server.login";
/// Most providers: each is a line on the login page.
const MOST: usize = 16;
/// What every login asks for (OpenID Connect Core §3.1.2.1).
const OPENID: &str = "openid";
/// The claims that people may be known by: they cannot change them as they like, as they can a user name or an address that nobody verified.
const SUBJECTS: [&str; 3] = ["sub", "email", "oid"];

/// Checks `identity.server.login`.
pub(super) fn check(written: &BTreeMap<String, Config>, context: &Context<'_>, report: &mut Report) -> BTreeMap<String, Config> {
    if written.len() > MOST {
        let message = format!("there are {} providers, and the login page has room for {MOST}", written.len());
        report.error(Diagnostic::new(PATH, message).hint("let one of them stand for several"));
    }
    written.iter().map(|(name, config)| (name.clone(), check_one(name, config, context, report))).collect()
}

fn check_one(name: &str, config: &Config, context: &Context<'_>, report: &mut Report) -> Config {
    let path = join(PATH, name);
    if !is_name(name) {
        report.error(
            Diagnostic::new(&path, format!("`{}` cannot be a name here", name.escape_debug()))
                .hint("a letter or digit, then at most 31 letters, digits, `-` or `_`"),
        );
    }
    report.take(issuer_name(&path, &config.issuer));
    let mut wrong = |key: &str, message: String, hint: &str| report.error(Diagnostic::new(join(&path, key), message).hint(hint));
    let is_bounded = !config.allowed_domains.is_empty() || !config.allowed_groups.is_empty();
    match (is_bounded, config.anyone) {
        (false, false) => wrong(
            "allowed_domains",
            "nothing says who may come in, and the provider may know everybody".to_owned(),
            "set `allowed_domains` or `allowed_groups`, or `anyone = true` where the provider knows nobody else",
        ),
        (true, true) => wrong(
            "anyone",
            "who may come in is bounded, and everybody may".to_owned(),
            "take it out, or `allowed_domains` and `allowed_groups`",
        ),
        _ => {}
    }
    if !SUBJECTS.contains(&config.subject_claim.as_str()) {
        wrong(
            "subject_claim",
            format!("by `{}` people may be able to call themselves what others are called", config.subject_claim.escape_debug()),
            "leave it out (`sub`), or set `email` or `oid`",
        );
    }
    if !config.scopes.iter().any(|scope| scope == OPENID) {
        wrong("scopes", "without `openid` a provider does not say who somebody is".to_owned(), "add `openid`");
    }
    if config.scopes.iter().any(|scope| scope.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_graphic())) {
        wrong("scopes", "a scope has a character that none may have".to_owned(), "write each scope as a text of its own");
    }
    check_groups(&path, &config.groups, report);
    for (key, secret) in [("secret", &config.client.secret), ("key", &config.client.key)] {
        if let Some(reference) = secret {
            context.look_for(&join(&join(&path, "client"), key), reference, "nobody can log in with it", report);
        }
    }
    config.clone().within(&context.origin.folder)
}
