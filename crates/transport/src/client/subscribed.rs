//! The resources that were subscribed to over a connection, and by whose token: a server says to each what it may hear.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sallyport_protocol::{CallerToken, Request, TokenDigest};

/// Subscriptions that are remembered. More than clients have; one beyond it ends with its session.
const MOST: usize = 1000;

/// A resource, and the token of who subscribed to it; nothing where the server tells callers' tokens not apart.
type Key = (String, Option<TokenDigest>);

/// What was subscribed to, whatever the era: a lost session forgets it.
#[derive(Default)]
pub(crate) struct Subscribed(Mutex<BTreeMap<Key, Option<Arc<CallerToken>>>>);

impl Subscribed {
    fn by_key(&self) -> MutexGuard<'_, BTreeMap<Key, Option<Arc<CallerToken>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a subscription of `caller`.
    pub(crate) fn note(&self, request: &Request, caller: Option<Arc<CallerToken>>) {
        let Some(key) = key_of(request, caller.as_ref()) else { return };
        let mut subscribed = self.by_key();
        if subscribed.len() < MOST {
            subscribed.insert(key, caller);
        }
    }

    /// Forgets that of `caller` which a request names, and says whether others subscribed to the same resource.
    pub(crate) fn forget(&self, request: &Request, caller: Option<&Arc<CallerToken>>) -> bool {
        let Some(key) = key_of(request, caller) else { return false };
        let mut subscribed = self.by_key();
        subscribed.remove(&key);
        subscribed.keys().any(|(uri, _)| *uri == key.0)
    }

    /// All of them, with what who subscribed showed.
    pub(crate) fn all(&self) -> Vec<(String, Option<Arc<CallerToken>>)> {
        self.by_key().iter().map(|((uri, _), caller)| (uri.clone(), caller.clone())).collect()
    }
}

impl std::fmt::Debug for Subscribed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Subscribed({})", self.by_key().len())
    }
}

fn key_of(request: &Request, caller: Option<&Arc<CallerToken>>) -> Option<Key> {
    Some((request.params.get_str("uri").map(Cow::into_owned)?, caller.map(|caller| caller.digest())))
}
