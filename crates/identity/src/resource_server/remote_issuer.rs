//! An authorization server elsewhere: its metadata (RFC 8414, OpenID Connect Discovery) and its keys, fetched and kept.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::StatusCode;
use sallyport_protocol::BoxFuture;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::key::{Algorithm, Jwk, VerifyingKey};
use super::key_source::{KeySet, KeySource};
use crate::fetch::{Fetcher, Reach};

/// Between two looks for a key that nobody knows. An issuer publishes a key before it uses it, so one look finds it; and somebody who
/// makes up names of keys does not make us ask at every request.
const BETWEEN_LOOKS: Duration = Duration::from_secs(30);
/// Between two looks while nothing is known of the issuer yet: nobody gets in so long.
const BETWEEN_FIRST_LOOKS: Duration = Duration::from_secs(2);
/// After that long the keys are looked at again without need, so that one that was withdrawn is not good for ever.
const OLD: Duration = Duration::from_secs(600);
/// For how long the callers wait for a look at all: metadata may lie in three places, and each has its own patience.
const LONGEST_LOOK: Duration = Duration::from_secs(10);
/// Most keys of a set: issuers have two to ten.
const MOST_KEYS: usize = 100;

/// An authorization server elsewhere. Clones share what is known of it.
#[derive(Clone)]
pub struct RemoteIssuer(Arc<Inner>);

struct Inner {
    name: String,
    fetcher: Fetcher,
    known: ArcSwap<Known>,
    /// When it was looked last; held while one looks, so that others wait for what comes of it.
    looking: Mutex<Option<Instant>>,
}

/// What was found, at last.
#[derive(Default)]
struct Known {
    keys: KeySet,
    introspection: Option<Url>,
    at: Option<Instant>,
}

/// The members of an authorization server's metadata that matter here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

impl RemoteIssuer {
    /// The issuer of this name, which is asked for nothing before a token of its is shown.
    #[must_use]
    pub fn new(name: impl Into<String>, fetcher: Fetcher) -> Self {
        Self(Arc::new(Inner { name: name.into(), fetcher, known: ArcSwap::default(), looking: Mutex::default() }))
    }

    /// Its name (`iss`).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn fetcher(&self) -> &Fetcher {
        &self.0.fetcher
    }

    /// Where it is asked about tokens.
    pub(super) async fn introspection_endpoint(&self) -> Option<Url> {
        if self.0.known.load().at.is_none() {
            self.refresh().await;
        }
        self.0.known.load().introspection.clone()
    }

    /// Looks again aside, where what is known is old; nobody waits for it.
    fn renew_aside(&self) {
        let is_old = self.0.known.load().at.is_some_and(|at| at.elapsed() > OLD);
        if is_old && self.0.looking.try_lock().is_ok() {
            let issuer = self.clone();
            tokio::spawn(async move { issuer.refresh().await });
        }
    }
}

impl KeySource for RemoteIssuer {
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<VerifyingKey>> {
        self.renew_aside();
        self.0.known.load().keys.find(id, algorithm)
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut looked = self.0.looking.lock().await;
            let first = self.0.known.load().at.is_none();
            let pause = if first { BETWEEN_FIRST_LOOKS } else { BETWEEN_LOOKS };
            if looked.is_some_and(|at| at.elapsed() < pause) {
                return;
            }
            *looked = Some(Instant::now()); // also where nobody waits any more for what comes of it
            let found = tokio::time::timeout(LONGEST_LOOK, self.0.look()).await.unwrap_or_else(|_| Err("it takes too long".into()));
            if first && found.is_ok() {
                *looked = None; // that was no look for a key that nobody knew: with the next one a rotation is noticed at once
            }
            match found {
                Ok(known) => self.0.known.store(Arc::new(known)),
                Err(why) => {
                    *looked = Some(Instant::now()); // who has waited for this look has had its answer, and does not look once more
                    tracing::warn!(issuer = self.0.name, "the issuer's keys cannot be had, those known are kept: {why}");
                }
            }
        })
    }
}

impl Inner {
    /// Fetches metadata and keys.
    async fn look(&self) -> Result<Known, String> {
        let metadata = self.metadata().await?;
        let address = |text: Option<String>| text.map(|text| Url::parse(&text).map_err(|error| format!("{text:?}: {error}"))).transpose();
        let keys = match address(metadata.jwks_uri)? {
            None => KeySet::default(),
            Some(url) => {
                let answer = self.fetcher.get(&url, Reach::Configured).await.map_err(|error| format!("{url}: {error}"))?;
                if answer.status != StatusCode::OK {
                    return Err(format!("{url} answers {}", answer.status));
                }
                read_keys(&answer.body).ok_or_else(|| format!("{url} is no key set"))?
            }
        };
        Ok(Known { keys, introspection: address(metadata.introspection_endpoint)?, at: Some(Instant::now()) })
    }

    /// The metadata from the first place that has it. It must be of exactly this issuer (RFC 8414 §3.3): a document of another would
    /// bring that one's keys.
    async fn metadata(&self) -> Result<Metadata, String> {
        let mut why = String::from("its name is no URL");
        for url in well_known(&self.name) {
            match self.fetcher.get(&url, Reach::Configured).await {
                Err(error) => why = format!("{url}: {error}"),
                Ok(answer) if answer.status != StatusCode::OK => why = format!("{url} answers {}", answer.status),
                Ok(answer) => match serde_json::from_slice::<Metadata>(&answer.body) {
                    Ok(metadata) if metadata.issuer == self.name => return Ok(metadata),
                    Ok(metadata) => return Err(format!("{url} is of another issuer, {:?}", metadata.issuer)),
                    Err(error) => why = format!("{url} is no metadata: {error}"),
                },
            }
        }
        Err(why)
    }
}

/// Where an issuer's metadata may lie, in the order of MCP's authorization chapter: its own path follows the well-known one, and for
/// OpenID Connect comes before it too.
fn well_known(issuer: &str) -> Vec<Url> {
    let Ok(base) = Url::parse(issuer) else { return Vec::new() };
    let path = base.path().trim_end_matches('/');
    let mut paths = vec![format!("/.well-known/oauth-authorization-server{path}"), format!("/.well-known/openid-configuration{path}")];
    if !path.is_empty() {
        paths.push(format!("{path}/.well-known/openid-configuration"));
    }
    paths.into_iter().filter_map(|path| base.join(&path).ok()).collect()
}

/// The keys of a set that are for verifying; those that are not understood are left out (RFC 7517 §5).
fn read_keys(body: &[u8]) -> Option<KeySet> {
    let set: JwkSet = serde_json::from_slice(body).ok()?;
    let jwks = set.keys.into_iter().take(MOST_KEYS).filter_map(|jwk| serde_json::from_value::<Jwk>(jwk).ok());
    Some(KeySet::new(jwks.filter_map(|jwk| VerifyingKey::from_jwk(&jwk)).collect()))
}

impl fmt::Debug for RemoteIssuer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RemoteIssuer").field("name", &self.0.name).finish_non_exhaustive()
    }
}
