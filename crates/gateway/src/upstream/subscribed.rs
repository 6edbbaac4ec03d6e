//! The resources that a server was asked to tell changes of: one that was started anew is asked again.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sallyport_protocol::{Method, RawJson, RawObject, Request};

use crate::upstream::link::Link;
use crate::upstream::own_call::{self, Own};

/// URIs that are remembered at most; the gateway's own count of subscriptions over all servers is bounded by the same number.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Subscribed(Mutex<BTreeSet<String>>);

impl Subscribed {
    /// Takes note of a request that the server answered well.
    pub(crate) fn note(&self, request: &Request) {
        let subscribes = match request.method {
            Method::ResourcesSubscribe => true,
            Method::ResourcesUnsubscribe => false,
            _ => return,
        };
        let Some(uri) = request.params.get_str("uri") else { return };
        let mut uris = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !subscribes {
            uris.remove(uri.as_ref());
        } else if uris.len() < MOST {
            uris.insert(uri.into_owned());
        }
    }

    /// Whether nobody listens to any of its resources.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes over what another server of that name was asked, before it is reached for the first time.
    pub(crate) fn take_over(&self, other: &Self) {
        let uris = other.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = uris;
    }

    /// Subscribes to them over a new connection; each may take `limit`.
    pub(crate) async fn renew(&self, link: &Link, own: &Own, limit: Duration) {
        let uris = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for uri in uris {
            let mut params = RawObject::new();
            params.set("uri", RawJson::string(&uri));
            let request = Request::new(Method::ResourcesSubscribe, params);
            if let Err(failure) = own_call::ask(&*link.server, own, request, limit).await {
                tracing::warn!(server = own.server(), uri, "the subscription could not be renewed: {failure}");
            }
        }
    }
}
