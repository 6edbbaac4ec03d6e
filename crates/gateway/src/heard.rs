//! News of resources and of tasks, which a listener hears for as long as policy lets it: rules change, and so do the hours that they speak
//! of, while a subscription goes on for days.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt as _;
use sallyport_policy::Principal;
use sallyport_protocol::{Event, Incoming, Listener, Method, RawJson, RawObject, Request};

use crate::catalogue::resolve::Call;
use crate::decide::circumstances;
use crate::gateway::{Inner, Parts};
use crate::news::TASK_STATUS;

/// Stands before a door's listener. Whoever has it holds it as long as the listener listens.
pub(crate) struct Heard {
    inner: Weak<Inner>,
    incoming: Incoming,
    principal: Principal,
    listener: Weak<dyn Listener>,
    /// Of what it is being found out whether it may be told of, and the last news of it: no more than the listener is subscribed to, and
    /// its caller has tasks.
    asked: Mutex<HashMap<What, Event>>,
    this: Weak<Self>,
}

/// What there is news of.
#[derive(Clone, PartialEq, Eq, Hash)]
enum What {
    Resource(String),
    Task(String),
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

    fn asked(&self) -> MutexGuard<'_, HashMap<What, Event>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes the news of something on if policy lets it. Where somebody has to be asked first, nobody waits for that, and the last is told.
    fn pass_on(&self, what: What, event: &Event) {
        let Some(this) = self.this.upgrade() else { return };
        if self.asked().insert(what.clone(), event.clone()).is_some() {
            return; // it will be told once
        }
        let mut passing = Box::pin(async move {
            let may = this.may_hear(&what).await;
            let last = this.asked().remove(&what);
            if let (Some(listener), Some(event)) = (this.listener.upgrade().filter(|_| may), last) {
                listener.hear(&event);
            }
        });
        if (&mut passing).now_or_never().is_none() {
            tokio::spawn(passing);
        }
    }

    /// Decides as of a request that comes now.
    async fn may_hear(&self, what: &What) -> bool {
        let Some(inner) = self.inner.upgrade() else { return false };
        let parts = inner.parts.load_full();
        // Who is not known any more has a stream that ends in a moment.
        let known = parts.known(&self.incoming);
        let principal = known.as_ref().map_or(&self.principal, |known| &known.principal);
        let parts = inner.heard_by(&parts, principal).await;
        match what {
            What::Resource(uri) => self.may_hear_of_resource(&parts, principal, uri).await,
            What::Task(id) => inner.may_hear_of_task(&parts, principal, self.incoming.peer, id).await,
        }
    }

    async fn may_hear_of_resource(&self, parts: &Parts, principal: &Principal, uri: &str) -> bool {
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
            Event::ResourceUpdated { uri, by, .. } if listener.is_subscribed(uri, by.as_ref()) => {
                self.pass_on(What::Resource(uri.clone()), event);
            }
            Event::ResourceUpdated { .. } => {}
            Event::Other(method, params) if method == TASK_STATUS => {
                if let Some(id) = params.get_str("taskId") {
                    self.pass_on(What::Task(id.into_owned()), event);
                }
            }
            _ => listener.hear(event),
        }
    }
}
