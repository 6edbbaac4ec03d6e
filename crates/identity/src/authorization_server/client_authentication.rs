//! How clients show who they are (OAuth 2.1 §2.4, RFC 7523 §2.2).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, header};
use sallyport_store::token_grant;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use url::Url;

use super::clients::{Authentication, Client, Clients, Keys, Kind};
use super::parameters::Parameters;
use super::problem::Problem;
use super::{Asked, Server, unguessable};
use crate::fetch::Reach;
use crate::resource_server::jws::Compact;
use crate::resource_server::key::{Jwk, VerifyingKey};
use crate::resource_server::key_source::KeySet;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// For how many seconds an assertion may be good: it is made for one request, and its id is remembered for as long.
const LONGEST_ASSERTION: i64 = 60 * 60;
/// By how many seconds another's clock may be ahead.
pub(super) const SKEW: i64 = 60;
/// For how many seconds fetched keys are kept; a key that is not among them is looked for again after [`SOONEST`].
const KEPT: i64 = 10 * 60;
const SOONEST: i64 = 30;
/// For how many seconds they serve while their address gives none: an outage is over by then, and what is still gone was taken away.
const LONGEST: i64 = 60 * 60;
/// For how many seconds an address is not asked again that gave no keys.
const AFTER_FAILURE: i64 = 5;
/// Clients of a kind whose keys are kept.
const MOST: usize = 64;

/// Keys that are fetched at once: anybody can say where theirs are, and have us ask there.
const AT_ONCE: usize = 8;

/// Keys that clients publish. Strangers, whom anybody can invent, take neither turns nor places of those that are configured.
#[derive(Debug, Default)]
pub(super) struct ClientKeys {
    of_configured: FetchedKeys,
    of_strangers: FetchedKeys,
}

impl ClientKeys {
    fn of(&self, kind: Kind) -> &FetchedKeys {
        if kind == Kind::Configured { &self.of_configured } else { &self.of_strangers }
    }
}

/// Keys as they were last fetched, by address.
#[derive(Debug)]
struct FetchedKeys {
    known: Mutex<HashMap<String, Fetched>>,
    turns: Semaphore,
}

/// What is known of an address.
#[derive(Clone, Debug)]
struct Fetched {
    /// What was there last.
    keys: Option<Arc<KeySet>>,
    /// When that was.
    since: i64,
    /// When the address gave nothing last.
    failed: Option<i64>,
}

impl Fetched {
    /// The keys, if they are no older than so many seconds.
    fn within(&self, oldest: i64, now: i64) -> Option<Arc<KeySet>> {
        self.keys.clone().filter(|_| self.since + oldest > now)
    }
}

impl Default for FetchedKeys {
    fn default() -> Self {
        Self { known: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl FetchedKeys {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Fetched>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, address: &str) -> Option<Fetched> {
        self.all().get(address).cloned()
    }

    /// Keeps what is known now. Where there is no place, an address that never gave keys makes room, else the one that gave them first.
    fn keep(&self, address: &str, fetched: Fetched) {
        let mut all = self.all();
        if all.len() >= MOST && !all.contains_key(address) {
            let first = all.iter().min_by_key(|(_, fetched)| (fetched.keys.is_some(), fetched.since)).map(|(address, _)| address.clone());
            first.map(|first| all.remove(&first));
        }
        all.insert(address.to_owned(), fetched);
    }
}

impl Server {
    /// The client that asks, once it has shown that it is the one. A public client shows nothing but its name.
    pub(super) async fn authenticated(&self, asked: &Asked, form: &Parameters) -> Result<Client, Problem> {
        let basic = basic(asked)?;
        let ways = [basic.is_some(), form.get("client_secret").is_some(), form.get("client_assertion").is_some()];
        if ways.iter().filter(|way| **way).count() > 1 {
            return Err(Problem::invalid_request("the client shows who it is in more than one way"));
        }
        if form.get("client_assertion").is_some() {
            return self.by_assertion(form, asked.now).await;
        }
        let (id, secret) = match &basic {
            Some((id, secret)) => (id.as_str(), Some(secret.as_str())),
            None => (
                form.get("client_id").ok_or_else(|| Problem::invalid_client("the client does not say who it is"))?,
                form.get("client_secret"),
            ),
        };
        if form.get("client_id").is_some_and(|named| named != id) {
            return Err(Problem::invalid_request("`client_id` is not the client that shows who it is"));
        }
        let client = self.clients.find(&self.store, id, asked.now).await?;
        match (&client.authentication, secret) {
            (Authentication::None, None) => Ok(client),
            (Authentication::Secret(expected), Some(shown)) if Clients::is_secret(expected, shown) => Ok(client),
            _ => Err(Problem::invalid_client("the client has not shown that it is the one")),
        }
    }

    /// The client whose key has signed the assertion.
    async fn by_assertion(&self, form: &Parameters, now: i64) -> Result<Client, Problem> {
        let refused = |what: &str| Problem::invalid_client(format!("the client's assertion is not good: {what}"));
        if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(refused("`client_assertion_type` is another than `jwt-bearer`"));
        }
        let assertion = Compact::parse(form.need("client_assertion")?).ok_or_else(|| refused("it is no signed token"))?;
        let id = assertion.claimed_issuer().ok_or_else(|| refused("it has no `iss`"))?;
        if form.get("client_id").is_some_and(|named| named != id) {
            return Err(refused("`client_id` is another than its `iss`"));
        }
        let client = self.clients.find(&self.store, &id, now).await?;
        let Authentication::Keys(keys) = &client.authentication else { return Err(refused("the client has no keys here")) };
        let claims =
            self.verified(&assertion, keys, client.kind, now).await?.ok_or_else(|| refused("no key of the client fits its signature"))?;
        if claims.get("sub").and_then(Value::as_str) != Some(&id) {
            return Err(refused("its `sub` is another than its `iss`"));
        }
        let audiences = [self.issuer().to_owned(), self.url("token")];
        check_times(&claims, &audiences, now).map_err(refused)?;
        if self.is_first_use("assertion", &id, client.kind != Kind::Configured, &claims, now).await? {
            Ok(client)
        } else {
            Err(refused("it was used before, or has no `jti`"))
        }
    }

    /// What a token says that one of these keys has signed.
    async fn verified(&self, token: &Compact<'_>, keys: &Keys, kind: Kind, now: i64) -> Result<Option<Map<String, Value>>, Problem> {
        let Some(algorithm) = token.algorithm() else { return Ok(None) };
        let find = |set: &KeySet| set.find(token.header.kid.as_deref(), algorithm);
        let found = match keys {
            Keys::Set(text) => find(&read(text.as_bytes())?),
            Keys::At(address) => {
                let known = self.client_keys(address, kind, KEPT, now).await?;
                match find(&known) {
                    Some(key) => Some(key),
                    None => find(&*self.client_keys(address, kind, SOONEST, now).await?),
                }
            }
        };
        Ok(found.and_then(|key| token.verify(&key)))
    }

    /// The keys at an address, no older than so many seconds. Where it gives none, those that it gave last, for a while.
    async fn client_keys(&self, address: &str, kind: Kind, oldest: i64, now: i64) -> Result<Arc<KeySet>, Problem> {
        let fetched = self.client_keys.of(kind);
        let known = fetched.known(address).unwrap_or(Fetched { keys: None, since: now, failed: None });
        if let Some(keys) = known.within(oldest, now) {
            return Ok(keys);
        }
        let old = |why: Problem| known.within(LONGEST, now).ok_or(why);
        if known.failed.is_some_and(|failed| (failed..failed + AFTER_FAILURE).contains(&now)) {
            return old(Problem::invalid_client("the client's keys could not be had a moment ago"));
        }
        let Ok(_turn) = fetched.turns.try_acquire() else {
            return old(Problem::new("temporarily_unavailable", "too many clients' keys are being fetched: try again in a moment"));
        };
        match self.fetch_keys(address, kind).await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                fetched.keep(address, Fetched { keys: Some(Arc::clone(&keys)), since: now, failed: None });
                Ok(keys)
            }
            Err(problem) => {
                if kind == Kind::Configured {
                    tracing::warn!(address, "{}; those that are known serve until they are an hour old", problem.description);
                }
                let known = fetched.known(address).unwrap_or(known); // another may have had them meanwhile
                fetched.keep(address, Fetched { failed: Some(now), ..known.clone() });
                known.within(LONGEST, now).ok_or(problem)
            }
        }
    }

    async fn fetch_keys(&self, address: &str, kind: Kind) -> Result<KeySet, Problem> {
        let reach = if kind == Kind::Configured { Reach::Configured } else { Reach::Public };
        let refused = |what: String| Problem::invalid_client(format!("the client's keys cannot be had: {what}"));
        let url = Url::parse(address).map_err(|error| refused(error.to_string()))?;
        let answer = self.fetcher.get(&url, reach).await.map_err(|error| refused(error.to_string()))?;
        if answer.status != StatusCode::OK {
            return Err(refused(format!("the address answers {}", answer.status)));
        }
        read(&answer.body)
    }

    /// Whether a token with this `jti` is seen for the first time from this issuer.
    pub(super) async fn is_first_use(
        &self,
        what: &str,
        issuer: &str,
        is_stranger: bool,
        claims: &Map<String, Value>,
        now: i64,
    ) -> Result<bool, Problem> {
        let Some(jti) = claims.get("jti").and_then(Value::as_str).filter(|jti| !jti.is_empty()) else { return Ok(false) };
        let key = unguessable::digest(&format!("{what}\0{issuer}\0{jti}"));
        let ends = now + LONGEST_ASSERTION + SKEW;
        let issuer = issuer.to_owned();
        Ok(self.store.write(move |tables| token_grant::first_use(tables, &key, &issuer, is_stranger, ends)).await?)
    }
}

/// Whether a token that was made for one request is for us, and for now.
pub(super) fn check_times(claims: &Map<String, Value>, audiences: &[String], now: i64) -> Result<(), &'static str> {
    let is_ours = |value: &Value| value.as_str().is_some_and(|text| audiences.iter().any(|own| own == text));
    let is_for_us = match claims.get("aud") {
        Some(Value::Array(all)) => all.len() == 1 && all.iter().all(is_ours), // for one more, and that one could show it here
        Some(one) => is_ours(one),
        None => false,
    };
    if !is_for_us {
        return Err("its `aud` is not this server alone");
    }
    let moment = |name: &str| claims.get(name).and_then(Value::as_i64);
    let ends = moment("exp").ok_or("it has no `exp`")?;
    if ends <= now {
        return Err("it has ended");
    }
    if ends > now + LONGEST_ASSERTION {
        return Err("it is good for longer than an hour");
    }
    if ["iat", "nbf"].iter().filter_map(|name| moment(name)).any(|begins| begins > now + SKEW) {
        return Err("it is not good yet");
    }
    Ok(())
}

fn read(text: &[u8]) -> Result<KeySet, Problem> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|_| Problem::invalid_client("the client's keys are no JSON Web Key Set"))?;
    let keys = set.keys.into_iter().filter_map(|key| VerifyingKey::from_jwk(&serde_json::from_value::<Jwk>(key).ok()?));
    Ok(KeySet::new(keys.take(32).collect()))
}

/// Name and secret of HTTP's basic authentication; each is encoded as in a form (RFC 6749 §2.3.1).
fn basic(asked: &Asked) -> Result<Option<(String, String)>, Problem> {
    let Some(value) = asked.request.headers().get(header::AUTHORIZATION) else { return Ok(None) };
    let refused = || Problem::invalid_client("the header `Authorization` is no basic authentication");
    let (scheme, encoded) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(refused());
    }
    let pair = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(refused)?;
    let (id, secret) = pair.split_once(':').ok_or_else(refused)?;
    let decoded = |text: &str| {
        url::form_urlencoded::parse(text.replace('&', "%26").replace('=', "%3D").as_bytes()).next().map(|(name, _)| name.into_owned())
    };
    Ok(Some((decoded(id).ok_or_else(refused)?, decoded(secret).unwrap_or_default())))
}
