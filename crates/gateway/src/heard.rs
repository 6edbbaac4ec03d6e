//! News of resources, which a listener hears for as long as policy lets it: rules change, and so do the hours that they speak of, while a
//! subscription goes on for days.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt as _;
use sallyport_policy::Principal;
use sallyport_protocol::{Event, Incoming, Listener, Method, RawJson, RawObject, Request};

use crate::catalogue::resolve::Call;
use crate::decide::circumstances;
use crate::gateway::Inner;

/// Stands before a door's listener. Whoever has it holds it as long as the listener listens.
pub(crate) struct Heard {
    inner: Weak<Inner>,
    incoming: Incoming,
    principal: Principal,
    listener: Weak<dyn Listener>,
    /// Resources of which it is being found out whether they may be told of: no more than the listener is subscribed to.
    asked: Mutex<HashSet<String>>,
    this: Weak<Self>,
}

impl Heard {
    /// What `listener` of `principal`, who came by `incoming`, hears of `inner`.
    pub(crate) fn new(inner: &Arc<Inner>, incoming: &Incoming, principal: &Principal, listener: &Arc<dyn Listener>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            inner: Arc::downgrade(inner),
            incoming: Incoming { recognised: None, ..incoming.clone() },
            principal: principal.clone(),
            listener: Arc::downgrade(listener),
            asked: Mutex::default(),
            this: this.clone(),
        })
    }

    fn asked(&self) -> MutexGuard<'_, HashSet<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes the news of `uri` on if policy lets it. Where somebody has to be asked first, nobody waits for that.
    fn pass_on(&self, uri: &str, event: &Event) {
        let Some(this) = self.this.upgrade() else { return };
        if !self.asked().insert(uri.to_owned()) {
            return; // it will be told once
        }
        let (uri, event) = (uri.to_owned(), event.clone());
        let mut passing = Box::pin(async move {
            let may = this.may_hear(&uri).await;
            this.asked().remove(&uri);
            if let Some(listener) = this.listener.upgrade().filter(|_| may) {
                listener.hear(&event);
            }
        });
        if (&mut passing).now_or_never().is_none() {
            tokio::spawn(passing);
        }
    }

    /// Decides as of a subscription that begins now.
    async fn may_hear(&self, uri: &str) -> bool {
        let Some(inner) = self.inner.upgrade() else { return false };
        let parts = inner.parts.load_full();
        // Who is not known any more has a stream that ends in a moment.
        let known = parts.known(&self.incoming);
        let principal = known.as_ref().map_or(&self.principal, |known| &known.principal);
        let parts = inner.heard_by(&parts, principal).await;
        let mut params = RawObject::new();
        params.set("uri", RawJson::string(uri));
        let resolved = parts.catalogue.load().resolve(Request::new(Method::ResourcesSubscribe, params), &self.incoming.endpoint);
        let Ok(Call { routed, action, target, .. }) = resolved else { return false };
        let server = routed.server.clone();
        parts.policy.allows(principal, action, &target.resource(&server), circumstances(self.incoming.peer)).await
    }
}

impl Listener for Heard {
    fn hear(&self, event: &Event) {
        let Some(listener) = self.listener.upgrade() else { return };
        match event {
            Event::ResourceUpdated { uri, by, .. } if listener.is_subscribed(uri, by.as_ref()) => self.pass_on(uri, event),
            Event::ResourceUpdated { .. } => {}
            _ => listener.hear(event),
        }
    }
}
