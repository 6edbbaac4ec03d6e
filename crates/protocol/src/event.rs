//! What a server says without being asked, outside any request.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::credential::TokenDigest;
use crate::raw::RawObject;

/// A server's news that belongs to no request.
#[derive(Clone, Debug)]
pub enum Event {
    /// The list of tools is another now.
    ToolsChanged,
    /// The list of prompts is another now.
    PromptsChanged,
    /// The list of resources is another now.
    ResourcesChanged,
    /// A resource that was subscribed to has changed.
    ResourceUpdated {
        /// Which one.
        uri: String,
        /// The notification's parameters, as they came.
        params: RawObject,
        /// By whose token the stream was opened on which it came: it is told to who subscribed by the same. `None` where all who
        /// subscribed share what tells them.
        by: Option<TokenDigest>,
    },
    /// A log message that belongs to no request (legacy revisions).
    Log(RawObject),
    /// Another notification, passed on as it is: its method and parameters.
    Other(String, RawObject),
}

/// Hears a server's events. Called on the server's own task: must not block.
pub trait Listener: Send + Sync {
    /// Takes one event.
    fn hear(&self, event: &Event);

    /// Whether it has a use for news of this resource that came `by` a token; asked before it is found out whether it may have them.
    fn is_subscribed(&self, uri: &str, by: Option<&TokenDigest>) -> bool {
        let _any = (uri, by);
        true
    }
}

/// Those who listen to one server. They are held weakly: who drops its listener has left.
#[derive(Default)]
pub struct Listeners(Mutex<Vec<Weak<dyn Listener>>>);

impl Listeners {
    /// Adds a listener.
    pub fn add(&self, listener: &Arc<dyn Listener>) {
        let mut all = self.lock();
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(listener));
    }

    /// Tells an event to all.
    pub fn tell(&self, event: &Event) {
        let present: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        for listener in present {
            listener.hear(event);
        }
    }

    /// Whether nobody listens any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().iter().all(|known| known.strong_count() == 0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn Listener>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Listeners({})", self.lock().len())
    }
}
