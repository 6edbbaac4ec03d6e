//! One provider: what is asked there, and whom it makes of somebody.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, Semaphore};
use url::Url;

use super::super::problem::Problem;
use super::config::{Config, EMAIL, EMAIL_VERIFIED};
use super::id_token::{self, Expected};
use crate::fetch::Fetcher;
use crate::resource_server::remote_issuer::RemoteIssuer;
use crate::upstream::{Asking, Client, Place, ServerMetadata, legible, now, server_metadata};

/// For how many seconds metadata is kept: as long as keys are.
const KEPT: i64 = 10 * 60;
/// For how many seconds a provider that cannot be asked is not asked again: anybody can open the page that asks.
const REST: i64 = 2;
/// Logins that ask a provider at once. Anybody can begin one, and each asks two or three times.
const AT_ONCE: usize = 16;
/// Longest name of a person in bytes: what a token's `sub` may have.
const LONGEST_NAME: usize = 256;

/// A provider, with what is known of it.
pub(in super::super) struct Provider {
    pub(super) config: Config,
    place: Place,
    fetcher: Fetcher,
    keys: RemoteIssuer,
    /// What was found last, and when. Held while it is looked for, so that many logins look once.
    known: Mutex<Option<(Option<Arc<ServerMetadata>>, i64)>>,
    asking: Semaphore,
}

/// Where a login stands that comes back from the provider.
pub(super) struct Return<'a> {
    pub(super) code: &'a str,
    pub(super) redirect: String,
    pub(super) verifier: String,
    pub(super) nonce: String,
}

/// Whom a provider vouches for.
pub(super) struct Vouched {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
}

impl Provider {
    /// `None` where its name is no URL.
    pub(in super::super) fn new(config: Config, fetcher: Fetcher) -> Option<Self> {
        let place = Place::new(Url::parse(&config.issuer).ok()?, None);
        let keys = RemoteIssuer::new(config.issuer.clone(), fetcher.clone());
        Some(Self { config, place, fetcher, keys, known: Mutex::default(), asking: Semaphore::new(AT_ONCE) })
    }

    /// What it says of itself.
    pub(super) async fn metadata(&self, now: i64) -> Result<Arc<ServerMetadata>, Problem> {
        let mut known = self.known.lock().await;
        match &*known {
            Some((Some(metadata), since)) if since + KEPT > now => return Ok(metadata.clone()),
            Some((None, since)) if since + REST > now => return Err(unavailable()),
            _ => {}
        }
        let found = server_metadata(&self.fetcher, &self.place, &self.config.issuer).await;
        let found = found.inspect_err(|error| tracing::warn!(issuer = self.config.issuer, "people cannot log in with a provider: {error}"));
        let found = found.ok().map(Arc::new);
        *known = Some((found.clone(), now));
        found.ok_or_else(unavailable)
    }

    /// Takes a code for the person that it stands for.
    pub(super) async fn redeem(&self, back: Return<'_>, moment: i64) -> Result<Vouched, Problem> {
        let _turn = self.asking.try_acquire().map_err(|_| unavailable())?;
        let refused = |why: &dyn std::fmt::Display| {
            tracing::warn!(issuer = self.config.issuer, "a login with a provider failed: {why}");
            Problem::new("access_denied", "the provider's answer is not believed; the gateway's log says why")
        };
        let metadata = self.metadata(moment).await?;
        let client: Client = self.config.client.resolve().map_err(|error| Problem::internal(&error.to_string()))?;
        let form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", back.code.to_owned()),
            ("redirect_uri", back.redirect),
            ("code_verifier", back.verifier),
        ];
        let asking = Asking { fetcher: &self.fetcher, place: &self.place, server: &metadata, client: &client, clock: now };
        let (access, id_token) = asking.identified(form).await.map_err(|error| refused(&error))?;
        let expected = Expected { issuer: &self.config.issuer, client: &client.id, nonce: &back.nonce, now: moment };
        let mut claims = id_token::verified(&id_token, &self.keys, &expected).await.map_err(|why| refused(&why))?;
        self.complete(&mut claims, &metadata, &access).await.map_err(|why| refused(&why))?;
        vouched(&self.config, &claims).map_err(|why| {
            tracing::warn!(issuer = self.config.issuer, subject = ?claims.get("sub"), "somebody whom a provider knows is not let in: {why}");
            Problem::new("access_denied", format!("you may not come in here: {why}"))
        })
    }

    /// Adds what the ID token leaves out and the provider tells when it is asked (§5.3). What is signed has the last word.
    async fn complete(&self, claims: &mut Map<String, Value>, metadata: &ServerMetadata, access: &str) -> Result<(), String> {
        let is_whole = self.config.needed().iter().all(|claim| claims.contains_key(*claim));
        let Some(url) = metadata.userinfo_endpoint.as_ref().filter(|_| !is_whole) else { return Ok(()) };
        let mut bearer = HeaderValue::try_from(format!("Bearer {access}")).map_err(|_| "its access token cannot be sent")?;
        bearer.set_sensitive(true);
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
        let answer = self.fetcher.get_with(url, self.place.reach(url), headers).await.map_err(|error| error.to_string())?;
        let told = serde_json::from_slice::<Map<String, Value>>(&answer.body).ok().filter(|_| answer.status.is_success());
        let told = told.ok_or_else(|| format!("{url} answers {}: {}", answer.status, legible(&String::from_utf8_lossy(&answer.body))))?;
        if told.get("sub") != claims.get("sub") {
            return Err("what it tells about somebody is about somebody else".to_owned());
        }
        add(claims, told);
        Ok(())
    }
}

/// Adds what is told beside what is signed.
fn add(claims: &mut Map<String, Value>, told: Map<String, Value>) {
    // That an address is verified is said of that very address.
    let is_other_mail = claims.get(EMAIL).is_some_and(|mail| told.get(EMAIL) != Some(mail));
    for (name, value) in told.into_iter().filter(|(name, _)| name != EMAIL_VERIFIED || !is_other_mail) {
        claims.entry(name).or_insert(value);
    }
}

fn unavailable() -> Problem {
    let told = Problem::new("temporarily_unavailable", "the provider cannot be asked now: try again, or log in in another way");
    Problem { status: http::StatusCode::SERVICE_UNAVAILABLE, retry_after: Some(REST), ..told }
}

/// Who somebody is here, if they may come in.
fn vouched(config: &Config, claims: &Map<String, Value>) -> Result<Vouched, &'static str> {
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str).filter(|text| !text.is_empty());
    text("sub").ok_or("the provider does not say who you are")?;
    let mail = text(EMAIL).filter(|_| is_true(claims.get(EMAIL_VERIFIED))).map(str::to_lowercase);
    if !config.allowed_domains.is_empty() {
        let domain = mail
            .as_deref()
            .and_then(|mail| mail.rsplit_once('@'))
            .map(|(_, domain)| domain)
            .ok_or("your address of mail is not verified")?;
        if !config.allowed_domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain)) {
            return Err("your address of mail is of another domain");
        }
    }
    let theirs: BTreeSet<&str> = match claims.get(&config.groups_claim) {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => BTreeSet::from([one.as_str()]),
        _ => BTreeSet::new(),
    };
    if !config.allowed_groups.is_empty() && !config.allowed_groups.iter().any(|allowed| theirs.contains(allowed.as_str())) {
        return Err("you are in none of the groups that may");
    }
    let subject = match config.subject_claim.as_str() {
        EMAIL => mail.as_deref().ok_or("your address of mail is not verified")?,
        claim => text(claim).ok_or("the provider does not say who you are")?,
    };
    // As for the word of a provider that a client brings (ID-JAG): the same person, whichever way they come. Names of ours have no `|`.
    let name = format!("{subject}|{}", config.issuer);
    if name.len() > LONGEST_NAME || subject.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Err("your name there cannot be one here");
    }
    Ok(Vouched { name, groups: config.groups_of(&theirs) })
}

/// Some providers write it as a text.
fn is_true(claim: Option<&Value>) -> bool {
    matches!(claim, Some(Value::Bool(true))) || claim.and_then(Value::as_str) == Some("true")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use serde_json::json;

    use super::*;

    fn config(more: Value) -> Config {
        let mut config = json!({ "issuer": "https://idp.example", "client": { "id": "us" } });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    fn who(config: &Config, claims: Value) -> Result<(String, Vec<String>), &'static str> {
        vouched(config, claims.as_object().unwrap()).map(|vouched| (vouched.name, vouched.groups))
    }

    #[test]
    fn domains_need_a_verified_address() {
        let config = config(json!({ "allowed_domains": ["Corp.example"] }));
        let alice = json!({ "sub": "a", "email": "Alice@corp.example", "email_verified": true });
        assert_eq!(who(&config, alice).unwrap().0, "a|https://idp.example");
        for wrong in [
            json!({ "sub": "a", "email": "alice@corp.example" }),
            json!({ "sub": "a", "email": "alice@corp.example", "email_verified": false }),
            json!({ "sub": "a", "email": "alice@evil.example", "email_verified": true }),
            json!({ "sub": "a", "email": "corp.example", "email_verified": true }),
            json!({ "sub": "a", "email": "alice@corp.example@evil.example", "email_verified": true }),
            json!({ "sub": "a" }),
            json!({ "email": "alice@corp.example", "email_verified": true }),
        ] {
            assert!(who(&config, wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_address_is_not_verified_by_another() {
        let config = config(json!({ "allowed_domains": ["corp.example"] }));
        let come_in = |told: Value| {
            let mut claims = json!({ "sub": "a", "email": "alice@corp.example" }).as_object().unwrap().clone();
            add(&mut claims, told.as_object().unwrap().clone());
            who(&config, claims.into()).is_ok()
        };
        assert!(come_in(json!({ "sub": "a", "email": "alice@corp.example", "email_verified": true })));
        assert!(!come_in(json!({ "sub": "a", "email": "mallory@evil.example", "email_verified": true })));
        assert!(!come_in(json!({ "sub": "a", "email_verified": true })));
    }

    #[test]
    fn groups_let_in_and_are_called_as_the_configuration_says() {
        let config = config(json!({ "allowed_groups": ["Platform Team"], "groups": { "Platform Team": "staff", "Others": "others" } }));
        let (_, groups) = who(&config, json!({ "sub": "a", "groups": ["Platform Team", "admin"] })).unwrap();
        assert_eq!(groups, ["staff"], "a provider cannot make anybody an administrator here");
        assert!(who(&config, json!({ "sub": "a", "groups": ["admin"] })).is_err());
        assert!(who(&config, json!({ "sub": "a" })).is_err());
    }

    #[test]
    fn a_name_that_would_be_somebody_elses_here_is_none() {
        let config = config(json!({ "anyone": true }));
        for subject in ["", "a b", "a\nb"] {
            assert!(who(&config, json!({ "sub": subject })).is_err(), "{subject:?}");
        }
        assert!(who(&config, json!({ "sub": "a".repeat(300) })).is_err());
    }
}
