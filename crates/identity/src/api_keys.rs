//! Keys that the gateway gives out itself: 32 random bytes, of which it keeps a digest.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use sallyport_policy::{Principal, Scopes};
use sallyport_secrets::Secret;
use sallyport_store::Store;
use sallyport_store::api_key::ApiKey;
use sha2::{Digest, Sha256};

use crate::resource_server::resource::Resources;
use crate::resource_server::{TokenFault, Verified};

/// What a key begins with, so that scanners of repositories know one when they see it.
const PREFIX: &str = "sp_";
/// For how long a key is believed without looking into the store again: `sallyport key revoke` runs in another process, and takes hold
/// within this time. A look costs some 50 µs.
const BELIEVED: Duration = Duration::from_secs(5);

/// The keys in a store, as callers show them.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    store: Store,
    /// Whose keys alone are taken; empty where there are no tenants, and for those of nobody's.
    tenant: Arc<str>,
}

impl ApiKeys {
    /// The keys of `tenant` in `store`.
    #[must_use]
    pub fn new(store: Store, tenant: &str) -> Self {
        Self { store, tenant: tenant.into() }
    }

    /// Makes a key; its SHA-256 is what the store is told. `None` where the system has no random numbers.
    #[must_use]
    pub fn make() -> Option<(Secret, [u8; 32])> {
        let mut random = zeroize::Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *random).ok()?;
        let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*random));
        let digest = Sha256::digest(key.as_bytes()).into();
        Some((Secret::new(key), digest))
    }

    /// Whether this is to be a key of ours, of the store or not.
    pub(crate) fn is_meant_by(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Whose key it is that has this SHA-256.
    pub(crate) async fn holder(&self, digest: [u8; 32]) -> Result<Arc<Verified>, TokenFault> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let found = self.store.use_api_key(&self.tenant, digest, now).await.map_err(|error| {
            tracing::error!("keys cannot be looked up: {error}");
            TokenFault::Unavailable
        })?;
        let key = found.ok_or(TokenFault::Unknown)?;
        if !key.is_good(now) {
            return Err(TokenFault::Expired);
        }
        let left = key.ends.map_or(BELIEVED, |ends| Duration::from_secs(ends - now)).min(BELIEVED);
        Ok(Verified::new(principal(&key)?, Resources::All, left))
    }
}

fn principal(key: &ApiKey) -> Result<Principal, TokenFault> {
    let groups = key.groups.iter().map(|group| group.as_str().into()).collect();
    let principal = Principal::key(&key.name).of_tenant(&key.tenant).in_groups(groups);
    match &key.scopes {
        None => Ok(principal),
        Some(scopes) => Ok(principal.limited_to(Scopes::parse(scopes).ok_or(TokenFault::Claims)?)),
    }
}
