//! The tasks that were handed out: whose each is, which server works on it, and how to speak of it there.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sallyport_policy::Principal;
use sallyport_protocol::{Era, RawObject};
use tokio::time::Instant;

use super::drive::Asked;
use super::follow::Follower;
use super::form::Ending;
use super::running::Place;
use crate::catalogue::resolve::Target;
use crate::limits::{Bill, Counted};

/// Tasks of one caller that are remembered: a program has a few under way. The oldest is forgotten first.
const MOST_OF_CALLER: usize = 1_000;
/// Tasks of all callers that are remembered: the caller with the most loses its oldest.
const MOST: usize = 10_000;
/// Bytes of endings that are kept here for tasks that no server keeps; beyond it the oldest of these tasks is forgotten.
const MOST_KEPT_BYTES: usize = 16 * 1024 * 1024;
/// How much longer than its server a task is remembered, so that it is the server that says it is gone.
const GRACE: Duration = Duration::from_secs(60);

/// A task that was handed out.
#[derive(Debug)]
pub(crate) struct Task {
    /// Its id as its caller knows it: the server's own where both speak the same form, else one that nobody can guess.
    pub(crate) id: String,
    /// Its id as its server knows it.
    pub(crate) own: String,
    pub(crate) server: Arc<str>,
    /// Tells the version of the server that works on it.
    pub(crate) scope: Arc<str>,
    /// The tool that was called.
    pub(crate) target: Target,
    /// Which form of tasks its server speaks.
    pub(crate) form: Era,
    pub(crate) owner: Principal,
    /// Its server is reached over one connection for all, so that an id means the same for everybody there.
    is_shared: bool,
    /// What it ended with, where its server has made no task of the call: nobody else keeps it.
    pub(crate) kept: Option<Ending>,
    /// The server's questions that were put to the caller.
    pub(crate) asked: Asked,
    /// Its call went by a person's approval: nothing goes to its server that the caller adds.
    pub(crate) is_approved: bool,
    /// The server's questions that the caller was told of with what an approved task is at.
    pub(crate) told: Asked,
    /// What its result is charged to.
    bill: Option<Bill>,
    /// Its place among the calls at once, where a limit counts them.
    pub(crate) place: Option<Arc<Place>>,
    /// When it was handed out.
    since: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The task as it was last seen, under its caller's id.
    seen: RawObject,
    /// When it is forgotten: its server may put that off.
    expiry: Option<Instant>,
    /// It was cancelled by its caller, and stays so whatever its server makes of that (2025-11-25, task cancellation).
    is_cancelled: bool,
    /// Hears what a legacy server asks.
    follower: Option<Arc<Follower>>,
}

impl Task {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task as it was last seen.
    pub(crate) fn seen(&self) -> RawObject {
        self.state().seen.clone()
    }

    /// Takes note of what the task is at. Its endings are not kept.
    pub(crate) fn see(&self, task: &RawObject) {
        let mut seen = task.clone();
        seen.retain(|key| !matches!(key, "result" | "error" | "inputRequests" | "_meta" | "resultType"));
        let ttl = seen.get("ttlMs").and_then(|ttl| ttl.decode::<u64>().ok()).map(Duration::from_millis);
        let mut state = self.state();
        state.expiry = ttl.and_then(|ttl| self.since.checked_add(ttl)?.checked_add(GRACE));
        state.seen = seen;
    }

    /// Takes note of what its own server says that it is at: one that has ended runs no longer.
    pub(crate) fn note(&self, task: &RawObject) {
        self.place.iter().for_each(|place| place.note(task));
    }

    /// It runs no longer.
    pub(crate) fn let_go(&self) {
        self.place.iter().for_each(|place| place.let_go());
    }

    /// Charges what is told of its result.
    pub(crate) fn charge(&self, weigh: impl FnOnce() -> usize) {
        if let Some(bill) = &self.bill {
            bill.charge(weigh);
        }
    }

    fn is_over(&self) -> bool {
        self.state().expiry.is_some_and(|expiry| expiry <= Instant::now())
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.state().is_cancelled
    }

    pub(crate) fn set_cancelled(&self) {
        self.state().is_cancelled = true;
    }

    /// The follower, if one is at work.
    pub(crate) fn follower(&self) -> Option<Arc<Follower>> {
        self.state().follower.clone().filter(|follower| !follower.has_failed())
    }

    /// The follower; where none is at work, `start` makes one.
    ///
    /// # Errors
    /// Those of `start`.
    pub(crate) fn follower_or<E>(&self, start: impl FnOnce() -> Result<Arc<Follower>, E>) -> Result<Arc<Follower>, E> {
        let mut state = self.state();
        if let Some(follower) = state.follower.as_ref().filter(|follower| !follower.has_failed()) {
            return Ok(follower.clone());
        }
        let follower = start()?;
        state.follower = Some(follower.clone());
        Ok(follower)
    }

    /// Bytes that it costs beyond its bounded members.
    fn kept_bytes(&self) -> usize {
        match &self.kept {
            Some(Ok(result)) => result.text_len(),
            Some(Err(_)) | None => 0,
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(follower) = &self.state().follower {
            follower.stop();
        }
    }
}

/// What is known of a task when it is handed out.
pub(crate) struct New {
    pub(crate) owner: Principal,
    pub(crate) server: Arc<str>,
    pub(crate) scope: Arc<str>,
    pub(crate) target: Target,
    pub(crate) form: Era,
    /// Whether its server is reached over one connection for all.
    pub(crate) is_shared: bool,
    /// The task as its server described it, under the server's own id.
    pub(crate) described: RawObject,
    pub(crate) own: String,
    pub(crate) kept: Option<Ending>,
    /// What limits count of the call that it is.
    pub(crate) counted: Option<Arc<Counted>>,
    pub(crate) is_approved: bool,
}

/// All tasks that were handed out.
#[derive(Debug, Default)]
pub(crate) struct Store(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_owner: HashMap<Principal, Owned>,
    /// The owner and caller's id of each task, by its server's scope and the server's own id.
    by_own: HashMap<(Arc<str>, String), (Principal, String)>,
    count: usize,
    kept_bytes: usize,
}

#[derive(Debug, Default)]
struct Owned {
    by_id: HashMap<String, Arc<Task>>,
    oldest_first: VecDeque<String>,
}

impl Store {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a task. `id` is what its caller shall know it by; `mint` makes another where the caller has a task of that id.
    pub(crate) fn add<E>(&self, new: New, id: Option<&str>, mint: impl FnOnce() -> Result<String, E>) -> Result<Arc<Task>, E> {
        let mut known = self.known();
        if new.is_shared {
            known.forget_own(&new.scope, &new.own);
        }
        let is_free = |id: &&str| !known.by_owner.get(&new.owner).is_some_and(|owned| owned.by_id.contains_key(*id));
        let id = match id.filter(is_free) {
            Some(id) => id.to_owned(),
            None => mint()?,
        };
        let New { owner, server, scope, target, form, is_shared, mut described, own, kept, counted, is_approved } = new;
        described.set("taskId", sallyport_protocol::RawJson::string(&id));
        let bill = counted.as_ref().map(|counted| counted.bill());
        // One that ended before it was handed out runs nowhere; of the others only that matters which is counted.
        let place = Place::of(counted.as_ref().filter(|_| kept.is_none()));
        let state = State { seen: RawObject::new(), expiry: None, is_cancelled: false, follower: None };
        let (asked, told, since, state) = (Asked::default(), Asked::default(), Instant::now(), Mutex::new(state));
        let task =
            Task { id, own, server, scope, target, form, owner, is_shared, kept, asked, is_approved, told, bill, place, since, state };
        task.see(&described);
        let task = Arc::new(task);
        known.insert(&task);
        Ok(task)
    }

    /// The task that a caller knows by that id. Another caller's is not there.
    pub(crate) fn find(&self, owner: &Principal, id: &str) -> Option<Arc<Task>> {
        let mut known = self.known();
        let task = known.by_owner.get(owner)?.by_id.get(id)?.clone();
        if task.is_over() {
            known.remove(owner, id);
            return None;
        }
        Some(task)
    }

    /// The task that the server of that scope knows by that id.
    pub(crate) fn find_own(&self, scope: &Arc<str>, own: &str) -> Option<Arc<Task>> {
        let known = self.known();
        let (owner, id) = known.by_own.get(&(scope.clone(), own.to_owned()))?;
        known.by_owner.get(owner)?.by_id.get(id).cloned()
    }

    /// All tasks of a caller, the newest first.
    pub(crate) fn of(&self, owner: &Principal) -> Vec<Arc<Task>> {
        let mut known = self.known();
        known.forget_expired(owner);
        let Some(owned) = known.by_owner.get(owner) else { return Vec::new() };
        owned.oldest_first.iter().rev().filter_map(|id| owned.by_id.get(id)).cloned().collect()
    }

    /// Forgets a task.
    pub(crate) fn forget(&self, task: &Task) {
        self.known().remove(&task.owner, &task.id);
    }

    /// All tasks that `which` names.
    pub(crate) fn all(&self, which: impl Fn(&Task) -> bool) -> Vec<Arc<Task>> {
        let known = self.known();
        let all = known.by_owner.values().flat_map(|owned| owned.by_id.values());
        all.filter(|task| which(task)).cloned().collect()
    }

    /// Forgets the tasks of servers that are gone.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        for task in self.all(|task| !is_there(&task.server)) {
            task.let_go(); // with its server
            self.forget(&task);
        }
    }
}

impl Known {
    fn insert(&mut self, task: &Arc<Task>) {
        self.forget_expired(&task.owner);
        self.count += 1;
        self.kept_bytes += task.kept_bytes();
        if task.is_shared {
            self.by_own.insert((task.scope.clone(), task.own.clone()), (task.owner.clone(), task.id.clone()));
        }
        let owned = self.by_owner.entry(task.owner.clone()).or_default();
        owned.by_id.insert(task.id.clone(), task.clone());
        owned.oldest_first.push_back(task.id.clone());
        if owned.oldest_first.len() > MOST_OF_CALLER {
            self.forget_oldest(&task.owner.clone(), |_| true);
        }
        if self.count > MOST
            && let Some(owner) = self.by_owner.iter().max_by_key(|(_, owned)| owned.by_id.len()).map(|(owner, _)| owner.clone())
        {
            self.forget_oldest(&owner, |_| true);
        }
        while self.kept_bytes > MOST_KEPT_BYTES {
            let most = |owned: &Owned| owned.by_id.values().map(|task| task.kept_bytes()).sum::<usize>();
            let Some(owner) = self.by_owner.iter().max_by_key(|(_, owned)| most(owned)).map(|(owner, _)| owner.clone()) else { break };
            self.forget_oldest(&owner, |task| task.kept_bytes() > 0);
        }
    }

    fn forget_oldest(&mut self, owner: &Principal, which: impl Fn(&Task) -> bool) {
        let Some(owned) = self.by_owner.get(owner) else { return };
        let oldest = owned.oldest_first.iter().find(|id| owned.by_id.get(*id).is_some_and(|task| which(task))).cloned();
        if let Some(oldest) = oldest {
            self.remove(owner, &oldest);
        }
    }

    fn forget_expired(&mut self, owner: &Principal) {
        let Some(owned) = self.by_owner.get(owner) else { return };
        let is_over = |id: &&String| owned.by_id.get(*id).is_some_and(|task| task.is_over());
        let over: Vec<String> = owned.oldest_first.iter().filter(is_over).cloned().collect();
        over.iter().for_each(|id| self.remove(owner, id));
    }

    fn remove(&mut self, owner: &Principal, id: &str) {
        let Some(owned) = self.by_owner.get_mut(owner) else { return };
        let Some(task) = owned.by_id.remove(id) else { return };
        owned.oldest_first.retain(|known| known != id);
        if owned.by_id.is_empty() {
            self.by_owner.remove(owner);
        }
        self.count -= 1;
        self.kept_bytes -= task.kept_bytes();
        if task.is_shared {
            self.by_own.remove(&(task.scope.clone(), task.own.clone()));
        }
    }

    /// Forgets the task that a server knew by an id which means another one there now: a server that was started anew may count from the
    /// beginning, and whoever had the old one must not be shown the new one.
    fn forget_own(&mut self, scope: &Arc<str>, own: &str) {
        if let Some((owner, id)) = self.by_own.get(&(scope.clone(), own.to_owned())).cloned() {
            self.remove(&owner, &id);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::catalogue::resolve::TargetKind;
    use sallyport_protocol::RawJson;

    fn object(text: &str) -> RawObject {
        RawJson::parse(text.to_owned()).unwrap().object().unwrap()
    }

    fn new(owner: &Principal, server: &str, own: &str) -> New {
        New {
            owner: owner.clone(),
            server: server.into(),
            scope: server.into(),
            target: Target::named(TargetKind::Tool, "t"),
            form: Era::Legacy,
            is_shared: true,
            described: object(&format!(r#"{{"taskId":"{own}","status":"working","ttlMs":null}}"#)),
            own: own.into(),
            kept: None,
            counted: None,
            is_approved: false,
        }
    }

    fn add(store: &Store, new: New) -> Arc<Task> {
        let id = new.own.clone();
        store.add(new, Some(&id), || Ok::<_, ()>(format!("minted-{id}"))).unwrap()
    }

    #[tokio::test]
    async fn a_task_is_found_by_its_owner_alone() {
        let store = Store::default();
        let (me, other) = (Principal::local_user(), Principal::key("other"));
        add(&store, new(&me, "s", "t1"));
        assert_eq!(store.find(&me, "t1").unwrap().own, "t1");
        assert!(store.find(&other, "t1").is_none());
        assert_eq!(store.find_own(&"s".into(), "t1").unwrap().owner, me);
        store.forget(&store.find(&me, "t1").unwrap());
        assert!(store.find(&me, "t1").is_none() && store.find_own(&"s".into(), "t1").is_none() && store.of(&me).is_empty());
    }

    #[tokio::test]
    async fn two_servers_with_the_same_id_are_told_apart() {
        let (store, me) = (Store::default(), Principal::local_user());
        let (one, two) = (add(&store, new(&me, "a", "1")), add(&store, new(&me, "b", "1")));
        assert_eq!((one.id.as_str(), two.id.as_str()), ("1", "minted-1"));
        assert_eq!(&*store.find(&me, "minted-1").unwrap().server, "b");
        assert_eq!(two.seen().get_str("taskId").unwrap(), "minted-1");
        store.retain(|server| server == "b");
        assert_eq!(store.of(&me).len(), 1);
    }

    #[tokio::test]
    async fn an_id_that_a_server_gives_out_anew_is_the_new_owners_alone() {
        let store = Store::default();
        let (before, now) = (Principal::key("before"), Principal::key("now"));
        add(&store, new(&before, "s", "1"));
        add(&store, new(&now, "s", "1"));
        assert!(store.find(&before, "1").is_none() && store.of(&before).is_empty());
        assert_eq!(store.find_own(&"s".into(), "1").unwrap().owner, now);

        let own = |owner| New { is_shared: false, ..new(owner, "mine", "1") };
        add(&store, own(&before));
        add(&store, own(&now));
        assert!([&before, &now].iter().all(|owner| store.of(owner).iter().any(|task| &*task.server == "mine")), "each has a connection");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_is_forgotten_when_its_time_is_up() {
        let (store, me) = (Store::default(), Principal::local_user());
        let mut brief = new(&me, "s", "brief");
        brief.described.set("ttlMs", RawJson::from_static("1000"));
        add(&store, brief);
        add(&store, new(&me, "s", "endless"));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(store.of(&me).len(), 2, "the server says so first");
        let endless = store.find(&me, "endless").unwrap();
        endless.see(&object(r#"{"taskId":"endless","ttlMs":30000}"#));
        assert_eq!(store.of(&me).len(), 2, "its server may change its mind");
        endless.see(&object(r#"{"taskId":"endless","ttlMs":null}"#));
        tokio::time::advance(Duration::from_secs(32)).await;
        assert!(store.find(&me, "brief").is_none());
        assert_eq!(store.of(&me).len(), 1);
    }

    #[tokio::test]
    async fn the_oldest_are_forgotten_first() {
        let (store, me, other) = (Store::default(), Principal::local_user(), Principal::key("other"));
        add(&store, new(&other, "s", "theirs"));
        for at in 0..=MOST_OF_CALLER {
            add(&store, new(&me, "s", &at.to_string()));
        }
        assert_eq!(store.of(&me).len(), MOST_OF_CALLER);
        assert!(store.find(&me, "0").is_none() && store.find(&me, "1").is_some() && store.find(&other, "theirs").is_some());
    }

    #[tokio::test]
    async fn endings_that_are_kept_here_are_bounded_by_their_bytes() {
        let (store, me) = (Store::default(), Principal::local_user());
        let large = object(&format!(r#"{{"content":"{}"}}"#, "x".repeat(MOST_KEPT_BYTES / 2 - 100)));
        for at in 0..3 {
            add(&store, New { kept: Some(Ok(large.clone())), ..new(&me, "s", &at.to_string()) });
        }
        assert!(store.find(&me, "0").is_none());
        assert_eq!(store.of(&me).len(), 2);
        assert!(store.known().kept_bytes <= MOST_KEPT_BYTES);
    }
}
