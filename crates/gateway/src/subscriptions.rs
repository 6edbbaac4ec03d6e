//! How many sessions want to hear of one resource: its server is told at the first and at the last, in that order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sallyport_policy::Principal;
use sallyport_protocol::{Method, TokenDigest};
use tokio::sync::OwnedMutexGuard;

/// Resources subscribed to at most, over all servers: each costs its server and us some memory.
const MOST: usize = 10_000;
/// Those that one principal has been the first to subscribe to, once half of the room is taken: there is always some for others.
const MOST_OF_ONE: usize = MOST / 10;

/// A server, one of its own URIs, and the caller's token where the server may let one hear of it and another not.
pub(crate) type Key = (Arc<str>, String, Option<TokenDigest>);
/// Subscribers, held by whoever tells the server: the next one waits, so that an end cannot overtake a beginning.
type Count = Arc<tokio::sync::Mutex<usize>>;

/// Counts subscribers by server and own URI.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<HashMap<Key, Entry>>);

#[derive(Debug)]
struct Entry {
    /// Who was the first.
    by: Principal,
    count: Count,
}

/// What to do with one request to subscribe or unsubscribe.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// The server must hear it.
    Tell(Turn<'a>),
    /// Others listen still, or already.
    Counted,
    /// There are too many.
    Full,
}

/// The right to tell the server. Dropped, it leaves the count as it was.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    subscriptions: &'a Subscriptions,
    key: Key,
    count: Option<OwnedMutexGuard<usize>>,
    becomes: usize,
}

impl Subscriptions {
    fn counts(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request of `method` by `principal` for what `key` names, once those before it are through.
    pub(crate) async fn count(&self, method: Method, principal: &Principal, key: Key) -> Step<'_> {
        let Some(count) = self.entry(&key, principal) else { return Step::Full };
        let mut count = count.lock_owned().await;
        let becomes = match (method, *count) {
            (Method::ResourcesSubscribe, 0) => 1,
            (Method::ResourcesSubscribe, _) => {
                *count += 1;
                return Step::Counted;
            }
            (_, 0 | 1) => 0,
            _ => {
                *count -= 1;
                return Step::Counted;
            }
        };
        Step::Tell(Turn { subscriptions: self, key, count: Some(count), becomes })
    }

    fn entry(&self, key: &Key, principal: &Principal) -> Option<Count> {
        let mut counts = self.counts();
        if !counts.contains_key(key) && is_full(&counts, principal) {
            // Those who gave up waiting leave entries behind.
            counts.retain(|_, Entry { count, .. }| Arc::strong_count(count) > 1 || count.try_lock().is_ok_and(|count| *count > 0));
            if is_full(&counts, principal) {
                return None;
            }
        }
        let entry = counts.entry(key.clone()).or_insert_with(|| Entry { by: principal.clone(), count: Count::default() });
        Some(entry.count.clone())
    }

    /// Forgets the subscriptions of servers that are gone.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.counts().retain(|(server, ..), _| is_there(server));
    }
}

/// Whether there is no room for one more that `principal` would be the first to subscribe to.
fn is_full(counts: &HashMap<Key, Entry>, principal: &Principal) -> bool {
    let by_one = || counts.values().filter(|entry| entry.by == *principal).count();
    counts.len() >= MOST || (counts.len() >= MOST / 2 && by_one() >= MOST_OF_ONE)
}

impl Turn<'_> {
    /// The server has heard it.
    pub(crate) fn told(mut self) {
        if let Some(count) = &mut self.count {
            **count = self.becomes;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(count) = self.count.take() else { return };
        let mut counts = self.subscriptions.counts();
        let nobody_listens = *count == 0;
        drop(count);
        // Whoever waits for a turn holds the entry too.
        if nobody_listens && counts.get(&self.key).is_some_and(|entry| Arc::strong_count(&entry.count) == 1) {
            counts.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "a test fails by panicking")]
    use super::*;

    async fn turn<'a>(subscriptions: &'a Subscriptions, method: Method, server: &Arc<str>) -> Option<Turn<'a>> {
        match subscriptions.count(method, &Principal::local_user(), (server.clone(), "a:1".to_owned(), None)).await {
            Step::Tell(turn) => Some(turn),
            Step::Counted => None,
            Step::Full => panic!("there is room"),
        }
    }

    /// Whether the server was told, which it hears.
    async fn is_told(subscriptions: &Subscriptions, method: Method, server: &Arc<str>) -> bool {
        turn(subscriptions, method, server).await.map(Turn::told).is_some()
    }

    #[tokio::test]
    async fn the_server_hears_the_first_and_the_last() {
        let (subscriptions, server) = (Subscriptions::default(), Arc::<str>::from("s"));
        assert!(is_told(&subscriptions, Method::ResourcesSubscribe, &server).await);
        assert!(!is_told(&subscriptions, Method::ResourcesSubscribe, &server).await);
        assert!(!is_told(&subscriptions, Method::ResourcesUnsubscribe, &server).await);
        assert!(is_told(&subscriptions, Method::ResourcesUnsubscribe, &server).await);
        assert!(is_told(&subscriptions, Method::ResourcesUnsubscribe, &server).await, "the server answers for what is not there");
        assert!(subscriptions.counts().is_empty());
    }

    #[tokio::test]
    async fn a_server_that_comes_back_hears_the_first_again() {
        let subscriptions = Subscriptions::default();
        let [gone, stays] = ["gone", "stays"].map(Arc::<str>::from);
        assert!(is_told(&subscriptions, Method::ResourcesSubscribe, &gone).await);
        assert!(is_told(&subscriptions, Method::ResourcesSubscribe, &stays).await);
        subscriptions.retain(|server| server == "stays");
        assert!(is_told(&subscriptions, Method::ResourcesSubscribe, &gone).await);
        assert!(!is_told(&subscriptions, Method::ResourcesSubscribe, &stays).await);
    }

    #[tokio::test]
    async fn nobody_takes_the_room_of_others() {
        let (subscriptions, server) = (Subscriptions::default(), Arc::<str>::from("s"));
        let (greedy, other) = (Principal::key("greedy"), Principal::key("other"));
        let is_full = async |who: &Principal, uri: String| match subscriptions
            .count(Method::ResourcesSubscribe, who, (server.clone(), uri, None))
            .await
        {
            Step::Tell(turn) => {
                turn.told();
                false
            }
            Step::Counted => false,
            Step::Full => true,
        };
        let mut had = 0;
        while !is_full(&greedy, format!("a:{had}")).await {
            had += 1;
        }
        assert_eq!(had, MOST / 2);
        assert!(!is_full(&greedy, "a:0".to_owned()).await, "this one is there already");
        for at in 0..MOST_OF_ONE {
            assert!(!is_full(&other, format!("b:{at}")).await, "{at}");
        }
        assert!(is_full(&other, "b:more".to_owned()).await);
    }

    #[tokio::test]
    async fn what_a_server_refused_is_asked_of_it_again_by_whoever_waited() {
        let (subscriptions, server) = (Subscriptions::default(), Arc::<str>::from("s"));
        let first = turn(&subscriptions, Method::ResourcesSubscribe, &server).await;
        let (second, ()) = tokio::join!(turn(&subscriptions, Method::ResourcesSubscribe, &server), async {
            tokio::task::yield_now().await;
            drop(first); // refused
        });
        assert!(second.is_some(), "nobody listens yet");
        drop(second);
        assert!(subscriptions.counts().is_empty());
    }
}
