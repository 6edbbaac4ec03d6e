//! How many sessions want to hear of one resource: its server is told at the first and at the last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sallyport_protocol::Method;

/// Resources subscribed to at most, over all servers: each costs its server and us some memory.
const MOST: usize = 10_000;

/// Counts subscribers by server and own URI.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<HashMap<(Arc<str>, String), usize>>);

/// What to do with one request to subscribe or unsubscribe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The server must hear it.
    Tell,
    /// Others listen still, or already.
    Counted,
    /// There are too many.
    Full,
}

impl Subscriptions {
    /// Counts a request of `method` for `uri` of `server`.
    pub(crate) fn count(&self, method: Method, server: &Arc<str>, uri: &str) -> Step {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (server.clone(), uri.to_owned());
        if method == Method::ResourcesSubscribe {
            if counts.len() >= MOST && !counts.contains_key(&key) {
                return Step::Full;
            }
            let count = counts.entry(key).or_default();
            *count += 1;
            return if *count == 1 { Step::Tell } else { Step::Counted };
        }
        match counts.get_mut(&key) {
            Some(count) if *count > 1 => {
                *count -= 1;
                Step::Counted
            }
            _ => {
                counts.remove(&key);
                Step::Tell
            }
        }
    }

    /// Forgets the subscriptions of servers that are gone.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(server, _), _| is_there(server));
    }

    /// Takes a subscription back that its server refused.
    pub(crate) fn undo(&self, server: &Arc<str>, uri: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(server.clone(), uri.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_comes_back_hears_the_first_again() {
        let subscriptions = Subscriptions::default();
        let [gone, stays] = ["gone", "stays"].map(Arc::<str>::from);
        let subscribe = |server| subscriptions.count(Method::ResourcesSubscribe, server, "a:1");
        assert_eq!((subscribe(&gone), subscribe(&stays)), (Step::Tell, Step::Tell));
        subscriptions.retain(|server| server == "stays");
        assert_eq!((subscribe(&gone), subscribe(&stays)), (Step::Tell, Step::Counted));
    }

    #[test]
    fn the_server_hears_the_first_and_the_last() {
        let (subscriptions, server) = (Subscriptions::default(), Arc::<str>::from("s"));
        let step = |method| subscriptions.count(method, &server, "a:1");
        assert_eq!(step(Method::ResourcesSubscribe), Step::Tell);
        assert_eq!(step(Method::ResourcesSubscribe), Step::Counted);
        assert_eq!(step(Method::ResourcesUnsubscribe), Step::Counted);
        assert_eq!(step(Method::ResourcesUnsubscribe), Step::Tell);
        assert_eq!(step(Method::ResourcesUnsubscribe), Step::Tell, "the server answers for a subscription that is not there");
    }
}
