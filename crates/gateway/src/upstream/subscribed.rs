//! The resources that a server was asked to tell changes of: one that was started anew is asked again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sallyport_protocol::{CallerToken, Method, RawJson, RawObject, Request, TokenDigest};

use crate::upstream::link::Link;
use crate::upstream::own_call::{self, Own};

/// Subscriptions that are remembered at most; the gateway's own count over all servers is bounded by the same number.
const MOST: usize = 10_000;

/// URIs, by whose token each was subscribed to, and that token; nothing where the server tells callers' tokens not apart.
type ByKey = BTreeMap<(String, Option<TokenDigest>), Option<Arc<CallerToken>>>;

#[derive(Default)]
pub(crate) struct Subscribed(Mutex<ByKey>);

impl Subscribed {
    fn by_key(&self) -> MutexGuard<'_, ByKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a request that the server answered well, and of what went with it.
    pub(crate) fn note(&self, request: &Request, credential: Option<&Arc<CallerToken>>) {
        let subscribes = match request.method {
            Method::ResourcesSubscribe => true,
            Method::ResourcesUnsubscribe => false,
            _ => return,
        };
        let Some(uri) = request.params.get_str("uri") else { return };
        let key = (uri.into_owned(), credential.map(|token| token.digest()));
        let mut subscribed = self.by_key();
        if !subscribes {
            subscribed.remove(&key);
        } else if subscribed.len() < MOST {
            subscribed.insert(key, credential.cloned());
        }
    }

    /// Whether nobody listens to any of its resources.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key().is_empty()
    }

    /// Takes over what another server of that name was asked, before it is reached for the first time.
    pub(crate) fn take_over(&self, other: &Self) {
        let subscribed = other.by_key().clone();
        *self.by_key() = subscribed;
    }

    /// Subscribes to them over a new connection; each may take `limit`.
    pub(crate) async fn renew(&self, link: &Link, own: &Own, limit: Duration) {
        let subscribed = self.by_key().clone();
        for ((uri, _), credential) in subscribed {
            let mut params = RawObject::new();
            params.set("uri", RawJson::string(&uri));
            let request = Request::new(Method::ResourcesSubscribe, params);
            if let Err(failure) = own_call::ask_for(&*link.server, own, request, credential, limit).await {
                tracing::warn!(server = own.server(), uri, "the subscription could not be renewed: {failure}");
            }
        }
    }
}

impl std::fmt::Debug for Subscribed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Subscribed({})", self.by_key().len())
    }
}
