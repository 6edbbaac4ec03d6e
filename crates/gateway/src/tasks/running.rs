//! How long a task counts as a running call.
//!
//! A server works on a task whether anybody asks for it or not, and few tell unasked when they have done. So where a limit counts calls at
//! once, the gateway asks the server itself until the task has ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sallyport_protocol::{Cancel, Client, Context, Failure, FailureKind, Method, RawObject};
use tokio::time::{Instant, sleep};

use super::drive::{LONGEST_POLL, interval};
use super::follow::is_unknown;
use super::form::{self, Status};
use super::line::{Line, naming};
use super::store::Task;
use crate::limits::Counted;
use crate::upstream::own_call::Nobody;

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
        let line = Line { counted: None, ..line.clone() };
        let look = Look { place, own: task.own.clone(), line, client: client.clone() };
        tokio::spawn(look.until_over(interval(described).max(BRIEFEST)));
    }
}

struct Look {
    place: Arc<Place>,
    own: String,
    line: Line,
    client: Arc<Client>,
}

impl Look {
    async fn until_over(self, mut wait: Duration) {
        let began = Instant::now();
        let mut heard = began;
        while began.elapsed() < LONGEST && heard.elapsed() < UNANSWERED {
            sleep(wait).await;
            if !self.place.is_held() {
                return;
            }
            match self.ask().await {
                Ok(task) => {
                    heard = Instant::now();
                    wait = interval(&task).max(BRIEFEST);
                    self.place.note(&task);
                }
                Err(Failure { kind: FailureKind::Upstream(error), .. }) if is_unknown(&error) => break,
                Err(_) => wait = (wait * 2).min(LONGEST_POLL),
            }
        }
        self.place.let_go();
    }

    async fn ask(&self) -> Result<RawObject, Failure> {
        let context = Context { client: self.client.clone(), asker: Arc::new(Nobody), cancel: Cancel::new() };
        let reply = self.line.ask(Method::TasksGet, naming(&self.own), RawObject::new(), context).await?;
        Ok(form::described(&reply))
    }
}
