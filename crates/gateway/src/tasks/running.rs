//! How long a task counts as a running call.
//!
//! A server works on a task whether anybody asks for it or not, and few tell unasked when they have done. So where a limit counts calls at
//! once, the gateway asks the server itself until the task has ended.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sallyport_protocol::{Client, Failure, FailureKind, RawObject};
use tokio::time::{Instant, sleep};

use super::drive::{LONGEST_POLL, interval};
use super::follow::is_unknown;
use super::form::{self, Status};
use super::line::{Line, naming};
use super::store::Task;
use crate::limits::Counted;
use crate::upstream::Upstream;

/// The least time between two looks: who waits for the place of a task is told to wait a second.
const BRIEFEST: Duration = Duration::from_secs(1);
/// How long a task counts whose server does not answer: as long as a call waits for its caller.
const UNANSWERED: Duration = Duration::from_secs(10 * 60);
/// How long a task counts at most, whatever its server says: as long as servers are asked to keep one.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The place of a task among the calls at once. That the task is forgotten here does not free it: its server may be at it still.
#[derive(Debug)]
pub(crate) struct Place(Mutex<Option<Arc<Counted>>>);

impl Place {
    /// The place of a call, where a limit counts it.
    pub(super) fn of(counted: Option<&Arc<Counted>>) -> Option<Arc<Self>> {
        counted.filter(|counted| counted.counts_at_once()).map(|counted| Arc::new(Self(Mutex::new(Some(counted.clone())))))
    }

    pub(super) fn let_go(&self) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(counted); // outside of the lock
    }

    /// Takes note of what the task's own server says that it is at.
    pub(super) fn note(&self, task: &RawObject) {
        if Status::of(task).is_some_and(Status::is_final) {
            self.let_go();
        }
    }

    fn is_held(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Frees a task's place as soon as its server has ended it, where it has one.
pub(super) fn watch(task: &Arc<Task>, line: &Line, client: &Arc<Client>, described: &RawObject) {
    if let Some(place) = task.place.clone().filter(|place| place.is_held()) {
        Look::of(line, place, &task.own, client).begin(line.upstream.stopped(), interval(described).max(BRIEFEST));
    }
}

/// Holds the place of a call whose task goes on at its server, though nobody waits for it any more.
pub(super) fn outlive(line: &Line, own: &str, client: &Arc<Client>) {
    if let Some(place) = Place::of(line.counted.as_ref()) {
        Look::of(line, place, own, client).begin(line.upstream.stopped(), Duration::ZERO); // most servers end it as soon as they are told to
    }
}

struct Look {
    place: Arc<Place>,
    own: String,
    /// Not held by this: what nobody else needs any more is to end.
    upstream: Weak<Upstream>,
    client: Arc<Client>,
}

impl Look {
    fn of(line: &Line, place: Arc<Place>, own: &str, client: &Arc<Client>) -> Self {
        Self { place, own: own.to_owned(), upstream: Arc::downgrade(&line.upstream), client: client.clone() }
    }

    /// Looks on in the background, and lets the place go at the end. With its server a task ends, whatever became of it.
    fn begin(self, stopped: impl Future<Output = ()> + Send + 'static, wait: Duration) {
        tokio::spawn(async move {
            tokio::select! {
                () = self.until_over(wait) => {}
                () = stopped => {}
            }
            self.place.let_go();
        });
    }

    /// Asks until the task is over, its server is stopped, or nothing has been heard for too long.
    async fn until_over(&self, mut wait: Duration) {
        let began = Instant::now();
        let mut heard = began;
        while began.elapsed() < LONGEST && heard.elapsed() < UNANSWERED {
            sleep(wait).await;
            if !self.place.is_held() {
                return;
            }
            let Some(upstream) = self.upstream.upgrade() else { return };
            match upstream.look_at_task(naming(&self.own), &self.client).await.map(|reply| form::described(&reply)) {
                Ok(task) => {
                    heard = Instant::now();
                    wait = interval(&task).max(BRIEFEST);
                    self.place.note(&task);
                }
                Err(Failure { kind: FailureKind::Upstream(error), .. }) if is_unknown(&error) => return,
                Err(_) => wait = (wait * 2).clamp(BRIEFEST, LONGEST_POLL),
            }
        }
    }
}
