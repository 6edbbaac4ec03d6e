//! Keys that the gateway gives out itself: 32 random bytes, of which it keeps a digest.

use std::collections::HashSet;
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

    /// The names of all keys that are good now; `None` where they cannot be looked up.
    pub(crate) async fn names(&self) -> Option<HashSet<String>> {
        let names = self.store.names_of_good_api_keys(&self.tenant, now()).await;
        names.inspect_err(|error| tracing::error!(hint = error.hint(), "keys cannot be looked up: {error}")).ok()
    }

    /// Whose key it is that has this SHA-256.
    pub(crate) async fn holder(&self, digest: [u8; 32]) -> Result<Arc<Verified>, TokenFault> {
        let now = now();
        let found = self.store.api_key(&self.tenant, digest).await.map_err(|error| {
            tracing::error!(hint = error.hint(), "keys cannot be looked up: {error}");
            TokenFault::KeysUnavailable
        })?;
        let key = found.ok_or(TokenFault::Unknown)?;
        if !key.is_good(now) {
            return Err(TokenFault::Expired);
        }
        // Whose it is does not hang on it: nobody is locked out where the disk is full.
        if let Err(error) = self.store.note_use_of_api_key(&key, now).await {
            tracing::error!(hint = error.hint(), "it cannot be written down that the key `{}` was used: {error}", key.name);
        }
        let left = key.ends.map_or(BELIEVED, |ends| Duration::from_secs(ends - now)).min(BELIEVED);
        Ok(Verified::new(principal(&key)?, Resources::All, left))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn principal(key: &ApiKey) -> Result<Principal, TokenFault> {
    let groups = key.groups.iter().map(|group| group.as_str().into()).collect();
    let principal = Principal::key(&key.name).of_tenant(&key.tenant).in_groups(groups);
    match &key.scopes {
        None => Ok(principal),
        Some(scopes) => Ok(principal.limited_to(Scopes::parse(scopes).ok_or(TokenFault::Claims)?)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    async fn with_a_key(folder: &tempfile::TempDir) -> (Store, ApiKeys) {
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        let (id, name) = ("one".to_owned(), "ci".to_owned());
        let key = ApiKey { id, name, scopes: None, groups: Vec::new(), tenant: String::new(), made: 0, ends: None, used: None };
        assert!(store.add_api_key(key, [1; 32], None).await.unwrap());
        (store.clone(), ApiKeys::new(store, ""))
    }

    #[tokio::test]
    async fn a_full_disk_locks_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let (store, keys) = with_a_key(&folder).await;
        // No page can be added, and what is written needs some.
        let full = store.write(|tables| {
            tables.execute_batch(
                "CREATE TABLE ballast (bytes BLOB) STRICT;
                 CREATE TRIGGER fill AFTER UPDATE ON api_key BEGIN INSERT INTO ballast VALUES (zeroblob(100000)); END;",
            )?;
            let pages: i64 = tables.query_row("PRAGMA page_count", (), |row| row.get(0))?;
            tables.query_row(&format!("PRAGMA max_page_count = {pages}"), (), |row| row.get::<_, i64>(0))
        });
        full.await.unwrap();
        let key = store.api_key("", [1; 32]).await.unwrap().unwrap();
        let error = store.note_use_of_api_key(&key, 100).await.unwrap_err();
        assert!(error.to_string().contains("no room left on its disk") && error.hint().is_some(), "{error}");
        assert_eq!(keys.holder([1; 32]).await.unwrap().principal.id(), "key:ci");
        assert_eq!(keys.holder([2; 32]).await.map(drop), Err(TokenFault::Unknown));
    }

    #[tokio::test]
    async fn where_keys_cannot_be_looked_up_nobody_comes_in_and_no_issuer_is_blamed() {
        let folder = tempfile::tempdir().unwrap();
        let (store, keys) = with_a_key(&folder).await;
        store.write(|tables| tables.execute_batch("ALTER TABLE api_key RENAME TO elsewhere")).await.unwrap();
        let refused = keys.holder([1; 32]).await.map(drop).unwrap_err();
        assert!(refused.may_pass(), "it says nothing of the key: {refused:?}");
        assert_eq!((refused.as_str(), refused.to_string().as_str()), ("keys_unavailable", "the bearer key cannot be checked now"));
    }
}
