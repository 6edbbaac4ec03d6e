//! The authorization server inside the gateway.

use std::collections::BTreeMap;
use std::time::Duration;

use sallyport_identity::authorization_server::{ConfiguredClient, check_redirect};
use sallyport_identity::fetch::{Reach, check as check_address};
use sallyport_identity::resource_server::resource::endpoint_of;
use sallyport_policy::Scopes;
use url::Url;

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::duration;
use crate::config::model::{AuthorizationServerConfig, ClientConfig, ClientGrant};
use crate::config::validate::{Context, sign_in};
use crate::plan::{AuthorizationServerPlan, ClientPlan};

const PATH: &str = "identity.server";
/// For how long an access token is good: long enough that clients refresh it a few times an hour, short enough to be stolen in vain.
const ACCESS_LIFE: Duration = Duration::from_secs(15 * 60);
/// For how many days a refresh token is good that nobody uses.
const REFRESH_DAYS: u8 = 30;
/// At most: as long as what people agreed to holds.
const MOST_REFRESH_DAYS: u8 = 90;
/// Longest `client_id`.
const LONGEST_ID: usize = 64;

/// Checks `identity.server`.
pub(super) fn check(config: &AuthorizationServerConfig, context: &Context<'_>, report: &mut Report) -> AuthorizationServerPlan {
    let life = config.access_token_life.as_deref().map(|text| life(&join(PATH, "access_token_life"), text, report));
    let days = config.refresh_token_days.unwrap_or(REFRESH_DAYS);
    if !(1..=MOST_REFRESH_DAYS).contains(&days) {
        report.error(
            Diagnostic::new(join(PATH, "refresh_token_days"), format!("{days} days are not between 1 and {MOST_REFRESH_DAYS}"))
                .hint("people agree anew after 90 days"),
        );
    }
    check_known_by(config, report);
    let clients = config.clients.iter().filter_map(|(id, client)| check_client(id, client, context, report)).collect();
    for (index, provider) in config.providers.iter().enumerate() {
        let is_address = Url::parse(provider).is_ok_and(|url| check_address(&url, Reach::Configured).is_ok());
        if !is_address {
            let path = format!("{PATH}.providers[{index}]");
            report.error(
                Diagnostic::new(path, format!("`{}` cannot be an issuer", provider.escape_debug()))
                    .hint("write the `issuer` of its metadata"),
            );
        }
    }
    AuthorizationServerPlan {
        algorithm: config.algorithm,
        access_life: life.flatten().unwrap_or(ACCESS_LIFE),
        access_lives: lives(&config.access_token_lives, report),
        refresh_life: Duration::from_secs(u64::from(days) * 24 * 60 * 60),
        registration: config.registration.unwrap_or(true),
        clients,
        providers: config.providers.clone(),
        sign_ins: sign_in::check(&config.login, context, report),
    }
}

/// A provider's word (ID-JAG) names people by `sub`. Whoever logs in by the same provider under another claim would be somebody else then, whom
/// `sallyport user disable` does not shut out.
fn check_known_by(config: &AuthorizationServerConfig, report: &mut Report) {
    for (name, login) in &config.login {
        if config.providers.contains(&login.issuer) && login.subject_claim != "sub" {
            let path = join(&join(&join(PATH, "login"), name), "subject_claim");
            let message =
                format!("{} is one of `providers`, too, whose word names people by `sub`: they would be two people here", login.issuer);
            report
                .error(Diagnostic::new(path, message).hint("leave it out (`sub`), or take the issuer out of `identity.server.providers`"));
        }
    }
}

fn life(path: &str, text: &str, report: &mut Report) -> Option<Duration> {
    let parsed = duration::parse(text).map_err(|problem| {
        Diagnostic::new(path, format!("the duration cannot be used: {problem}"))
            .hint("write a number and `s`, `m` or `h`, such as `15m`; at most a day")
    });
    let long_enough = parsed.and_then(|life| {
        let too_short = || Diagnostic::new(path, "a token would end before it can be used").hint("give it at least `1s`; `15m` is usual");
        if life < Duration::from_secs(1) { Err(too_short()) } else { Ok(life) }
    });
    report.take(long_enough)
}

fn lives(written: &BTreeMap<String, String>, report: &mut Report) -> BTreeMap<String, Duration> {
    let mut lives = BTreeMap::new();
    for (endpoint, text) in written {
        let path = join(&join(PATH, "access_token_lives"), endpoint);
        if endpoint_of(endpoint).is_none() {
            report.error(
                Diagnostic::new(&path, format!("`{}` is no endpoint", endpoint.escape_debug()))
                    .hint("write its path: `/mcp`, `/servers/NAME/mcp` or `/toolsets/NAME/mcp`"),
            );
        }
        lives.extend(life(&path, text, report).map(|life| (endpoint.clone(), life)));
    }
    lives
}

fn check_client(id: &str, client: &ClientConfig, context: &Context<'_>, report: &mut Report) -> Option<ClientPlan> {
    let path = join(&join(PATH, "clients"), id);
    let before = report.errors.len();
    let mut wrong = |key: &str, message: String, hint: &str| report.error(Diagnostic::new(join(&path, key), message).hint(hint));
    let is_id = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !is_id || id.starts_with("registered-") {
        wrong(
            "",
            format!("`{}` cannot be a client's id", id.escape_debug()),
            "1 to 64 letters, digits, `-`, `_` or `.`, not beginning with `registered-`",
        );
    }
    for uri in &client.redirect_uris {
        if let Err(why) = check_redirect(uri) {
            wrong(
                "redirect_uris",
                format!("`{}` cannot be used: {why}", uri.escape_debug()),
                "https, http on loopback, or a scheme of the client's own",
            );
        }
    }
    if client.secret.is_some() && client.keys.is_some() {
        wrong("keys", "the client has a secret as well".to_owned(), "keep the keys: a secret can be stolen from either side");
    }
    let is_set = |keys: &str| serde_json::from_str::<serde_json::Value>(keys).is_ok_and(|set| set["keys"].is_array());
    let is_at = |keys: &str| Url::parse(keys).is_ok_and(|url| check_address(&url, Reach::Configured).is_ok());
    if client.keys.as_deref().is_some_and(|keys| !is_set(keys) && !is_at(keys)) {
        wrong("keys", "this is neither a JSON Web Key Set nor its address".to_owned(), "write `https://…/jwks` or `{\"keys\": […]}`");
    }
    let grants = grants(client);
    let is_public = client.secret.is_none() && client.keys.is_none();
    let needs_proof =
        |grant: &ClientGrant| matches!(grant, ClientGrant::ClientCredentials | ClientGrant::TokenExchange | ClientGrant::JwtBearer);
    if is_public && grants.iter().any(needs_proof) {
        wrong("grants", "anybody could say that they are this client".to_owned(), "give it a `secret` or `keys`");
    }
    if grants.contains(&ClientGrant::AuthorizationCode) && client.redirect_uris.is_empty() {
        wrong("redirect_uris", "people who log in could not be sent back".to_owned(), "name the client's own address");
    }
    let scopes = client.scopes.as_ref().map(|scopes| Scopes::parse(&scopes.join(" ")));
    if scopes == Some(None) {
        wrong(
            "scopes",
            "a scope has a character that none may have, or there are too many".to_owned(),
            "scopes are `SERVER`, `SERVER:TOOL`, `mcp` or `mcp:read`",
        );
    }
    if report.errors.len() > before {
        return None;
    }
    let own = ConfiguredClient {
        id: id.to_owned(),
        name: client.name.clone().unwrap_or_else(|| id.to_owned()),
        secret: None,
        keys: client.keys.clone(),
        redirects: client.redirect_uris.clone(),
        grants: grants.iter().map(|grant| grant.as_str().to_owned()).collect(),
        scopes: scopes.flatten(),
    };
    Some(ClientPlan { client: own, secret: client.secret.clone().map(|secret| secret.within(&context.origin.folder)) })
}

fn grants(client: &ClientConfig) -> Vec<ClientGrant> {
    match &client.grants {
        Some(grants) => grants.clone(),
        None if client.redirect_uris.is_empty() => vec![ClientGrant::ClientCredentials],
        None => vec![ClientGrant::AuthorizationCode, ClientGrant::RefreshToken],
    }
}
