//! Tokens that were verified a moment ago, by their SHA-256.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Verified;

/// Most tokens: some 300 bytes each, so 3 MiB; and more callers than that within a minute have more than one gateway.
const MOST: usize = 10_000;

/// Bounded in number and by each token's own time. Nothing is awaited while its lock is held.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<[u8; 32], Arc<Verified>>>);

impl Cache {
    pub(super) fn get(&self, digest: &[u8; 32]) -> Option<Arc<Verified>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()?;
        known.is_fresh().then_some(known)
    }

    /// The same, where nobody knows at this moment whether it was taken back.
    pub(super) fn timely(&self, digest: &[u8; 32]) -> Option<Arc<Verified>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()?;
        known.is_timely().then_some(known)
    }

    /// Keeps what was verified, and gives it back. Who is the same caller as before, with the same rights, stays the same principal: what
    /// others have prepared for it is found again.
    pub(super) fn insert(&self, digest: [u8; 32], mut verified: Arc<Verified>) -> Arc<Verified> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(before), Some(now)) = (known.get(&digest), Arc::get_mut(&mut verified))
            && before.principal.may_the_same(&now.principal)
        {
            now.principal = before.principal.clone();
        }
        if known.len() >= MOST {
            known.retain(|_, verified| verified.is_timely());
        }
        if known.len() >= MOST {
            known.clear(); // each costs one verification again, which is cheaper than to know which was used last
        }
        known.insert(digest, Arc::clone(&verified));
        verified
    }

    pub(super) fn remove(&self, digest: &[u8; 32]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }
}
